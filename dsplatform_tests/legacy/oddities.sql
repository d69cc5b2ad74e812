-- Each oddity, the generations that can have it, and a query for the keys of exactly the rows that are odd in this way.

-- D1: G0 G1a G1b G2
SELECT id FROM datasets d WHERE 1 < (SELECT count(*) FROM datasets o WHERE o.name = d.name
  AND o.created_by IS NOT DISTINCT FROM d.created_by);
-- D3: G1a G1b
SELECT id FROM datasets d WHERE NOT EXISTS (SELECT FROM dataset_permissions p WHERE p.dataset_id = d.id) AND
  NOT EXISTS (SELECT FROM permissions p WHERE p.resource_type = 'dataset' AND p.resource_id = d.id
  AND permission_type IN ('read', 'write', 'admin'));
-- D3: G2
SELECT id FROM datasets d WHERE NOT EXISTS (SELECT FROM dataset_permissions p WHERE p.dataset_id = d.id);
-- D4.parent: G1a G1b
SELECT v.id FROM dataset_versions v JOIN dataset_versions p ON p.id = v.parent_version_id WHERE p.dataset_id <> v.dataset_id;
-- D4.first: G1a G1b
SELECT id FROM dataset_versions v WHERE version_number > 1
  AND version_number = (SELECT min(version_number) FROM dataset_versions o WHERE o.dataset_id = v.dataset_id);
-- D5: G0 G1a G1b G2
SELECT id FROM datasets d WHERE NOT EXISTS (SELECT FROM dataset_versions v WHERE v.dataset_id = d.id);
-- D6: G0 G1a G1b G2
SELECT dataset_id FROM dataset_versions GROUP BY dataset_id HAVING max(version_number) - min(version_number) + 1 <> count(*);
-- D7: G1a G1b
SELECT dataset_id FROM dataset_versions WHERE parent_version_id IS NULL GROUP BY dataset_id HAVING count(*) > 1;
-- D8: G1a G1b
SELECT DISTINCT dataset_id FROM dataset_versions v WHERE NOT EXISTS (SELECT FROM dataset_pointers p
  WHERE p.dataset_id = v.dataset_id AND pointer_name = 'main' AND NOT is_tag);
-- D9: G1a G1b
SELECT p.id FROM dataset_pointers p JOIN dataset_versions v ON v.id = p.dataset_version_id WHERE v.dataset_id <> p.dataset_id;
-- D9: G2
SELECT p.id FROM version_tags p JOIN dataset_versions v ON v.id = p.dataset_version_id WHERE v.dataset_id <> p.dataset_id;
-- D10: G1a G1b G2
SELECT version_id FROM dataset_version_files GROUP BY version_id HAVING NOT coalesce(bool_or(component_type = 'primary'
  AND component_name = 'main'), false);
-- D11: G1a G1b G2
SELECT id FROM dataset_versions v WHERE NOT EXISTS (SELECT FROM dataset_version_files f WHERE f.version_id = v.id);
-- D12: G0
SELECT id FROM files WHERE id NOT IN (SELECT file_id FROM dataset_versions UNION SELECT file_id FROM sampling_outputs
  UNION SELECT file_id FROM exploration_outputs);
-- D12: G1a G1b
SELECT id FROM files WHERE id NOT IN (SELECT file_id FROM dataset_versions UNION SELECT file_id FROM sampling_outputs
  UNION SELECT file_id FROM exploration_outputs UNION SELECT file_id FROM dataset_version_files);
-- D12: G2
SELECT id FROM files WHERE id NOT IN (SELECT file_id FROM dataset_version_files
  UNION SELECT overlay_file_id FROM dataset_versions UNION SELECT output_file_id FROM analysis_runs
  WHERE output_file_id IS NOT NULL);
