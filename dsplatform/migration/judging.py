"""Whether a difference between both sides is explained by what was recorded, or by nothing."""

import json
import unicodedata
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
from typing import Any
from zoneinfo import ZoneInfo

from dsplatform.core.domain import ValueObject
from dsplatform.migration.checksums import Cells, Differing, Line
from dsplatform.migration.projected_people import UNKNOWN
from dsplatform.migration.projection import HIDDEN, JSON, TIME, Column, Pair

ABSENT = {
    "dataset_versions": {"orphan_parent", "bad_value", "duplicate_key"},
    "dataset_version_files": {"missing_bytes", "orphan_parent"},
    "sheets": {"orphan_parent"},
    "sheet_metadata": {"orphan_parent"},
    "dataset_tags": {"orphan_parent"},
    "dataset_pointers": {"orphan_parent", "foreign_pointer", "two_heads"},
    "version_tags": {"orphan_parent", "foreign_pointer", "two_heads"},
    "permissions": {"unknown_right", "unknown_resource", "unknown_user"},
    "dataset_permissions": {"unknown_right", "unknown_resource", "unknown_user"},
    "file_permissions": {"unknown_right", "unknown_resource", "unknown_user"},
}
"""Why a row may have become nothing here, if it waits for a decision or had one. Our own failure on the row may be the reason for each."""
LOST_EDGES = ("orphan_parent", "cross_dataset_parent", "cycle")
"""Why a parent may be left out."""
MADE_HERE = "made_here"
"""Recorded of rows that the way back wrote: what they say was made here, and is kept here in another form."""
MADE: Mapping[str, frozenset[str]] = {
    "users": frozenset({"role", "active", "password"}),
    "files": frozenset({"content", "needed"}),
    "dataset_versions": frozenset({"here", "dataset", "number", "message", "parent", "author", "created_at", "state"}),
    "dataset_version_files": frozenset({"version"}),
}
"""What of such a row is compared all the same; of users, what is not. `made_here_check` sees to the rest."""
REFUSED = "unsupported"
"""Recorded of such a row when it changed there later: what it says then has no place here."""
LENGTH = 120


@dataclass(frozen=True)
class Difference(ValueObject):
    """Something that is not the same on both sides, and that nothing explains."""

    entity: str
    key: str
    """The legacy row: `12`, or `12:34`. Ours where only we have it."""
    column: str
    sentence: str


class Judge:
    """Judges rows that differ."""

    def __init__(self, zone: ZoneInfo) -> None:
        self._zone = zone

    def judge(self, pair: Pair, row: Differing) -> Iterator[Difference]:
        """What nothing explains about the row."""
        key = str(row.key[0]) if pair.old_key[1].startswith("0") else f"{row.key[0]}:{row.key[1]}"
        if not row.old or not row.new:
            told = "is not accounted for here" if row.old else "is accounted for here, and is not in the legacy system"
            yield Difference(pair.entity, key, "", told)
            return
        if len(row.old) > 1 or len(row.new) > 1:
            if len(row.old) != len(row.new):
                yield Difference(pair.entity, key, "", f"is {len(row.old)} row(s) there and {len(row.new)} here")
            return
        old, new, line = row.old[0], row.new[0], row.line
        if line is not None and _may_be_absent(pair.entity, line):
            return
        for at, column in enumerate(pair.columns):
            if line is not None and _is_exempt(pair, column.name, old, new, line):
                continue
            if not self._same(pair.entity, column, old[at], new[at], line or Line(None, "", {}, {}), row):
                shown = "" if column.kind == HIDDEN else f": {_shown(old[at])} there, {_shown(new[at])} here"
                yield Difference(pair.entity, key, column.name, f"differs{shown}")

    def _same(self, entity: str, column: Column, old: Any, new: Any, line: Line, row: Differing) -> bool:
        if isinstance(old, (bytes, memoryview)):
            new = None if new is None and (column.name.startswith("kept ") or column.kind == JSON) else str(new)
            return _read_as(bytes(old), new, line, folded=column.name == "name" and entity in {"users", "roles"})
        if column.kind == TIME:
            return self._same_time(old, new, line)
        if old == new:
            return True
        if column.kind == JSON:
            return _same_json(old, new)
        special = getattr(self, f"_{entity}_{column.name}".replace(" ", "_"), None) or getattr(self, f"_any_{column.name}", None)
        return bool(special and special(old, new, line, row))

    def _same_time(self, old: str | None, new: str | None, line: Line) -> bool:
        ours = _moment(new)
        if ours is None and new is not None:
            return False
        local = _moment(old)
        if MADE_HERE in line.found and ours is not None and local == ours.astimezone(self._zone).replace(tzinfo=None):
            return True  # written there as its clock shows it
        excused = "bad_time" in line.found
        if local is None or local.year in {1, 9999}:
            return excused and (ours is None or ours.year in {1, 2, 9998, 9999})
        if ours is None:
            return False
        if local.tzinfo is not None:
            return ours == local
        first, second = (local.replace(tzinfo=self._zone, fold=fold).astimezone(UTC) for fold in (0, 1))
        return ours == first and (first == second or excused)

    # --- rules of single columns: (old, new, what was recorded, the row) -------------------------------------------------------

    def _roles_name(self, old: str, new: str | None, line: Line, _row: Differing) -> bool:
        """A name is kept in lower case, in Unicode's compatible form; that of one which could not be a name was taken back above."""
        return new == _folded(old) or ("bad_name" in line.found and new == old)

    _users_name = _roles_name

    def _users_role(self, _old: str, new: str | None, line: Line, _row: Differing) -> bool:
        return "unknown_role" in line.found and new == "~viewer"

    def _any_owner(self, old: str | None, new: str | None, line: Line, _row: Differing) -> bool:
        return new == f"~{UNKNOWN}" and (old is None or "unknown_owner" in line.found)

    _any_author = _any_owner

    def _dataset_versions_parent(self, old: str | None, new: str | None, line: Line, _row: Differing) -> bool:
        """An edge may be left out, never made up, and it is recorded which."""
        details = [line.found[reason] for reason in LOST_EDGES if reason in line.found]
        return new is None and any(str(detail.get("parent_version_id")) == old for detail in details)

    def _dataset_versions_own_file(self, old: str | None, new: str | None, line: Line, _row: Differing) -> bool:
        return new is None and str(line.found.get("missing_bytes", {}).get("file_id")) == old

    def _dataset_version_files_name(self, old: str | None, new: str | None, _line: Line, row: Differing) -> bool:
        """A row without a name is called by its type; where that is taken, the file's id follows."""
        if old is None or new is None or not old.startswith("~"):
            return False
        wanted = old.removeprefix("~")
        return new == wanted or (new.startswith(wanted[:100]) and f"-{row.key[1]}" in new)

    def _files_size(self, old: str | None, new: str | None, line: Line, _row: Differing) -> bool:
        detail = line.found.get("size_mismatch", {})
        return (str(detail.get("said")), str(detail.get("true"))) == (old, new)

    def _files_hash(self, old: str | None, new: str | None, line: Line, _row: Differing) -> bool:
        detail = line.found.get("hash_mismatch", {})
        return (detail.get("said"), detail.get("true")) == (old, new)

    def _files_needed(self, old: str | None, _new: str | None, _line: Line, _row: Differing) -> bool:
        """Bytes that came along while a version named them may stay."""
        return old == "no"

    def _datasets_labels(self, old: str | None, new: str | None, _line: Line, _row: Differing) -> bool:
        """Labels are told apart without regard to case by Unicode's rule, and there are 100 at most; their order says nothing."""
        wanted: dict[str, str] = {}
        for _, raw in json.loads(old or "[]"):
            label = " ".join(raw.split())[:100].rstrip()
            if label:
                wanted.setdefault(label.casefold(), label)
        return sorted(list(wanted.values())[:100]) == sorted(json.loads(new or "[]"))


