"""Permission checks, made in the transaction of the work they allow; granting rights, and saying who holds them."""

from collections.abc import Collection, Sequence
from dataclasses import replace
from datetime import UTC, datetime

from dsplatform.core.access import checks_permission, internal, open_to_all, requires_permission
from dsplatform.core.database import ConstraintViolated, Database, Transaction
from dsplatform.core.domain import Actor, AuditEntry
from dsplatform.core.errors import Conflict, Invalid, NotFound
from dsplatform.core.interfaces import AccessControl
from dsplatform.core.types import DatasetId, FileId, PermissionType, PlatformRight, principal_name
from dsplatform.core.values import DatasetRef
from dsplatform.permissions.grant_rows import Grants
from dsplatform.permissions.model import (
    FileUnseen,
    Grant,
    Grantee,
    GranteeMissing,
    GrantMissing,
    Holder,
    Holding,
    LastAdmin,
    MissingRight,
    ObjectType,
    Standing,
    allows,
)
from dsplatform.permissions.principals import known_as
from dsplatform.permissions.repository import AuditLog, Users

PAGE = 100


class PermissionService:
    """Answers who may do what, and grants rights. What is granted or taken back counts from the commit on, for the next check."""

    def __init__(self, db: Database) -> None:
        self._db = db

    @property
    def _access(self) -> AccessControl:
        return self

    @internal("the doors for people are in `accounts`")
    def create_user(self, username: str, role: str = "editor") -> Actor:
        """A new user without a password. Raises `Conflict` for a taken name, `NotFound` for an unknown role."""
        try:
            with self._db.transaction() as tx:
                if not Users(tx).add(principal_name(username), role):
                    raise NotFound(f"role {role!r} does not exist: use admin, editor or viewer")
                return self.actor(tx, username)
        except ConstraintViolated as err:
            raise Conflict(f"user {username!r} exists already") from err

    # --- granting --------------------------------------------------------------------------------------------------------------

    @checks_permission(PermissionType.ADMIN)
    def grant_permission(
        self, granter: Actor, user: Actor | Grantee, right: PermissionType, dataset_id: DatasetId, *, until: datetime | None = None
    ) -> Grant:
        """Gives a user, a group or everyone a right on a dataset, for good or until then; who grants needs `admin` on it.

        A grant of the same right that would end later, or has no end, stays as it is. Raises `GranteeMissing`, `Invalid` for an end that
        has passed.
        """
        grantee = Grantee("user", user.user_id, user.username) if isinstance(user, Actor) else user
        with self._db.transaction() as tx:
            self.require(tx, granter, PermissionType.ADMIN, dataset_id)
            return self._grant(tx, granter, grantee, right, "dataset", dataset_id, until)

    @checks_permission(PermissionType.ADMIN)
    def revoke_permission(self, actor: Actor, grantee: Grantee, right: PermissionType, dataset_id: DatasetId) -> Grant:
        """Takes back the grant of exactly that right to exactly that grantee, and answers with what it was. See `revoke_grant`."""
        with self._db.transaction() as tx:
            self.require(tx, actor, PermissionType.ADMIN, dataset_id)
            grant = Grants(tx).of(self._known(tx, grantee), "dataset", dataset_id, right)
            if grant is None:
                raise GrantMissing(f"{grantee.said} has no grant of '{right}' on this dataset: `dsplatform grants DATASET` lists them")
            return self._revoke(tx, actor, "dataset", dataset_id, grant.id)

    @requires_permission(PermissionType.ADMIN)
    def revoke_grant(self, tx: Transaction, actor: Actor, dataset: DatasetRef, grant_id: int) -> Grant:
        """Takes back one grant on the dataset, at once, and answers with what it was. Raises `GrantMissing`.

        The last grant of `admin` without an end can be taken back by who has the role `admin` alone, or nobody else could administer the
        dataset: `LastAdmin`.
        """
        return self._revoke(tx, actor, "dataset", dataset.id, grant_id)

    @requires_permission(PermissionType.ADMIN)
    def grants(self, tx: Transaction, _actor: Actor, dataset: DatasetRef, *, after: int = 0, limit: int = PAGE) -> Sequence[Grant]:
        """The grants on the dataset in their order, those after the number `after`; those that have ended included."""
        return Grants(tx).page("dataset", dataset.id, after=after, limit=limit)

    @requires_permission(PermissionType.ADMIN)
    def set_permission(self, tx: Transaction, actor: Actor, dataset: DatasetRef, grantee: Grantee, right: PermissionType) -> Grant:
        """Gives exactly this right, for good, in the place of whatever was granted to her on the dataset before, as one change. Raises
        `GranteeMissing`, and `LastAdmin` as `revoke_grant` does."""
        known = self._known(tx, grantee)
        made = self._grant(tx, actor, known, right, "dataset", dataset.id, None)
        for other in PermissionType:
            before = Grants(tx).of(known, "dataset", dataset.id, other)
            if before is not None and before.id != made.id:
                self._revoke(tx, actor, "dataset", dataset.id, before.id)
        return made

    # --- files -----------------------------------------------------------------------------------------------------------------

    @checks_permission(PermissionType.ADMIN)
    def grant_file(
        self, granter: Actor, grantee: Grantee, right: PermissionType, file_id: FileId, *, until: datetime | None = None
    ) -> Grant:
        """Gives somebody a right on a file by itself; takes `admin` on the file, or on a dataset of which a living version names it.

        It keeps nothing from being deleted: the file goes when no version names it. Raises as `grant_permission`.
        """
        with self._db.transaction() as tx:
            self.require_file(tx, granter, PermissionType.ADMIN, file_id)
            return self._grant(tx, granter, grantee, right, "file", file_id, until)

    @checks_permission(PermissionType.ADMIN)
    def revoke_file_grant(self, actor: Actor, file_id: FileId, grant_id: int) -> Grant:
        """Takes back one grant on the file, at once. Raises `GrantMissing`."""
        with self._db.transaction() as tx:
            self.require_file(tx, actor, PermissionType.ADMIN, file_id)
            return self._revoke(tx, actor, "file", file_id, grant_id)

    @checks_permission(PermissionType.ADMIN)
    def file_grants(self, actor: Actor, file_id: FileId, *, after: int = 0, limit: int = PAGE) -> Sequence[Grant]:
        """The grants on the file by itself, in their order, those after the number `after`; takes what `grant_file` takes."""
        with self._db.autocommit() as tx:
            self.require_file(tx, actor, PermissionType.ADMIN, file_id)
            return Grants(tx).page("file", file_id, after=after, limit=limit)

    # --- who may what ----------------------------------------------------------------------------------------------------------

    @open_to_all("it answers about the caller alone")
    def check_permission(self, actor: Actor, right: PermissionType, dataset_id: DatasetId) -> bool:
        """Whether the actor holds the right on the dataset."""
        with self._db.autocommit() as tx:
            return self._allowed(tx, actor, right, dataset_id)

    @checks_permission(PermissionType.READ)
    def can(self, actor: Actor, dataset: DatasetRef, right: PermissionType, username: str | None = None) -> Standing:
        """Whether somebody holds the right on the dataset, and by what. Who asks about herself (None) needs `read`, and is answered as far
        as her credential goes; to ask about others takes `admin`. Who does not exist or is not active holds nothing."""
        name = known_as(username) if username else actor.username
        own = name == actor.username
        with self._db.autocommit() as tx:
            self.require(tx, actor, PermissionType.READ if own else PermissionType.ADMIN, dataset.id)
            found = Grants(tx).holders("dataset", dataset.id, right, only=name)
            ways = found[0].ways if found else ()
            allowed = self._allowed(tx, actor, right, dataset.id) if own else bool(ways)
        return Standing(name, right, "dataset", dataset.slug, allowed, ways)

    @checks_permission(PermissionType.READ)
    def can_file(self, actor: Actor, file_id: FileId, right: PermissionType, username: str | None = None) -> Standing:
        """Whether somebody holds the right on the file, by itself or by a dataset; otherwise as `can`. Raises `FileUnseen`."""
        name = known_as(username) if username else actor.username
        own = name == actor.username
        with self._db.autocommit() as tx:
            self.require_file(tx, actor, PermissionType.READ if own else PermissionType.ADMIN, file_id)
            found = Grants(tx).holders("file", file_id, right, only=name)
            who = actor if own else Users(tx).actor(name)
            allowed = who is not None and self._file_allowed(tx, who, right, file_id)
        return Standing(name, right, "file", str(file_id), allowed, found[0].ways if found else ())

    @requires_permission(PermissionType.ADMIN)
    def who_can(
        self, tx: Transaction, _actor: Actor, dataset: DatasetRef, right: PermissionType, *, after: str = "", limit: int = PAGE
    ) -> Sequence[Holder]:
        """Every active user who holds the right, by name, those after the name `after`, each with all by which she holds it."""
        return Grants(tx).holders("dataset", dataset.id, right, after=after, limit=limit)

    @open_to_all("about herself; to ask about others takes the right `users`")
    def of_user(self, actor: Actor, username: str | None = None, *, after: int = 0, limit: int = PAGE) -> Sequence[Holding]:
        """What a user holds by grants that count now, in the order of their numbers, those after the number `after`. Of datasets only those
        that the caller may see. What her role gives is not a grant."""
        with self._db.autocommit() as tx:
            name = known_as(username) if username else actor.username
            if name != actor.username:
                self.require_right(actor, PlatformRight.USERS)
            return Grants(tx).of_user(actor, name, after=after, limit=limit)

    # --- asked by other modules ------------------------------------------------------------------------------------------------

    @internal("it says who acts, before anything is asked for")
    def actor(self, tx: Transaction, username: str) -> Actor:
        """The active user of that name. Raises `NotFound`."""
        actor = Users(tx).actor(known_as(username))
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
        """Raises `MissingRight` unless the actor holds the right on the file itself, or on a living dataset of which a version that was
        not deleted names it. Raises `FileUnseen` where she may not even read it."""
        if self._file_allowed(tx, actor, permission, file_id):
            return
        if permission is PermissionType.READ or not self._file_allowed(tx, actor, PermissionType.READ, file_id):
            raise FileUnseen(actor, file_id)
        raise MissingRight(actor, permission, "file", str(file_id), by_token=not actor.scope.right.includes(permission))

    @internal("the check itself")
    def files_seen(self, tx: Transaction, actor: Actor, file_ids: Collection[FileId]) -> frozenset[FileId]:
        """Those of the files that the actor may read because a version names them."""
        return frozenset(map(FileId, Grants(tx).files_named(actor, file_ids, PermissionType.READ)))

    @internal("part of making a dataset")
    def own(self, tx: Transaction, actor: Actor, dataset_id: DatasetId) -> None:
        """Gives the creator of a new dataset `admin` on it."""
        Grants(tx).add(Grantee("user", actor.user_id, actor.username), "dataset", dataset_id, PermissionType.ADMIN, actor.user_id)

    @internal("part of reaping a dataset")
    def disown(self, tx: Transaction, dataset_id: DatasetId) -> None:
        """Takes back every right on a dataset that is about to be no more."""
        Grants(tx).remove("dataset", dataset_id)

    # --- within a transaction --------------------------------------------------------------------------------------------------

    def _allowed(self, tx: Transaction, actor: Actor, permission: PermissionType, dataset_id: DatasetId) -> bool:
        held = () if actor.holds_everywhere(permission) else Grants(tx).held(actor.user_id, "dataset", dataset_id)
        return allows(actor, held, permission, dataset_id)

    def _file_allowed(self, tx: Transaction, actor: Actor, permission: PermissionType, file_id: FileId) -> bool:
        held = () if actor.holds_everywhere(permission) else Grants(tx).held(actor.user_id, "file", file_id)
        return allows(actor, held, permission, None) or Grants(tx).named_by_dataset(actor, file_id, permission)

    def _known(self, tx: Transaction, grantee: Grantee) -> Grantee:
        """With its id. Raises `GranteeMissing`."""
        if grantee.kind == "everyone" or grantee.id is not None:
            return grantee
        name = known_as(grantee.name)
        found = Grants(tx).grantee(grantee.kind, name)
        if found is None:
            raise GranteeMissing(f"{grantee.said} does not exist: check the name")
        return replace(grantee, id=found, name=name)

    def _grant(
        self,
        tx: Transaction,
        granter: Actor,
        grantee: Grantee,
        right: PermissionType,
        object_type: ObjectType,
        object_id: int,
        until: datetime | None,
    ) -> Grant:
        if until is not None and (until.tzinfo is None or until <= datetime.now(UTC)):
            raise Invalid(f"{until:%Y-%m-%d %H:%M} is no end for a grant: name a moment to come, with its time zone")
        grants, known = Grants(tx), self._known(tx, grantee)
        if not grants.hold(object_type, object_id):
            raise NotFound(f"this {object_type} was deleted: nothing can be granted on it")
        old = grants.of(known, object_type, object_id, right)
        grants.add(known, object_type, object_id, right, granter.user_id, until)
        made = grants.of(known, object_type, object_id, right)
        if made is None:
            raise AssertionError("what this transaction wrote cannot be missing in it")
        tx.note(_entry("permission.grant", granter, object_type, object_id, old, made))
        return made

    def _revoke(self, tx: Transaction, actor: Actor, object_type: ObjectType, object_id: int, grant_id: int) -> Grant:
        grants = Grants(tx)
        lasting = grants.lasting_admins(object_id) if object_type == "dataset" else ()
        grant = grants.get(object_type, object_id, grant_id)
        if grant is None:
            raise GrantMissing(f"there is no grant {grant_id} on this {object_type}: it may have been taken back before")
        if list(lasting) == [grant.id] and not actor.is_admin:
            raise LastAdmin(
                "this is the last grant of 'admin' without an end on this dataset, and nobody could administer it any more: grant 'admin' "
                "to somebody else first, or ask an admin of the platform"
            )
        if not grants.take_back(grant.id):
            raise GrantMissing(f"grant {grant_id} on this {object_type} was taken back by somebody else just now")
        tx.note(_entry("permission.revoke", actor, object_type, object_id, grant, None))
        return grant


def _entry(action: str, actor: Actor, object_type: ObjectType, object_id: int, old: Grant | None, new: Grant | None) -> AuditEntry:
    before, after = (
        None
        if grant is None
        else {
            "grant": grant.id,
            "to": f"{grant.grantee.kind} {grant.grantee.name}" if grant.grantee.id is not None else "everyone",
            "right": str(grant.right),
            "until": grant.expires_at and grant.expires_at.isoformat(),
        }
        for grant in (old, new)
    )
    return AuditEntry(action, object_type, str(object_id), actor, before, after)


def keep(tx: Transaction, entries: list[AuditEntry]) -> None:
    """Has the audit log keep the entries, in this transaction."""
    AuditLog(tx).store(entries)
