"""Permission checks, made in the transaction of the work they allow."""

from dsplatform.core.database import ConstraintViolated, Database, Transaction
from dsplatform.core.domain import Actor
from dsplatform.core.errors import Conflict, NotFound
from dsplatform.core.types import DatasetId, PermissionType
from dsplatform.permissions.model import MissingRight, allows
from dsplatform.permissions.repository import Grants, Users


class PermissionService:
    """Answers who may do what, and grants rights."""

    def __init__(self, db: Database) -> None:
        self._db = db

    def create_user(self, username: str, role: str = "editor") -> Actor:
        """A new user without a password. Raises `Conflict` for a taken name, `NotFound` for an unknown role."""
        try:
            with self._db.transaction() as tx:
                if not Users(tx).add(username, role):
                    raise NotFound(f"role {role!r} does not exist: use admin, editor or viewer")
                return self.actor(tx, username)
        except ConstraintViolated as err:
            raise Conflict(f"user {username!r} exists already") from err

    def grant_permission(self, granter: Actor, user: Actor, right: PermissionType, dataset_id: DatasetId) -> None:
        """Gives a user a right on a dataset; who grants needs `admin` on it."""
        with self._db.transaction() as tx:
            self.require(tx, granter, PermissionType.ADMIN, dataset_id)
            Grants(tx).add(user.user_id, "dataset", dataset_id, right, granter.user_id)

    def check_permission(self, actor: Actor, right: PermissionType, dataset_id: DatasetId) -> bool:
        """Whether the actor holds the right on the dataset."""
        with self._db.transaction() as tx:
            return allows(actor, Grants(tx).held(actor.user_id, "dataset", dataset_id), right)

    def actor(self, tx: Transaction, username: str) -> Actor:
        """The active user of that name. Raises `NotFound`."""
        actor = Users(tx).actor(username)
        if actor is None:
            raise NotFound(f"user {username!r} does not exist or is not active: check DSPLATFORM_USER and DSPLATFORM_DROP_USER")
        return actor

    def require(self, tx: Transaction, actor: Actor, permission: PermissionType, dataset_id: DatasetId) -> None:
        """Raises `MissingRight` unless the actor holds the right on the dataset."""
        if actor.is_admin:
            return
        if not allows(actor, Grants(tx).held(actor.user_id, "dataset", dataset_id), permission):
            raise MissingRight(actor, permission, f"dataset {dataset_id}")

    def own(self, tx: Transaction, actor: Actor, dataset_id: DatasetId) -> None:
        """Gives the creator of a new dataset `admin` on it."""
        Grants(tx).add(actor.user_id, "dataset", dataset_id, PermissionType.ADMIN, actor.user_id)

    def disown(self, tx: Transaction, dataset_id: DatasetId) -> None:
        """Takes back every right on a dataset that is about to be no more."""
        Grants(tx).remove("dataset", dataset_id)
