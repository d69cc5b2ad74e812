"""Rows that a working system could not have written, of every kind that a migration has a reason code for.

They need a G1b database without its foreign and unique keys; texts that are no UTF-8 need one of encoding SQL_ASCII (`legacy_ascii_url`).
"""

import datetime as dt
from collections.abc import Callable
from dataclasses import dataclass
from itertools import cycle, islice
from pathlib import Path
from typing import Any

from dsplatform_tests.legacy import content, ddl
from dsplatform_tests.legacy.ddl import Generation
from dsplatform_tests.legacy.generator import Built, clean, people, write
from dsplatform_tests.legacy.hostile import hostile_paths, lay_traps
from dsplatform_tests.legacy.oddities import GAP, TWICE
from dsplatform_tests.legacy.rows import Row, Rows

ABSENT = 9_000_000
"""Ids from here on belong to nothing."""
END = dt.datetime(9999, 12, 31, 23, 59, 59, 999_999)  # noqa: DTZ001  naive, as the tables hold times
LATIN_1 = "Zürich café".encode("latin-1")


class Ground:
    """What bad rows stand on: good rows, shared by all."""

    def __init__(self, rows: Rows) -> None:
        self.rows = rows
        self.user = rows.tables["users"][0]
        self.data = content.parquet(0)
        rows.store(rows.folder / "ground.parquet", self.data)
        self.file = self.named_file(str(rows.folder / "ground.parquet"))
        self.home, (self.version,) = self.line(1)
        self.other, (self.foreign,) = self.line(1)
        self.crowded, _ = self.line(1)
        for number in range(100):  # as many as a dataset may have
            rows.labelled(self.crowded, rows.label(f"crowd {number}"))

    def named_file(self, path: str | None, **columns: Any) -> Row:
        return self.rows.file(0, 0, self.data, write=False, file_path=path, **columns)

    def line(self, versions: int, name: str | None = None, file: Row | None = None) -> tuple[Row, list[Row]]:
        """A dataset whose versions all have the one good file, or another."""
        dataset = self.rows.dataset(name, self.user)
        made: list[Row] = []
        for _ in range(versions):
            made.append(self.rows.version(dataset, made[-1] if made else None, file=file or self.file, schema=False))
        self.rows.pointer(dataset, "main", made[-1])
        return dataset, made

    def used(self, file: Row) -> Row:
        """The file, as the only one of a version."""
        self.line(1, file=file)
        return file

    def last(self, number: int = 2, **columns: object) -> Row:
        """The newest of some versions in a line, changed."""
        _, versions = self.line(number)
        return _changed(versions[-1], columns)

    def dataset(self, **columns: object) -> Row:
        dataset, _ = self.line(1)
        return _changed(dataset, columns)

    def raw(self, table: str, row: Row, column: str, value: bytes = LATIN_1) -> Row:
        """The row, whose text will be these bytes."""
        self.rows.raw.append((table, row, column, value))
        return row


def _changed(row: Row, columns: dict[str, object]) -> Row:
    row.update(columns)
    return row


Make = Callable[[Ground, int], Row]


@dataclass(frozen=True)
class Kind:
    """One way of being bad."""

    table: str
    reasons: frozenset[str]
    """Reason codes, each of which is right. None: the row looks odd, and is migrated all the same."""
    make: Make
    """Makes the row number n of this kind, and good ones that it needs."""


def _kind(table: str, reasons: str, make: Make) -> Kind:
    return Kind(table, frozenset(reasons.split()), make)


def _component_twice(ground: Ground, _n: int) -> Row:
    _, (version,) = ground.line(1)
    path = str(ground.rows.folder / "ground.parquet")
    ground.rows.component(version, ground.named_file(path), "attachment", "notes", 1)
    return ground.rows.component(version, ground.named_file(path), "attachment", "notes", 2)


def _component(ground: Ground, name: str | None) -> Row:
    _, (version,) = ground.line(1)
    return ground.rows.component(version, ground.named_file(str(ground.rows.folder / "ground.parquet")), "attachment", name, 1)


