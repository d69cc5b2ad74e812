"""The log as people use it: read, exported, verified. What was done to it is found; who may not see it does not."""

import json
import re
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from dsplatform.bootstrap import Platform
from dsplatform.core.domain import Actor, AuditEntry, Origin
from dsplatform.core.paths import shipped
from dsplatform.permissions import audit
from dsplatform.permissions.audit_chain import Head
from dsplatform.permissions.model import MissingRight
from dsplatform_tests import make

WITHOUT = [f"ALTER TABLE {table} DISABLE TRIGGER {table}_only_grows" for table in ("audit_log", "audit_seals")]


def note(platform: Platform, *actions: str, actor: Actor | None = None, after: dict[str, object] | None = None, to: str = "17") -> None:
    """One transaction that notes these."""
    with platform.db.transaction() as tx:
        for action in actions:
            tx.note(AuditEntry(action, "dataset", to, actor, after=after))


def tamper(platform: Platform, *statements: str) -> None:
    """As the owner, who has dropped the triggers."""
    with make.tampering(platform.db) as tx:
        for statement in (*WITHOUT, *statements):
            tx.execute(statement)


def kinds(platform: Platform, system: Actor, noted: Head | None = None) -> list[tuple[str, int | None]]:
    report = platform.audit.verify(system, noted=noted)
    assert report.sound == (report.found == 0) == (not report.findings)
    return [(finding.kind, finding.position) for finding in report.findings]


@pytest.fixture
def log(platform: Platform, monkeypatch: pytest.MonkeyPatch) -> Platform:
    """Ten sealed rows, in pages of three."""
    monkeypatch.setattr(audit, "PAGE", 3)
    for number in range(1, 11):
        note(platform, f"branch.step_{number}", after={"number": number, "rate": 1.5, "text": 'é\u2028"\\'})
    assert platform.audit.seal().rows == 10
    return platform


# --- reading -----------------------------------------------------------------------------------------------------------------------


def test_an_entry_tells_who_did_what_to_what(platform: Platform, system: Actor) -> None:
    actor = Actor(system.user_id, "ada", origin=Origin(7, "192.0.2.1", "r-1"))
    with platform.db.transaction() as tx:
        tx.note(AuditEntry("branch.move", "dataset", "17", actor, {"head": 1}, {"head": 2}))
    (entry,) = platform.audit.entries(system)
    assert entry.position is None
    platform.audit.seal()
    (entry,) = platform.audit.entries(system)
    said = entry.plain()
    moment = datetime.fromisoformat(said.pop("at"))
    assert abs(datetime.now(UTC) - moment) < timedelta(minutes=5)
    assert said == {
        "id": entry.id, "actor_id": system.user_id, "actor": "ada", "token_id": 7, "address": "192.0.2.1", "action": "branch.move",
        "object_type": "dataset", "object_id": "17", "before": {"head": 1}, "after": {"head": 2}, "request_id": "r-1", "result": "done",
        "position": 1,
    }  # fmt: skip


def test_pages_hold_every_entry_once_the_newest_first(log: Platform, system: Actor) -> None:
    pages, after = [], None
    while page := log.audit.entries(system, after=after, limit=3):
        pages.append([entry.action for entry in page])
        after = page[-1].id
    assert [len(page) for page in pages] == [3, 3, 3, 1]
    assert [action for page in pages for action in page] == [f"branch.step_{number}" for number in range(10, 0, -1)]


def test_filters_are_together_and_count_the_same(platform: Platform, system: Actor) -> None:
    ada, ben = (Actor(system.user_id, name) for name in ("ada", "ben"))
    note(platform, "branch.create", "branch.delete", actor=ada)
    note(platform, "branches.x", "branch.create", actor=ben, to="18")
    with platform.db.autocommit() as tx:
        middle = tx.scalar("SELECT at FROM audit_log WHERE actor = 'ben' ORDER BY id LIMIT 1")

    def seen(**wanted: object) -> list[str]:
        found = platform.audit.entries(system, **wanted)  # type: ignore[arg-type]
        assert platform.audit.count(system, **wanted) == len(found)  # type: ignore[arg-type]
        return [f"{entry.actor} {entry.action}" for entry in reversed(found)]

    everything = ["ada branch.create", "ada branch.delete", "ben branches.x", "ben branch.create"]
    assert seen() == everything
    assert seen(by="ada") == everything[:2]
    assert seen(by="ad") == []
    assert seen(action="branch") == ["ada branch.create", "ada branch.delete", "ben branch.create"]
    assert seen(action="branch.create", by="ben") == ["ben branch.create"]
    assert seen(action="%") == []
    assert seen(object="dataset:18") == everything[2:]
    assert seen(object="dataset") == everything
    assert seen(object="file") == []
    assert seen(since=middle) == everything[2:]
    assert seen(until=middle) == everything[:2]


