"""The tables of each generation of the legacy system, as section 1 of its specification lists them."""

from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum

import psycopg
from psycopg.sql import SQL, Identifier

from dsplatform.core.database_url import libpq_url


class Generation(StrEnum):
    """A stage of the legacy system. G1a has `sheets` and pointers, G1b pointers and no sheets; G3 is another product."""

    G0 = "G0"
    G1A = "G1a"
    G1B = "G1b"
    G2 = "G2"
    G3 = "G3"


_PEOPLE = """
CREATE TABLE roles (id serial PRIMARY KEY, role_name varchar(50) UNIQUE NOT NULL, description text);
CREATE TABLE users (
  id serial PRIMARY KEY, soeid varchar(20) UNIQUE NOT NULL, password_hash varchar(255) NOT NULL, role_id int NOT NULL REFERENCES roles,
  created_at timestamp NOT NULL DEFAULT now(), updated_at timestamp NOT NULL DEFAULT now());
"""

_COMMON = """
CREATE TABLE files (
  id serial PRIMARY KEY, storage_type varchar(50) NOT NULL, file_type varchar(50) NOT NULL, mime_type varchar(100), file_data bytea,
  file_path text, file_size bigint, created_at timestamp NOT NULL DEFAULT now());
CREATE TABLE datasets (
  id serial PRIMARY KEY, name varchar(255) NOT NULL, description text, created_by int NOT NULL REFERENCES users,
  created_at timestamp NOT NULL DEFAULT now(), updated_at timestamp NOT NULL DEFAULT now());
CREATE TABLE dataset_versions (
  id serial PRIMARY KEY, dataset_id int NOT NULL REFERENCES datasets, version_number int NOT NULL, file_id int NOT NULL REFERENCES files,
  ingestion_timestamp timestamp NOT NULL DEFAULT now(), last_updated_timestamp timestamp NOT NULL DEFAULT now(),
  uploaded_by int NOT NULL REFERENCES users, UNIQUE (dataset_id, version_number));
CREATE TABLE tags (id serial PRIMARY KEY, name varchar(100) UNIQUE NOT NULL, description text);
CREATE TABLE dataset_tags (
  dataset_id int REFERENCES datasets ON DELETE CASCADE, tag_id int REFERENCES tags ON DELETE RESTRICT, PRIMARY KEY (dataset_id, tag_id));
"""

_SHEETS = """
CREATE TABLE sheets (
  id serial PRIMARY KEY, dataset_version_id int NOT NULL REFERENCES dataset_versions, name varchar(255) NOT NULL, sheet_index int NOT NULL,
  description text, UNIQUE (dataset_version_id, sheet_index));
CREATE TABLE sheet_metadata (
  id serial PRIMARY KEY, sheet_id int NOT NULL REFERENCES sheets ON DELETE CASCADE, metadata jsonb NOT NULL,
  profiling_report_file_id int REFERENCES files ON DELETE SET NULL);
"""

# `sheet_id` refers to `sheets` only where there is such a table.
_RUNS = """
CREATE TABLE data_exploration_configs (
  id serial PRIMARY KEY, user_id int NOT NULL REFERENCES users, name varchar(255) NOT NULL, config jsonb NOT NULL,
  created_at timestamp NOT NULL DEFAULT now());
CREATE TABLE data_exploration_runs (
  id serial PRIMARY KEY, dataset_version_id int NOT NULL REFERENCES dataset_versions, sheet_id int {sheets},
  user_id int NOT NULL REFERENCES users,
  exploration_config jsonb NOT NULL, run_timestamp timestamp NOT NULL DEFAULT now(), output_summary jsonb);
CREATE TABLE sampling_runs (
  id serial PRIMARY KEY, dataset_version_id int NOT NULL REFERENCES dataset_versions, sheet_id int {sheets},
  user_id int NOT NULL REFERENCES users,
  sampling_method varchar(100) NOT NULL, sampling_parameters jsonb, run_timestamp timestamp NOT NULL DEFAULT now(), status varchar(20));
CREATE TABLE sampling_outputs (
  id serial PRIMARY KEY, sampling_run_id int NOT NULL REFERENCES sampling_runs ON DELETE CASCADE, output_index int NOT NULL,
  file_id int NOT NULL REFERENCES files ON DELETE RESTRICT, created_by int NOT NULL REFERENCES users,
  created_at timestamp NOT NULL DEFAULT now(),
  output_name varchar(255), metadata jsonb, UNIQUE (sampling_run_id, output_index));
CREATE TABLE exploration_outputs (
  id serial PRIMARY KEY, exploration_run_id int NOT NULL REFERENCES data_exploration_runs ON DELETE CASCADE, output_index int NOT NULL,
  file_id int NOT NULL REFERENCES files ON DELETE RESTRICT, created_by int NOT NULL REFERENCES users,
  created_at timestamp NOT NULL DEFAULT now(),
  metadata jsonb, UNIQUE (exploration_run_id, output_index));
"""

