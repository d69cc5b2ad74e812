"""Statements about versions, branches, tags and users as old clients know them."""

from collections.abc import Collection, Iterable, Sequence
from typing import Any

from dsplatform.core.access import SEEN, seen_by
from dsplatform.core.database import Row, Transaction
from dsplatform.core.domain import Actor
from dsplatform.core.types import PermissionType
from dsplatform.migration.old_model import OldPointer, OldUser, OldVersion, OldVersionMissing, VersionElsewhere
from dsplatform.migration.old_numbers import FILE, FIRST, OldNumbers, file_subject, kept_aware, kept_time, shown

# A time that was kept is told in its place, as `created_as` and `updated_as`: without a zone, as the legacy system's clock showed it.

_VERSIONS = f"""
SELECT v.id AS new_id, {shown("dataset_versions", "v.id")} AS id, {shown("datasets", "v.dataset_id")} AS dataset_id, v.version_number,
    {shown("users", "v.created_by")} AS uploaded_by,
    CASE WHEN v.parent_version_id IS NULL THEN NULL ELSE {shown("dataset_versions", "v.parent_version_id")} END AS parent_version_id,
    nullif(v.message, '') AS message, coalesce(m.kept->>'status', 'active') AS status, v.created_at,
    coalesce({kept_aware("m", "last_updated_timestamp", "updated_at")}, v.created_at) AS updated_at,
    {kept_time("m", "ingestion_timestamp", "created_at")} AS created_as,
    {kept_time("m", "last_updated_timestamp", "updated_at")} AS updated_as,
    p.component_name AS component, {FILE},
    coalesce(p.metadata->'legacy'->>'file_id', CASE WHEN p.component_name IS NULL THEN m.kept->>'file_id' END) AS file_id,
    m.kept->>'overlay_file_id' AS overlay_id, o.file_size AS overlay_size
FROM dataset_versions v JOIN files o ON o.id = v.overlay_file_id
LEFT JOIN legacy_id_map m ON m.entity = 'dataset_versions' AND m.new_id = v.id
{FIRST}
WHERE v.purged_at IS NULL
"""  # noqa: S608 - constants

_POINTERS = f"""
SELECT p.pointer_name AS new_name, coalesce(m.kept->>'name', p.pointer_name) AS name,
    {shown("dataset_versions", "p.version_id")} AS version_id, v.version_number,
    p.is_tag, p.created_at, {kept_time("m", "created_at")} AS created_as, p.moved_at AS updated_at, CAST(NULL AS timestamp) AS updated_as
FROM dataset_pointers p JOIN dataset_versions v ON v.id = p.version_id
LEFT JOIN legacy_numbers n ON n.kind = 'pointer' AND n.subject = concat(p.dataset_id, ':', p.pointer_name)
LEFT JOIN legacy_id_map m ON m.entity IN ('dataset_pointers', 'version_tags') AND m.legacy_id = CAST(n.number AS text)
WHERE p.dataset_id = :dataset ORDER BY p.is_tag, p.pointer_name
"""  # noqa: S608 - constants

_USERS = f"""
SELECT u.id AS new_id, {shown("users", "u.id")} AS id, coalesce(m.kept->>'soeid', u.username) AS soeid, u.username,
    {shown("roles", "u.role_id")} AS role_id, coalesce(w.kept->>'role_name', w.kept->>'name', r.role_name) AS role_name,
    u.created_at, coalesce({kept_aware("m", "updated_at")}, u.created_at) AS updated_at,
    {kept_time("m", "created_at")} AS created_as, {kept_time("m", "updated_at")} AS updated_as
FROM users u JOIN roles r ON r.id = u.role_id
LEFT JOIN legacy_id_map m ON m.entity = 'users' AND m.new_id = u.id
LEFT JOIN LATERAL (SELECT kept FROM legacy_id_map WHERE entity = 'roles' AND new_id = u.role_id ORDER BY legacy_id LIMIT 1) w ON true
"""  # noqa: S608 - constants


