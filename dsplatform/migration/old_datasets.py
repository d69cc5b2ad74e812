"""Statements about datasets as old clients know them: lists, searches and labels."""

from collections.abc import Mapping, Sequence
from string import ascii_lowercase
from typing import Any

from dsplatform.core.access import among_seen, seen_by
from dsplatform.core.database import Row, Transaction
from dsplatform.core.domain import Actor
from dsplatform.migration.old_model import OldDataset, OldLabel, Wanted
from dsplatform.migration.old_numbers import FILE, FIRST, OldNumbers, kept_instant, kept_time, shown

ORDERS = {
    "name": "name",
    "created_at": "created_at",
    "updated_at": "updated_at",
    "file_size": "file_size",
    "current_version": "current_version",
}

_DATASETS = f"""
SELECT d.id AS new_id,
    CASE WHEN m.kept->>'given_name' <> d.name THEN d.name ELSE coalesce(m.kept->>'name', d.name) END AS name,
    CASE WHEN d.description = '' AND m.kept->>'description' IS NULL THEN NULL ELSE d.description END AS description,
    d.created_by AS creator, d.created_at, {kept_time("m", "created_at")} AS created_as,
    {kept_time("m", "updated_at")} AS updated_as, {kept_instant("m", "updated_at")} AS updated_then,
    greatest(d.updated_at, coalesce({kept_instant("m", "updated_at")}, d.created_at), CASE WHEN v.imported THEN NULL ELSE v.created_at END)
        AS updated_at,
    v.version_number AS current_version, {FILE}, d.labels
FROM datasets d LEFT JOIN legacy_id_map m ON m.entity = 'datasets' AND m.new_id = d.id
LEFT JOIN LATERAL (
    SELECT id, version_number, created_at, imported FROM dataset_versions WHERE dataset_id = d.id AND purged_at IS NULL
    ORDER BY version_number DESC LIMIT 1) v ON true
{FIRST}
WHERE d.deleted_at IS NULL
"""  # noqa: S608 - constants

_NUMBERED = f"SELECT l.*, {shown('datasets', 'l.new_id')} AS id, {shown('users', 'l.creator')} AS created_by"
"""Of rows of `_DATASETS` that are to be shown, so that numbers are not worked out for all others."""