_G1 = """
ALTER TABLE dataset_versions ADD parent_version_id int REFERENCES dataset_versions, ADD message text,
  ADD overlay_file_id int REFERENCES files;
CREATE INDEX ON dataset_versions (parent_version_id);
CREATE TABLE dataset_schema_versions (
  id serial PRIMARY KEY, dataset_version_id int NOT NULL REFERENCES dataset_versions, schema_json jsonb NOT NULL,
  created_at timestamp NOT NULL DEFAULT now());
CREATE INDEX ON dataset_schema_versions (dataset_version_id);
CREATE TABLE dataset_version_files (
  version_id int NOT NULL REFERENCES dataset_versions, file_id int NOT NULL REFERENCES files, component_type varchar(50) NOT NULL,
  component_name text, component_index int, metadata jsonb, PRIMARY KEY (version_id, file_id));
CREATE TABLE dataset_pointers (
  id serial PRIMARY KEY, dataset_id int NOT NULL REFERENCES datasets, pointer_name varchar(255) NOT NULL,
  dataset_version_id int NOT NULL REFERENCES dataset_versions, is_tag boolean NOT NULL DEFAULT false,
  created_at timestamp NOT NULL DEFAULT now(), updated_at timestamp NOT NULL DEFAULT now(), UNIQUE (dataset_id, pointer_name));
CREATE TABLE permissions (
  id serial PRIMARY KEY, resource_type varchar(50) NOT NULL, resource_id int NOT NULL, user_id int NOT NULL REFERENCES users,
  permission_type varchar(20) NOT NULL, granted_at timestamp NOT NULL DEFAULT now(), granted_by int NOT NULL REFERENCES users,
  UNIQUE (resource_type, resource_id, user_id, permission_type));
"""

_GRANTS = """
CREATE TYPE file_permission AS ENUM ('read', 'write', 'admin');
CREATE TYPE dataset_permission AS ENUM ('read', 'write', 'admin');
CREATE TABLE file_permissions (
  file_id int REFERENCES files ON DELETE CASCADE, user_id int REFERENCES users ON DELETE CASCADE, permission_type file_permission NOT NULL,
  PRIMARY KEY (file_id, user_id));
CREATE TABLE dataset_permissions (
  dataset_id int REFERENCES datasets ON DELETE CASCADE, user_id int REFERENCES users ON DELETE CASCADE,
  permission_type dataset_permission NOT NULL,
  PRIMARY KEY (dataset_id, user_id));
"""

_PHASE_1 = """
ALTER TABLE files ADD content_hash char(64) UNIQUE, ADD reference_count bigint NOT NULL DEFAULT 0, ADD compression_type varchar(50),
  ADD metadata jsonb;
"""

_G2 = """
CREATE TYPE version_status AS ENUM ('active', 'archived', 'deleted');
CREATE TYPE analysis_run_type AS ENUM ('sampling', 'exploration', 'profiling');
CREATE TYPE analysis_run_status AS ENUM ('pending', 'running', 'completed', 'failed');
CREATE TABLE files (
  id serial PRIMARY KEY, storage_type varchar(50) NOT NULL, file_type varchar(50) NOT NULL, mime_type varchar(100), file_path text,
  file_size bigint, content_hash char(64) UNIQUE, reference_count bigint NOT NULL DEFAULT 0, compression_type varchar(50), metadata jsonb,
  created_at timestamp NOT NULL DEFAULT now());
CREATE TABLE datasets (
  id serial PRIMARY KEY, name varchar(255) NOT NULL, description text, created_by int REFERENCES users ON DELETE SET NULL,
  created_at timestamp NOT NULL DEFAULT now(), updated_at timestamp NOT NULL DEFAULT now(), UNIQUE (name, created_by));
CREATE TABLE dataset_versions (
  id serial PRIMARY KEY, dataset_id int NOT NULL REFERENCES datasets ON DELETE CASCADE, overlay_file_id int NOT NULL REFERENCES files,
  message text, version_number int NOT NULL, status version_status NOT NULL DEFAULT 'active',
  created_by int REFERENCES users ON DELETE SET NULL,
  created_at timestamp NOT NULL DEFAULT now(), updated_at timestamp NOT NULL DEFAULT now(), UNIQUE (dataset_id, version_number));
CREATE TABLE version_tags (
  id serial PRIMARY KEY, dataset_id int NOT NULL REFERENCES datasets ON DELETE CASCADE, tag_name varchar(255) NOT NULL,
  dataset_version_id int NOT NULL REFERENCES dataset_versions ON DELETE CASCADE, UNIQUE (dataset_id, tag_name));
CREATE TABLE dataset_version_files (
  version_id int NOT NULL REFERENCES dataset_versions ON DELETE CASCADE, file_id int NOT NULL REFERENCES files ON DELETE CASCADE,
  component_type varchar(50) NOT NULL, component_name text, component_index int, metadata jsonb, PRIMARY KEY (version_id, file_id));
CREATE TABLE dataset_schema_versions (
  id serial PRIMARY KEY, dataset_version_id int NOT NULL REFERENCES dataset_versions ON DELETE CASCADE, schema_json jsonb NOT NULL,
  created_at timestamp NOT NULL DEFAULT now());
CREATE TABLE tags (id serial PRIMARY KEY, tag_name varchar(100) UNIQUE NOT NULL);
CREATE TABLE dataset_tags (
  dataset_id int REFERENCES datasets ON DELETE CASCADE, tag_id int REFERENCES tags ON DELETE CASCADE, PRIMARY KEY (dataset_id, tag_id));
CREATE TABLE analysis_configurations (
  id serial PRIMARY KEY, name varchar(255), description text, analysis_type varchar(100), parameters jsonb,
  created_by int REFERENCES users ON DELETE SET NULL, created_at timestamp NOT NULL DEFAULT now(), UNIQUE (name, created_by));
CREATE TABLE analysis_runs (
  id serial PRIMARY KEY, dataset_version_id int NOT NULL REFERENCES dataset_versions ON DELETE CASCADE,
  user_id int REFERENCES users ON DELETE SET NULL,
  run_type analysis_run_type NOT NULL, run_parameters jsonb NOT NULL, saved_config_id int REFERENCES analysis_configurations,
  status analysis_run_status NOT NULL DEFAULT 'pending', run_timestamp timestamp NOT NULL DEFAULT now(), execution_time_ms int, notes text,
  output_file_id int REFERENCES files ON DELETE SET NULL, output_summary jsonb);
CREATE TABLE dataset_statistics (
  version_id int PRIMARY KEY REFERENCES dataset_versions ON DELETE CASCADE, row_count bigint, column_count int, size_bytes bigint,
  statistics jsonb,
  computed_at timestamp NOT NULL DEFAULT now());
"""

