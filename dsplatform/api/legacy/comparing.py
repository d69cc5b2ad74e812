"""Where an answer of the legacy server and ours differ, and whether that is as it should be. Nothing of what they say is kept."""

import re
from collections.abc import Callable, Sequence
from typing import Any

from dsplatform.api.legacy.forwarding import Seen

MOST, DEEPEST, LONGEST = 20, 20, 200
"""Places of one answer, parts of a place, and characters of its name, at most."""

OUR_OWN = frozenset({"file_id", "overlay_file_id", "file_path", "storage_type", "created_by_id"})
"""Keys whose values are ours: files have other numbers here, and nobody learns where they lie."""

Place = dict[str, str]


def differences(old: Seen, new: Seen) -> list[Place]:
    """Each place where they differ, and how: `value`, `type`, `missing` in ours, `extra` in ours, `length`."""
    if old.status != new.status:
        return [{"at": "status", "kind": "value"}]
    if old.status == 422:
        return []  # in whose words it is said depends on the framework's release
    if old.content_type != new.content_type:
        return [{"at": "content-type", "kind": "value"}]
    try:
        found: list[Place] = []
        _walk(old.json(), new.json(), "", found)
        return found[:MOST]
    except ValueError:
        places = [] if old.digest == new.digest else [{"at": "body", "kind": "value"}]
        return places + ([] if old.disposition == new.disposition else [{"at": "content-disposition", "kind": "value"}])


def explanation(old: Seen, new: Seen, places: Sequence[Place], *, unseen: Callable[[], bool]) -> str | None:
    """Why they may differ so; None: nothing explains it. `unseen`: whether what is asked for exists and the caller may not see it."""
    if old.status != new.status:
        if old.status >= 500 > new.status:
            return "old server failed"
        if old.status < 300 and new.status in {403, 404} and unseen():
            return "reading needs the right to read"
        if {old.status, new.status} == {403, 404}:
            return "what one may not see is not told apart"
        return None
    if all(place["at"].rpartition("/")[2] in OUR_OWN for place in places):
        return "files have our numbers"
    return None


def _walk(old: Any, new: Any, at: str, found: list[Place]) -> None:
    if len(found) >= MOST or at.count("/") > DEEPEST:
        return
    if isinstance(old, dict) and isinstance(new, dict):
        for key in [*old, *(key for key in new if key not in old)]:
            where = f"{at}/{_name(key)}"
            if key not in new:
                found.append({"at": where, "kind": "missing"})
            elif key not in old:
                found.append({"at": where, "kind": "extra"})
            else:
                _walk(old[key], new[key], where, found)
    elif isinstance(old, list) and isinstance(new, list):
        if len(old) != len(new):
            found.append({"at": at or "/", "kind": "length"})
        for index, (one, other) in enumerate(zip(old, new, strict=False)):
            _walk(one, other, f"{at}/{index}", found)
    elif _kind(old) != _kind(new):
        found.append({"at": at or "/", "kind": "type"})
    elif old != new:
        found.append({"at": at or "/", "kind": "value"})


def _kind(value: Any) -> type:
    return float if type(value) is int else type(value)


def _name(key: str) -> str:
    """As a part of a JSON pointer, without what a log would stumble over."""
    return re.sub(r"[\x00-\x1f\x7f]", "?", key[:LONGEST].replace("~", "~0").replace("/", "~1"))