def _in_a_cycle(ground: Ground, _n: int) -> Row:
    """The elder of two, each of which is the other's parent."""
    _, (elder, younger) = ground.line(2)
    return _changed(elder, {"parent_version_id": younger["id"]})


def _without_file(ground: Ground, n: int) -> Row:
    dataset, (first,) = ground.line(1)
    return ground.rows.version(dataset, first, file={"id": ABSENT + n}, main=False, schema=False)


def _pair(ground: Ground, first: str, second: str) -> Row:
    """The second of two datasets of one owner."""
    ground.line(1, first)
    return ground.line(1, second)[0]


def _without_main(ground: Ground, n: int) -> Row:
    dataset = ground.rows.dataset(f"no main {n}", ground.user)
    ground.rows.version(dataset, file=ground.file, schema=False)
    return dataset


def _two_heads(ground: Ground, _: int) -> Row:
    dataset, versions = ground.line(2)
    return ground.rows.pointer(dataset, "main", versions[0])


def _user(ground: Ground, soeid: str, **columns: object) -> Row:
    return _changed(ground.rows.user(ground.rows.tables["roles"][2], soeid), columns)


def _login_twice(ground: Ground, n: int) -> Row:
    _user(ground, f"ab{n:05d}")
    return _user(ground, f"AB{n:05d}")


def _file(path: str = "", **columns: object) -> Make:
    """A file of the good bytes, used by a version."""
    return lambda ground, _: ground.used(ground.named_file(path or str(ground.rows.folder / "ground.parquet"), **columns))


def _gone(ground: Ground, n: int) -> Row:
    return ground.used(ground.named_file(str(ground.rows.folder / "datasets" / "gone" / f"{n}.parquet")))


def _hostile(ground: Ground, n: int) -> Row:
    path = next(islice(cycle(hostile_paths(ground.rows.folder)), n, None)).path
    return ground.used(ground.named_file(path))


