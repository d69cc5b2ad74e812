"""Tables and questions about users, roles, grants, tokens and the audit log."""

from sqlalchemy import (
    ARRAY,
    CHAR,
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    DateTime,
    ForeignKey,
    Identity,
    Index,
    Table,
    Text,
    UniqueConstraint,
    func,
)
from sqlalchemy.dialects.postgresql import JSONB

from dsplatform.core.database import Transaction, metadata
from dsplatform.core.domain import Actor
from dsplatform.core.types import PermissionType

roles = Table(
    "roles",
    metadata,
    Column("id", BigInteger, Identity(), primary_key=True),
    Column("role_name", Text, nullable=False, unique=True),
    Column("description", Text, nullable=False, server_default=""),
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
)

permissions = Table(
    "permissions",
    metadata,
    Column("id", BigInteger, Identity(), primary_key=True),
    Column("resource_type", Text, nullable=False),
    Column("resource_id", BigInteger, nullable=False),
    Column("user_id", ForeignKey("users.id", ondelete="CASCADE"), nullable=False),
    Column("permission_type", Text, nullable=False),
    Column("granted_by", ForeignKey("users.id")),
    Column("granted_at", DateTime(timezone=True), nullable=False, server_default=func.now()),
    Column("expires_at", DateTime(timezone=True)),
    UniqueConstraint("resource_type", "resource_id", "user_id", "permission_type", name="uq_permissions_grant"),
    CheckConstraint("resource_type IN ('dataset', 'file')", name="resource_type"),
    CheckConstraint("permission_type IN ('read', 'write', 'admin')", name="permission_type"),
    Index(None, "user_id"),
)

api_tokens = Table(
    "api_tokens",
    metadata,
    Column("id", BigInteger, Identity(), primary_key=True),
    Column("user_id", ForeignKey("users.id", ondelete="CASCADE"), nullable=False),
    Column("name", Text, nullable=False),
    Column("token_hash", CHAR(64), nullable=False, unique=True),
    Column("scopes", ARRAY(Text), nullable=False),
    Column("created_at", DateTime(timezone=True), nullable=False, server_default=func.now()),
    Column("expires_at", DateTime(timezone=True), nullable=False),
    Column("revoked_at", DateTime(timezone=True)),
    Column("last_used_at", DateTime(timezone=True)),
    Index(None, "user_id"),
)

audit_log = Table(
    "audit_log",
    metadata,
    Column("id", BigInteger, Identity(always=True), primary_key=True),
    Column("at", DateTime(timezone=True), nullable=False, server_default=func.clock_timestamp()),
    Column("actor_id", BigInteger),  # no foreign key: the row outlives the user
    Column("token_id", BigInteger),
    Column("address", Text),
    Column("action", Text, nullable=False),
    Column("object_type", Text, nullable=False),
    Column("object_id", Text),
    Column("before", JSONB),
    Column("after", JSONB),
    Column("request_id", Text),
    Column("result", Text, nullable=False, server_default="done"),
    Column("chain_hash", CHAR(64)),  # set by the sealer, null until then
    Index(None, "object_type", "object_id"),
    Index("ix_audit_log_unsealed", "id", postgresql_where="chain_hash IS NULL"),
)


class Users:
    """Questions about users."""

    def __init__(self, tx: Transaction) -> None:
        self._tx = tx

    def actor(self, username: str) -> Actor | None:
        """The active user of that name."""
        row = self._tx.row(
            "SELECT u.id, u.username, r.role_name FROM users u JOIN roles r ON r.id = u.role_id "
            "WHERE u.username = :username AND u.is_active",
            username=username,
        )
        return None if row is None else Actor(row["id"], row["username"], is_admin=row["role_name"] == "admin")

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


class Grants:
    """Rights on datasets and files."""

    def __init__(self, tx: Transaction) -> None:
        self._tx = tx

    def held(self, user_id: int, resource_type: str, resource_id: int) -> frozenset[PermissionType]:
        """The rights that the user holds on the object now."""
        rows = self._tx.rows(
            "SELECT permission_type FROM permissions WHERE resource_type = :type AND resource_id = :id AND user_id = :user "
            "AND (expires_at IS NULL OR expires_at > now())",
            type=resource_type,
            id=resource_id,
            user=user_id,
        )
        return frozenset(PermissionType(row["permission_type"]) for row in rows)

    def add(self, user_id: int, resource_type: str, resource_id: int, right: PermissionType, granted_by: int) -> None:
        """Grants a right for good; granting again changes nothing, unless the earlier grant ends some day."""
        self._tx.execute(
            "INSERT INTO permissions (resource_type, resource_id, user_id, permission_type, granted_by) "
            "VALUES (:type, :id, :user, :right, :by) ON CONFLICT ON CONSTRAINT uq_permissions_grant "
            "DO UPDATE SET expires_at = NULL, granted_by = excluded.granted_by, granted_at = excluded.granted_at "
            "WHERE permissions.expires_at IS NOT NULL",
            type=resource_type,
            id=resource_id,
            user=user_id,
            right=str(right),
            by=granted_by,
        )

    def remove(self, resource_type: str, resource_id: int) -> None:
        """Takes back every right on the object."""
        self._tx.execute("DELETE FROM permissions WHERE resource_type = :type AND resource_id = :id", type=resource_type, id=resource_id)
