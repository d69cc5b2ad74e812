"""The stand-in is what the specification describes; each oddity is looked for by a query that knows nothing of the generator."""

import hashlib
import re
import shutil
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path

import bcrypt
import duckdb
import psycopg
import pyarrow.parquet as pq
import pytest

from dsplatform.core.database_url import libpq_url
from dsplatform.local import EmbeddedPostgres
from dsplatform_tests.legacy.ddl import Generation
from dsplatform_tests.legacy.generator import Built, build
from dsplatform_tests.legacy.rows import PASSWORD, PASSWORD_HASH

WITH_TABLES = [Generation.G0, Generation.G1A, Generation.G1B, Generation.G2]


@pytest.fixture(scope="session")
def odd(server: EmbeddedPostgres, tmp_path_factory: pytest.TempPathFactory) -> Callable[[Generation], Built]:
    """A system of the generation with all oddities, built once for those who only look at it."""

    @cache
    def made(generation: Generation) -> Built:
        name = f"odd_{generation.lower()}"
        with psycopg.connect(server.url("postgres", ""), autocommit=True) as connection:
            connection.execute(f"CREATE DATABASE {name} TEMPLATE template0".encode())
        return build(server.url(name), tmp_path_factory.mktemp(name), generation, datasets=8)

    return made


def _queries(generation: str) -> Iterator[tuple[str, str]]:
    """The oddities that a generation can have, each with its query in `oddities.sql`."""
    text = Path(__file__).with_name("oddities.sql").read_text()
    for oddity, generations, query in re.findall(r"^-- (\S+): (.+)\n([^;]+);", text, re.MULTILINE):
        if generation in generations.split():
            yield oddity, query


def _rows(built: Built, query: str) -> list[tuple[int, ...]]:
    with psycopg.connect(libpq_url(built.url)) as connection:
        return sorted(connection.execute(query.encode()).fetchall())


def _dump(built: Built) -> dict[str, list[tuple[object, ...]]]:
    with psycopg.connect(libpq_url(built.url)) as connection:
        return {table: connection.execute(f"SELECT * FROM {table} ORDER BY 1, 2".encode()).fetchall() for table in built.counts}


def _tree(folder: Path) -> dict[str, str]:
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("generation", WITH_TABLES)
def test_every_oddity_is_in_exactly_the_rows_that_are_named(generation: Generation, odd: Callable[[Generation], Built]) -> None:
    built = odd(generation)
    queries = list(_queries(generation))
    differing = {
        oddity: set(found) ^ set(built.keys(oddity)) for oddity, query in queries if (found := _rows(built, query)) != built.keys(oddity)
    }
    assert not differing
    unasked = {
        "D2",
        "D12.row",
        "D13.missing",
        "D15.wrong",
        "D16",
        "D20.empty",
        "D20.doubled",
        "D8.none",
        "D8.other",
        "D10.attached",
        "D10.named",
    }
    assert set(built.planted) <= {oddity for oddity, _ in queries} | unasked


@pytest.mark.parametrize("generation", WITH_TABLES)
def test_a_system_without_oddities_has_none(generation: Generation, legacy_url: str, legacy_folder: Path) -> None:
    built = build(legacy_url, legacy_folder, generation, datasets=8, attachments=1, oddities=False)
    structural = {"D18"} if generation in {Generation.G1B, Generation.G2} else set()
    assert {oddity for oddity, query in _queries(generation) if _rows(built, query)} == structural
    assert not built.planted
    with psycopg.connect(libpq_url(legacy_url)) as connection:
        paths = connection.execute("SELECT file_path, file_size FROM files").fetchall()
    on_disk = {str(legacy_folder / name): (legacy_folder / name).stat().st_size for name in _tree(legacy_folder)}
    assert {path.removeprefix("file://"): size for path, size in paths} == on_disk


@pytest.mark.parametrize("generation", WITH_TABLES)
def test_every_foreign_key_holds(generation: Generation, odd: Callable[[Generation], Built]) -> None:
    """They are not checked while the rows are copied."""
    with psycopg.connect(libpq_url(odd(generation).url)) as connection:
        keys = connection.execute(
            "SELECT conname, conrelid::regclass::text, pg_get_constraintdef(oid) FROM pg_constraint WHERE contype = 'f'"
        )
        for name, table, definition in keys.fetchall():
            connection.execute(f"ALTER TABLE {table} DROP CONSTRAINT {name}; ALTER TABLE {table} ADD {definition}".encode())
        connection.rollback()


def test_the_same_seed_builds_the_same_system(legacy_url: str, empty_database_url: str, legacy_folder: Path) -> None:
    first = build(legacy_url, legacy_folder, Generation.G1B, seed=7, datasets=5, attachments=1)
    dump, tree = _dump(first), _tree(legacy_folder)
    shutil.rmtree(legacy_folder)
    second = build(empty_database_url, legacy_folder, Generation.G1B, seed=7, datasets=5, attachments=1)
    assert _dump(second) == dump
    assert _tree(legacy_folder) == tree
    assert (second.planted, second.stray) == (first.planted, first.stray)


