"""The bad rows are bad, and are what `KINDS` says they are."""

import os
from collections import Counter
from pathlib import Path

import psycopg

from dsplatform.core.database_url import libpq_url
from dsplatform.migration.model import Reason
from dsplatform_tests.legacy.bad_rows import ABSENT, KINDS, LATIN_1, build_bad
from dsplatform_tests.legacy.hostile import SECRET, hostile_paths, lay_traps, swapped


def test_every_kind_has_its_rows(legacy_ascii_url: str, legacy_folder: Path) -> None:
    built = build_bad(legacy_ascii_url, legacy_folder, each=3)
    assert {kind: len(set(built.keys(kind))) for kind in KINDS} == dict.fromkeys(KINDS, 3)
    assert Counter(key for kind in KINDS for key in built.planted[kind]).most_common(1)[0][1] == 1, "a row is of one kind"
    with psycopg.connect(libpq_url(legacy_ascii_url), client_encoding="SQL_ASCII") as connection:
        names = connection.execute(
            "SELECT name FROM datasets WHERE id = ANY(%s)", [[id_ for (id_,) in built.keys("name_latin_1")]]
        ).fetchall()
        assert all(isinstance(name, bytes) and name.startswith(LATIN_1) for (name,) in names)
        assert len(names) == 3
        for table, column in (
            ("dataset_versions", "parent_version_id"),
            ("dataset_versions", "uploaded_by"),
            ("datasets", "created_by"),
            ("users", "role_id"),
            ("permissions", "resource_id"),
            ("permissions", "user_id"),
            ("dataset_permissions", "user_id"),
            ("dataset_version_files", "file_id"),
        ):
            found = connection.execute(f"SELECT count(*) FROM {table} WHERE {column} > {ABSENT}".encode()).fetchone()
            assert found == (3,), (table, column)


def test_a_database_that_checks_texts_has_the_other_kinds(legacy_url: str, legacy_folder: Path) -> None:
    built = build_bad(legacy_url, legacy_folder, each=2)
    assert set(KINDS) - set(built.planted) == {kind for kind in KINDS if kind.endswith("latin_1")}


def test_hostile_paths_lead_out_of_the_folder_or_nowhere(tmp_path: Path) -> None:
    """Followed by a reader who takes paths as they are, some reach the secret; none is a file of the system's own."""
    folder = tmp_path / "legacy"
    lay_traps(folder)
    (folder / "ground.parquet").write_bytes(b"good")
    paths = hostile_paths(folder)
    assert len({hostile.path for hostile in paths}) >= 50
    reached = 0
    for hostile in paths:
        path = hostile.path.removeprefix("file://")
        if os.path.isfile(path) and not path.startswith("/proc/"):
            real = Path(path).resolve()
            assert not real.is_relative_to(folder)
            reached += real.read_bytes() == SECRET
    assert reached >= 8


def test_a_file_is_swapped_with_a_link(tmp_path: Path) -> None:
    path, target = tmp_path / "file", tmp_path / "target"
    path.write_bytes(b"good")
    target.write_bytes(SECRET)
    seen: set[bytes] = set()
    with swapped(path, target):
        while seen != {b"good", SECRET}:
            seen.add(path.read_bytes())
    assert not path.is_symlink()
    assert path.read_bytes() == b"good"


def test_reasons_are_those_of_the_migration() -> None:
    assert {reason for kind in KINDS.values() for reason in kind.reasons} <= set(Reason)