-- D12.temp: G0 G1a G1b G2
SELECT id FROM files WHERE file_path LIKE '%/temp/%';
-- D13.uri: G0 G1a G1b G2
SELECT id FROM files WHERE file_path LIKE 'file://%' AND file_type = 'parquet';
-- D13.relative: G0 G1a G1b G2
SELECT id FROM files WHERE file_path NOT LIKE '/%' AND file_path NOT LIKE 'file://%';
-- D13.old_mount: G0 G1a G1b G2
SELECT id FROM files WHERE file_path LIKE '/mnt/oldshare/%';
-- D14.neither: G0 G1a G1b
SELECT id FROM files WHERE file_path IS NULL AND file_data IS NULL;
-- D14.neither: G2
SELECT id FROM files WHERE file_path IS NULL;
-- D14.inline: G0 G1a G1b
SELECT id FROM files WHERE file_path IS NULL AND file_data IS NOT NULL;
-- D14.both: G0 G1a G1b
SELECT id FROM files WHERE file_path IS NOT NULL AND file_data IS NOT NULL;
-- D15.null: G2
SELECT id FROM files WHERE content_hash IS NULL;
-- D15.count: G2
SELECT id FROM files WHERE reference_count = 0;
-- D17: G1a G1b G2
SELECT id FROM dataset_versions v WHERE NOT EXISTS (SELECT FROM dataset_schema_versions s WHERE s.dataset_version_id = v.id);
-- D18: G0 G1a
SELECT id FROM dataset_versions v WHERE NOT EXISTS (SELECT FROM sheets s WHERE s.dataset_version_id = v.id);
-- D18: G1b G2
SELECT id FROM dataset_versions;
-- D19: G0 G1a
SELECT sheet_id FROM sheet_metadata WHERE metadata->>'original_format' IN ('xls', 'xlsx', 'xlsm');
-- D19: G1b G2
SELECT version_id, file_id FROM dataset_version_files WHERE metadata->>'original_filename' LIKE '%.xlsx';
-- sheet_error: G0 G1a
SELECT id FROM sheets WHERE description = 'Error parsing file';
-- D21.case: G0 G1a G1b
SELECT id FROM tags t WHERE EXISTS (SELECT FROM tags o WHERE o.id <> t.id AND lower(trim(o.name)) = lower(trim(t.name)));
-- D21.case: G2
SELECT id FROM tags t WHERE EXISTS (SELECT FROM tags o WHERE o.id <> t.id AND lower(trim(o.tag_name)) = lower(trim(t.tag_name)));
-- D21.null: G0 G1a G1b
SELECT id FROM tags WHERE description IS NULL;
-- D22.resource: G1a G1b
SELECT id FROM permissions p WHERE NOT CASE resource_type WHEN 'dataset' THEN EXISTS (SELECT FROM datasets d
  WHERE d.id = resource_id) ELSE EXISTS (SELECT FROM files f WHERE f.id = resource_id) END;
-- D22.type: G1a G1b
SELECT id FROM permissions WHERE permission_type NOT IN ('read', 'write', 'admin');
-- D23.levels: G1a G1b
SELECT id FROM permissions p WHERE 1 < (SELECT count(*) FROM permissions o
  WHERE (o.resource_type, o.resource_id, o.user_id) = (p.resource_type, p.resource_id, p.user_id));
-- D23.tables: G1a G1b
SELECT p.id FROM permissions p JOIN dataset_permissions d ON (d.dataset_id, d.user_id) = (p.resource_id, p.user_id)
  WHERE resource_type = 'dataset';
-- D24.dataset: G2
SELECT id FROM datasets WHERE created_by IS NULL;
-- D24.version: G2
SELECT id FROM dataset_versions WHERE created_by IS NULL;
-- D24.run: G2
SELECT id FROM analysis_runs WHERE user_id IS NULL;
-- D25.archived: G2
SELECT id FROM dataset_versions WHERE status = 'archived';
-- D25.deleted: G2
SELECT id FROM dataset_versions WHERE status = 'deleted';
-- D26.gap: G0 G1a G1b
SELECT id FROM dataset_versions
  WHERE ingestion_timestamp AT TIME ZONE 'Europe/Berlin' AT TIME ZONE 'Europe/Berlin' <> ingestion_timestamp;
-- D26.gap: G2
SELECT id FROM dataset_versions WHERE created_at AT TIME ZONE 'Europe/Berlin' AT TIME ZONE 'Europe/Berlin' <> created_at;
-- D26.twice: G0 G1a G1b
SELECT id FROM dataset_versions WHERE ingestion_timestamp >= '2021-10-31 02:00' AND ingestion_timestamp < '2021-10-31 03:00';
-- D26.twice: G2
SELECT id FROM dataset_versions WHERE created_at >= '2021-10-31 02:00' AND created_at < '2021-10-31 03:00';
-- D27.dataset: G0 G1a G1b G2
SELECT id FROM datasets WHERE name !~ '^[A-Za-z0-9][A-Za-z0-9 _.-]{0,98}[A-Za-z0-9]$';
-- D27.pointer: G1a G1b
SELECT id FROM dataset_pointers WHERE pointer_name !~ '^[A-Za-z0-9]{1,99}$';
-- D27.pointer: G2
SELECT id FROM version_tags WHERE tag_name !~ '^[A-Za-z0-9]{1,99}$';
-- U1: G0 G1a G1b G2
SELECT id FROM users WHERE password_hash !~ '^\$2[aby]\$[0-9]{2}\$[./A-Za-z0-9]{53}$';
