"""The legacy database is read whole and in order, at one moment, whatever its texts hold, and cannot be written."""

from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

import psycopg
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dsplatform.core.database_url import libpq_url
from dsplatform.core.errors import Unavailable
from dsplatform.migration import source
from dsplatform.migration.cells import as_json
from dsplatform.migration.model import Generation
from dsplatform.migration.source import Inline, LegacyDatabase, LegacyUnsupported, Snapshot
from dsplatform_tests.legacy.generator import build

TABLES = ["roles", "users", "files", "datasets", "dataset_versions"]


def execute(url: str, *statements: str | bytes) -> None:
    with psycopg.connect(libpq_url(url)) as connection:
        for statement in statements:
            connection.execute(statement if isinstance(statement, bytes) else statement.encode())


def tables(url: str, *more: str) -> None:
    execute(url, *(f"CREATE TABLE {name} (id serial PRIMARY KEY)" for name in TABLES), *more)


@pytest.fixture
def snapshot(legacy_url: str) -> Iterator[Snapshot]:
    """Of a database with `notes` and `dataset_tags`."""
    tables(
        legacy_url,
        "CREATE TABLE notes (id serial PRIMARY KEY, body text, at timestamp, facts jsonb, raw json, data bytea)",
        "CREATE TABLE dataset_tags (dataset_id int, tag_id int, PRIMARY KEY (dataset_id, tag_id))",
        "INSERT INTO notes (id, body) SELECT i * 3, 'note ' || i FROM generate_series(1, 25) i",
        "INSERT INTO dataset_tags SELECT i, j FROM generate_series(1, 5) i, generate_series(1, 7) j",
    )
    with LegacyDatabase(legacy_url).snapshot() as found:
        yield found


@pytest.mark.parametrize("generation", ["G0", "G1a", "G1b", "G2"])
def test_each_generation_is_known_by_its_tables(generation: str, legacy_url: str, legacy_folder: Path) -> None:
    build(legacy_url, legacy_folder, generation, datasets=1, oddities=False, shared_files=0)
    with LegacyDatabase(legacy_url).snapshot() as found:
        assert found.generation is Generation(generation)
        assert found.has("datasets", "name")
        assert found.has("sheets") == (generation in {"G0", "G1a"})
        assert found.has("dataset_versions", "status") == (generation == "G2")


def test_the_third_generation_is_refused_with_the_reason(legacy_url: str, legacy_folder: Path) -> None:
    build(legacy_url, legacy_folder, "G3")
    with LegacyDatabase(legacy_url).snapshot() as found, pytest.raises(LegacyUnsupported, match="dsa_core") as refused:
        _ = found.generation
    assert refused.value.code == "legacy_unsupported"


def test_a_database_of_something_else_is_refused(legacy_url: str) -> None:
    execute(legacy_url, "CREATE TABLE datasets (id int)")
    with LegacyDatabase(legacy_url).snapshot() as found, pytest.raises(LegacyUnsupported, match="no table roles, users, files"):
        _ = found.generation


@pytest.mark.parametrize("limit", [1, 2, 7, 100])
def test_batches_bring_every_row_once_in_the_order_of_the_key(limit: int, snapshot: Snapshot) -> None:
    for table, count in (("notes", 25), ("dataset_tags", 35)):
        seen: list[tuple[int, ...]] = []
        while rows := snapshot.batch(table, seen[-1] if seen else None, limit):
            assert len(rows) <= limit
            seen += [row.key for row in rows]
        assert len(seen) == count == snapshot.count(table)
        assert seen == sorted(set(seen))
        assert seen[-1] == snapshot.high_key(table)


def test_a_batch_ends_at_its_upper_bound_and_rows_are_found_by_key_and_by_column(snapshot: Snapshot) -> None:
    assert [row.key for row in snapshot.batch("dataset_tags", (2, 6), 10, up_to=(3, 2))] == [(2, 7), (3, 1), (3, 2)]
    assert [row.key for row in snapshot.rows("dataset_tags", [(5, 7), (1, 1), (9, 9)])] == [(1, 1), (5, 7)]
    assert [row.values["body"] for row in snapshot.rows("notes", [(6,), (7,)])] == ["note 2"]
    assert {row.key[0] for row in snapshot.where("dataset_tags", "tag_id", [3])} == {1, 2, 3, 4, 5}
    assert snapshot.rows("notes", []) == snapshot.where("notes", "id", []) == []


def test_a_snapshot_does_not_see_what_is_written_after_it(snapshot: Snapshot, legacy_url: str) -> None:
    assert snapshot.count("notes") == 25
    execute(legacy_url, "INSERT INTO notes (id) VALUES (1000)", "DELETE FROM notes WHERE id = 3")
    assert snapshot.count("notes") == 25
    assert snapshot.high_key("notes") == (75,)
    with LegacyDatabase(legacy_url).snapshot() as later:
        assert later.high_key("notes") == (1000,)


