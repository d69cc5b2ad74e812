"""Table, mapping and questions of datasets."""

from collections.abc import Collection, Sequence

from sqlalchemy import ARRAY, BigInteger, Boolean, CheckConstraint, Column, DateTime, ForeignKey, Identity, Index, Table, Text, func, text

from dsplatform.core.access import SEEN, among_seen, seen_by
from dsplatform.core.database import Row, SqlRepository, mapping, metadata
from dsplatform.core.domain import Actor
from dsplatform.core.types import DatasetId, PermissionType
from dsplatform.core.values import DatasetRef
from dsplatform.datasets.model import RESTORABLE_DAYS, Dataset, DatasetSummary, DeletedDataset, Filter

datasets = Table(
    "datasets",
    metadata,
    Column("id", BigInteger, Identity(), primary_key=True),
    Column("name", Text, nullable=False),
    Column("slug", Text, nullable=False, unique=True),
    Column("description", Text, nullable=False, server_default=""),
    Column("labels", ARRAY(Text), nullable=False, server_default="{}"),
    Column("created_by", ForeignKey("users.id"), nullable=False),
    Column("created_at", DateTime(timezone=True), nullable=False, server_default=func.now()),
    Column("deleted_at", DateTime(timezone=True)),
    Column("updated_at", DateTime(timezone=True)),  # when name, description or labels last changed
    Column("held", Boolean, nullable=False, server_default="false"),  # it changes in the legacy system, and only there
    CheckConstraint("name <> ''", name="name"),
    Index("uq_datasets_owner_name", "created_by", "name", unique=True, postgresql_where=text("deleted_at IS NULL")),
    Index("ix_datasets_listed", "id", postgresql_include=["slug"], postgresql_where=text("deleted_at IS NULL")),
    Index("ix_datasets_deleted", "deleted_at", postgresql_where=text("deleted_at IS NOT NULL")),
    Index("ix_datasets_labels", "labels", postgresql_using="gin"),
)

mapping.map_imperatively(Dataset, datasets, exclude_properties=["held", "updated_at"])

_SUMMARY = """
    SELECT d.id, d.name, d.slug, u.username AS owner, d.description, d.labels, d.created_at,
           coalesce(v.versions, 0) AS versions, v.latest_version, v.latest_at
    FROM datasets d JOIN users u ON u.id = d.created_by
    LEFT JOIN LATERAL (
        SELECT count(*) AS versions, max(version_number) AS latest_version, max(created_at) AS latest_at
        FROM dataset_versions WHERE dataset_id = d.id AND purged_at IS NULL) v ON true
    WHERE d.deleted_at IS NULL
"""

_DELETED = """
    SELECT d.id, d.name, d.slug, u.username AS owner, d.deleted_at, d.deleted_at + make_interval(days => :days) AS restorable_until,
           (SELECT count(*) FROM dataset_versions WHERE dataset_id = d.id AND purged_at IS NULL) AS versions
    FROM datasets d JOIN users u ON u.id = d.created_by
    WHERE d.deleted_at + make_interval(days => :days) > now()
"""

_OWN = "(d.name = :name AND d.created_by = :viewer)"


