"""Versions and what they hold, as section 2.4 of the old system's description has them."""

import io
from typing import Any

import pyarrow.parquet as pq
import pytest
from fastapi.testclient import TestClient

from dsplatform.bootstrap import Platform
from dsplatform.core.types import FilePath
from dsplatform.core.values import DatasetRef
from dsplatform.schemas.converting import ConversionFailed
from dsplatform_tests import make
from dsplatform_tests.api.legacy.conftest import LogIn, Old, actor

NEVER = 999_999


@pytest.fixture
def at(old: Old) -> str:
    """Address of the dataset's versions."""
    return f"{old.url}/versions"


def test_versions_are_listed_with_the_newest_first(old: Old, at: str) -> None:
    """2.4 GET /api/datasets/{dataset_id}/versions: every key is there, what is missing is null.

    2.4 GET /api/datasets/{dataset_id}/versions/{version_id}: the same body.
    """
    listed = old.rita.get(at)
    assert listed.status_code == 200
    assert [(one["version_number"], one["id"], one["parent_version_id"], one["message"]) for one in listed.json()] == [
        (2, old.second.version_id, old.first.version_id, None),
        (1, old.first.version_id, None, "first"),
    ]
    assert list(listed.json()[0]) == [
        "dataset_id",
        "version_number",
        "file_id",
        "uploaded_by",
        "parent_version_id",
        "message",
        "overlay_file_id",
        "id",
        "ingestion_timestamp",
        "last_updated_timestamp",
        "uploaded_by_soeid",
        "file_type",
        "file_size",
    ]
    one = old.rita.get(f"{at}/{old.first.version_id}")
    assert one.json() == listed.json()[1]
    assert "Z" not in one.json()["ingestion_timestamp"]
    assert "+" not in one.json()["ingestion_timestamp"]


def test_what_is_not_there_or_not_to_be_seen_is_404(old: Old, at: str) -> None:
    other = old.platform.datasets.create_dataset(actor(old.platform, "ada"), "other")
    strange = make.commit(old.platform, other, {"main": b"a\n1\n"}, actor=actor(old.platform, "ada"))
    for suffix in ("", "/download", "/sheets", "/data", "/schema", "/files", "/files/primary"):
        unknown = old.ada.get(f"{at}/{NEVER}{suffix}")
        assert (unknown.status_code, unknown.json()) == (404, {"detail": f"Version {NEVER} not found"}), suffix
        elsewhere = old.ada.get(f"{at}/{strange.version_id}{suffix}")
        assert elsewhere.json() == {"detail": f"Version {strange.version_id} does not belong to dataset {old.dataset.id}"}, suffix
        hidden = old.eve.get(f"{at}/{old.first.version_id}{suffix}")
        assert (hidden.status_code, hidden.json()) == (404, {"detail": f"Dataset {old.dataset.id} not found"}), suffix
        assert old.rita.get(f"{at}/{strange.version_id}{suffix}").json() == {"detail": f"Version {strange.version_id} not found"}
        assert old.nobody.get(f"{at}/{old.first.version_id}{suffix}").json() == {"detail": "Not authenticated"}
        assert old.rita.get(f"{at}/0{suffix}").status_code == 422
    assert old.eve.get(at).status_code == 404


def test_the_tree_hangs_together_by_parents(old: Old, at: str) -> None:
    """2.4 GET /api/datasets/{dataset_id}/versions/tree: roots and children by number, the highest first."""
    owner = actor(old.platform, "ada")
    old.platform.branches.create_branch(owner, old.dataset, "side", "1")
    third = make.commit(old.platform, old.dataset, {"main": b"x\n"}, branch="side", actor=owner)
    found = old.rita.get(f"{at}/tree").json()
    assert found["dataset_id"] == old.dataset.id
    (root,) = found["roots"]
    assert list(root) == ["id", "version_number", "message", "created_at", "children"]
    assert (root["id"], root["message"]) == (old.first.version_id, "first")
    assert [(one["id"], one["children"]) for one in root["children"]] == [(third.version_id, []), (old.second.version_id, [])]
    unknown = old.ada.get(f"/api/datasets/{NEVER}/versions/tree")
    assert (unknown.status_code, unknown.json()) == (404, {"detail": f"Dataset {NEVER} not found"})


