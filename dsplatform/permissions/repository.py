"""Tables and questions about users, roles, grants, tokens and the audit log."""

import json
from collections.abc import Sequence

from sqlalchemy import (
    ARRAY,
    CHAR,
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    DateTime,
    ForeignKey,
    ForeignKeyConstraint,
    Identity,
    Index,
    Table,
    Text,
    func,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB, UUID

from dsplatform.core.database import Row, Transaction, metadata
from dsplatform.core.domain import Actor, AuditEntry, Origin, Scope
from dsplatform.core.types import PlatformRight

FULL, UNKNOWN = Scope(), Origin()

roles = Table(
    "roles",
    metadata,
    Column("id", BigInteger, Identity(), primary_key=True),
    Column("role_name", Text, nullable=False, unique=True),
    Column("description", Text, nullable=False, server_default=""),
    Column("rights", ARRAY(Text), nullable=False, server_default="{}"),
)

users = Table(
    "users",
    metadata,
    Column("id", BigInteger, Identity(), primary_key=True),
    Column("username", Text, nullable=False, unique=True),
    Column("password_hash", Text),  # null: no password login (service accounts, the built-in system user)
    Column("role_id", ForeignKey("roles.id"), nullable=False),
    Column("is_active", Boolean, nullable=False, server_default="true"),
    Column("is_service", Boolean, nullable=False, server_default="false"),
    Column("created_at", DateTime(timezone=True), nullable=False, server_default=func.now()),
    Index("ix_users_bcrypt", "password_hash", postgresql_where=text("password_hash LIKE '$2%'")),  # passwords of a legacy system
)

groups = Table(
    "groups",
    metadata,
    Column("id", BigInteger, Identity(), primary_key=True),
    Column("group_name", Text, nullable=False, unique=True),
    Column("description", Text, nullable=False, server_default=""),
    Column("created_at", DateTime(timezone=True), nullable=False, server_default=func.now()),
)

group_members = Table(
    "group_members",
    metadata,
    Column("group_id", ForeignKey("groups.id", ondelete="CASCADE"), primary_key=True),
    Column("user_id", ForeignKey("users.id", ondelete="CASCADE"), primary_key=True),
    Column("added_at", DateTime(timezone=True), nullable=False, server_default=func.now()),
    Index(None, "user_id"),
)

permissions = Table(
    "permissions",
    metadata,
    Column("id", BigInteger, Identity(), primary_key=True),
    Column("resource_type", Text, nullable=False),
    Column("resource_id", BigInteger, nullable=False),
    Column("user_id", ForeignKey("users.id", ondelete="CASCADE")),
    Column("group_id", ForeignKey("groups.id", ondelete="CASCADE")),  # neither user nor group: everyone
    Column("permission_type", Text, nullable=False),
    Column("granted_by", ForeignKey("users.id")),
    Column("granted_at", DateTime(timezone=True), nullable=False, server_default=func.now()),
    Column("expires_at", DateTime(timezone=True)),
    CheckConstraint("resource_type IN ('dataset', 'file')", name="resource_type"),
    CheckConstraint("permission_type IN ('read', 'write', 'admin')", name="permission_type"),
    CheckConstraint("user_id IS NULL OR group_id IS NULL", name="grantee"),
    Index(
        "uq_permissions_user",
        *("resource_type", "resource_id", "user_id", "permission_type"),
        unique=True,
        postgresql_where=text("user_id IS NOT NULL"),
    ),
    Index(
        "uq_permissions_group",
        *("resource_type", "resource_id", "group_id", "permission_type"),
        unique=True,
        postgresql_where=text("group_id IS NOT NULL"),
    ),
    Index(
        "uq_permissions_everyone",
        *("resource_type", "resource_id", "permission_type"),
        unique=True,
        postgresql_where=text("user_id IS NULL AND group_id IS NULL"),
    ),
    Index(None, "user_id"),
    Index("ix_permissions_group_id", "group_id", postgresql_where=text("group_id IS NOT NULL")),
)

api_tokens = Table(
    "api_tokens",
    metadata,
    Column("id", BigInteger, Identity(), primary_key=True),
    Column("user_id", ForeignKey("users.id", ondelete="CASCADE"), nullable=False),
    Column("name", Text, nullable=False),
    Column("token_hash", CHAR(64), nullable=False, unique=True),
    Column("token_hint", Text, nullable=False, server_default=""),
    Column("scopes", ARRAY(Text), nullable=False),
    Column("dataset_ids", ARRAY(BigInteger)),
    Column("created_at", DateTime(timezone=True), nullable=False, server_default=func.now()),
    Column("expires_at", DateTime(timezone=True), nullable=False),
    Column("revoked_at", DateTime(timezone=True)),
    Column("last_used_at", DateTime(timezone=True)),
    Index(None, "user_id"),
)

sessions = Table(
    "sessions",
    metadata,
    Column("id", UUID(as_uuid=True), primary_key=True),
    Column("user_id", ForeignKey("users.id", ondelete="CASCADE"), nullable=False),
    Column("address", Text),
    Column("created_at", DateTime(timezone=True), nullable=False, server_default=func.now()),
    Column("expires_at", DateTime(timezone=True), nullable=False),
    Column("ended_at", DateTime(timezone=True)),
    Column("ended_because", Text),
    Index(None, "user_id"),
)

refresh_tokens = Table(
    "refresh_tokens",
    metadata,
    Column("token_hash", CHAR(64), primary_key=True),
    Column("session_id", ForeignKey("sessions.id", ondelete="CASCADE"), nullable=False),
    Column("created_at", DateTime(timezone=True), nullable=False, server_default=func.now()),
    Column("used_at", DateTime(timezone=True)),
    Index(None, "session_id"),
)

branch_protections = Table(
    "branch_protections",
    metadata,
    Column("dataset_id", BigInteger, primary_key=True),
    Column("branch", Text, primary_key=True),
    Column("demands", Text, nullable=False),
    Column("set_by", ForeignKey("users.id"), nullable=False),
    Column("set_at", DateTime(timezone=True), nullable=False, server_default=func.now()),
    # The protection goes with its branch: under another name, and away.
    ForeignKeyConstraint(
        ["dataset_id", "branch"],
        ["dataset_pointers.dataset_id", "dataset_pointers.pointer_name"],
        name="fk_branch_protections_branch",
        onupdate="CASCADE",
        ondelete="CASCADE",
    ),
    CheckConstraint("demands IN ('admin', 'merge')", name="demands"),
)

audit_log = Table(
    "audit_log",
    metadata,
    Column("id", BigInteger, Identity(always=True), primary_key=True),
    Column("at", DateTime(timezone=True), nullable=False, server_default=func.clock_timestamp()),
    Column("actor_id", BigInteger),  # no foreign key: the row outlives the user
    Column("actor", Text),
    Column("token_id", BigInteger),
    Column("address", Text),
    Column("action", Text, nullable=False),
    Column("object_type", Text, nullable=False),
    Column("object_id", Text),
    Column("before", JSONB),
    Column("after", JSONB),
    Column("request_id", Text),
    Column("result", Text, nullable=False, server_default="done"),
    Index(None, "object_type", "object_id"),
    Index(None, "at"),
)

audit_seals = Table(
    "audit_seals",
    metadata,
    Column("position", BigInteger, primary_key=True, autoincrement=False),
    Column("audit_id", BigInteger, nullable=False, unique=True),  # no foreign key: a seal outlives a row that was taken away
    Column("row_hash", CHAR(64), nullable=False),
    Column("chain_hash", CHAR(64), nullable=False),
    Column("sealed_at", DateTime(timezone=True), nullable=False, server_default=func.now()),
)


_RIGHTS = frozenset(PlatformRight)


def actor_of(row: Row, scope: Scope = FULL, origin: Origin = UNKNOWN) -> Actor:
    """The actor of a row with `id`, `username`, and the role's `role_name` and `rights`. Rights of a newer release are left out."""
    rights = tuple(PlatformRight(right) for right in row["rights"] if right in _RIGHTS)
    return Actor(row["id"], row["username"], row["role_name"] == "admin", rights, scope, origin)


class Users:
    """Questions about users."""

    def __init__(self, tx: Transaction) -> None:
        self._tx = tx

    def actor(self, username: str) -> Actor | None:
        """The active user of that name."""
        row = self._tx.row(
            "SELECT u.id, u.username, r.role_name, r.rights FROM users u JOIN roles r ON r.id = u.role_id "
            "WHERE u.username = :username AND u.is_active",
            username=username,
        )
        return None if row is None else actor_of(row)

    def add(self, username: str, role: str) -> bool:
        """A new user; False when there is no such role."""
        return (
            self._tx.execute(
                "INSERT INTO users (username, role_id) SELECT :username, id FROM roles WHERE role_name = :role",
                username=username,
                role=role,
            )
            == 1
        )


class AuditLog:
    """What was done, and what was refused."""

    def __init__(self, tx: Transaction) -> None:
        self._tx = tx

    def store(self, entries: Sequence[AuditEntry]) -> None:
        """Appends the entries, in one statement."""
        rows = [_audit_row(entry) for entry in entries]
        self._tx.execute(
            "INSERT INTO audit_log (actor_id, actor, token_id, address, action, object_type, object_id, before, after, request_id, result) "
            "SELECT * FROM jsonb_to_recordset(CAST(:rows AS jsonb)) AS r(actor_id bigint, actor text, token_id bigint, address text, "
            "action text, object_type text, object_id text, before jsonb, after jsonb, request_id text, result text)",
            rows=json.dumps(rows),
        )


def _audit_row(entry: AuditEntry) -> dict[str, object]:
    actor = entry.actor
    return {
        "actor_id": None if actor is None else actor.user_id,
        "actor": None if actor is None else actor.username,
        "token_id": None if actor is None else actor.origin.token_id,
        "address": None if actor is None else actor.origin.address,
        "action": entry.action,
        "object_type": entry.object_type,
        "object_id": entry.object_id,
        "before": entry.before,
        "after": entry.after,
        "request_id": None if actor is None else actor.origin.request_id,
        "result": entry.result,
    }