class OldDatasets:
    """Questions about datasets."""

    def __init__(self, tx: Transaction, zone: str) -> None:
        """`zone`: of the legacy system's clock."""
        self._tx = tx
        self._zone = zone

    def page(
        self, actor: Actor, wanted: Wanted, *, order: str, descending: bool, limit: int, offset: int
    ) -> tuple[Sequence[OldDataset], int]:
        """Those that the actor may read, and how many there are in all. Where nothing is known by which they are ordered, these are last
        upwards and first downwards."""
        conditions, params = _conditions(wanted)
        direction = "DESC" if descending else "ASC"
        rows = self._tx.rows(
            f"{_NUMBERED} FROM (SELECT *, count(*) OVER () AS total, row_number() OVER (ORDER BY {ORDERS[order]} {direction}, "  # noqa: S608 - constants
            f"new_id {direction}) AS place FROM ({_DATASETS} AND {among_seen(actor)}) c WHERE {' AND '.join(conditions)} "
            "ORDER BY place LIMIT :limit OFFSET :offset) l ORDER BY place",
            zone=self._zone,
            limit=limit,
            offset=offset,
            **params,
            **seen_by(actor),
        )
        return self._made(rows), rows[0]["total"] if rows else 0

    def facets(self, actor: Actor, wanted: Wanted) -> tuple[Mapping[str, int], Mapping[str, int], int]:
        """Of those that `page` gives in all: how often each label and each creator's number is among them, and how many have a
        file."""
        conditions, params = _conditions(wanted)
        found = f"SELECT * FROM ({_DATASETS} AND {among_seen(actor)}) c WHERE {' AND '.join(conditions)}"  # noqa: S608 - constants
        rows = self._tx.tuples(
            f"WITH l AS ({found}) SELECT 'label', t, count(*) FROM l, unnest(labels) t GROUP BY t "  # noqa: S608 - constants
            f"UNION ALL SELECT 'creator', CAST({shown('users', 'l.creator')} AS text), count(*) FROM l GROUP BY l.creator "
            "UNION ALL SELECT 'file', '', count(file_type) FROM l ORDER BY 3 DESC, 2",
            zone=self._zone,
            **params,
            **seen_by(actor),
        )
        of = {kind: {name: count for what, name, count in rows if what == kind} for kind in ("label", "creator", "file")}
        return of["label"], of["creator"], of["file"].get("", 0)

    def get(self, new_id: int) -> OldDataset:
        """One that exists."""
        return self._made(self._tx.rows(f"{_NUMBERED} FROM ({_DATASETS} AND d.id = :id) l", zone=self._zone, id=new_id))[0]

    def labels(self, actor: Actor) -> Sequence[OldLabel]:
        """The labels of the datasets that the actor may read, by name."""
        rows = self._tx.tuples(
            "SELECT l, count(*) FROM datasets d, unnest(d.labels) l "  # noqa: S608 - constants
            f"WHERE d.deleted_at IS NULL AND {among_seen(actor)} GROUP BY l ORDER BY l",
            **seen_by(actor),
        )
        numbers = OldNumbers(self._tx).numbers("label", [label for label, _ in rows])
        described = dict(
            self._tx.tuples(
                "SELECT legacy_id, kept->>'description' FROM legacy_id_map WHERE entity = 'tags' AND legacy_id = ANY(CAST(:ids AS text[]))",
                ids=[str(number) for number in numbers.values()],
            )
        )
        return [OldLabel(numbers[label], label, described.get(str(numbers[label])), count) for label, count in rows]

    def _made(self, rows: Sequence[Row]) -> Sequence[OldDataset]:
        numbers = OldNumbers(self._tx).numbers("label", {label for row in rows for label in row["labels"]})
        return [
            OldDataset(
                created_at=row["created_as"] or row["created_at"],
                updated_at=(row["updated_as"] if row["updated_at"] == row["updated_then"] else None) or row["updated_at"],
                labels=tuple((numbers[label], label) for label in sorted(row["labels"])),
                **{name: row[name] for name in OldDataset.__dataclass_fields__ if name not in {"created_at", "updated_at", "labels"}},
            )
            for row in rows
        ]


def _conditions(wanted: Wanted) -> tuple[list[str], dict[str, Any]]:
    """On the rows of `_DATASETS`. Only those that are asked for."""
    conditions: list[str] = ["true"]
    params: dict[str, Any] = {}
    for name in ("name", "description"):
        if (text := getattr(wanted, name)) is not None:
            conditions.append(f"{name} ILIKE :{name}")
            params[name] = f"%{_ended(text)}%"
    if wanted.created_by is not None:
        conditions.append("creator = ANY(CAST(:creators AS bigint[]))")
        params["creators"] = list(wanted.created_by)
    if wanted.labels:
        conditions.append("labels && CAST(:labels AS text[])")
        params["labels"] = list(wanted.labels)
    for name, word in zip(ascii_lowercase, wanted.words, strict=False):
        places = [f"name ILIKE :word_{name}"]
        if wanted.in_description:
            places.append(f"description ILIKE :word_{name}")
        if wanted.in_labels:
            places.append(f"EXISTS (SELECT 1 FROM unnest(labels) t WHERE t ILIKE :word_{name})")  # noqa: S608 - a constant
        conditions.append(f"({' OR '.join(places)})")
        params[f"word_{name}"] = f"%{escaped(word)}%"
    for column, (low, high) in {
        "created_at": wanted.created,
        "updated_at": wanted.updated,
        "file_size": wanted.size,
        "current_version": wanted.versions,
    }.items():
        for bound, sign, value in ((f"{column}_low", ">=", low), (f"{column}_high", "<=", high)):
            if value is not None:
                conditions.append(f"{column} {sign} :{bound}")
                params[bound] = value
    return conditions, params


def escaped(text: str) -> str:
    """The text as a pattern that means nothing but itself."""
    return text.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")


def _ended(pattern: str) -> str:
    """A backslash at the end would have nothing to stand before."""
    return pattern + "\\" if (len(pattern) - len(pattern.rstrip("\\"))) % 2 else pattern