def test_a_download_is_parquet_whatever_was_sent(old: Old, at: str) -> None:
    """2.4 GET /api/datasets/{dataset_id}/versions/{version_id}/download: with the old headers."""
    sent = old.rita.get(f"{at}/{old.second.version_id}/download")
    assert sent.status_code == 200
    assert pq.read_table(io.BytesIO(sent.content)).to_pylist() == [{"id": 1, "price": 2}, {"id": 2, "price": 3}]
    assert sent.headers["content-type"] == "application/parquet"
    assert sent.headers["content-disposition"] == f"attachment; filename={old.dataset.id}_v2.parquet"
    assert sent.headers["content-length"] == str(len(sent.content))
    own = make.parquet({"n": [1, 2]})
    third = make.commit(old.platform, old.dataset, {"main": own}, actor=actor(old.platform, "ada"))
    assert old.rita.get(f"{at}/{third.version_id}/download").content == own


def test_what_cannot_be_sent_is_told_in_the_old_words(old: Old, at: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """2.4 GET /api/datasets/{dataset_id}/versions/{version_id}/download: a conversion that dies is 500, and works the next time."""
    third = make.commit(old.platform, old.dataset, {"main": b"%PDF-1.7"}, actor=actor(old.platform, "ada"))
    refused = old.rita.get(f"{at}/{third.version_id}/download")
    assert (refused.status_code, refused.json()) == (404, {"detail": "File data not found or unsupported storage type"})

    def dying(*_: object, **__: object) -> None:
        raise ConversionFailed("a child died of /home/secret/path")

    with monkeypatch.context() as patch:
        patch.setattr(old.platform.conversions, "parquet", dying)
        broken = old.rita.get(f"{at}/{old.first.version_id}/download")
    assert (broken.status_code, broken.json()) == (500, {"detail": "Internal Server Error"})
    assert old.rita.get(f"{at}/{old.first.version_id}/download").status_code == 200


def test_a_damaged_file_is_no_longer_there(old: Old, at: str) -> None:
    own = make.parquet({"n": [1, 2]})
    third = make.commit(old.platform, old.dataset, {"main": own}, actor=actor(old.platform, "ada"))
    _, component = old.platform.versions.get_component(actor(old.platform, "ada"), old.dataset, "main", None)
    key = old.platform.files.get_file(component.file_id).storage_key
    (path,) = old.platform.settings.home.glob(f"storage/**/{key.rpartition('/')[2]}")
    path.unlink()
    gone = old.rita.get(f"{at}/{third.version_id}/download")
    assert (gone.status_code, gone.json()) == (404, {"detail": "File data not found"})


def test_files_are_listed_by_index_and_name(old: Old, at: str) -> None:
    """2.4 GET /api/datasets/{dataset_id}/versions/{version_id}/files: with the primary one.

    2.4 GET /api/datasets/{dataset_id}/versions/{version_id}/files/{component_type}: the first of that type.
    """
    third = make.commit(
        old.platform,
        old.dataset,
        {"attached/notes/b/read.txt": b"b", "attached/notes/a/read.txt": b"a"},
        actor=actor(old.platform, "ada"),
    )
    files = old.rita.get(f"{at}/{third.version_id}/files").json()
    assert [(one["component_type"], one["component_name"], one["component_index"]) for one in files] == [
        ("notes", "a", None),
        ("notes", "b", None),
        ("primary", "main", None),
    ]
    assert list(files[0]) == ["version_id", "file_id", "component_type", "component_name", "component_index", "metadata", "file"]
    assert {one["file"]["file_path"] for one in files} == {None}, "nobody learns where files lie"
    assert len({one["file_id"] for one in files}) == 3
    version = old.rita.get(f"{at}/{third.version_id}").json()
    assert files[2]["file_id"] == version["file_id"] == files[2]["file"]["id"]
    assert old.rita.get(f"{at}/{third.version_id}/files/notes").json() == files[0]
    assert old.rita.get(f"{at}/{third.version_id}/files/notes", params={"component_name": "b"}).json() == files[1]
    assert old.rita.get(f"{at}/{third.version_id}/files/primary").json() == files[2]
    missing = old.rita.get(f"{at}/{third.version_id}/files/sheet")
    assert (missing.status_code, missing.json()) == (
        404,
        {"detail": f"File with component type 'sheet' not found in version {third.version_id}"},
    )


def test_what_came_along_says_what_it_was(old: Old, at: str) -> None:
    """What the migrator keeps of a component is what old clients see of it."""
    owner = actor(old.platform, "ada")
    third = make.commit(old.platform, old.dataset, {"main": make.parquet({"n": [1]}), "sheet-2-41": make.parquet({"m": [1]})}, actor=owner)
    kept(
        old.platform,
        third.version_id,
        {
            "main": '{"file_id": 40, "type": "primary", "sheets": [{"id": 3, "name": "Tab 1", "index": 0, "description": "x"}]}',
            "sheet-2-41": '{"file_id": 41, "type": "sheet", "index": 2, "name": "Täb 2", "metadata": {"rows": 1}}',
        },
    )
    files = old.rita.get(f"{at}/{third.version_id}/files").json()
    assert [(one["file_id"], one["component_type"], one["component_name"], one["component_index"], one["metadata"]) for one in files] == [
        (41, "sheet", "Täb 2", 2, {"rows": 1}),
        (40, "primary", "main", None, None),
    ]
    assert old.rita.get(f"{at}/{third.version_id}/sheets").json() == [{"name": "Tab 1", "index": 0, "description": "x", "file_id": None}]
    assert old.rita.get(f"{at}/{third.version_id}/data", params={"sheet": "Tab 1"}).json()["rows"] == [{"n": 1}]
    assert old.rita.get(f"{at}/{third.version_id}/data", params={"sheet": "main"}).status_code == 404


def kept(platform: Platform, version_id: int, facts: dict[str, str]) -> None:
    """As the migrator writes it."""
    with make.tampering(platform.db) as tx:
        for name, legacy in facts.items():
            tx.execute(
                "UPDATE dataset_version_files SET metadata = jsonb_build_object('legacy', CAST(:legacy AS jsonb)) "
                "WHERE version_id = :version AND component_name = :name",
                version=version_id,
                name=name,
                legacy=legacy,
            )


def test_a_version_is_deleted_and_its_branches_go_back(old: Old, at: str) -> None:
    """2.4 DELETE /api/datasets/{dataset_id}/versions/{version_id}: needs `admin` here, where the old server asked for `write`."""
    for client, status in ((old.rita, 403), (old.will, 403), (old.eve, 403)):
        refused = client.delete(f"{at}/{old.second.version_id}")
        assert (refused.status_code, refused.json()) == (status, {"detail": "Write permission required to delete version"})
    assert old.ada.delete(f"{at}/{NEVER}").json() == {"detail": f"Version {NEVER} not found"}
    gone = old.ada.delete(f"{at}/{old.second.version_id}")
    assert (gone.status_code, gone.content) == (204, b"")
    assert [one["id"] for one in old.rita.get(at).json()] == [old.first.version_id]
    assert old.rita.get(f"{old.url}/branches/main/head").json()["id"] == old.first.version_id
    assert old.rita.get(f"{at}/{old.second.version_id}").status_code == 404
    last = old.ada.delete(f"{at}/{old.first.version_id}")
    assert last.status_code == 409, "main would have nothing"
    assert old.rita.get(f"{old.url}/branches/main/head").json()["id"] == old.first.version_id


def test_a_version_with_a_tag_stays(old: Old, at: str) -> None:
    old.platform.branches.create_tag(actor(old.platform, "ada"), old.dataset, "v2")
    refused = old.ada.delete(f"{at}/{old.second.version_id}")
    assert (refused.status_code, refused.json()) == (
        409,
        {"detail": f"Version {old.second.version_id} has the tag 'v2': delete the tag first"},
    )
    assert old.rita.get(f"{old.url}/branches/main/head").json()["id"] == old.second.version_id


def test_a_deletion_that_fails_leaves_the_branches_where_they_were(old: Old, at: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def failing(*_: object) -> None:
        raise OSError("gone")

    with monkeypatch.context() as patch:
        patch.setattr(old.platform.deletion, "delete_version", failing)
        with pytest.raises(OSError, match="gone"):
            old.ada.delete(f"{at}/{old.second.version_id}")
    assert old.rita.get(f"{old.url}/branches/main/head").json()["id"] == old.second.version_id


def test_a_child_of_what_was_deleted_is_a_root(old: Old, at: str) -> None:
    old.platform.deletion.delete_version(actor(old.platform, "ada"), f"{old.dataset.key}@1")
    roots = old.rita.get(f"{at}/tree").json()["roots"]
    assert [(one["id"], one["children"]) for one in roots] == [(old.second.version_id, [])]


def changes(client: TestClient, old: Old, *file_changes: dict[str, Any], **more: Any) -> Any:
    return client.post(f"{old.url}/versions", json={"dataset_id": old.dataset.id, "file_changes": list(file_changes), **more})


def test_a_version_is_made_of_a_list_of_changes(old: Old, at: str, log_in: LogIn) -> None:
    """2.8 POST /api/datasets/{dataset_id}/versions: on the parent that is named."""
    file_id = old.rita.get(f"{at}/{old.first.version_id}").json()["file_id"]
    added = {"operation": "add", "file_id": file_id, "component_name": "old", "component_type": "reference"}
    made = changes(old.will, old, added, message="with the old one", parent_version=2)
    assert made.status_code == 200, made.text
    assert list(made.json()) == ["version_id", "version_number", "overlay_file_id"]
    assert made.json()["version_number"] == 3
    files = old.rita.get(f"{at}/{made.json()['version_id']}/files").json()
    assert [(one["component_type"], one["component_name"]) for one in files] == [("primary", "main"), ("reference", "old")]
    assert len(old.rita.get(f"{at}/{made.json()['version_id']}/data").json()["rows"]) == 2, "the first file is that of the parent"
    newest = made.json()["version_id"]
    back = changes(old.will, old, {"operation": "update", "file_id": file_id, "component_name": "main"}, parent_version=3).json()
    assert len(old.rita.get(f"{at}/{back['version_id']}/data").json()["rows"]) == 1
    less = changes(old.will, old, {"operation": "remove", "component_name": "old", "component_type": "reference"}, parent_version=4).json()
    assert [one["component_type"] for one in old.rita.get(f"{at}/{less['version_id']}/files").json()] == ["primary"]
    assert old.rita.get(f"{at}/{newest}/files").json() == files, "versions do not change"
    for client in (old.rita, old.eve):
        refused = changes(client, old, added)
        assert (refused.status_code, refused.json()) == (403, {"detail": "Write permission required to create versions"})
    wrong: dict[int, list[dict[str, Any]]] = {
        404: [{"operation": "add", "file_id": NEVER}, {"operation": "add"}],
        400: [{"operation": "copy", "file_id": file_id}, {"operation": "remove", "component_name": "none"}],
        422: [{"file_id": file_id}],
    }
    for status, each in wrong.items():
        for change in each:
            assert changes(old.will, old, change).status_code == status, change
    assert changes(old.will, old, added, parent_version=77).json() == {"detail": f"Version 77 not found for dataset {old.dataset.id}"}
    # A file of somebody else's dataset is not there, whatever its number.
    hers = log_in("bea")
    private = hers.post("/api/datasets/upload", data={"name": "private"}, files={"file": ("a.csv", b"secret\n1\n")}).json()
    number = hers.get(f"/api/datasets/{private['dataset_id']}/versions/{private['version_id']}").json()["file_id"]
    stolen = changes(old.will, old, {"operation": "add", "file_id": number})
    assert (stolen.status_code, stolen.json()) == (404, {"detail": f"File {number} not found"})


def test_the_first_component_is_the_file_of_a_version_that_knows_nothing_of_main(old: Old, at: str) -> None:
    owner = actor(old.platform, "ada")
    made: DatasetRef = old.platform.datasets.create_dataset(owner, "several")
    version = make.commit(old.platform, made, {FilePath("b.csv"): b"b\n1\n2\n", FilePath("a.csv"): b"a\n1\n2\n"}, actor=owner)
    address = f"/api/datasets/{made.id}/versions/{version.version_id}"
    assert old.ada.get(f"{address}/data").json()["headers"] == ["a"]
    files = old.ada.get(f"{address}/files").json()
    assert [(one["component_type"], one["component_name"]) for one in files] == [("file", "b.csv"), ("primary", "main")]
