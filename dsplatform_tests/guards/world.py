"""A small world in which everything can be asked for: a dataset with all that belongs to one, and people who may do more or less."""

from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

from dsplatform.bootstrap import Platform
from dsplatform.core.database import Database, Transaction
from dsplatform.core.domain import Actor
from dsplatform.core.types import FileId, PermissionType, PlatformRight, VersionId
from dsplatform.core.values import Committed, DatasetRef
from dsplatform.permissions.model import Grantee
from dsplatform.versioning.model import Demand
from dsplatform.versioning.retention import Rule
from dsplatform_tests import make

CANARY = "canary-7f3a"
"""What no refusal may tell: it is in names and contents of what is refused, and in nothing that is asked."""


@dataclass
class World:
    """`sales` is Ann's, and so are the others; `other` is what a token may be limited to. Eve may do nothing, Rita may read, Will write."""

    platform: Platform
    folder: Path
    ann: Actor
    eve: Actor
    rita: Actor
    will: Actor
    sales: DatasetRef
    other: DatasetRef
    versions: list[Committed] = field(default_factory=list)
    side: VersionId = VersionId(0)
    kept: VersionId = VersionId(0)
    """In quarantine, ahead of `main`."""
    kept_apart: VersionId = VersionId(0)
    """In quarantine, and `main` went on without it."""
    file_id: FileId = FileId(0)
    """Of `sales` alone."""
    grant: int = 0
    """Rita's, on `sales`."""
    file_grant: int = 0
    token: int = 0
    """Ann's."""
    finding: int = 0
    """About a row of a legacy system."""

    def who(self, name: str) -> Actor:
        """A user of this world."""
        with self.platform.db.autocommit() as tx:
            return self.platform.permissions.actor(tx, name)


def built(platform: Platform, folder: Path) -> World:
    """A new world."""
    with platform.db.transaction() as tx:
        _roles(tx)
    ann, eve, rita, will = (
        platform.permissions.create_user(name, role)
        for name, role in (("ann", "editor"), ("eve", "viewer"), ("rita", "viewer"), ("will", "viewer"))
    )
    sales, other, gone, old = (
        platform.datasets.create_dataset(ann, name, description=CANARY) for name in ("sales", "other", "gone", "old")
    )
    world = World(platform, folder, ann, eve, rita, will, sales, other)
    for dataset in (sales, gone):
        platform.permissions.grant_permission(ann, rita, PermissionType.READ, dataset.id)
        platform.permissions.grant_permission(ann, will, PermissionType.WRITE, dataset.id)
    _history(world)
    _decisions(world)
    for name in ("gone", "old"):
        platform.datasets.delete_dataset(ann, name)
    with platform.db.transaction() as tx:
        tx.execute("UPDATE datasets SET deleted_at = now() - :age WHERE id = :id", age=timedelta(days=31), id=old.id)
        world.grant = _one(tx, "SELECT id FROM permissions WHERE resource_id = :id AND user_id = :user", id=sales.id, user=rita.user_id)
        _principals(tx, rita)
    world.token = platform.accounts.create_token(ann, CANARY).id
    platform.deliver()
    return world


def _history(world: World) -> None:
    """Three versions on `main`, one on a side branch, one in quarantine, and one that a rule lets go."""
    platform, ann, sales = world.platform, world.ann, world.sales
    for number in range(3):
        text = f"id,name\n{number},{CANARY}\n".encode()
        world.versions.append(make.commit(platform, sales, {f"{CANARY}.csv": text}, actor=ann, message=CANARY))
        if number == 1:
            world.kept_apart = make.commit(platform, sales, {"apart.csv": b"id\n1\n"}, actor=ann, branch="quarantine/2").version_id
    platform.branches.create_branch(ann, sales, "side", "1")
    platform.branches.create_branch(ann, sales, "held", "1")
    platform.branches.create_branch(ann, sales, "old", "1")
    platform.branches.create_tag(ann, sales, "v1", "1")
    world.side = make.commit(platform, sales, {"side.csv": b"id\n1\n"}, actor=ann, branch="side").version_id
    world.kept = make.commit(platform, sales, {"kept.csv": b"id\n1\n"}, actor=ann, branch="quarantine/1").version_id
    for number in range(2):
        make.commit(platform, world.other, {"a.csv": b"%d" % number}, actor=ann)
    for version in (*world.versions[1:],):
        platform.schemas.capture_version_schema(version.version_id)


