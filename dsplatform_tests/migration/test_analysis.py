"""Every oddity that was planted is found with its exact count, a clean system is found clean, and nothing is changed by looking."""

import json
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from functools import cache
from pathlib import Path
from zoneinfo import ZoneInfo

import jsonschema
import psycopg
import pytest
from hypothesis import given
from hypothesis import settings as with_settings
from hypothesis import strategies as st

from dsplatform.bootstrap import Platform
from dsplatform.core.database_url import libpq_url
from dsplatform.core.errors import Unavailable
from dsplatform.migration import disk, figures
from dsplatform.migration.analysis import Analysis, AnalysisService
from dsplatform.migration.moments import instant
from dsplatform.migration.odd_values import changes
from dsplatform.migration.oddities import Oddity, Severity
from dsplatform.migration.report import markdown
from dsplatform.migration.source import LegacyUnsupported
from dsplatform_tests.legacy.ddl import connected, loosen
from dsplatform_tests.legacy.generator import TIMEZONE, Built, build

GENERATIONS = ["G0", "G1a", "G1b", "G2"]
UNSEEN = {"D2": {"G0"}}
"""What no question can find: of G0, which datasets were meant as versions."""
USUAL = {"admins", "results", "D18", "D26.zone"}
"""What is in a system without oddities, too, or is about the settings."""

Analyse = Callable[..., Analysis]
CHANGES = cache(changes)


@pytest.fixture
def analyse(platform: Platform) -> Analyse:
    """Analyses a system that was built, with settings that fit it unless told otherwise."""

    def run(built: Built, read_all: bool = False, **changed: object) -> Analysis:
        fitting = {
            "legacy_database_url": built.url,
            "legacy_roots": (built.folder,),
            "legacy_base": built.folder,
            "legacy_mounts": built.mounts,
            "legacy_timezone": TIMEZONE,
        }
        settings = replace(platform.settings, **{**fitting, **changed})  # type: ignore[arg-type]
        return AnalysisService(platform.db, platform.permissions, settings).analyse(platform.system(), read_all=read_all)

    return run


def counts(analysis: Analysis) -> dict[str, int]:
    found: Counter[str] = Counter()
    for oddity in analysis.oddities:
        found[oddity.code] += oddity.count
    return dict(found)


def one(analysis: Analysis, code: str) -> Oddity:
    (found,) = (oddity for oddity in analysis.oddities if oddity.code == code)
    return found


def execute(url: str, *statements: str) -> None:
    with psycopg.connect(libpq_url(url)) as connection:
        for statement in statements:
            connection.execute(statement.encode())


def dump(built: Built) -> dict[str, object]:
    with psycopg.connect(libpq_url(built.url)) as connection:
        rows = {table: connection.execute(f"SELECT * FROM {table} ORDER BY 1, 2".encode()).fetchall() for table in built.counts}
        objects = connection.execute(
            "SELECT n.nspname, c.relname, c.relkind FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace "
            "WHERE n.nspname NOT IN ('pg_catalog', 'information_schema', 'pg_toast') ORDER BY 1, 2"
        ).fetchall()
    return {**rows, "objects": objects}


def tree(folder: Path) -> dict[str, tuple[int, int]]:
    return {str(path): (path.stat().st_mtime_ns, path.stat().st_size) for path in folder.rglob("*")}


@pytest.mark.parametrize("generation", GENERATIONS)
def test_every_oddity_that_was_planted_is_found_with_its_exact_count_and_nothing_is_changed(
    generation: str, legacy_url: str, legacy_folder: Path, analyse: Analyse
) -> None:
    built = build(legacy_url, legacy_folder, generation, datasets=8)
    before, files = dump(built), tree(legacy_folder)
    found = analyse(built)
    assert (dump(built), tree(legacy_folder)) == (before, files)
    planted = {code: len(set(keys)) for code, keys in built.planted.items() if generation not in UNSEEN.get(code, ())}
    planted["D12.stray"] = len(built.stray)
    assert {code: count for code, count in counts(found).items() if code not in USUAL - set(planted)} == planted
    for oddity in found.oddities:
        keys = {":".join(map(str, key.id)) for key in built.planted.get(oddity.code, ())}
        assert not keys or set(oddity.examples) <= keys, oddity.code
    assert found.generation == generation
    assert found.may_start
    assert {table.name: table.rows for table in found.tables} == built.counts