@pytest.mark.parametrize("method", ["entries", "count", "export", "verify"])
def test_who_lacks_the_right_sees_nothing_and_that_is_noted(method: str, log: Platform, system: Actor) -> None:
    stranger = log.permissions.create_user("eve", "editor")
    with pytest.raises(MissingRight, match="'audit'"):
        getattr(log.audit, method)(stranger)
    (newest, *_) = log.audit.entries(system, limit=1)
    assert (newest.action, newest.actor, newest.result) == ("access.audit", "eve", "refused")


def test_reading_is_not_noted(log: Platform, system: Actor) -> None:
    log.audit.entries(system)
    log.audit.verify(system)
    list(log.audit.export(system))
    assert log.audit.count(system) == 10


# --- verifying ---------------------------------------------------------------------------------------------------------------------


def test_a_log_that_nobody_touched_is_sound(log: Platform, system: Actor) -> None:
    report = log.audit.verify(system)
    assert report.sound
    assert report.rows == 10
    assert report.head
    assert report.head.position == 10
    assert kinds(log, system, report.head) == []


def test_an_empty_log_is_sound(platform: Platform, system: Actor) -> None:
    assert platform.audit.seal().head is None
    report = platform.audit.verify(system)
    assert (report.rows, report.head, report.sound) == (0, None, True)


FIFTH = "(SELECT audit_id FROM audit_seals WHERE position = 5)"
FORGED = "repeat('f', 64)"

DONE_TO_IT = {
    "a changed user": (f"UPDATE audit_log SET actor = 'eve' WHERE id = {FIFTH}", [("changed", 5)]),
    "a changed time": (f"UPDATE audit_log SET at = at + interval '1 microsecond' WHERE id = {FIFTH}", [("changed", 5)]),
    "a time that is none": (f"UPDATE audit_log SET at = '-infinity' WHERE id = {FIFTH}", [("changed", 5)]),
    "a changed value": (f"""UPDATE audit_log SET after = jsonb_set(after, '{{rate}}', '1.50') WHERE id = {FIFTH}""", [("changed", 5)]),
    "a value of a value that is null": (f"UPDATE audit_log SET before = 'null' WHERE id = {FIFTH}", [("changed", 5)]),
    "a refusal made undone": (f"UPDATE audit_log SET result = 'refused' WHERE id = {FIFTH}", [("changed", 5)]),
    "a removed row": (f"DELETE FROM audit_log WHERE id = {FIFTH}", [("removed", 5)]),
    "all rows removed": ("DELETE FROM audit_log", [("removed", position) for position in range(1, 11)]),
    "a changed seal": (f"UPDATE audit_seals SET chain_hash = {FORGED} WHERE position = 5", [("seal", 5)]),
    "a changed hash": (f"UPDATE audit_seals SET row_hash = {FORGED} WHERE position = 5", [("seal", 5)]),
    "a swapped pair of rows": (
        (
            "UPDATE audit_log l SET (action, after, at) = (SELECT o.action, o.after, o.at FROM audit_log o "
            "JOIN audit_seals s ON s.audit_id = o.id WHERE s.position = 11 - (SELECT position FROM audit_seals m WHERE m.audit_id = l.id)) "
            "WHERE l.id IN (SELECT audit_id FROM audit_seals WHERE position IN (5, 6))"
        ),
        [("changed", 5), ("changed", 6)],
    ),
    "a removed seal": ("DELETE FROM audit_seals WHERE position = 5", [("gap", 6)]),
    "a removed seal with its row": (
        f"WITH gone AS (DELETE FROM audit_log WHERE id = {FIFTH}) DELETE FROM audit_seals WHERE position = 5",
        [("gap", 6)],
    ),
    "a removed seal, the others numbered anew": (
        (
            "DELETE FROM audit_seals WHERE position = 5; UPDATE audit_seals SET position = -position WHERE position > 5; "
            "UPDATE audit_seals SET position = -position - 1 WHERE position < 0"
        ),
        [("seal", 5)],
    ),
    "a seal moved out of the way": (
        "UPDATE audit_seals SET position = -7 WHERE position = 10",
        [("gap", -7), ("gap", 1)],
    ),
}


@pytest.mark.parametrize("case", DONE_TO_IT)
def test_what_is_done_to_the_log_is_found_and_named(case: str, log: Platform, system: Actor) -> None:
    statements, expected = DONE_TO_IT[case]
    tamper(log, *statements.split("; "))
    assert kinds(log, system) == expected


def test_a_finding_names_the_row(log: Platform, system: Actor) -> None:
    (row,) = make.column(log.db, FIFTH[1:-1])
    tamper(log, f"UPDATE audit_log SET actor = 'eve' WHERE id = {row}")
    (finding,) = log.audit.verify(system).findings
    assert (finding.audit_id, finding.sentence) == (row, f"row {row} is not what was sealed at position 5")


