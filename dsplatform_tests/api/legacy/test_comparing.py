"""What two answers have to do with each other: every difference is seen, and only what the documentation explains is explained."""

import copy
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dsplatform.api.legacy.comparing import MOST, differences, explanation
from dsplatform.api.legacy.forwarding import Seen

DATASET = "/api/datasets/17"
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-100, 100) | st.text(max_size=4),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=12,
)


def seen(body: Any = None, status: int = 200, *, raw: bytes | None = None, broken: bool = False, kind: str = "application/json") -> Seen:
    made = Seen(status, kind, "attachment; filename=1_v1.parquet" if raw is not None else "")
    made.add(json.dumps(body).encode() if raw is None else raw)
    made.whole, made.broken = not broken, broken
    return made


def places(old: Any, new: Any, path: str = DATASET) -> set[tuple[str, str]]:
    return {(one["at"], one["kind"]) for one in differences(path, seen(old), seen(new))}


def why(path: str, old: Seen, new: Seen, *, unseen: bool = False) -> str | None:
    return explanation(path, old, new, differences(path, old, new), unseen=lambda: unseen)


@given(JSON)
def test_the_same_is_the_same_whatever_it_is(body: Any) -> None:
    assert places(body, copy.deepcopy(body)) == set()


@given(JSON, JSON)
def test_what_differs_is_seen(old: Any, new: Any) -> None:
    assert bool(places(old, new)) == (json.dumps(old, sort_keys=True) != json.dumps(new, sort_keys=True))


def test_places_say_where_and_how_and_nothing_of_what_was_said() -> None:
    old = {"a": "secret", "b": [1, {"c/d": 2}], "gone": 1, "n": None, "f": 1}
    new = {"a": "other", "b": [1, {"c/d": 3}, 4], "n": "x", "came": 1, "f": 1.0}
    found = differences(DATASET, seen(old), seen(new))
    assert {(one["at"], one["kind"]) for one in found} == {
        ("/a", "value"),
        ("/b", "length"),
        ("/b/1/c~1d", "value"),
        ("/gone", "missing"),
        ("/n", "type"),
        ("/came", "extra"),
    }
    assert "secret" not in json.dumps(found)
    assert len(differences(DATASET, seen(list(range(1_000))), seen(list(range(1, 1_001))))) == MOST


def test_bytes_are_compared_by_their_digests() -> None:
    path = f"{DATASET}/versions/1/download"
    one, same, other = (seen(raw=data, kind="application/parquet") for data in (b"PAR1", b"PAR1", b"PAR2"))
    assert differences(path, one, same) == []
    assert differences(path, one, other) == [{"at": "body", "kind": "value"}]
    assert why(path, one, other) is None
    assert differences(path, one, seen({})) == [{"at": "content-type", "kind": "value"}]


@pytest.mark.parametrize(
    ("path", "old", "new", "unseen", "reason"),
    [
        (DATASET, seen({}, 500), seen({}), False, "the old server failed"),
        (DATASET, seen({}, 500), seen({}, 503), False, None),
        (DATASET, seen({}), seen({}, 500), False, None),
        (DATASET, seen({}), seen({}, 404), True, "reading needs the right to read"),
        (DATASET, seen({}), seen({}, 404), False, None),
        (DATASET, seen({}, 403), seen({}, 404), False, "what one may not see is as what is not there"),
        (f"{DATASET}/versions/1/data", seen({}, 404), seen({}), False, "the old server did not find what came along"),
        (DATASET, seen({}, 404), seen({}), False, None),
        (f"{DATASET}/versions/1/download", seen({}, broken=True), seen({}), False, "the old server broke its answer off"),
        (f"{DATASET}/versions/1/download", seen({}), seen({}, broken=True), False, None),
        ("/api/users", seen([]), seen({}, 403), False, "people are listed for who may administer them"),
        (DATASET, seen({"file_id": 1, "name": "x"}), seen({"file_id": 2, "name": "x"}), False, "files have our numbers"),
        (DATASET, seen({"file_id": 1, "name": "x"}), seen({"file_id": 2, "name": "y"}), False, None),
        (f"{DATASET}/versions/1/schema", seen({"id": 1}), seen({"id": 2}), False, "schemas are captured anew"),
        (f"{DATASET}/versions/1", seen({"id": 1}), seen({"id": 2}), False, None),
        (f"{DATASET}/permissions", seen([{"user_id": 1}]), seen([{"user_id": 1}, {"user_id": 2}]), False, "rights of both tables count"),
        (f"{DATASET}/permissions", seen([{"user_id": 1}, {"user_id": 2}]), seen([{"user_id": 1}]), False, None),
    ],
)
def test_only_what_is_documented_is_explained(path: str, old: Seen, new: Seen, unseen: bool, reason: str | None) -> None:
    found = why(path, old, new, unseen=unseen)
    assert (found or "").startswith(reason or "")
    assert (found is None) == (reason is None)


LISTED = "/api/datasets"


def listed(*numbers: int, **more: Any) -> list[dict[str, Any]]:
    return [{"id": number, "name": f"d{number}", **more} for number in numbers]


@pytest.mark.parametrize(
    ("old", "new", "explained"),
    [
        (listed(1, 2), listed(1, 7, 2), True),
        (listed(1, 2), listed(7, 1), True),
        (listed(1, 2, 3), listed(1, 3), False),
        (listed(1, 2, 3), listed(7, 3, 2), False),
        (listed(1, 2), listed(2, 1), False),
        (listed(1, 2), listed(1, 7, 2, name="x"), False),
    ],
    ids=["more", "pushed out", "gone", "gone and more", "order", "renamed"],
)
def test_a_list_may_have_more_here_and_nothing_less(old: Any, new: Any, explained: bool) -> None:
    assert why(LISTED, seen(old), seen(new)) == ("who may write may read" if explained else None)
    assert places(old, new, LISTED)


def test_a_form_that_is_refused_may_be_refused_in_other_words() -> None:
    assert differences(DATASET, seen({"detail": [1]}, 422), seen({"detail": [2]}, 422)) == []
