"""Where an answer of the legacy server and ours differ, and whether docs/legacy-api.md says so. Nothing of what they say is kept."""

import re
from collections.abc import Callable, Sequence
from typing import Any

from dsplatform.api.legacy.forwarding import Seen

MOST, DEEPEST, LONGEST = 20, 20, 200
"""Places of one answer, parts of a place, and characters of its name, at most."""

Place = dict[str, str]
"""`at`, a JSON pointer or the name of a part; `kind`: `value`, `type`, `length`, `missing` in ours, or `extra` in ours."""

LISTS = {re.compile(r"/api/datasets"): "id", re.compile(r"/api/datasets/[0-9]+/permissions"): "user_id"}
"""Lists that may be longer here, and the key by which their parts are told apart."""

RULES: tuple[tuple[str, str, str, str], ...] = (
    (
        r".*",
        r".*/(file_id|overlay_file_id|file/.*|file)",
        "value|type",
        "files have our numbers and times, and nobody learns where they lie",
    ),
    (r".*", r".*/tags/[0-9]+/id", "value", "the old server paired labels with wrong numbers"),
    (r".*", r"(.*/)?(file_type|file_size)", "type", "what has no bytes came along without them"),
    (r".*/download", "/detail", "value", "what has no bytes came along without them"),
    (r".*/schema(/compare)?", r".*", ".*", "schemas are captured anew"),
    (r"/api/datasets", r"/[0-9]+", "extra", "who may write may read"),
    (r".*/permissions", r"/[0-9]+", "extra", "rights of both tables count"),
    (r"/api/users/?", "status", "value", "people are listed for who may administer them"),
)
"""Paths, places and kinds, and why they may differ."""


def differences(path: str, old: Seen, new: Seen) -> list[Place]:
    """Each place where they differ, and how."""
    if old.status != new.status:
        return [{"at": "status", "kind": "value"}]
    if old.broken or new.broken:
        return [] if old.broken and new.broken else [{"at": "answer", "kind": "extra" if old.broken else "missing"}]
    if old.status == 422:
        return []  # in whose words it is said depends on the framework's release
    if old.content_type != new.content_type:
        return [{"at": "content-type", "kind": "value"}]
    found: list[Place] = []
    try:
        one, other = old.json(), new.json()
    except ValueError:
        if old.digest != new.digest:
            found.append({"at": "body", "kind": "value"})
        if old.disposition != new.disposition:
            found.append({"at": "content-disposition", "kind": "value"})
        return found
    key = next((key for listed, key in LISTS.items() if listed.fullmatch(path)), None)
    if key is not None and _keyed(one, key) and _keyed(other, key):
        _parts(one, other, key, found)
    else:
        _walk(one, other, "", found)
    return found[:MOST]


def explanation(path: str, old: Seen, new: Seen, places: Sequence[Place], *, unseen: Callable[[], bool]) -> str | None:
    """Why they may differ so; None: nothing explains it. `unseen`: whether what is asked for exists, and so the caller may not see it."""
    if old.broken:
        return "the old server broke its answer off"
    if old.status != new.status:
        if old.status >= 500 > new.status:
            return "the old server failed"
        if old.status == 404 and new.status == 200 and re.fullmatch(r".*/versions/[0-9]+/.*", path):
            return "the old server did not find what came along"
        if {old.status, new.status} == {403, 404}:
            return "what one may not see is as what is not there"
        if old.status < 300 and new.status in {403, 404} and unseen():
            return "reading needs the right to read"
    reasons = [_reason(path, place) for place in places]
    return None if None in reasons else "; ".join(sorted({reason for reason in reasons if reason}))


def _reason(path: str, place: Place) -> str | None:
    return next(
        (
            reason
            for paths, places, kinds, reason in RULES
            if re.fullmatch(paths, path) and re.fullmatch(places, place["at"]) and re.fullmatch(kinds, place["kind"])
        ),
        None,
    )


def _keyed(listed: Any, key: str) -> bool:
    return isinstance(listed, list) and all(isinstance(one, dict) and key in one for one in listed)


def _parts(old: list[Any], new: list[Any], key: str, found: list[Place]) -> None:
    """Of lists whose parts are told apart by a key. What ours has besides may push the old server's last ones onto the next page."""
    here = {one[key]: one for one in new}
    extra = [at for at, one in enumerate(new) if one[key] not in {other[key] for other in old}]
    missing = [at for at, one in enumerate(old) if one[key] not in here]
    found += [{"at": f"/{at}", "kind": "extra"} for at in extra]
    if len(old) > len(new) or missing[: len(missing) - len(extra)] or (missing and min(missing) < len(old) - len(missing)):
        found += [{"at": f"/{at}", "kind": "missing"} for at in missing]
    for at, one in enumerate(old):
        if one[key] in here:
            _walk(one, here[one[key]], f"/{at}", found)
    common = [one[key] for one in old if one[key] in here]
    if common != [one[key] for one in new if one[key] in common]:
        found.append({"at": "/", "kind": "value"})


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