def test_a_row_that_was_put_in_with_an_older_time_is_found_before_and_after_it_is_sealed(log: Platform, system: Actor) -> None:
    with make.tampering(log.db) as tx:
        tx.execute("INSERT INTO audit_log (at, action, object_type) VALUES (now() - interval '3 days', 'x.y', 'z')")
    assert kinds(log, system) == [("unsealed", None)]
    assert log.audit.seal().rows == 0, "so far back the sealer does not look"
    assert log.audit.seal(whole=True).rows == 1
    assert kinds(log, system) == [("backdated", 11)]


def test_a_row_that_was_put_in_between_with_an_id_of_its_own_is_found(log: Platform, system: Actor) -> None:
    tamper(
        log,
        "INSERT INTO audit_log (id, at, action, object_type) OVERRIDING SYSTEM VALUE SELECT -1, now() - interval '2 hours', 'x.y', 'z'",
    )
    log.audit.seal()
    assert kinds(log, system) == [("backdated", 11)]


def test_a_cut_off_end_and_a_chain_made_anew_are_found_by_a_noted_head(log: Platform, system: Actor) -> None:
    noted = log.audit.verify(system).head
    assert noted
    assert log.audit.has(noted)
    tamper(log, "DELETE FROM audit_seals WHERE position > 7", "DELETE FROM audit_log WHERE id NOT IN (SELECT audit_id FROM audit_seals)")
    assert kinds(log, system) == []
    assert kinds(log, system, noted) == [("head", 7)]
    assert not log.audit.has(noted)
    tamper(log, "UPDATE audit_log SET actor = 'eve' WHERE id = (SELECT min(id) FROM audit_log)", "DELETE FROM audit_seals")
    for _ in range(3):
        note(log, "x.y")
    log.audit.seal(whole=True)
    assert kinds(log, system) == []
    assert kinds(log, system, noted) == [("head", 10)]


def test_rows_that_nobody_sealed_for_long_are_told(platform: Platform, system: Actor) -> None:
    note(platform, "a.b")
    assert kinds(platform, system) == [], "it may be the sealer's turn in a moment"
    tamper(platform, "UPDATE audit_log SET at = at - interval '11 minutes'")
    (finding,) = platform.audit.verify(system).findings
    assert finding.sentence.startswith("1 row(s) older than 10 minutes have no seal (1)")
    platform.audit.seal()
    assert kinds(platform, system) == []


# --- exporting ---------------------------------------------------------------------------------------------------------------------


def verifier(tmp_path: Path) -> Path:
    """The program of the documentation, which shares no code with ours."""
    (program,) = re.findall(r"```python\n(.*?)```", (shipped("migrations").parent / "docs" / "audit.md").read_text(), re.DOTALL)
    path = tmp_path / "verify.py"
    path.write_text(program)
    return path


def verified(export: Path, program: Path) -> "subprocess.CompletedProcess[str]":
    return subprocess.run([sys.executable, "-I", program, export], capture_output=True, text=True, check=False)


def test_an_export_is_verified_by_a_program_that_knows_only_the_documentation(log: Platform, system: Actor, tmp_path: Path) -> None:
    note(log, "late.one", after={"deep": [{"é": 10**25, "n": 0.1}]})
    lines = list(log.audit.export(system))
    assert len(lines) == 11, "what had no seal got one"
    export, program = tmp_path / "audit.jsonl", verifier(tmp_path)
    export.write_text("".join(f"{line}\n" for line in lines), newline="\n")
    done = verified(export, program)
    assert (done.returncode, done.stdout) == (0, f"11 rows; the head is {log.audit.verify(system).head}\n"), done.stderr
    for damaged, complaint in (
        ([line.replace("branch.step_4", "branch.step_5") for line in lines], "the row at 4 is not what was sealed"),
        ([line for line in lines if '"position":4,' not in line], "seal 4 is missing"),
        ([swapped_digits(lines[0]), *lines[1:]], "seal 1 does not follow from the one before it"),
    ):
        export.write_text("".join(f"{line}\n" for line in damaged), newline="\n")
        done = verified(export, program)
        assert done.returncode != 0
        assert complaint in done.stderr


def swapped_digits(line: str) -> str:
    """With another `chain_hash` of the same form."""
    start = len('{"chain_hash":"')
    return line[:start] + line[start : start + 64][::-1] + line[start + 64 :]


def test_an_export_is_readable_json_in_the_order_of_the_seals(log: Platform, system: Actor) -> None:
    rows = [json.loads(line) for line in log.audit.export(system)]
    assert [row["position"] for row in rows] == list(range(1, 11))
    assert rows[3]["row"]["after"] == {"number": 4, "rate": 1.5, "text": 'é\u2028"\\'}
    assert [json.loads(line)["position"] for line in log.audit.export(system, after=8)] == [9, 10]


def test_an_export_says_which_rows_are_gone(log: Platform, system: Actor) -> None:
    tamper(log, f"DELETE FROM audit_log WHERE id = {FIFTH}")
    assert [json.loads(line)["position"] for line in log.audit.export(system) if json.loads(line)["row"] is None] == [5]