class Datasets(SqlRepository[Dataset]):
    """Datasets as aggregates, and questions about many of them."""

    kind = Dataset
    noun = "dataset"

    def find(self, actor: Actor, name: str) -> DatasetRef | None:
        """The living dataset that the name means to this actor, among those that she may see: an own one of that name, else the one
        with that slug, and `#17` the one with that id."""
        row = self.tx.row(
            f"SELECT d.id, d.name, d.slug, d.created_by FROM datasets d WHERE d.deleted_at IS NULL AND {_meant(name)}",  # noqa: S608
            **_wanted(actor, name),
        )
        return None if row is None else _ref(row)

    def seen(self, actor: Actor, name: str) -> DatasetSummary | None:
        """The same as lists show it."""
        row = self.tx.row(f"{_SUMMARY} AND {_meant(name)}", **_wanted(actor, name))
        return None if row is None else _summary(row)

    def free_slug(self, name: str) -> str:
        """The slug for a new dataset of that name. Two creators may be told the same; the unique constraint decides."""
        taken = self.tx.rows(
            "SELECT slug FROM datasets WHERE slug = :name OR (starts_with(slug, :name || '~') AND slug ~ '~[0-9]+$')", name=name
        )
        used = {row["slug"] for row in taken}
        number = 1
        while (slug := name if number == 1 else f"{name}~{number}") in used:
            number += 1
        return slug

    def lock(self, dataset_id: DatasetId) -> bool | None:
        """Makes commits to one dataset wait for each other and for its deletion; None when it is deleted, else whether it is held.

        NO KEY UPDATE, so that rows which only refer to the dataset can still be written.
        """
        row = self.tx.row("SELECT held FROM datasets WHERE id = :id AND deleted_at IS NULL FOR NO KEY UPDATE", id=dataset_id)
        return None if row is None else bool(row["held"])

    def page(self, actor: Actor, wanted: Filter, *, after: str, limit: int) -> Sequence[DatasetSummary]:
        """Summaries of those that the actor may see, in slug order, those after the slug `after`."""
        rows = self.tx.rows(
            f"{_SUMMARY} AND d.id = ANY(ARRAY(SELECT d.id {_listed(actor, wanted)} AND d.slug > :after ORDER BY d.slug LIMIT :limit)) "
            "ORDER BY d.slug",
            after=after,
            limit=limit,
            **_filters(actor, wanted),
        )
        return [_summary(row) for row in rows]

    def count(self, actor: Actor, wanted: Filter) -> int:
        """How many `page` gives in all."""
        return int(self.tx.scalar(f"SELECT count(*) {_listed(actor, wanted)}", **_filters(actor, wanted)))

    def touch(self, dataset_id: DatasetId) -> None:
        """Its name, description or labels change now."""
        self.tx.execute("UPDATE datasets SET updated_at = now() WHERE id = :id", id=dataset_id)

    # --- deleted ones ----------------------------------------------------------------------------------------------------------

    def delete(self, dataset_id: DatasetId) -> DeletedDataset | None:
        """Hides the dataset from now on; None when somebody else did.

        FOR UPDATE waits for every commit, and for whoever writes a row that refers to the dataset.
        """
        if self.tx.row("SELECT 1 FROM datasets WHERE id = :id AND deleted_at IS NULL FOR UPDATE", id=dataset_id) is None:
            return None
        self.tx.execute("UPDATE datasets SET deleted_at = clock_timestamp() WHERE id = :id", id=dataset_id)
        row = self.tx.row(_DELETED + "AND d.id = :id", id=dataset_id, days=RESTORABLE_DAYS)
        return None if row is None else DeletedDataset(**row)

    def restorable(self, actor: Actor) -> Sequence[DeletedDataset]:
        """Deleted datasets that can be restored, and that the actor administers, the last deleted first."""
        rows = self.tx.rows(
            f"{_DELETED} AND {among_seen(actor, PermissionType.ADMIN)} ORDER BY d.deleted_at DESC, d.id",
            days=RESTORABLE_DAYS,
            **seen_by(actor, PermissionType.ADMIN),
        )
        return [DeletedDataset(**row) for row in rows]

    def find_deleted(self, actor: Actor, name: str) -> DatasetRef | None:
        """The deleted dataset that the name means to this actor, among those that she may see: an own one before another's, its slug
        before its name, the last deleted before earlier ones; and `#17` the one with that id."""
        meant = "d.id = :id" if name.startswith("#") else f"({_OWN} OR d.slug = :name)"
        order = "" if name.startswith("#") else "ORDER BY d.created_by = :viewer DESC, d.slug = :name DESC, d.deleted_at DESC LIMIT 1"
        row = self.tx.row(
            "SELECT d.id, d.name, d.slug, d.created_by FROM datasets d "  # noqa: S608 - constants
            f"WHERE d.deleted_at + make_interval(days => :days) > now() AND {meant} AND {SEEN} {order}",
            days=RESTORABLE_DAYS,
            **_wanted(actor, name),
        )
        return None if row is None else _ref(row)

    def restore(self, dataset_id: DatasetId, name: str) -> bool:
        """Shows the dataset again, under this name; False when it was restored already, or its time is over.

        The lock is taken first and the clock read after it: a transaction that waited for the reaper must not believe the time at
        which it began.
        """
        self.tx.row("SELECT 1 FROM datasets WHERE id = :id FOR UPDATE", id=dataset_id)
        return (
            self.tx.execute(
                "UPDATE datasets SET deleted_at = NULL, name = :name "
                "WHERE id = :id AND deleted_at + make_interval(days => :days) > clock_timestamp()",
                id=dataset_id,
                name=name,
                days=RESTORABLE_DAYS,
            )
            == 1
        )

    def expired(self) -> Sequence[DatasetRef]:
        """Deleted datasets that can no longer be restored, in the order of their deletion."""
        rows = self.tx.rows(
            "SELECT id, name, slug, created_by FROM datasets WHERE deleted_at + make_interval(days => :days) <= now() "
            "ORDER BY deleted_at, id",
            days=RESTORABLE_DAYS,
        )
        return [_ref(row) for row in rows]

    def unknown(self, slugs: Collection[str]) -> Sequence[str]:
        """Those of the slugs that no row has."""
        rows = self.tx.rows(
            "SELECT s.slug FROM unnest(CAST(:slugs AS text[])) s(slug) LEFT JOIN datasets d ON d.slug = s.slug WHERE d.id IS NULL",
            slugs=list(slugs),
        )
        return [row["slug"] for row in rows]

    def lock_expired(self, dataset_id: DatasetId) -> bool:
        """Keeps others away from what is left of a dataset; False unless it was deleted and can no longer be restored."""
        row = self.tx.row(
            "SELECT 1 FROM datasets WHERE id = :id AND deleted_at + make_interval(days => :days) <= now() FOR UPDATE",
            id=dataset_id,
            days=RESTORABLE_DAYS,
        )
        return row is not None

    def forget(self, dataset_id: DatasetId) -> None:
        """Takes the dataset's row away. Nothing refers to it any more."""
        self.tx.execute("DELETE FROM datasets WHERE id = :id", id=dataset_id)