def test_another_seed_builds_another_system(legacy_url: str, empty_database_url: str, legacy_folder: Path) -> None:
    one, other = (
        build(url, legacy_folder, Generation.G1B, seed=seed, datasets=5) for seed, url in enumerate((legacy_url, empty_database_url))
    )
    assert _dump(one)["files"] != _dump(other)["files"]


def test_few_files_can_serve_many_rows(legacy_url: str, legacy_folder: Path) -> None:
    built = build(legacy_url, legacy_folder, Generation.G1B, datasets=200, attachments=1, oddities=False, shared_files=4)
    assert len(_tree(legacy_folder)) == 4
    assert built.counts["dataset_version_files"] > 800


COLUMNS = {
    Generation.G0: {"dataset_versions": {"parent_version_id"}, "files": {"content_hash"}},
    Generation.G1A: {"files": {"content_hash"}},
    Generation.G1B: {"files": {"content_hash"}},
    Generation.G2: {
        "dataset_versions": {"file_id", "parent_version_id", "uploaded_by"},
        "files": {"file_data"},
        "tags": {"name", "description"},
    },
}
TABLES = {
    Generation.G0: {"sheets": True, "dataset_pointers": False, "version_tags": False, "permissions": False, "dataset_version_files": False},
    Generation.G1A: {"sheets": True, "dataset_pointers": True, "version_tags": False, "permissions": True, "dataset_version_files": True},
    Generation.G1B: {"sheets": False, "dataset_pointers": True, "version_tags": False, "permissions": True, "dataset_version_files": True},
    Generation.G2: {"sheets": False, "dataset_pointers": False, "version_tags": True, "permissions": False, "dataset_version_files": True},
}


@pytest.mark.parametrize("generation", WITH_TABLES)
def test_generations_differ_in_their_tables(generation: Generation, odd: Callable[[Generation], Built]) -> None:
    built = odd(generation)
    assert {table: table in built.counts for table in TABLES[generation]} == TABLES[generation]
    with psycopg.connect(libpq_url(built.url)) as connection:
        for table, absent in COLUMNS[generation].items():
            columns = connection.execute("SELECT column_name FROM information_schema.columns WHERE table_name = %s", [table]).fetchall()
            assert columns
            assert not absent & {name for (name,) in columns}


def test_the_newest_generation_is_there_to_be_refused(legacy_url: str, legacy_folder: Path) -> None:
    build(legacy_url, legacy_folder, Generation.G3)
    with psycopg.connect(libpq_url(legacy_url)) as connection:
        assert connection.execute("SELECT to_regclass('dsa_core.commits') IS NOT NULL").fetchone() == (True,)


def test_the_planned_columns_of_files_are_never_filled(legacy_url: str, legacy_folder: Path) -> None:
    built = build(legacy_url, legacy_folder, Generation.G1B, datasets=1, phase_1=True)
    assert _rows(built, "SELECT id FROM files WHERE content_hash IS NULL AND reference_count = 0") == built.keys("D15")
    assert len(built.keys("D15")) == built.counts["files"]


def test_a_file_is_where_its_oddity_says(odd: Callable[[Generation], Built]) -> None:
    """D12, D13: what is missing is missing, and every other odd path leads to bytes of the size that the table has."""
    built = odd(Generation.G1B)
    with psycopg.connect(libpq_url(built.url)) as connection:
        paths = {key: (path, size) for key, path, size in connection.execute("SELECT id, file_path, file_size FROM files")}
    assert not any(Path(paths[key][0]).exists() for (key,) in built.keys("D13.missing"))
    for kind, start in (("old_mount", built.mounts[0][0]), ("uri", f"file://{built.folder}"), ("relative", "")):
        for (key,) in built.keys(f"D13.{kind}"):
            path, size = paths[key]
            assert (built.folder / path.removeprefix(start).lstrip("/")).stat().st_size == size
    named = {path for path, _ in paths.values()}
    assert built.stray
    assert all(path.exists() and str(path) not in named for path in built.stray)


def test_the_password_is_known() -> None:
    assert bcrypt.checkpw(PASSWORD.encode(), PASSWORD_HASH.encode())


def test_a_stored_schema_is_that_of_the_file(legacy_url: str, legacy_folder: Path) -> None:
    build(legacy_url, legacy_folder, Generation.G1A, datasets=3, oddities=False)
    query = "SELECT file_path, schema_json, metadata FROM dataset_schema_versions s JOIN dataset_versions v ON v.id = s.dataset_version_id"
    joined = "JOIN files f ON f.id = file_id JOIN sheets ON sheets.dataset_version_id = v.id JOIN sheet_metadata ON sheet_id = sheets.id"
    with psycopg.connect(libpq_url(legacy_url)) as connection:
        found = connection.execute(f"{query} {joined}".encode()).fetchall()
    assert len(found) > 3
    for path, schema, sheet in found:
        table = pq.read_table(path)
        assert (schema["row_count"], [column["name"] for column in schema["columns"]]) == (table.num_rows, table.column_names)
        assert (sheet["rows"], sheet["column_names"]) == (table.num_rows, table.column_names)
        with duckdb.connect() as reading:
            described = reading.execute("DESCRIBE SELECT * FROM read_parquet(?)", [path]).fetchall()
        assert {column["name"]: column["original_type"] for column in schema["columns"]} == {name: kind for name, kind, *_ in described}
