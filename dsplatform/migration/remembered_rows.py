"""Statements about what old clients know things by: numbers, names and times of the legacy system, which our tables have no place for.

A number of the legacy system stays what it means. Where a row came along under another id, because its own was taken, the number means
that row; what has the id here is then known by 2^31 more, as is what has the number of a row that did not come along.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

from dsplatform.core.access import SEEN, among_seen, seen_by
from dsplatform.core.database import Row, Transaction
from dsplatform.core.domain import Actor
from dsplatform.core.types import MAIN
from dsplatform.migration.old_model import (
    OldDataset,
    OldLabel,
    OldPointer,
    OldUser,
    OldVersion,
    OldVersionMissing,
    VersionElsewhere,
    Wanted,
)

APART = 2**31
"""How far from its own number something of ours is shown that has one of the legacy system's. Those have 31 bits."""
NOTHING = 0
"""An id that nothing has."""


ORDERS = {
    "name": "name",
    "created_at": "created_at",
    "updated_at": "updated_at",
    "file_size": "file_size",
    "current_version": "current_version",
}


def shown(entity: str, column: str) -> str:
    """The number by which old clients know the row whose id is in the column."""
    return (
        f"coalesce((SELECT min(CAST(s.legacy_id AS bigint)) FROM legacy_id_map s WHERE s.entity = '{entity}' AND s.new_id = {column}), "  # noqa: S608 - constants
        f"(SELECT {column} + {APART} FROM legacy_id_map s WHERE s.entity = '{entity}' AND s.legacy_id = CAST({column} AS text) "
        f"AND s.new_id IS DISTINCT FROM {column}), {column})"
    )


def _kept_time(row: str, name: str) -> str:
    """A time that was kept as text: with an offset it is an instant, else one of the legacy system's clock."""
    text = f"{row}.kept->>'{name}'"
    return (
        f"CASE WHEN {text} !~ '^[0-9]{{4}}-[0-9]{{2}}-[0-9]{{2}}[T ]' THEN NULL "
        f"WHEN {text} ~ '(Z|[+-][0-9]{{2}}:?[0-9]{{2}})$' THEN CAST({text} AS timestamptz) "
        f"ELSE CAST({text} AS timestamp) AT TIME ZONE CAST(:zone AS text) END"
    )


_FIRST = f"""
    LEFT JOIN LATERAL (
        (SELECT c.component_name, c.metadata, f.file_size FROM dataset_version_files c JOIN files f ON f.id = c.file_id
         WHERE c.version_id = v.id AND c.component_name = '{MAIN}')
        UNION ALL
        (SELECT c.component_name, c.metadata, f.file_size FROM dataset_version_files c JOIN files f ON f.id = c.file_id
         WHERE c.version_id = v.id ORDER BY c.component_name LIMIT 1)
        LIMIT 1
    ) p ON true
"""  # noqa: S608 - a constant
"""The component that is *the* file of a version `v`: the one called `main`, else the first by name."""

_DATASETS = f"""
SELECT d.id AS new_id,
    CASE WHEN m.kept->>'given_name' <> d.name THEN d.name ELSE coalesce(m.kept->>'name', d.name) END AS name,
    nullif(d.description, '') AS description, d.created_by AS creator, d.created_at,
    greatest(d.updated_at, coalesce({_kept_time("m", "updated_at")}, d.created_at), v.created_at) AS updated_at,
    v.version_number AS current_version, CASE WHEN p.component_name IS NULL THEN NULL ELSE 'parquet' END AS file_type,
    p.file_size, d.labels
FROM datasets d LEFT JOIN legacy_id_map m ON m.entity = 'datasets' AND m.new_id = d.id
LEFT JOIN LATERAL (
    SELECT id, version_number, created_at FROM dataset_versions WHERE dataset_id = d.id AND purged_at IS NULL
    ORDER BY version_number DESC LIMIT 1) v ON true
{_FIRST}
WHERE d.deleted_at IS NULL
"""  # noqa: S608 - constants