class Remembered:
    """Questions about all of these."""

    def __init__(self, tx: Transaction) -> None:
        self._tx = tx

    # --- versions --------------------------------------------------------------------------------------------------------------

    def versions(self, dataset_id: int, limit: int | None = None) -> Sequence[OldVersion]:
        """The living versions of a dataset, the newest first."""
        return self._versions(
            self._tx.rows(
                f"{_VERSIONS} AND v.dataset_id = :dataset ORDER BY v.version_number DESC LIMIT CAST(:limit AS bigint)",
                dataset=dataset_id,
                limit=limit,
            )
        )

    def these(self, new_ids: Iterable[int]) -> Sequence[OldVersion]:
        """Those of the versions that live, in the order of the ids."""
        ids = list(new_ids)
        rows = self._tx.rows(f"{_VERSIONS} AND v.id = ANY(CAST(:ids AS bigint[]))", ids=ids)
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
        new_id = OldNumbers(self._tx).new_id("dataset_versions", number)
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
        numbers = OldNumbers(self._tx).numbers("file", unnumbered)
        made = []
        for row in rows:
            values = _timed(row)
            for name, part in (("file_id", row["component"]), ("overlay_id", None)):
                values[name] = numbers[file_subject(row["new_id"], part)] if row[name] is None else int(row[name])
            made.append(OldVersion(**values))
        return made

    # --- branches, tags, users -------------------------------------------------------------------------------------------------

    def pointers(self, dataset_id: int) -> Sequence[OldPointer]:
        """Branches, then tags, each in the order of their names."""
        rows = self._tx.rows(_POINTERS, dataset=dataset_id)
        numbers = OldNumbers(self._tx).numbers("pointer", [f"{dataset_id}:{row['new_name']}" for row in rows])
        known_as = int(self._tx.scalar(f"SELECT {shown('datasets', 'd.id')} FROM datasets d WHERE d.id = :id", id=dataset_id))  # noqa: S608 - constants
        made = [
            OldPointer(
                numbers[f"{dataset_id}:{row['new_name']}"],
                known_as,
                *(row[name] for name in ("name", "new_name", "version_id", "version_number", "is_tag", "created_at", "updated_at")),
            )
            for row in map(_timed, rows)
        ]
        return sorted(made, key=lambda pointer: (pointer.is_tag, pointer.name))

    def levels(self, dataset_id: int) -> Sequence[tuple[int, PermissionType]]:
        """(user's number, right) of what is granted on the dataset to single users, by both."""
        rows = self._tx.tuples(
            f"SELECT {shown('users', 'p.user_id')}, p.permission_type FROM permissions p WHERE p.resource_type = 'dataset' "  # noqa: S608 - constants
            "AND p.resource_id = :id AND p.user_id IS NOT NULL AND (p.expires_at IS NULL OR p.expires_at > now())",
            id=dataset_id,
        )
        order = list(PermissionType)
        return sorted(((user, PermissionType(right)) for user, right in rows), key=lambda held: (held[0], order.index(held[1])))

    def users(self, new_ids: Collection[int] | None = None) -> Sequence[OldUser]:
        """All users, or those of these ids, by their old number."""
        rows = self._tx.rows(
            f"{_USERS} WHERE CAST(:ids AS bigint[]) IS NULL OR u.id = ANY(CAST(:ids AS bigint[]))",
            ids=None if new_ids is None else list(new_ids),
        )
        return sorted((OldUser(**_timed(row)) for row in rows), key=lambda user: user.id)

    def username(self, soeid: str) -> str | None:
        """The name here of the user whom the legacy system called exactly so."""
        if "\x00" in soeid:
            return None
        found = self._tx.scalar(
            "SELECT u.username FROM legacy_id_map m JOIN users u ON u.id = m.new_id "
            "WHERE m.entity = 'users' AND m.kept->>'soeid' = :soeid ORDER BY u.id LIMIT 1",
            soeid=soeid,
        )
        return None if found is None else str(found)

    def role(self, number: int) -> str | None:
        """The name here of the role that old clients know by the number."""
        found = self._tx.scalar("SELECT role_name FROM roles WHERE id = :id", id=OldNumbers(self._tx).new_id("roles", number))
        return None if found is None else str(found)


def _timed(row: Row) -> dict[str, Any]:
    """The row with the times that were kept."""
    values = dict(row)
    created, updated = values.pop("created_as"), values.pop("updated_as")
    if created is not None and values["updated_at"] == values["created_at"]:
        values["updated_at"] = created
    return values | {name: kept for name, kept in (("created_at", created), ("updated_at", updated)) if kept is not None}
