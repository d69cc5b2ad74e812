"""Permission checks, made in the transaction of the work they allow."""

from datetime import datetime

from dsplatform.core.access import checks_permission, internal, open_to_all
from dsplatform.core.database import ConstraintViolated, Database, Transaction
from dsplatform.core.domain import Actor, AuditEntry
from dsplatform.core.errors import Conflict, NotFound
from dsplatform.core.types import DatasetId, FileId, PermissionType, PlatformRight
from dsplatform.permissions.model import Grantee, MissingRight, allows
from dsplatform.permissions.repository import AuditLog, Grants, Users


class PermissionService:
    """Answers who may do what, and grants rights."""

    def __init__(self, db: Database) -> None:
        self._db = db

    @internal("the doors for people are in `accounts`")
    def create_user(self, username: str, role: str = "editor") -> Actor:
        """A new user without a password. Raises `Conflict` for a taken name, `NotFound` for an unknown role."""
        try:
            with self._db.transaction() as tx:
                if not Users(tx).add(username, role):
                    raise NotFound(f"role {role!r} does not exist: use admin, editor or viewer")
                return self.actor(tx, username)
        except ConstraintViolated as err:
            raise Conflict(f"user {username!r} exists already") from err

    @checks_permission(PermissionType.ADMIN)
    def grant_permission(
        self, granter: Actor, user: Actor | Grantee, right: PermissionType, dataset_id: DatasetId, *, until: datetime | None = None
    ) -> None:
        """Gives somebody a right on a dataset; who grants needs `admin` on it."""
        grantee = Grantee("user", user.user_id, user.username) if isinstance(user, Actor) else user
        with self._db.transaction() as tx:
            self.require(tx, granter, PermissionType.ADMIN, dataset_id)
            Grants(tx).add(grantee, "dataset", dataset_id, right, granter.user_id, until)
            tx.note(
                AuditEntry(
                    "permission.grant",
                    "dataset",
                    str(dataset_id),
                    granter,
                    after={"to": f"{grantee.kind} {grantee.name}", "right": str(right), "until": until and until.isoformat()},
                )
            )

    @open_to_all("it answers about the caller alone")
    def check_permission(self, actor: Actor, right: PermissionType, dataset_id: DatasetId) -> bool:
        """Whether the actor holds the right on the dataset."""
        with self._db.autocommit() as tx:
            return self._allowed(tx, actor, right, dataset_id)

    # --- asked by other modules ------------------------------------------------------------------------------------------------

    @internal("it says who acts, before anything is asked for")
    def actor(self, tx: Transaction, username: str) -> Actor:
        """The active user of that name. Raises `NotFound`."""
        actor = Users(tx).actor(username)
        if actor is None:
            raise NotFound(f"user {username!r} does not exist or is not active: check DSPLATFORM_USER and DSPLATFORM_DROP_USER")
        return actor

    @internal("the check itself")
    def require(self, tx: Transaction, actor: Actor, permission: PermissionType, dataset_id: DatasetId) -> None:
        """Raises `MissingRight` unless the actor holds the right on the dataset."""
        if not self._allowed(tx, actor, permission, dataset_id):
            raise MissingRight(actor, permission, "dataset", str(dataset_id), by_token=not actor.reaches(permission, dataset_id))

    @internal("the check itself")
    def require_right(self, actor: Actor, right: PlatformRight) -> None:
        """Raises `MissingRight` unless the actor's role gives the right, and her credential may use it."""
        if not actor.may(right):
            raise MissingRight(actor, right, "platform", "", by_token=actor.is_admin or right in actor.rights)

    @internal("the check itself")
    def require_file(self, tx: Transaction, actor: Actor, permission: PermissionType, file_id: FileId) -> None:
        """Raises `MissingRight` unless the actor holds the right on the file itself, or, for `read`, on a dataset of which a version
        names it."""
        held = () if actor.holds_everywhere(permission) else Grants(tx).held(actor.user_id, "file", file_id)
        if allows(actor, held, permission, None):
            return
        if permission is PermissionType.READ and Grants(tx).sees_file(actor, file_id):
            return
        raise MissingRight(actor, permission, "file", str(file_id), by_token=not actor.scope.right.includes(permission))

    @internal("part of making a dataset")
    def own(self, tx: Transaction, actor: Actor, dataset_id: DatasetId) -> None:
        """Gives the creator of a new dataset `admin` on it."""
        Grants(tx).add(Grantee("user", actor.user_id, actor.username), "dataset", dataset_id, PermissionType.ADMIN, actor.user_id)

    @internal("part of reaping a dataset")
    def disown(self, tx: Transaction, dataset_id: DatasetId) -> None:
        """Takes back every right on a dataset that is about to be no more."""
        Grants(tx).remove("dataset", dataset_id)

    def _allowed(self, tx: Transaction, actor: Actor, permission: PermissionType, dataset_id: DatasetId) -> bool:
        held = () if actor.holds_everywhere(permission) else Grants(tx).held(actor.user_id, "dataset", dataset_id)
        return allows(actor, held, permission, dataset_id)


def keep(tx: Transaction, entries: list[AuditEntry]) -> None:
    """Has the audit log keep the entries, in this transaction."""
    AuditLog(tx).store(entries)