_NUMBERED = f"SELECT l.*, {shown('datasets', 'l.new_id')} AS id, {shown('users', 'l.creator')} AS created_by"
"""Of rows of `_DATASETS` that are to be shown, so that numbers are not worked out for all others."""

_VERSIONS = f"""
SELECT v.id AS new_id, {shown("dataset_versions", "v.id")} AS id, {shown("datasets", "v.dataset_id")} AS dataset_id, v.version_number,
    {shown("users", "v.created_by")} AS uploaded_by,
    CASE WHEN v.parent_version_id IS NULL THEN NULL ELSE {shown("dataset_versions", "v.parent_version_id")} END AS parent_version_id,
    nullif(v.message, '') AS message, coalesce(m.kept->>'status', 'active') AS status, v.created_at,
    coalesce({_kept_time("m", "last_updated_timestamp")}, {_kept_time("m", "updated_at")}, v.created_at) AS updated_at,
    p.component_name AS component, CASE WHEN p.component_name IS NULL THEN NULL ELSE 'parquet' END AS file_type, p.file_size,
    coalesce(p.metadata->'legacy'->>'file_id', CASE WHEN p.component_name IS NULL THEN m.kept->>'file_id' END) AS file_id,
    m.kept->>'overlay_file_id' AS overlay_id, o.file_size AS overlay_size
FROM dataset_versions v JOIN files o ON o.id = v.overlay_file_id
LEFT JOIN legacy_id_map m ON m.entity = 'dataset_versions' AND m.new_id = v.id
{_FIRST}
WHERE v.purged_at IS NULL
"""  # noqa: S608 - constants

_POINTERS = f"""
SELECT p.pointer_name AS new_name, coalesce(m.kept->>'name', p.pointer_name) AS name, m.legacy_id,
    {shown("dataset_versions", "p.version_id")} AS version_id, v.version_number, p.is_tag, p.created_at, p.moved_at AS updated_at
FROM dataset_pointers p JOIN dataset_versions v ON v.id = p.version_id
LEFT JOIN legacy_numbers n ON n.kind = 'pointer' AND n.subject = concat(p.dataset_id, ':', p.pointer_name)
LEFT JOIN legacy_id_map m ON m.entity IN ('dataset_pointers', 'version_tags') AND m.legacy_id = CAST(n.number AS text) AND m.kept ? 'name'
WHERE p.dataset_id = :dataset ORDER BY p.is_tag, p.pointer_name
"""  # noqa: S608 - constants

_USERS = f"""
SELECT u.id AS new_id, {shown("users", "u.id")} AS id, coalesce(m.kept->>'soeid', u.username) AS soeid, u.username,
    {shown("roles", "u.role_id")} AS role_id, coalesce(w.kept->>'role_name', r.role_name) AS role_name, u.created_at,
    coalesce({_kept_time("m", "updated_at")}, u.created_at) AS updated_at
FROM users u JOIN roles r ON r.id = u.role_id
LEFT JOIN legacy_id_map m ON m.entity = 'users' AND m.new_id = u.id
LEFT JOIN LATERAL (SELECT kept FROM legacy_id_map WHERE entity = 'roles' AND new_id = u.role_id ORDER BY legacy_id LIMIT 1) w ON true
"""  # noqa: S608 - constants