_G3 = """
CREATE SCHEMA dsa_auth; CREATE SCHEMA dsa_core; CREATE SCHEMA dsa_jobs; CREATE SCHEMA dsa_search;
CREATE TABLE dsa_auth.roles (id serial PRIMARY KEY, role_name varchar(50) UNIQUE NOT NULL);
CREATE TABLE dsa_auth.users (id serial PRIMARY KEY, soeid varchar(20) UNIQUE NOT NULL, password_hash varchar(255) NOT NULL,
  role_id int REFERENCES dsa_auth.roles);
CREATE TABLE dsa_core.datasets (
  id serial PRIMARY KEY, name varchar(255) NOT NULL, description text, created_by int, created_at timestamptz NOT NULL DEFAULT now(),
  updated_at timestamptz NOT NULL DEFAULT now());
CREATE TABLE dsa_core.commits (
  commit_id char(64) PRIMARY KEY, dataset_id int REFERENCES dsa_core.datasets, parent_commit_id char(64), message text, author_id int,
  authored_at timestamptz, committed_at timestamptz);
CREATE TABLE dsa_core.refs (id serial PRIMARY KEY, dataset_id int REFERENCES dsa_core.datasets, name text NOT NULL, commit_id char(64));
"""


def create(generation: Generation, *, phase_1: bool = False, aware: bool = False) -> str:
    """The statements that make the tables. `phase_1`: with the planned columns of `files`, which a G1 database may have got or not.
    `aware`: times have a zone, as a documentation of the system says and nobody has seen."""
    sheets = "REFERENCES sheets" if generation in {Generation.G0, Generation.G1A} else ""
    parts = {
        Generation.G0: [_PEOPLE, _COMMON, _SHEETS, _RUNS.format(sheets=sheets)],
        Generation.G1A: [_PEOPLE, _COMMON, _SHEETS, _RUNS.format(sheets=sheets), _G1, _GRANTS],
        Generation.G1B: [_PEOPLE, _COMMON, _RUNS.format(sheets=sheets), _G1, _GRANTS],
        Generation.G2: [_PEOPLE, _G2, _GRANTS],
        Generation.G3: [_G3],
    }[generation]
    statements = "".join([*parts, _PHASE_1] if phase_1 else parts)
    return statements.replace(" timestamp ", " timestamptz ") if aware else statements


def loosen(connection: psycopg.Connection) -> None:
    """Drops every foreign key and every unique key besides the primary ones, so that broken rows find a place."""
    found = connection.execute(
        "SELECT conrelid::regclass::text, conname FROM pg_constraint WHERE contype IN ('f', 'u') AND connamespace = 'public'::regnamespace"
    )
    for table, name in found.fetchall():
        connection.execute(SQL("ALTER TABLE {} DROP CONSTRAINT {}").format(Identifier(table), Identifier(name)))


@contextmanager
def connected(url: str) -> Iterator[psycopg.Connection]:
    """One connection, one transaction, committed at the end."""
    with psycopg.connect(libpq_url(url), client_encoding="UTF8") as connection:
        yield connection
