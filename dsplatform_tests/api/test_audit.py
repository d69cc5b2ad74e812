"""The audit log over HTTP."""

import json

from dsplatform.bootstrap import Platform
from dsplatform.core.values import DatasetRef
from dsplatform_tests import make
from dsplatform_tests.api.conftest import AsUser


def test_the_log_tells_what_was_done_and_by_which_request(sales: DatasetRef, as_user: AsUser) -> None:
    root = as_user("root", "admin")
    page = root.get("/api/v1/audit", params={"by": "ada", "object": f"dataset:{sales.id}", "total": True}).json()
    made = page["items"][-1]
    assert (made["actor"], made["action"], made["result"], made["position"]) == ("ada", "dataset.create", "done", None)
    assert made["token_id"] is not None
    assert made["request_id"]
    assert page["total"] == len(page["items"])


def test_pages_hold_every_entry_once(sales: DatasetRef, as_user: AsUser, platform: Platform) -> None:
    root = as_user("root", "admin")
    seen, after = [], None
    while True:
        page = root.get("/api/v1/audit", params={"limit": 2, **({"after": after} if after else {})}).json()
        seen += [entry["id"] for entry in page["items"]]
        after = page["next"]
        if after is None:
            break
    assert seen == sorted(make.column(platform.db, "SELECT id FROM audit_log"), reverse=True)
    assert len(seen) > 3


def test_a_time_needs_its_zone(as_user: AsUser) -> None:
    root = as_user("root", "admin")
    assert root.get("/api/v1/audit", params={"since": "2999-01-01T00:00:00Z"}).json()["items"] == []
    assert root.get("/api/v1/audit", params={"since": "2999-01-01T00:00:00"}).status_code == 422


def test_an_export_is_lines_of_json(sales: DatasetRef, as_user: AsUser, platform: Platform) -> None:
    answer = as_user("root", "admin").get("/api/v1/audit/export")
    assert answer.headers["content-type"].startswith("application/jsonl")
    rows = [json.loads(line) for line in answer.content.decode().splitlines()]
    assert [row["position"] for row in rows] == list(range(1, len(rows) + 1))
    assert len(rows) == make.column(platform.db, "SELECT count(*) FROM audit_log")[0]
    later = as_user("root", "admin").get("/api/v1/audit/export", params={"after": 2})
    assert json.loads(later.content.splitlines()[0])["position"] == 3


def test_a_verification_names_what_it_finds(sales: DatasetRef, as_user: AsUser, platform: Platform) -> None:
    root = as_user("root", "admin")
    head = platform.audit.seal().head
    sound = root.get("/api/v1/audit/verify", params={"head": str(head)}).json()
    assert (sound["sound"], sound["findings"], sound["head"]) == (True, [], head and head.plain())
    with make.tampering(platform.db) as tx:
        tx.execute("ALTER TABLE audit_log DISABLE TRIGGER audit_log_only_grows")
        tx.execute("DELETE FROM audit_log WHERE id = (SELECT audit_id FROM audit_seals WHERE position = 1)")
    report = root.get("/api/v1/audit/verify").json()
    assert (report["sound"], report["found"], report["findings"][0]["kind"]) == (False, 1, "removed")
    assert root.get("/api/v1/audit/verify", params={"head": "nonsense"}).status_code == 422


def test_it_takes_the_right(sales: DatasetRef, as_user: AsUser) -> None:
    for route in ("", "/export", "/verify"):
        refused = as_user("ada").get(f"/api/v1/audit{route}")
        assert refused.status_code == 403
        assert "'audit'" in refused.json()["detail"]