def _ref(row: Row) -> DatasetRef:
    return DatasetRef(DatasetId(row["id"]), row["name"], row["slug"], row["created_by"])


def _escaped(pattern: str) -> str:
    return pattern.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")


def _listed(actor: Actor, wanted: Filter) -> str:
    """Only the conditions that are asked for: without them the names of an index say all."""
    conditions = ["d.deleted_at IS NULL", among_seen(actor, wanted.right)]
    if wanted.search is not None:
        conditions.append("(d.name ILIKE :pattern OR d.description ILIKE :pattern)")
    if wanted.label is not None:
        conditions.append("EXISTS (SELECT 1 FROM unnest(d.labels) l WHERE lower(l) = lower(:label))")
    if wanted.owner is not None:
        conditions.append("d.created_by = (SELECT id FROM users WHERE username = :owner)")
    return "FROM datasets d WHERE " + " AND ".join(conditions)


def _filters(actor: Actor, wanted: Filter) -> dict[str, object]:
    pattern = None if wanted.search is None else f"%{_escaped(wanted.search)}%"
    return {"pattern": pattern, "label": wanted.label, "owner": wanted.owner, **seen_by(actor, wanted.right)}


def _meant(name: str) -> str:
    if name.startswith("#"):
        return f"d.id = :id AND {SEEN}"
    return f"({_OWN} OR d.slug = :name) AND {SEEN} ORDER BY {_OWN} DESC LIMIT 1"


def _wanted(actor: Actor, name: str) -> dict[str, object]:
    digits = name[1:]
    by_id = {"id": int(digits) if digits.isascii() and digits.isdecimal() and len(digits) < 19 else None}
    return {**(by_id if name.startswith("#") else {"name": name}), **seen_by(actor)}


def _summary(row: Row) -> DatasetSummary:
    return DatasetSummary(**{**row, "labels": tuple(row["labels"])})