class Remembered:
    """Questions and, of numbers that nobody has yet, their invention."""

    def __init__(self, tx: Transaction, zone: str) -> None:
        """`zone`: of the legacy system's clock."""
        self._tx = tx
        self._zone = zone

    # --- numbers ---------------------------------------------------------------------------------------------------------------

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
        return number if number < 2**63 else NOTHING

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

    # --- datasets --------------------------------------------------------------------------------------------------------------

    def datasets(
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
        return self._datasets(rows), rows[0]["total"] if rows else 0

    def dataset(self, new_id: int) -> OldDataset:
        """One that exists."""
        return self._datasets(self._tx.rows(f"{_NUMBERED} FROM ({_DATASETS} AND d.id = :id) l", zone=self._zone, id=new_id))[0]

    def labels(self, actor: Actor) -> Sequence[OldLabel]:
        """The labels of the datasets that the actor may read, by name."""
        rows = self._tx.tuples(
            "SELECT l, count(*) FROM datasets d, unnest(d.labels) l "  # noqa: S608 - constants
            f"WHERE d.deleted_at IS NULL AND {among_seen(actor)} GROUP BY l ORDER BY l",
            **seen_by(actor),
        )
        numbers = self.numbers("label", [label for label, _ in rows])
        described = dict(
            self._tx.tuples(
                "SELECT legacy_id, kept->>'description' FROM legacy_id_map WHERE entity = 'tags' AND legacy_id = ANY(CAST(:ids AS text[]))",
                ids=[str(number) for number in numbers.values()],
            )
        )
        return [OldLabel(numbers[label], label, described.get(str(numbers[label])), count) for label, count in rows]

    def _datasets(self, rows: Sequence[Row]) -> Sequence[OldDataset]:
        numbers = self.numbers("label", {label for row in rows for label in row["labels"]})
        return [
            OldDataset(
                labels=tuple((numbers[label], label) for label in row["labels"]),
                **{name: row[name] for name in OldDataset.__dataclass_fields__ if name != "labels"},
            )
            for row in rows
        ]

    # --- versions --------------------------------------------------------------------------------------------------------------

    def versions(self, dataset_id: int, limit: int | None = None) -> Sequence[OldVersion]:
        """The living versions of a dataset, the newest first."""
        return self._versions(
            self._tx.rows(
                f"{_VERSIONS} AND v.dataset_id = :dataset ORDER BY v.version_number DESC LIMIT CAST(:limit AS bigint)",
                zone=self._zone,
                dataset=dataset_id,
                limit=limit,
            )
        )

    def these(self, new_ids: Iterable[int]) -> Sequence[OldVersion]:
        """Those of the versions that live, in the order of the ids."""
        ids = list(new_ids)
        rows = self._tx.rows(f"{_VERSIONS} AND v.id = ANY(CAST(:ids AS bigint[]))", zone=self._zone, ids=ids)
        found = {version.new_id: version for version in self._versions(rows)}
        return [found[each] for each in ids if each in found]

    def numbered(self, dataset_id: int, number: int) -> OldVersion | None:
        """The living version with that number."""
        found = self._tx.scalar(
            "SELECT id FROM dataset_versions WHERE dataset_id = :dataset AND version_number = :number", dataset=dataset_id, number=number
        )
        return next(iter(self.these([] if found is None else [found])), None)

    def version(self, actor: Actor, dataset_id: int, number: int) -> OldVersion:
        """The living version of the dataset with that old id. Raises `OldVersionMissing`; `VersionElsewhere` where the actor may read
        the dataset that it belongs to."""
        new_id = self.new_id("dataset_versions", number)
        row = self._tx.row(
            "SELECT v.dataset_id FROM dataset_versions v JOIN datasets d ON d.id = v.dataset_id "  # noqa: S608 - SEEN is a constant
            f"WHERE v.id = :id AND v.purged_at IS NULL AND d.deleted_at IS NULL AND {SEEN}",
            id=new_id,
            **seen_by(actor),
        )
        if row is not None and row["dataset_id"] != dataset_id:
            raise VersionElsewhere(f"version {number} does not belong to this dataset")
        found = self.these([new_id]) if row is not None else ()
        if not found:
            raise OldVersionMissing(f"version {number} does not exist")
        return found[0]

    def _versions(self, rows: Sequence[Row]) -> Sequence[OldVersion]:
        """With numbers for their files: of the legacy system, else our own."""
        unnumbered = {file_subject(row["new_id"], row[part]) for row in rows for part in ("component",) if row["file_id"] is None}
        unnumbered |= {file_subject(row["new_id"], None) for row in rows if row["overlay_id"] is None}
        numbers = self.numbers("file", unnumbered)
        made = []
        for row in rows:
            values = dict(row)
            for name, part in (("file_id", row["component"]), ("overlay_id", None)):
                values[name] = numbers[file_subject(row["new_id"], part)] if row[name] is None else int(row[name])
            made.append(OldVersion(**values))
        return made

    # --- branches, tags, users -------------------------------------------------------------------------------------------------

    def pointers(self, dataset_id: int) -> Sequence[OldPointer]:
        """Branches, then tags, each in the order of their names."""
        rows = self._tx.rows(_POINTERS, dataset=dataset_id)
        numbers = self.numbers("pointer", [f"{dataset_id}:{row['new_name']}" for row in rows])
        known_as = int(self._tx.scalar(f"SELECT {shown('datasets', 'd.id')} FROM datasets d WHERE d.id = :id", id=dataset_id))  # noqa: S608 - constants
        made = [
            OldPointer(
                numbers[f"{dataset_id}:{row['new_name']}"],
                known_as,
                *(row[name] for name in ("name", "new_name", "version_id", "version_number", "is_tag", "created_at", "updated_at")),
            )
            for row in rows
        ]
        return sorted(made, key=lambda pointer: (pointer.is_tag, pointer.name))

    def users(self, new_ids: Collection[int] | None = None) -> Sequence[OldUser]:
        """All users, or those of these ids, by their old number."""
        rows = self._tx.rows(
            f"{_USERS} WHERE CAST(:ids AS bigint[]) IS NULL OR u.id = ANY(CAST(:ids AS bigint[]))",
            zone=self._zone,
            ids=None if new_ids is None else list(new_ids),
        )
        return sorted((OldUser(**row) for row in rows), key=lambda user: user.id)

    def username(self, soeid: str) -> str | None:
        """The name here of the user whom the legacy system called exactly so."""
        found = self._tx.scalar(
            "SELECT u.username FROM legacy_id_map m JOIN users u ON u.id = m.new_id "
            "WHERE m.entity = 'users' AND m.kept->>'soeid' = :soeid ORDER BY u.id LIMIT 1",
            soeid=soeid,
        )
        return None if found is None else str(found)

    def role(self, number: int) -> str | None:
        """The name here of the role that old clients know by the number."""
        found = self._tx.scalar("SELECT role_name FROM roles WHERE id = :id", id=self.new_id("roles", number))
        return None if found is None else str(found)


def file_subject(version_id: int, component: str | None) -> str:
    """What a number of a file stands for: a component of a version; None: its overlay."""
    return f"{version_id}:{component or ''}"


def _conditions(wanted: Wanted) -> tuple[list[str], dict[str, Any]]:
    """On the rows of `_DATASETS`. Only those that are asked for."""
    conditions, params = ["true"], {}
    for name in ("name", "description"):
        if (text := getattr(wanted, name)) is not None:
            conditions.append(f"{name} ILIKE :{name}")
            params[name] = f"%{_ended(text)}%"
    if wanted.created_by is not None:
        conditions.append("creator = :creator")
        params["creator"] = wanted.created_by
    if wanted.labels:
        conditions.append("labels && CAST(:labels AS text[])")
        params["labels"] = list(wanted.labels)
    if wanted.text is not None:
        places = ["name ILIKE :text"]
        if wanted.in_description:
            places.append("description ILIKE :text")
        if wanted.in_labels:
            places.append("EXISTS (SELECT 1 FROM unnest(labels) t WHERE t ILIKE :text)")
        conditions.append(f"({' OR '.join(places)})")
        params["text"] = f"%{_ended(wanted.text)}%"
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


def _ended(pattern: str) -> str:
    """A backslash at the end would have nothing to stand before."""
    return pattern + "\\" if (len(pattern) - len(pattern.rstrip("\\"))) % 2 else pattern