def _decisions(world: World) -> None:
    platform, ann, sales = world.platform, world.ann, world.sales
    platform.deletion.set_retention(ann, "other", Rule(1, None))
    platform.protection.protect(ann, sales, "held", Demand.ADMIN)
    _, components = platform.versions.get_version(ann, sales)
    world.file_id = components[0].file_id
    world.file_grant = platform.permissions.grant_file(ann, Grantee("user", None, "will"), PermissionType.READ, world.file_id).id
    with platform.db.transaction() as tx:
        for branch, version in (("quarantine/1", world.kept), ("quarantine/2", world.kept_apart)):
            tx.execute(
                "INSERT INTO quarantined_versions (version_id, dataset_id, branch, target_branch, report) "
                "VALUES (:version, :dataset, :branch, 'main', CAST(:report AS jsonb))",
                version=version,
                dataset=sales.id,
                branch=branch,
                report=f'["{CANARY}"]',
            )
        world.finding = _one(
            tx,
            "INSERT INTO legacy_quarantine (run_id, entity, legacy_id, reason, detail, raw) "
            "VALUES (gen_random_uuid(), 'users', '1', 'bad_password_hash', '{}', CAST(:raw AS jsonb)) RETURNING id",
            raw=f'{{"soeid": "{CANARY}"}}',
        )


def _roles(tx: Transaction) -> None:
    """For each right a user with a role that gives it alone, and one with a role that gives all others."""
    for right in PlatformRight:
        others = [str(other) for other in PlatformRight if other is not right and not str(other).endswith("_all")]
        for name, rights in ((f"only-{right}", [str(right)]), (f"all-but-{right}", others)):
            tx.execute("INSERT INTO roles (role_name, rights) VALUES (:name, CAST(:rights AS text[]))", name=name, rights=rights)
            tx.execute("INSERT INTO users (username, role_id) SELECT role_name, id FROM roles WHERE role_name = :name", name=name)
    tx.execute("INSERT INTO roles (role_name) VALUES ('spare')")


def _principals(tx: Transaction, rita: Actor) -> None:
    tx.execute("INSERT INTO users (username, role_id, is_service) SELECT 'robot', id, true FROM roles WHERE role_name = 'viewer'")
    tx.execute("INSERT INTO groups (group_name) VALUES ('crew')")
    tx.execute("INSERT INTO group_members (group_id, user_id) SELECT id, :user FROM groups", user=rita.user_id)


def _one(tx: Transaction, sql: str, **params: object) -> int:
    return int(tx.scalar(sql, **params))


# --- what is there -------------------------------------------------------------------------------------------------------------

LOG = ("audit_log", "audit_seals")
PASSING = (*LOG, "upload_intents", "tombstones", "gc_queue", "objects")
"""What is left to the collector when an upload has failed, besides."""


def dump(world: World, *, without: tuple[str, ...] = LOG) -> dict[str, object]:
    """Everything that is stored: a digest of each table, the keys of all objects, temporary files."""
    with world.platform.db.transaction() as tx:
        tables = [name for (name,) in tx.tuples(_TABLES) if name not in without]
        found: dict[str, object] = dict(tx.tuples(" UNION ALL ".join(make.digest(name, "t::text") for name in tables)))
    found |= {"objects": make.objects(world.platform), "spool": make.spooled(world.platform)}
    return {name: what for name, what in found.items() if name not in without}


_TABLES = "SELECT table_name FROM information_schema.tables WHERE table_schema = 'public' AND table_type = 'BASE TABLE'"


def last(db: Database) -> int:
    """The id of the latest row of the audit log."""
    return int(make.column(db, "SELECT coalesce(max(id), 0) FROM audit_log")[0])


def noted(db: Database, since: int) -> list[tuple[str, str, int | None]]:
    """(result, action, actor) of what was noted since then."""
    with db.transaction() as tx:
        return [tuple(row) for row in tx.tuples("SELECT result, action, actor_id FROM audit_log WHERE id > :id ORDER BY id", id=since)]
