"""References by time: `2026-11-01`, `2026-11-01T12:00Z`."""

import re
from datetime import UTC, datetime, timedelta

from dsplatform.core.database import Transaction
from dsplatform.core.types import MAIN, DatasetId, VersionId

_MOMENT = re.compile(r"(\d{4}-\d\d-\d\d)(?:T(\d\d:\d\d(?::\d\d(?:\.\d{1,6})?)?)(Z|[+-]\d\d:\d\d)?)?", re.ASCII)


def moment(ref: str) -> datetime | None:
    """The last instant that a reference by time means; None for what is no such reference.

    A day alone means its end, in UTC; a time without an offset is UTC, too. Versions of that very instant count.
    """
    found = _MOMENT.fullmatch(ref)
    if found is None:
        return None
    day, time, offset = found.groups()
    try:
        at = datetime.fromisoformat(f"{day}T{time or '00:00'}{offset or 'Z'}").astimezone(UTC)
        return at if time else at + timedelta(days=1, microseconds=-1)
    except (ValueError, OverflowError):
        return None


def main_at(tx: Transaction, dataset_id: DatasetId, at: datetime) -> VersionId | None:
    """What `main` was at: the newest version of its line of first parents that was made by then. None: there was none yet.

    Where `main` pointed is kept for now alone, so its past is read off the versions: what was merged by moving `main` ahead counts from
    when it was made, and a branch that was moved back has the past of where it is.
    """
    found = tx.scalar(
        """
        WITH RECURSIVE line AS (
          SELECT v.id, v.parent_version_id, v.created_at FROM dataset_pointers p JOIN dataset_versions v ON v.id = p.version_id
          WHERE p.dataset_id = :dataset AND p.pointer_name = :main
          UNION ALL
          SELECT v.id, v.parent_version_id, v.created_at FROM line JOIN dataset_versions v ON v.id = line.parent_version_id
          WHERE line.created_at > :at
        )
        SELECT id FROM line WHERE created_at <= :at
        """,
        dataset=dataset_id,
        main=MAIN,
        at=at,
    )
    return None if found is None else VersionId(found)
