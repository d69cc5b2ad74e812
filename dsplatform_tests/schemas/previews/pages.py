"""Pages of a file, looked at in this process as a child would."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from dsplatform.schemas.model import NO_HINTS, FileCapture, Hints, Status
from dsplatform.schemas.previews.conditions import parse
from dsplatform.schemas.previews.model import Form, Look, Looked
from dsplatform.schemas.previews.reading import look
from dsplatform.schemas.readers import Known, extract, rows

ALL = 10_000
SIZE = 16 << 20


def captured(path: Path, hints: Hints = NO_HINTS) -> FileCapture:
    capture = extract(path, "", path.name, hints)
    assert capture.status is Status.OK, capture.reason
    return capture


def page(
    path: Path,
    capture: FileCapture,
    where: Sequence[str] = (),
    *,
    columns: Sequence[str] = (),
    form: Form = Form.JSON,
    start: int = 0,
    limit: int = ALL,
    size: int = SIZE,
    seconds: float = 600,
    table: int = 0,
    hints: Hints = NO_HINTS,
    spreadsheet: bool = False,
    fine: tuple[str, ...] = (),
) -> tuple[Looked, bytes]:
    """What became of it, and the bytes."""
    found = capture.tables[table]
    conditions = parse(where, {column.name: column for column in found.columns})
    chosen = tuple(columns) or tuple(column.name for column in found.columns)
    target = path.with_name("answer")
    target.unlink(missing_ok=True)
    wanted = Look(
        str(target),
        form,
        found.name,
        found.columns,
        chosen,
        conditions,
        start,
        limit,
        size,
        seconds,
        capture.details,
        fine,
        spreadsheet,
    )
    wanted = Look.read(json.loads(json.dumps(wanted.plain())))
    known = Known(wanted.details, wanted.columns, {*chosen, *(condition.column for condition in conditions)}, start)
    looked = look(path, wanted, lambda: rows(path, "", path.name, hints, found.name, known))
    looked = Looked.read(json.loads(json.dumps(looked.plain())))
    return looked, target.read_bytes() if target.exists() else b""


def listed(path: Path, capture: FileCapture, where: Sequence[str] = (), **wanted: Any) -> list[list[Any]]:
    """The rows of one page."""
    looked, body = page(path, capture, where, **wanted)
    assert looked.reason is None, looked.reason
    found = json.loads(body)
    assert len(found) == looked.rows
    return found  # type: ignore[no-any-return]


def paged(path: Path, capture: FileCapture, where: Sequence[str] = (), **wanted: Any) -> list[list[Any]]:
    """The rows of all pages, one after the other."""
    found: list[list[Any]] = []
    start = 0
    while True:
        looked, body = page(path, capture, where, start=start, **wanted)
        assert looked.reason is None, looked.reason
        found += json.loads(body)
        if looked.ended:
            return found
        assert looked.position > start, "a page goes on"
        start = looked.position
