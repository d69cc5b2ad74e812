"""Which store belongs to this database, and when nothing may be deleted there.

The one mistake that no grace period repairs is to judge the objects of one store by the rows of another database. So a database is
bound to the first store that collection sees, by the identity that the store keeps with its objects.
"""

from datetime import datetime, timedelta

from dsplatform.core.database import Database, Transaction
from dsplatform.core.errors import Conflict
from dsplatform.files.stores import StorageBackend

CLOCKS_MAY_DIFFER = timedelta(minutes=5)
SAMPLE = 20


class CollectionRefused(Conflict):
    """Nothing was deleted, because it cannot be told what may be."""

    code = "collection_refused"


class Binding:
    """Guards of everything that deletes objects."""

    def __init__(self, db: Database, storage: StorageBackend) -> None:
        self._db = db
        self._storage = storage

    def require(self, *, bind: bool = True) -> None:
        """Raises `CollectionRefused` unless this is the database's own store, the primary, and not freshly restored. A database that
        has no store yet gets this one, where `bind` says so."""
        identity = self._storage.store_id()
        with self._db.transaction() as tx:
            if tx.scalar("SELECT pg_is_in_recovery()"):
                raise CollectionRefused("the database is a replica, which may lag: collect at the primary")
            bound = tx.row("SELECT store_id, restored_at FROM store_binding")
        if bound is None:
            self._fits(identity)
            if bind:
                self._bind(identity)
        elif bound["store_id"] != identity:
            raise CollectionRefused(
                f"this is store {identity}, and the database belongs to store {bound['store_id']}: check DSPLATFORM_STORAGE_URL and "
                "DSPLATFORM_DATABASE_URL"
            )
        elif bound["restored_at"] is not None:
            raise CollectionRefused(
                f"the database was restored at {bound['restored_at']:%Y-%m-%d %H:%M} UTC: check that every file has its object "
                "(`dsplatform verify`), then allow deleting with `dsplatform gc --clear-restore-flag`"
            )

    def _fits(self, identity: str) -> None:
        """A database that has files takes only a store that has some of their objects."""
        with self._db.transaction() as tx:
            keys = [row["file_path"] for row in tx.rows("SELECT file_path FROM files ORDER BY id DESC LIMIT :limit", limit=SAMPLE)]
        if keys and all(self._storage.size(key) is None for key in keys):
            raise CollectionRefused(
                f"store {identity} has none of the {len(keys)} objects that were asked for: it is not this database's store; "
                "check DSPLATFORM_STORAGE_URL"
            )

    def _bind(self, identity: str) -> None:
        with self._db.transaction() as tx:
            tx.execute("INSERT INTO store_binding (store_id) VALUES (:id) ON CONFLICT (singleton) DO NOTHING", id=identity)

    def require_for_sweep(self) -> datetime:
        """What a sweep asks beyond `require`; answers with the store's time."""
        with self._db.transaction() as tx:
            lost = tx.scalar("SELECT EXISTS (SELECT 1 FROM files) AND NOT EXISTS (SELECT 1 FROM dataset_versions)")
            ours: datetime = tx.scalar("SELECT clock_timestamp()")
        theirs = self._storage.now()
        if lost:
            raise CollectionRefused("the database has files and not one version: it looks like a damaged copy, so nothing is swept")
        if abs(theirs - ours) > CLOCKS_MAY_DIFFER:
            raise CollectionRefused(
                f"the clocks of store ({theirs:%Y-%m-%d %H:%M:%S}) and database ({ours:%Y-%m-%d %H:%M:%S}) differ by more than "
                f"{CLOCKS_MAY_DIFFER.seconds // 60} minutes, so no object's age is known: set the clocks"
            )
        return theirs

    def set_restored(self, tx: Transaction, identity: str) -> None:
        """Notes that the database was restored: nothing is deleted until `clear_restored`."""
        tx.execute(
            "INSERT INTO store_binding (store_id, restored_at) VALUES (:id, now()) "
            "ON CONFLICT (singleton) DO UPDATE SET restored_at = excluded.restored_at",
            id=identity,
        )

    def clear_restored(self, tx: Transaction) -> bool:
        """Allows deleting again; False when it was allowed."""
        return tx.execute("UPDATE store_binding SET restored_at = NULL WHERE restored_at IS NOT NULL") == 1