def _is_exempt(pair: Pair, column: str, old: Cells, new: Cells, line: Line) -> bool:
    """Whether what was made here may differ in the column from its legacy row."""
    compared = MADE.get(pair.entity)
    if compared is None or not {MADE_HERE, REFUSED} & line.found.keys():
        return False
    if pair.entity == "users":
        return MADE_HERE in line.found and column in compared
    if pair.entity != "dataset_versions":
        return (MADE_HERE in line.found or pair.entity == "dataset_version_files") and column not in compared
    state = next(at for at, one in enumerate(pair.columns) if one.name == "state")
    if new[state] not in {"made here", "made here, refused"}:
        # It came along, and its parent was deleted here: the way back wrote another.
        detail = line.found.get(MADE_HERE) or {}
        at = next(at for at, one in enumerate(pair.columns) if one.name == "parent")
        return (
            column == "parent"
            and "parent_version_id" in detail
            and detail["parent_version_id"] == (None if old[at] is None else int(old[at]))
        )
    if column == "state":
        return True
    return column not in compared or ("refused" in new[state] and column in {"number", "message", "parent", "author", "created_at"})


def _may_be_absent(entity: str, line: Line) -> bool:
    reasons = ABSENT.get(entity, set()) | {"transform_error"}
    return line.new_id is None and line.outcome == "quarantined" and not reasons.isdisjoint(line.found)


def _read_as(old: bytes, new: str | None, line: Line, *, folded: bool) -> bool:
    """Whether bytes that are no UTF-8 were recorded, and were read in a known way; None: they were left out, as may be."""
    try:
        text = old.decode()
    except UnicodeDecodeError:
        readings = {old.decode(code, "replace").replace("\0", "\ufffd") for code in ("cp1252", "latin-1", "utf-8")}
        if folded:
            readings |= {_folded(reading) for reading in readings}
        return "bad_encoding" in line.found and (new is None or new in readings)
    return text == new


def _moment(text: str | None) -> datetime | None:
    """None for what no clock of Python's shows, too."""
    with suppress(ValueError, TypeError):
        return datetime.fromisoformat(text or "")
    return None


def _same_json(old: str | None, new: str | None) -> bool:
    """By value: numbers as numbers, whatever the digits."""
    with suppress(ValueError, RecursionError, InvalidOperation):
        return bool(_normal(old) == _normal(new))
    return False


def _normal(text: str | None) -> Any:
    return None if text is None else json.loads(text, parse_float=Decimal, parse_int=Decimal)


def _folded(name: str) -> str:
    return unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", name).casefold())


def _shown(value: Any) -> str:
    return repr(value)[:LENGTH]
