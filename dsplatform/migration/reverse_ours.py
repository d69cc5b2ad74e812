"""What the legacy system is to say of a dataset: ours, in the numbers, names and times of old clients."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

from dsplatform.core.database import Transaction
from dsplatform.core.types import DatasetId, FileId
from dsplatform.core.values import DatasetRef
from dsplatform.migration.landed_rows import IdMap
from dsplatform.migration.model import Entity
from dsplatform.migration.old_datasets import OldDatasets
from dsplatform.migration.old_files import OldFile, OldFiles
from dsplatform.migration.old_model import OldDataset, OldPointer, OldVersion
from dsplatform.migration.old_numbers import OldNumbers, file_subject, shown
from dsplatform.migration.remembered_rows import Remembered

RANKS = ("read", "write", "admin")
_PURGED = (
    "SELECT CAST(m.legacy_id AS bigint) FROM legacy_id_map m JOIN dataset_versions v ON v.id = m.new_id "
    "WHERE m.entity = 'dataset_versions' AND v.dataset_id = :id AND v.purged_at IS NOT NULL"
)
_GRANTS = (
    f"SELECT {shown('users', 'p.user_id')}, p.permission_type, p.granted_at, "  # noqa: S608 - constants
    f"CASE WHEN p.granted_by IS NULL THEN NULL ELSE {shown('users', 'p.granted_by')} END, u.username "
    "FROM permissions p JOIN users u ON u.id = p.user_id "
    "WHERE p.resource_type = 'dataset' AND p.resource_id = :id AND p.user_id IS NOT NULL AND p.expires_at IS NULL"
)
_UNSAID = {
    "rights of groups, or of everyone": "FROM permissions WHERE resource_type = 'dataset' AND resource_id = :id AND user_id IS NULL",
    "rights with an end date": "FROM permissions WHERE resource_type = 'dataset' AND resource_id = :id AND expires_at > now()",
    "its rule of retention": "FROM retention_rules WHERE dataset_id = :id",
    "its protected branches": "FROM branch_protections WHERE dataset_id = :id",
    "its schema contract": "FROM schema_contracts WHERE dataset_id = :id",
    "how its files are to be read": "FROM reading_hints WHERE dataset_id = :id",
    "the second parents of merges": (
        "FROM dataset_versions WHERE dataset_id = :id AND purged_at IS NULL AND merge_parent_version_id IS NOT NULL"
    ),
}


@dataclass(frozen=True)
class Grant:
    """The strongest right of one person, for good."""

    user: int
    right: str
    at: datetime
    by: int | None
    name: str


@dataclass
class Stored:
    """A component of ours: its number as a file, and its bytes."""

    number: int
    old: OldFile
    file_id: FileId
    content_hash: str
    file_type: str


@dataclass
class Ours:
    """One dataset as it is now."""

    ref: DatasetRef
    number: int
    dataset: OldDataset | None = None
    """None: it is deleted."""
    versions: Sequence[OldVersion] = ()
    """The lowest number first."""
    purged: frozenset[int] = frozenset()
    """Old ids of versions that are deleted here."""
    pointers: Sequence[OldPointer] = ()
    grants: Sequence[Grant] = ()
    held: frozenset[tuple[int, str]] = frozenset()
    """(user, right) of each grant to a single person for good."""
    people: Sequence[int] = ()
    """Our ids of all whom it names."""
    sheets: Mapping[int, Sequence[Mapping[str, Any]]] = field(default_factory=dict)
    """By old id of a version that holds nothing: the sheets that it had there. Those of others are kept with what they hold."""
    known_pointers: Sequence[int] = ()
    """Old ids of branches and tags that came along to it."""
    unsaid: list[str] = field(default_factory=list)
    """What the legacy system cannot express."""


class OursReader:
    """Questions about datasets of ours."""

    def __init__(self, tx: Transaction, zone: ZoneInfo) -> None:
        self._tx = tx
        self._zone = zone

    def unfit(self, entity: Entity, ids: Sequence[int]) -> list[int]:
        """Those of our ids whose number the legacy system cannot hold."""
        rows = self._tx.tuples(
            f"SELECT i, {shown(str(entity), 'i')} FROM unnest(CAST(:ids AS bigint[])) i",  # noqa: S608 - constants
            ids=list(ids),
        )
        return [id_ for id_, number in rows if number >= 2**31]

    def living_versions(self, dataset_id: int) -> list[int]:
        """Our ids of its versions."""
        rows = self._tx.tuples("SELECT id FROM dataset_versions WHERE dataset_id = :id AND purged_at IS NULL ORDER BY id", id=dataset_id)
        return [id_ for (id_,) in rows]

    def read(self, dataset_id: int) -> Ours | None:
        """The dataset; None: nobody knows it."""
        row = self._tx.row(
            f"SELECT {shown('datasets', 'd.id')} AS number, d.name, d.slug, d.created_by, d.deleted_at IS NULL AS lives "  # noqa: S608
            "FROM datasets d WHERE d.id = :id",
            id=dataset_id,
        )
        if row is None:
            return None
        ref = DatasetRef(DatasetId(dataset_id), row["name"], row["slug"], row["created_by"])
        ours = Ours(ref, row["number"])
        if not row["lives"]:
            return ours
        remembered = Remembered(self._tx)
        ours.dataset = OldDatasets(self._tx, self._zone.key).get(dataset_id)
        ours.versions = sorted(remembered.versions(dataset_id), key=lambda version: version.version_number)
        ours.purged = frozenset(number for (number,) in self._tx.tuples(_PURGED, id=dataset_id))
        ours.pointers = remembered.pointers(dataset_id)
        kept = IdMap(self._tx).kept(Entity.VERSIONS, [(version.id,) for version in ours.versions])
        ours.sheets = {key[0]: facts["sheets"] for key, facts in kept.items() if "sheets" in facts}
        self._grants(ours)
        ours.people = [
            user
            for (user,) in self._tx.tuples(
                "SELECT created_by FROM datasets WHERE id = :id UNION SELECT created_by FROM dataset_versions WHERE dataset_id = :id "
                "AND purged_at IS NULL UNION SELECT unnest(ARRAY[user_id, granted_by]) FROM permissions WHERE resource_type = 'dataset' "
                "AND resource_id = :id AND user_id IS NOT NULL AND expires_at IS NULL",
                id=dataset_id,
            )
            if user is not None
        ]
        keys = [key for entity in (Entity.POINTERS, Entity.VERSION_TAGS) for key in IdMap(self._tx).legacy_keys(entity, [dataset_id])]
        ours.known_pointers = [key[0] for key in keys]
        ours.unsaid = [
            f"{what} of dataset {ref.name!r}"
            for what, where in _UNSAID.items()
            if self._tx.scalar(f"SELECT EXISTS (SELECT 1 {where})", id=dataset_id)
        ]
        return ours

    def _grants(self, ours: Ours) -> None:
        strongest: dict[int, Grant] = {}
        rows = self._tx.tuples(_GRANTS, id=ours.ref.id)
        for user, right, at, by, name in rows:
            if user not in strongest or RANKS.index(right) > RANKS.index(strongest[user].right):
                strongest[user] = Grant(user, right, at, by, name)
        ours.grants = [strongest[user] for user in sorted(strongest)]
        ours.held = frozenset((user, right) for user, right, *_ in rows)

    def unaccounted(self, ours: Ours) -> set[int]:
        """Old ids of its living versions of which the legacy system has no row, as far as is known."""
        known = IdMap(self._tx).known(Entity.VERSIONS, [(version.id,) for version in ours.versions])
        told = {key[0] for key, one in known.items() if one.source_hash and not one.is_gone}
        return {version.id for version in ours.versions} - told

    def parents(self, ours: Ours) -> Mapping[int, int | None]:
        """Old id of each living version to that of the nearest ancestor that lives."""
        rows = self._tx.tuples("SELECT id, parent_version_id FROM dataset_versions WHERE dataset_id = :id", id=ours.ref.id)
        above = dict(rows)
        lives = {version.new_id: version.id for version in ours.versions}
        found: dict[int, int | None] = {}
        for version in ours.versions:
            parent = above.get(version.new_id)
            while parent is not None and parent not in lives:
                parent = above.get(parent)
            found[version.id] = None if parent is None else lives[parent]
        return found

    def parts(self, ours: Ours, version: OldVersion) -> Sequence[Stored]:
        """What a version holds, each with the number of its file."""
        files = OldFiles(self._tx).of(ours.ref.id, version.new_id, version.component)
        unnumbered = [file_subject(version.new_id, file.component) for file in files if file.file_number is None]
        numbers = OldNumbers(self._tx).numbers("file", unnumbered)
        bytes_of = {
            name: rest
            for name, *rest in self._tx.tuples(
                "SELECT c.component_name, f.id, f.content_hash, f.file_type FROM dataset_version_files c JOIN files f ON f.id = c.file_id "
                "WHERE c.version_id = :id",
                id=version.new_id,
            )
        }
        return [
            Stored(
                numbers[file_subject(version.new_id, file.component)] if file.file_number is None else file.file_number,
                file,
                *bytes_of[file.component],
            )
            for file in files
        ]

    def labels(self, tags: Sequence[int]) -> Mapping[int, str]:
        """The names of tags there."""
        kept = IdMap(self._tx).kept(Entity.TAGS, [(tag,) for tag in tags])
        return {key[0]: str(facts["name"]) for key, facts in kept.items() if "name" in facts}
