"""How far a row is exempt from the validation that the way back wrote: as far as its form goes, and while it is what was made here."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from dsplatform.bootstrap import Platform
from dsplatform.core.database import Transaction
from dsplatform.core.values import CommitMode
from dsplatform_tests import make
from dsplatform_tests.legacy import content
from dsplatform_tests.migration.there_and_back import ANY, Side


class Back:
    """Both systems after a way back, with a version that was made here, and one on it."""

    def __init__(self, platform: Platform, url: str, folder: Path) -> None:
        self.side = Side(platform, url, folder, "G1b")
        self.dataset, self.other, *_ = self.side.datasets()
        files = {"a.csv": b"id\n1\n", "b.parquet": content.parquet(3)}
        self.made = make.commit(platform, self.dataset, files, message="one", mode=CommitMode.REPLACE)
        self.late = make.commit(platform, self.dataset, {"c.csv": b"id\n2\n"}, message="two")
        self.side.service.rollback(self.side.actor)

    def against(self) -> str:
        checks = [one for one in self.side.validation.validate(self.side.actor, fast=True).checks if one.code != "V9"]
        return "; ".join(f"{one.entity} {one.key} {one.column} {one.sentence}" for check in checks for one in check.differences)

    def file(self) -> int:
        return int(self.side.ask("SELECT file_id FROM dataset_versions WHERE id = %s", self.made.version_id)[0][0])


@pytest.fixture
def back(platform: Platform, legacy_url: str, legacy_folder: Path) -> Back:
    return Back(platform, legacy_url, legacy_folder)


Fault = Callable[[Transaction, Back], object]
HERE: dict[str, Fault] = {
    "dataset_versions 1000007 message differs": lambda tx, back: tx.execute(
        "UPDATE dataset_versions SET message = 'another' WHERE id = :id", id=back.made.version_id
    ),
    "dataset_versions 1000007 number differs": lambda tx, back: tx.execute(
        "UPDATE dataset_versions SET version_number = 77 WHERE id = :id", id=back.made.version_id
    ),
    "dataset_versions 1000008 parent differs": lambda tx, back: tx.execute(
        "UPDATE dataset_versions SET parent_version_id = NULL WHERE id = :id", id=back.late.version_id
    ),
    "dataset_versions 1000007 author differs": lambda tx, back: tx.execute(
        "UPDATE dataset_versions SET created_by = (SELECT max(new_id) FROM legacy_id_map WHERE entity = 'users') WHERE id = :id",
        id=back.made.version_id,
    ),
    "dataset_versions 1000007 created_at differs": lambda tx, back: tx.execute(
        "UPDATE dataset_versions SET created_at = created_at + interval '1 second' WHERE id = :id", id=back.made.version_id
    ),
    "dataset_versions 1000007 dataset differs": lambda tx, back: tx.execute(
        "UPDATE dataset_versions SET dataset_id = :other, version_number = 99 WHERE id = :id", id=back.made.version_id, other=back.other.id
    ),
    "is said to be made here, and no version that was holds its content": lambda tx, back: tx.execute(
        "DELETE FROM dataset_version_files WHERE version_id = :id AND component_name = 'a.csv'", id=back.made.version_id
    ),
    "no legacy row is this component": lambda tx, back: tx.execute(
        "UPDATE dataset_version_files SET file_id = (SELECT overlay_file_id FROM dataset_versions WHERE id = :id) "
        "WHERE version_id = :id AND component_name = 'a.csv'",
        id=back.made.version_id,
    ),
    # A finding that is written to a row which came along exempts it from nothing.
    "dataset_versions 1 message differs": lambda tx, _: tx.execute(
        "WITH f AS (INSERT INTO legacy_quarantine (run_id, entity, legacy_id, reason, detail, raw, resolution) SELECT first_run, entity, "
        "legacy_id, 'made_here', '{}', '{}', 'recorded by rule' FROM legacy_id_map WHERE entity = 'dataset_versions' AND new_id = 1) "
        "UPDATE dataset_versions SET message = 'another' WHERE id = 1"
    ),
}
THERE = {
    "dataset_versions 1000007 message differs": "UPDATE dataset_versions SET message = 'there' WHERE id = {made}",
    "files {file}  was made here, and is not as it was written": "UPDATE files SET mime_type = 'changed' WHERE id = {file}",
    "dataset_version_files {made}:{file}  was made here": "UPDATE dataset_version_files SET component_name = 'x' WHERE version_id = {made}",
}


def test_faults_in_what_was_made_here_are_found_on_both_sides(back: Back) -> None:
    """None of them is followed or recorded; without them nothing is found."""
    side = back.side
    assert back.against() == ""
    missed = []
    for told, fault in HERE.items():
        with make.tampering(side.platform.db) as tx:
            tx.execute("SET LOCAL session_replication_role = replica")
            snapshot = {
                table: tx.scalar(f"SELECT jsonb_agg(to_jsonb(t)) FROM {table} t")
                for table in ("dataset_versions", "dataset_version_files", "legacy_quarantine")
            }
            fault(tx, back)
        said = back.against()
        missed += [f"{told}: {said}"] if told.replace("1000007", str(back.made.version_id)) not in said else []
        with make.tampering(side.platform.db) as tx:
            tx.execute("SET LOCAL session_replication_role = replica")
            for table, rows in snapshot.items():
                tx.execute(f"DELETE FROM {table}")
                tx.execute(
                    f"INSERT INTO {table} OVERRIDING SYSTEM VALUE "
                    f"SELECT * FROM jsonb_populate_recordset(NULL::{table}, CAST(:rows AS jsonb))",
                    rows=json.dumps(rows),
                )
    assert missed == []
    assert back.against() == ""
    for told, statement in THERE.items():
        names = {"made": back.made.version_id, "file": back.file()}
        side.run(statement.format(**names))
        said = back.against()
        assert told.format(**names) in said, said
    side.service.follow(side.actor)
    assert side.migration.status(side.actor).waiting, "it is recorded, and somebody decides"
    side.migration.resolve(side.actor, "accepted by a test", reason="unsupported")
    assert back.against() == "", "what was decided is in nobody's way"


def test_what_was_made_here_and_brought_and_deleted_is_in_nobodys_way(platform: Platform, legacy_url: str, legacy_folder: Path) -> None:
    side = Side(platform, legacy_url, legacy_folder, "G1b")
    dataset, *_ = side.datasets()
    made = make.commit(platform, dataset, {"a.csv": b"id\n1\n"}, branch="side")
    side.service.bring_back(side.actor)
    platform.branches.delete_branch(side.actor, dataset, "side")
    platform.deletion.delete_version(side.actor, f"#{dataset.id}@{made.version_number}")
    side.service.rollback(side.actor)
    assert side.migration.migrate(side.actor, accept=ANY).written == 0
    assert not side.validation.against(side.actor)
