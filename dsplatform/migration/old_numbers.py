"""Numbers by which old clients know things.

A number of the legacy system stays what it means. Where a row came along under another id, because its own was taken, the number means
that row; what has the id here is then known by 2^31 more, as is what has the number of a row that did not come along.
"""

from collections.abc import Collection, Mapping, Sequence

from dsplatform.core.database import Transaction
from dsplatform.core.types import MAIN

APART = 2**31
"""How far from its own number something of ours is shown that has one of the legacy system's. Those have 31 bits."""
NOTHING = 0
"""An id that nothing has."""


def shown(entity: str, column: str) -> str:
    """The number by which old clients know the row whose id is in the column."""
    return (
        f"coalesce((SELECT min(CAST(s.legacy_id AS bigint)) FROM legacy_id_map s WHERE s.entity = '{entity}' AND s.new_id = {column}), "  # noqa: S608 - constants
        f"(SELECT {column} + {APART} FROM legacy_id_map s WHERE s.entity = '{entity}' AND s.legacy_id = CAST({column} AS text) "
        f"AND s.new_id IS DISTINCT FROM {column}), {column})"
    )


_LOCAL = "^(?!0000)[0-9]{4}-[0-9]{2}-[0-9]{2}[T ][0-9]{2}:[0-9]{2}(:[0-9.]+)?$"
_AWARE = _LOCAL.replace("$", "[+]00:00$")


def kept_time(row: str, *names: str) -> str:
    """The first time of these names that was kept, as the legacy system's clock showed it; null: none was, or none that we can hold.

    Where clocks go forward, some of these never were: so they are shown as they were written, and not by way of an instant.
    """
    texts = [f"{row}.kept->>'{name}'" for name in names]
    times = [f"CASE WHEN {text} ~ '{_LOCAL}' THEN CAST({text} AS timestamp) END" for text in texts]
    return f"coalesce({', '.join(times)})"


def kept_aware(row: str, *names: str) -> str:
    """The first time of these names that was kept with a zone of its own; null: none was."""
    texts = [f"{row}.kept->>'{name}'" for name in names]
    times = [f"CASE WHEN {text} ~ '{_AWARE}' THEN CAST({text} AS timestamptz) END" for text in texts]
    return f"coalesce({', '.join(times)})"


def kept_instant(row: str, name: str) -> str:
    """A time that was kept as an instant, to compare it with others."""
    return f"coalesce({kept_time(row, name)} AT TIME ZONE CAST(:zone AS text), {kept_aware(row, name)})"


FIRST = f"""
    LEFT JOIN LATERAL (
        (SELECT c.component_name, c.metadata, f.file_size FROM dataset_version_files c JOIN files f ON f.id = c.file_id
         WHERE c.version_id = v.id AND c.component_name = '{MAIN}')
        UNION ALL
        (SELECT c.component_name, c.metadata, f.file_size FROM dataset_version_files c JOIN files f ON f.id = c.file_id
         WHERE c.version_id = v.id AND c.component_name NOT LIKE 'attached/%' ORDER BY c.component_name LIMIT 1)
        LIMIT 1
    ) p ON true
    LEFT JOIN LATERAL (
        SELECT t.kept->>'file_type' AS file_type, CAST(t.kept->>'file_size' AS bigint) AS file_size
        FROM legacy_id_map s JOIN legacy_id_map t ON t.entity = 'files' AND t.legacy_id = s.kept->>'file_id'
        WHERE p.component_name IS NULL AND s.entity = 'dataset_versions' AND s.new_id = v.id
    ) lost ON true
"""  # noqa: S608 - a constant
"""The component that is *the* file of a version `v`: the one called `main`, else the first by name that is
not attached to it. `lost`: what the legacy system said of it, where its bytes did not come along."""

FILE = (
    "CASE WHEN p.component_name IS NULL THEN lost.file_type ELSE 'parquet' END AS file_type, "
    "coalesce(p.file_size, lost.file_size) AS file_size"
)
"""Its kind and size."""


class OldNumbers:
    """Questions about numbers and, where nobody has one yet, their invention."""

    def __init__(self, tx: Transaction) -> None:
        self._tx = tx

    def new_id(self, entity: str, number: int) -> int:
        """The id here of what old clients know by the number; `NOTHING` for what did not come along."""
        rows = self._tx.tuples(
            "SELECT legacy_id, new_id FROM legacy_id_map WHERE entity = :entity AND legacy_id = ANY(CAST(:ids AS text[]))",
            entity=entity,
            ids=[str(number), str(number - APART)],
        )
        found = dict(rows)
        if str(number) in found:
            return found[str(number)] or NOTHING
        if str(number - APART) in found and found[str(number - APART)] != number - APART:
            return number - APART
        return number if 0 < number < 2**63 else NOTHING

    def numbers(self, kind: str, subjects: Collection[str]) -> Mapping[str, int]:
        """The number of each; those that have none get one, which they keep."""
        wanted = sorted(set(subjects))
        found = self._numbers(kind, wanted)
        if missing := [subject for subject in wanted if subject not in found]:
            self._tx.execute(
                "INSERT INTO legacy_numbers (kind, subject) SELECT :kind, unnest(CAST(:subjects AS text[])) ON CONFLICT DO NOTHING",
                kind=kind,
                subjects=missing,
            )
            found |= self._numbers(kind, missing)
        return found

    def subject(self, kind: str, number: int) -> str | None:
        """What has the number."""
        found = self._tx.scalar("SELECT subject FROM legacy_numbers WHERE kind = :kind AND number = :number", kind=kind, number=number)
        return None if found is None else str(found)

    def _numbers(self, kind: str, subjects: Sequence[str]) -> dict[str, int]:
        rows = self._tx.tuples(
            "SELECT subject, number FROM legacy_numbers WHERE kind = :kind AND subject = ANY(CAST(:subjects AS text[]))",
            kind=kind,
            subjects=list(subjects),
        )
        return dict(rows)


def file_subject(version_id: int, component: str | None) -> str:
    """What a number of a file stands for: a component of a version; None: its overlay."""
    return f"{version_id}:{component or ''}"