def test_nothing_can_be_written(snapshot: Snapshot) -> None:
    with pytest.raises(psycopg.errors.ReadOnlySqlTransaction):
        snapshot.tuples("DELETE FROM notes RETURNING id")


ODD = {
    "infinity": b"infinity",
    "-infinity": b"-infinity",
    "0044-03-15 12:00:00 BC": b"0044-03-15 12:00:00 BC",
    "12021-01-01 00:00:00": b"12021-01-01 00:00:00",
}


def test_times_that_python_cannot_hold_come_as_they_are_written(snapshot: Snapshot, legacy_url: str) -> None:
    execute(legacy_url, *(f"INSERT INTO notes (id, at, body) VALUES ({900 + at}, '{odd}', 'ok')" for at, odd in enumerate(ODD)))
    execute(legacy_url, "INSERT INTO notes (id, at) VALUES (950, '2020-02-29 12:30:00.25')")
    with LegacyDatabase(legacy_url).snapshot() as found:
        *odd, plain_row = found.batch("notes", (899,), 100)
    assert [row.broken for row in odd] == [{"at": raw} for raw in ODD.values()]
    assert [(row.values["at"], row.values["body"]) for row in odd] == [(None, "ok")] * 4
    assert plain_row.values["at"] == datetime(2020, 2, 29, 12, 30, 0, 250_000)  # noqa: DTZ001 - as it is kept there
    assert plain_row.broken == {}


def test_json_that_cannot_be_kept_comes_as_it_is_written(snapshot: Snapshot, legacy_url: str) -> None:
    documents = {r'{"a": "\u0000"}': True, r'{"a": "\ud800"}': True, "[" * 5000 + "]" * 5000: True, r'{"a": "\\u0000 \u00e9"}': False}
    for at, raw in enumerate(documents):
        execute(legacy_url, f"INSERT INTO notes (id, raw, facts) VALUES ({900 + at}, '{raw}', '{{\"fine\": [1, null]}}')")
    with LegacyDatabase(legacy_url).snapshot() as found:
        rows = found.batch("notes", (899,), 100)
    assert ["raw" in row.broken for row in rows] == list(documents.values())
    assert rows[0].broken["raw"] == rb'{"a": "\u0000"}'
    assert rows[3].values["raw"] == {"a": r"\u0000 é"}
    assert all(row.values["facts"] == {"fine": [1, None]} for row in rows)


@given(st.text())
def test_json_that_is_taken_holds_what_was_written(text: str) -> None:
    import json

    written = json.dumps({"text": text})
    if "\0" in text or any("\ud800" <= char <= "\udfff" for char in text):
        with pytest.raises(ValueError):
            as_json(written)
    else:
        assert as_json(written) == as_json(written.encode()) == {"text": text}


def test_text_that_is_no_utf_8_comes_as_bytes_and_the_rest_of_its_row_as_ever(legacy_ascii_url: str) -> None:
    tables(legacy_ascii_url, "CREATE TABLE notes (id serial PRIMARY KEY, body text, other varchar(20), facts jsonb)")
    with psycopg.connect(libpq_url(legacy_ascii_url)) as connection:
        connection.execute(
            b"INSERT INTO notes VALUES (1, 'caf\xe9', 'x', '{}'), (2, 'caf\xc3\xa9', '\xff', '[2]'), (3, 'plain', NULL, NULL)"
        )
    with LegacyDatabase(legacy_ascii_url).snapshot() as found:
        assert found.generation is Generation.G0
        latin, utf, ascii_only = found.batch("notes", None, 10)
        assert (latin.values["body"], latin.broken, latin.values["other"]) == (None, {"body": b"caf\xe9"}, "x")
        assert (utf.values["body"], utf.broken, utf.values["facts"]) == ("café", {"other": b"\xff"}, [2])
        assert (ascii_only.values["body"], ascii_only.values["other"], ascii_only.broken) == ("plain", None, {})
        assert found.tuples("SELECT body FROM notes ORDER BY id") == [(b"caf\xe9",), ("café",), ("plain",)]