def test_the_planned_columns_of_an_older_generation_are_seen(legacy_url: str, legacy_folder: Path, analyse: Analyse) -> None:
    built = build(legacy_url, legacy_folder, "G1b", datasets=4, phase_1=True)
    found = counts(analyse(built))
    assert found["D15.null"] == found["D15.count"] == built.counts["files"]


@pytest.mark.parametrize("generation", GENERATIONS)
def test_in_a_system_without_oddities_nothing_waits_for_anybody(
    generation: str, legacy_url: str, legacy_folder: Path, analyse: Analyse
) -> None:
    built = build(legacy_url, legacy_folder, generation, datasets=6, oddities=False)
    with psycopg.connect(libpq_url(legacy_url)) as connection:
        ((zone,),) = connection.execute("SHOW TimeZone").fetchall()
    found = analyse(built, read_all=True, legacy_timezone=zone)
    assert {oddity.code: oddity.severity for oddity in found.oddities if oddity.severity is not Severity.NOTE} == {}
    assert set(counts(found)) <= USUAL
    assert found.files.located == found.files.rows == found.files.read > 0


def test_the_report_never_holds_a_password_nor_its_hash_nor_how_long_it_is(
    legacy_url: str, legacy_folder: Path, analyse: Analyse, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(figures, "LARGEST", 1_000)
    built = build(legacy_url, legacy_folder, "G1a", datasets=2)
    found = analyse(built)
    with psycopg.connect(libpq_url(legacy_url)) as connection:
        secrets = [value for (value,) in connection.execute("SELECT DISTINCT password_hash FROM users WHERE length(password_hash) > 3")]
    assert len(secrets) >= 3
    text = markdown(found) + json.dumps(found.plain())
    assert not [secret for secret in secrets if secret in text]
    assert one(found, "U1").count == 4
    assert ("users", "soeid") in {(largest.table, largest.column) for largest in found.largest}
    assert ("users", "password_hash") not in {(largest.table, largest.column) for largest in found.largest}


def test_a_login_that_may_only_select_is_enough(legacy_url: str, legacy_folder: Path, analyse: Analyse) -> None:
    built = build(legacy_url, legacy_folder, "G1b", datasets=2)
    execute(
        legacy_url,
        "DROP ROLE IF EXISTS legacy_reader",
        "CREATE ROLE legacy_reader LOGIN",
        "REVOKE ALL ON ALL TABLES IN SCHEMA public FROM PUBLIC",
        "REVOKE CREATE ON SCHEMA public FROM PUBLIC",
        "GRANT SELECT ON ALL TABLES IN SCHEMA public TO legacy_reader",
    )
    url = legacy_url.replace("postgres@", "legacy_reader@")
    try:
        assert counts(analyse(built, legacy_database_url=url)) == counts(analyse(built))
    finally:
        execute(legacy_url, "DROP OWNED BY legacy_reader", "DROP ROLE legacy_reader")


def test_broken_references_cycles_and_doubled_rows_are_counted(legacy_url: str, legacy_folder: Path, analyse: Analyse) -> None:
    built = build(legacy_url, legacy_folder, "G1a", datasets=4, oddities=False)
    with connected(legacy_url) as connection:
        loosen(connection)
    execute(
        legacy_url,
        "UPDATE users SET role_id = 900 WHERE id IN (2, 3)",
        "UPDATE users SET password_hash = replace(password_hash, '$2b$', '$6$') WHERE id = 4",
        "UPDATE datasets SET created_by = 900 WHERE id = (SELECT min(id) FROM datasets)",
        "INSERT INTO dataset_versions (id, dataset_id, version_number, file_id, uploaded_by) "
        "VALUES (5001, 900, 1, 1, 1), (5002, 1, 900, 9000, 1)",
        "INSERT INTO dataset_versions (id, dataset_id, version_number, file_id, uploaded_by, parent_version_id) "
        "VALUES (6001, 1, 901, 1, 1, 6002), (6002, 1, 902, 1, 1, 6001), (6003, 1, 903, 1, 1, 6003), (6004, 1, 904, 1, 1, 9999), "
        "(6005, 1, 904, 1, 1, 6004)",
        "INSERT INTO dataset_version_files (version_id, file_id, component_type) VALUES (5001, 9001, 'primary')",
        "INSERT INTO permissions (resource_type, resource_id, user_id, permission_type, granted_by) VALUES ('dataset', 1, 901, 'read', 1)",
        "INSERT INTO dataset_permissions VALUES (901, 1, 'read'), (1, 902, 'read')",
        "INSERT INTO dataset_pointers (id, dataset_id, pointer_name, dataset_version_id) VALUES (5000, 900, 'x', 5001), "
        "(5001, 1, 'y', 9000), (5002, 1, 'y', 6001)",
        "INSERT INTO users (id, soeid, password_hash, role_id) SELECT 5000 + n, s, password_hash, 1 FROM users, "
        "(VALUES (1, 'Twice'), (2, 'tWICE '), (3, 'System')) v(n, s) WHERE id = 1",
    )
    found = {(oddity.code, oddity.entity): oddity.count for oddity in analyse(built).oddities if oddity.code not in USUAL}
    expected = {
        ("orphan.role_id", "users"): 2,
        ("orphan.created_by", "datasets"): 1,
        ("orphan.dataset_id", "dataset_versions"): 1,
        ("orphan.file_id", "dataset_versions"): 1,
        ("orphan.parent_version_id", "dataset_versions"): 1,
        ("orphan.file_id", "dataset_version_files"): 1,
        ("orphan.user_id", "permissions"): 1,
        ("orphan.dataset_id", "dataset_permissions"): 1,
        ("orphan.user_id", "dataset_permissions"): 1,
        ("orphan.dataset_id", "dataset_pointers"): 1,
        ("orphan.dataset_version_id", "dataset_pointers"): 1,
        ("cycle", "dataset_versions"): 3,
        ("same_number", "dataset_versions"): 2,
        ("same_pointer", "dataset_pointers"): 2,
        ("same_login", "users"): 2,
        ("our_login", "users"): 1,
        ("U1", "users"): 1,
    }
    assert {kind: found.get(kind) for kind in expected} == expected


def test_what_stands_in_the_way_blocks(legacy_url: str, legacy_folder: Path, analyse: Analyse, monkeypatch: pytest.MonkeyPatch) -> None:
    built = build(legacy_url, legacy_folder, "G0", datasets=2, oddities=False)
    assert analyse(built).may_start
    cases: dict[str, dict[str, object]] = {
        "no_roots": {"legacy_roots": ()},
        "root_missing": {"legacy_roots": (legacy_folder, legacy_folder / "gone")},
    }
    for code, changed in cases.items():
        found = analyse(built, **changed)
        assert not found.may_start
        assert one(found, code).severity is Severity.BLOCKS
        assert "may not start" in markdown(found)
    execute(legacy_url, "UPDATE tags SET id = -1 WHERE id = (SELECT max(id) FROM tags WHERE id NOT IN (SELECT tag_id FROM dataset_tags))")
    execute(legacy_url, "ALTER TABLE tags ALTER id TYPE bigint", "INSERT INTO tags (id, name) VALUES (2147483648, 'high')")
    assert one(analyse(built), "id_range").severity is Severity.BLOCKS
    monkeypatch.setattr("shutil.disk_usage", lambda _: type("Usage", (), {"free": 10})())
    assert one(analyse(built), "space").count > 0


def test_rows_that_nothing_tells_apart_block(legacy_url: str, legacy_folder: Path, analyse: Analyse) -> None:
    built = build(legacy_url, legacy_folder, "G1b", datasets=2, oddities=False)
    execute(
        legacy_url,
        "ALTER TABLE dataset_version_files DROP CONSTRAINT dataset_version_files_pkey",
        "INSERT INTO dataset_version_files SELECT * FROM dataset_version_files ORDER BY 1, 2 LIMIT 2",
    )
    found = one(analyse(built), "same_key")
    assert (found.severity, found.count, found.entity) == (Severity.BLOCKS, 2, "dataset_version_files")


def test_paths_out_of_the_roots_and_wrong_sizes_wait_for_a_decision(legacy_url: str, legacy_folder: Path, analyse: Analyse) -> None:
    built = build(legacy_url, legacy_folder, "G1b", datasets=4, oddities=False)
    used = "(SELECT file_id FROM dataset_version_files ORDER BY 1 OFFSET {} LIMIT 1)"
    execute(
        legacy_url,
        f"UPDATE files SET file_path = '/etc/passwd' WHERE id = {used.format(0)}",
        f"UPDATE files SET file_path = 's3://bucket/key' WHERE id = {used.format(1)}",
        f"UPDATE files SET file_size = file_size + 1 WHERE id = {used.format(2)}",
        f"UPDATE files SET file_size = NULL WHERE id = {used.format(3)}",
    )
    found = analyse(built)
    assert [(code, one(found, code).count) for code in ("bad_path", "size", "no_size")] == [("bad_path", 2), ("size", 1), ("no_size", 1)]
    assert found.files.located == found.files.rows - 2


def test_a_sample_says_how_much_it_is_and_reading_all_counts_each_content_once(
    legacy_url: str, legacy_folder: Path, analyse: Analyse, monkeypatch: pytest.MonkeyPatch
) -> None:
    built = build(legacy_url, legacy_folder, "G2", datasets=8)
    everything = analyse(built, read_all=True)
    assert everything.files.read == everything.files.located
    assert counts(everything) == counts(analyse(built))
    contents = {path.read_bytes() for path in (legacy_folder / "datasets").rglob("*") if path.is_file() and path not in built.stray}
    distinct = everything.files.distinct_bytes
    assert distinct is not None
    assert 0 < distinct <= sum(map(len, contents))
    assert everything.files.bytes == everything.files.bytes_read
    monkeypatch.setattr(disk, "SAMPLE", 7)
    sample = analyse(built)
    assert (sample.files.read, sample.files.distinct_bytes) == (7, None)
    assert "7 (" in markdown(sample)
    assert "a sample" in markdown(sample)


def test_texts_that_are_none_are_counted_in_a_database_that_takes_them(
    legacy_ascii_url: str, legacy_folder: Path, analyse: Analyse
) -> None:
    built = build(legacy_ascii_url, legacy_folder, "G1a", datasets=3, oddities=False)
    with psycopg.connect(libpq_url(legacy_ascii_url)) as connection:
        connection.execute(b"UPDATE datasets SET description = 'caf\xe9'")
        connection.execute(b"UPDATE datasets SET name = 'caf\xc3\xa9' WHERE id = 1")
        connection.execute(b"UPDATE tags SET name = 'caf\xe9' WHERE id = 1")
    found = analyse(built)
    assert found.encoding == "SQL_ASCII"
    assert {(o.entity, o.count) for o in found.oddities if o.code == "encoding"} == {("datasets", built.counts["datasets"]), ("tags", 1)}


def test_times_that_are_none_or_to_come_are_counted(legacy_url: str, legacy_folder: Path, analyse: Analyse) -> None:
    built = build(legacy_url, legacy_folder, "G0", datasets=6, oddities=False)
    execute(
        legacy_url,
        "UPDATE datasets SET created_at = 'infinity' WHERE id = (SELECT min(id) FROM datasets)",
        "UPDATE datasets SET created_at = '-infinity', updated_at = '0044-03-15 BC' WHERE id = (SELECT max(id) FROM datasets)",
        "UPDATE users SET updated_at = '9999-12-31'",
    )
    found = {(oddity.code, oddity.entity): oddity.count for oddity in analyse(built).oddities}
    assert found["D26.none", "datasets"] == 2
    assert found["D26.future", "users"] == built.counts["users"]


@given(st.sampled_from(["Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "UTC", "Asia/Kolkata", "Africa/Casablanca"]), st.data())
@with_settings(max_examples=60, deadline=None)
def test_the_times_that_are_counted_as_inexact_are_those_that_the_migration_finds_inexact(name: str, data: st.DataObject) -> None:
    zone = ZoneInfo(name)
    spans = [span for kind in CHANGES(zone, 2015, 2020) for span in kind]
    edges = [edge for span in spans for edge in span] or [datetime(2017, 3, 26, 2)]  # noqa: DTZ001 - local times, here and below
    local = data.draw(st.datetimes(datetime(2015, 1, 2), datetime(2020, 12, 30)) | st.sampled_from(edges))  # noqa: DTZ001
    assert any(start <= local < end for start, end in spans) == (not instant(local, zone)[1])


def test_the_server_s_zone_is_compared_with_the_setting(legacy_url: str, legacy_folder: Path, analyse: Analyse) -> None:
    built = build(legacy_url, legacy_folder, "G0", datasets=1, oddities=False)
    assert "D26.zone" not in counts(analyse(built, legacy_timezone="UTC"))
    assert one(analyse(built, legacy_timezone="Asia/Tokyo"), "D26.zone").severity is Severity.DECIDE


def test_the_plain_form_is_as_its_schema_says_and_the_report_has_every_finding(
    legacy_url: str, legacy_folder: Path, analyse: Analyse
) -> None:
    found = analyse(build(legacy_url, legacy_folder, "G1a", datasets=2))
    schema = json.loads((Path(__file__).parents[2] / "docs/legacy_analysis.schema.json").read_text())
    jsonschema.validate(json.loads(json.dumps(found.plain())), schema)
    text = markdown(found)
    for oddity in found.oddities:
        assert f"| {oddity.code} | {oddity.title} |" in text
    for table in found.tables:
        assert f"| {table.name} | {table.rows:,} |" in text
    assert len({line.count("|") for line in text.splitlines() if line.startswith("| D")}) == 1


def test_a_generation_that_cannot_come_along_and_a_missing_setting_are_refused(
    legacy_url: str, legacy_folder: Path, analyse: Analyse
) -> None:
    built = build(legacy_url, legacy_folder, "G3")
    with pytest.raises(LegacyUnsupported, match="G3"):
        analyse(built)
    with pytest.raises(Unavailable, match="DSPLATFORM_LEGACY_DATABASE_URL"):
        analyse(built, legacy_database_url="")


def test_what_is_done_is_told(legacy_url: str, legacy_folder: Path, platform: Platform) -> None:
    built = build(legacy_url, legacy_folder, "G0", datasets=2, oddities=False)
    settings = replace(platform.settings, legacy_database_url=built.url, legacy_roots=(built.folder,))
    told: list[tuple[str, int, int]] = []
    AnalysisService(platform.db, platform.permissions, settings).analyse(platform.system(), progress=lambda *what: told.append(what))
    assert {stage for stage, _, _ in told} == {"questions", "files", "bytes", "footers"}
    assert ("files", built.counts["files"], built.counts["files"]) in told
    assert all(done <= total for _, done, total in told)
