"""The overlay of an imported version has the form of every other."""

import json
from datetime import UTC, datetime

from dsplatform.core.domain import Actor
from dsplatform.core.types import ContentHash, DatasetId, FilePath, VersionId
from dsplatform.core.values import Content, DatasetRef, VersionChange
from dsplatform.migration.overlays import Ancestor, Stored, digest, overlay
from dsplatform.versioning import model
from dsplatform.versioning.model import Difference, Head

AT = datetime(2024, 3, 1, 9, 0, 0, 5, tzinfo=UTC)
A, B, C = (ContentHash(digit * 64) for digit in "abc")


def stored(content_hash: ContentHash) -> Stored:
    return Stored(1, content_hash, 7, "csv")


def test_an_overlay_says_what_the_platform_would_have_said_of_the_same_change() -> None:
    parent = Ancestor(5, 3, 4, C, {"kept": stored(A), "changed": stored(A), "gone": stored(B)})
    components = {"new": stored(C), "kept": stored(A), "changed": stored(B)}
    made = overlay(slug="sales", legacy_id=17, author="ann", at=AT, message="grüße", parent=parent, components=components)
    actor = Actor(2, "ann", False)
    change = VersionChange(actor, DatasetRef(DatasetId(3), "sales", "sales", 2), {}, message="grüße")
    content = {name: Content(file.content_hash, file.size, file.file_type, is_new=True) for name, file in components.items()}
    diff = Difference({FilePath("new"): content["new"]}, {FilePath("changed"): content["changed"]}, (FilePath("gone"),), 0)
    ours = json.loads(model.overlay(change, Head(VersionId(5), 4, C, 3, 21), diff, AT))
    assert json.loads(made) == {**ours, "branch": None, "imported": {"version_id": 17}}
    assert made == json.dumps(json.loads(made), sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()
    assert len(digest(made)) == 64


def test_a_root_adds_all_that_it_has() -> None:
    document = json.loads(
        overlay(slug="s", legacy_id=1, author="a", at=AT, message="", parent=None, components={"b": stored(B), "a": stored(A)})
    )
    assert document["parent"] is None
    assert [(one["op"], one["name"]) for one in document["changes"]] == [("add", "a"), ("add", "b")]