def test_bytes_in_a_row_are_read_in_pieces_and_only_when_asked_for(
    snapshot: Snapshot, legacy_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(source, "PIECE_BYTES", 1000)
    data = bytes(range(256)) * 17
    with psycopg.connect(libpq_url(legacy_url)) as connection:
        connection.execute("INSERT INTO notes (id, data) VALUES (900, %s), (901, '')", [data])
    with LegacyDatabase(legacy_url).snapshot() as found:
        full, empty = found.batch("notes", (899,), 10)
        assert isinstance(full.values["data"], Inline)
        assert (full.values["data"].size, empty.values["data"].size) == (len(data), 0)
        assert full.values["data"].digest != empty.values["data"].digest
        pieces = list(found.inline("notes", "data", full.key))
        assert [len(piece) for piece in pieces] == [1000] * 4 + [352]
        assert b"".join(pieces) == data
        assert list(found.inline("notes", "data", empty.key)) == []


def test_rows_of_one_key_come_together_where_the_table_allows_them(legacy_url: str) -> None:
    tables(
        legacy_url,
        "CREATE TABLE dataset_version_files "
        "(version_id int, file_id int, component_name text, PRIMARY KEY (version_id, file_id, component_name))",
        "INSERT INTO dataset_version_files VALUES (1, 1, 'a'), (1, 1, 'b'), (1, 1, 'c'), (2, 1, 'a')",
    )
    with LegacyDatabase(legacy_url).snapshot() as found:
        assert not found.single("dataset_version_files")
        first = found.batch("dataset_version_files", None, 2)
        assert sorted(row.values["component_name"] for row in first) == ["a", "b", "c"]
        assert [row.key for row in found.batch("dataset_version_files", first[-1].key, 2)] == [(2, 1)]


def test_where_the_key_tells_all_nothing_else_is_read(legacy_url: str) -> None:
    tables(
        legacy_url,
        "CREATE TABLE dataset_schema_versions (id serial PRIMARY KEY, schema_data jsonb)",
        "INSERT INTO dataset_schema_versions (schema_data) VALUES ('{}'), ('[1]')",
    )
    with LegacyDatabase(legacy_url).snapshot() as found:
        first, second = found.batch("dataset_schema_versions", None, 10)
        assert (first.values, second.values) == ({"id": 1}, {"id": 2})
        assert first.digest != second.digest


def test_long_rows_come_a_few_at_a_time(legacy_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(source, "PORTION_BYTES", 400_000)
    tables(
        legacy_url,
        "CREATE TABLE notes (id serial PRIMARY KEY, facts jsonb)",
        "INSERT INTO notes (facts) "
        "SELECT jsonb_agg(md5(i::text || j::text)) FROM generate_series(1, 40) i, generate_series(1, 600) j GROUP BY i",
    )
    with LegacyDatabase(legacy_url).snapshot() as found:
        first = found.batch("notes", None, 1000)
        assert 0 < len(first) < 40
        assert len(first) + sum(1 for _ in found.batch("notes", first[-1].key, 1)) == len(first) + 1


def test_a_long_answer_comes_in_portions_and_may_be_given_up(snapshot: Snapshot) -> None:
    asked = "SELECT i FROM generate_series(1, %s) i"
    assert [len(portion) for portion in snapshot.stream(asked, 12_000)] == [5000, 5000, 2000]
    portions = snapshot.stream(asked, 12_000)
    assert len(next(portions)) == 5000
    del portions
    assert snapshot.tuples("SELECT {what} FROM {notes} WHERE id = %s", 3, what="body", notes="notes") == [("note 1",)]


def test_a_server_that_is_not_there_or_goes_away_is_an_error_and_no_end(legacy_url: str) -> None:
    tables(legacy_url, "INSERT INTO roles SELECT generate_series(1, 10)")
    with pytest.raises(Unavailable, match="does not answer"), LegacyDatabase("postgresql://nobody@127.0.0.1:1/none").snapshot():
        pass
    with pytest.raises(Unavailable, match="DSPLATFORM_LEGACY_DATABASE_URL"), LegacyDatabase("").snapshot():
        pass
    with LegacyDatabase(legacy_url).snapshot() as found:
        assert len(found.batch("roles", None, 3)) == 3
        execute(legacy_url, "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'dsplatform legacy' AND datname = current_database()")  # noqa: E501  # fmt: skip
        with pytest.raises(Unavailable):
            found.batch("roles", (3,), 3)


def test_a_password_in_an_address_that_cannot_be_read_is_not_told() -> None:
    with pytest.raises(LegacyUnsupported) as refused, LegacyDatabase("postgresql://user:se cret@host:port:1/db?x").snapshot():
        pass
    assert "cret" not in str(refused.value)


def test_a_table_that_may_not_be_read_is_named(legacy_url: str) -> None:
    tables(legacy_url, "DROP ROLE IF EXISTS legacy_nobody", "CREATE ROLE legacy_nobody LOGIN", "GRANT SELECT ON roles TO legacy_nobody")
    url = legacy_url.replace("postgres@", "legacy_nobody@")
    assert url != legacy_url
    with LegacyDatabase(url).snapshot() as found:
        assert found.count("roles") == 0
        with pytest.raises(Unavailable, match="permission denied for table users: its login needs SELECT"):
            found.count("users")