KINDS: dict[str, Kind] = {
    "missing_file": _kind("files", "missing_bytes", _gone),
    "no_bytes": _kind("files", "missing_bytes", lambda g, _: g.used(g.named_file(None))),
    "size_smaller": _kind("files", "size_mismatch", lambda g, n: _file(file_size=len(g.data) - 1)(g, n)),
    "size_zero": _kind("files", "size_mismatch", _file(file_size=0)),
    "size_negative": _kind("files", "size_mismatch bad_value", _file(file_size=-1)),
    "size_unknown": _kind("files", "", _file(file_size=None)),
    "wrong_hash": _kind("files", "hash_mismatch", lambda g, n: _file(content_hash=f"{n:064x}")(g, n)),
    "hostile_path": _kind("files", "bad_path missing_bytes unsupported", _hostile),
    "other_storage": _kind("files", "unsupported", lambda g, n: g.used(g.named_file(f"s3://bucket/{n}", storage_type="s3"))),
    "inline": _kind("files", "", lambda g, _: g.used(g.named_file(None, file_data=g.data, storage_type="database", file_size=None))),
    "path_latin_1": _kind(
        "files", "bad_encoding bad_path missing_bytes", lambda g, n: g.raw("files", _gone(g, n), "file_path", b"/data/" + LATIN_1)
    ),
    "parent_absent": _kind("dataset_versions", "orphan_parent", lambda g, n: g.last(parent_version_id=ABSENT + n)),
    "parent_elsewhere": _kind("dataset_versions", "cross_dataset_parent", lambda g, _: g.last(parent_version_id=g.foreign["id"])),
    "parent_itself": _kind("dataset_versions", "cycle", lambda g, _: _changed(v := g.last(), {"parent_version_id": v["id"]})),
    "cycle": _kind("dataset_versions", "cycle", _in_a_cycle),
    "time_in_gap": _kind("dataset_versions", "bad_time", lambda g, _: g.last(ingestion_timestamp=GAP)),
    "time_twice": _kind("dataset_versions", "bad_time", lambda g, _: g.last(ingestion_timestamp=TWICE)),
    "time_infinite": _kind("dataset_versions", "bad_time", lambda g, _: g.last(ingestion_timestamp="infinity")),
    "time_before_christ": _kind("dataset_versions", "bad_time", lambda g, _: g.last(ingestion_timestamp="4713-01-01 00:00:00 BC")),
    "uploader_absent": _kind("dataset_versions", "unknown_owner", lambda g, n: g.last(uploaded_by=ABSENT + n)),
    "version_of_nothing": _kind("dataset_versions", "orphan_parent", lambda g, n: g.last(1, dataset_id=ABSENT + n)),
    "number_twice": _kind("dataset_versions", "duplicate_key", lambda g, _: g.last(version_number=1, parent_version_id=None)),
    "number_negative": _kind("dataset_versions", "bad_value", lambda g, n: g.last(version_number=-n, parent_version_id=None)),
    "version_without_file": _kind("dataset_versions", "missing_bytes", _without_file),
    "message_latin_1": _kind("dataset_versions", "bad_encoding", lambda g, _: g.raw("dataset_versions", g.last(), "message")),
    "component_of_no_file": _kind(
        "dataset_version_files", "orphan_parent", lambda g, n: g.rows.component(g.version, {"id": ABSENT + n}, "attachment", f"a{n}")
    ),
    "component_of_no_version": _kind(
        "dataset_version_files", "orphan_parent", lambda g, n: g.rows.component({"id": ABSENT + n}, g.file, "attachment", "a")
    ),
    "component_name_twice": _kind("dataset_version_files", "duplicate_key", _component_twice),
    "component_name_odd": _kind("dataset_version_files", "bad_name", lambda g, _: _component(g, "..\\..\\etc/./passwd")),
    "component_name_long": _kind("dataset_version_files", "bad_name", lambda g, _: _component(g, "n" * 2000)),
    "component_name_null": _kind("dataset_version_files", "", lambda g, _: _component(g, None)),
    "component_name_latin_1": _kind(
        "dataset_version_files", "bad_encoding", lambda g, _: g.raw("dataset_version_files", _component(g, "x"), "component_name")
    ),
    "name_latin_1": _kind("datasets", "bad_encoding", lambda g, n: g.raw("datasets", g.dataset(), "name", LATIN_1 + str(n).encode())),
    "description_latin_1": _kind("datasets", "bad_encoding", lambda g, _: g.raw("datasets", g.dataset(), "description")),
    "name_twice": _kind("datasets", "duplicate_key", lambda g, n: _pair(g, f"pair {n}", f"pair {n}")),
    "name_twice_in_unicode": _kind("datasets", "duplicate_key", lambda g, n: _pair(g, f"\u00e9t\u00e9 {n}", f"e\u0301te\u0301 {n}")),
    "name_twice_but_for_case": _kind("datasets", "", lambda g, n: _pair(g, f"Case {n}", f"case {n}")),
    "name_odd": _kind("datasets", "bad_name", lambda g, n: g.dataset(name=f"../a\x01 {n}")),
    "name_long": _kind("datasets", "bad_name", lambda g, n: g.dataset(name=f"{n:0255}")),
    "name_empty": _kind("datasets", "bad_name", lambda g, _: g.dataset(name="")),
    "owner_absent": _kind("datasets", "unknown_owner", lambda g, n: g.dataset(created_by=ABSENT + n)),
    "born_at_the_end_of_time": _kind("datasets", "bad_time", lambda g, _: g.dataset(created_at=END)),
    "born_beyond_time": _kind("datasets", "bad_time", lambda g, _: g.dataset(created_at="294276-12-31 23:00:00")),
    "no_main": _kind("datasets", "main_created", _without_main),
    "no_versions": _kind("datasets", "", lambda g, n: g.rows.dataset(f"no versions {n}")),
    "plain_password": _kind("users", "bad_password_hash", lambda g, n: _user(g, f"pp{n:05d}", password_hash=f"Secret-Summer-{n}")),
    "role_absent": _kind("users", "unknown_role", lambda g, n: _user(g, f"ra{n:05d}", role_id=ABSENT + n)),
    "login_twice_but_for_case": _kind("users", "duplicate_key", _login_twice),
    "login_odd": _kind("users", "bad_name", lambda g, n: _user(g, f"a/\x02 {n}")),
    "login_latin_1": _kind(
        "users", "bad_encoding", lambda g, n: g.raw("users", _user(g, f"l1{n:05d}"), "soeid", LATIN_1 + str(n).encode())
    ),
    "label_latin_1": _kind("tags", "bad_encoding", lambda g, n: g.raw("tags", g.rows.label(f"l1 {n}"), "name", LATIN_1 + str(n).encode())),
    "label_empty": _kind("tags", "bad_value bad_name", lambda g, n: g.rows.label(" " * n)),
    "label_of_nothing": _kind("dataset_tags", "orphan_parent", lambda g, n: g.rows.labelled({"id": ABSENT + n}, g.rows.tables["tags"][0])),
    "too_many_labels": _kind("dataset_tags", "too_large", lambda g, n: g.rows.labelled(g.crowded, g.rows.label(f"one more {n}"))),
    "no_label": _kind("dataset_tags", "orphan_parent", lambda g, n: g.rows.labelled(g.home, {"id": ABSENT + n})),
    "pointer_elsewhere": _kind("dataset_pointers", "foreign_pointer", lambda g, n: g.rows.pointer(g.home, f"elsewhere{n}", g.foreign)),
    "pointer_to_nothing": _kind(
        "dataset_pointers", "orphan_parent", lambda g, n: g.rows.pointer(g.home, f"nothing{n}", {"id": ABSENT + n})
    ),
    "pointer_of_nothing": _kind("dataset_pointers", "orphan_parent", lambda g, n: g.rows.pointer({"id": ABSENT + n}, "develop", g.version)),
    "pointer_name_odd": _kind("dataset_pointers", "bad_name", lambda g, n: g.rows.pointer(g.home, f"-a b..{n}^", g.version)),
    "two_heads": _kind("dataset_pointers", "two_heads", _two_heads),
    "right_unknown": _kind("permissions", "unknown_right", lambda g, n: g.rows.permission(g.home["id"], g.user, f"owner{n}")),
    "right_on_nothing": _kind("permissions", "unknown_resource", lambda g, n: g.rows.permission(ABSENT + n, g.user, "read")),
    "right_of_nobody": _kind("permissions", "unknown_user", lambda g, n: g.rows.permission(g.home["id"], {"id": ABSENT + n}, "read")),
    "right_on_a_folder": _kind(
        "permissions", "unknown_resource unsupported", lambda g, n: g.rows.permission(g.home["id"], g.user, "read", f"folder{n}")
    ),
    "grant_on_nothing": _kind("dataset_permissions", "unknown_resource", lambda g, n: g.rows.grant({"id": ABSENT + n}, g.user, "write")),
    "grant_of_nobody": _kind("dataset_permissions", "unknown_user", lambda g, n: g.rows.grant(g.home, {"id": ABSENT + n}, "write")),
}


def build_bad(url: str, folder: Path, *, seed: int = 1, each: int = 100, datasets: int = 5) -> Built:
    """A G1b system with so many bad rows of each kind, and some datasets with nothing odd.

    `Built.planted` has the rows by kind. In a database of another encoding than SQL_ASCII the kinds that need it are left out.
    """
    with ddl.connected(url) as connection:
        connection.execute(ddl.create(Generation.G1B, phase_1=True).encode())
        ddl.loosen(connection)
        rows = Rows(Generation.G1B, folder, seed, phase_1=True)
        people(rows)
        clean(rows, datasets, 2, 0)
        lay_traps(folder)
        ground = Ground(rows)
        any_bytes = connection.execute("SHOW server_encoding").fetchone() == ("SQL_ASCII",)
        for name, kind in KINDS.items():
            if any_bytes or not name.endswith("latin_1"):
                for number in range(1, each + 1):
                    rows.plant(name, kind.table, kind.make(ground, number))
        counts = write(connection, rows)
    return Built(url, Generation.G1B, folder, dict(rows.planted), rows.stray, counts)
