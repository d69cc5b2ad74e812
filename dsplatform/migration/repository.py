"""Tables of the migration, and statements on them."""

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    Date,
    DateTime,
    ForeignKey,
    Identity,
    Index,
    Integer,
    LargeBinary,
    Table,
    Text,
    UniqueConstraint,
    func,
)
from sqlalchemy.dialects.postgresql import ARRAY, JSONB, UUID

from dsplatform.core.database import metadata

legacy_runs = Table(
    "legacy_runs",
    metadata,
    Column("id", UUID, primary_key=True),
    Column("kind", Text, nullable=False),
    Column("generation", Text, nullable=False),
    Column("started_by", ForeignKey("users.id"), nullable=False),
    Column("started_at", DateTime(timezone=True), nullable=False, server_default=func.now()),
    Column("ended_at", DateTime(timezone=True)),
    Column("state", Text, nullable=False, server_default="running"),
    Column("report", JSONB),
    CheckConstraint("state IN ('running', 'done', 'stopped', 'failed')", name="state"),
)

legacy_checkpoints = Table(
    "legacy_checkpoints",
    metadata,
    Column("entity", Text, primary_key=True),
    Column("shard", Integer, primary_key=True, autoincrement=False),
    Column("last_key", ARRAY(BigInteger)),
    Column("high_key", ARRAY(BigInteger)),
    Column("rows_read", BigInteger, nullable=False, server_default="0"),
    Column("rows_migrated", BigInteger, nullable=False, server_default="0"),
    Column("rows_quarantined", BigInteger, nullable=False, server_default="0"),
    Column("rows_excluded", BigInteger, nullable=False, server_default="0"),
    Column("done", Boolean, nullable=False, server_default="false"),
    Column("run_id", ForeignKey("legacy_runs.id"), nullable=False),
    Column("updated_at", DateTime(timezone=True), nullable=False, server_default=func.now()),
)

legacy_id_map = Table(
    "legacy_id_map",
    metadata,
    Column("entity", Text, primary_key=True),
    Column("legacy_id", Text, primary_key=True),
    Column("new_id", BigInteger),
    Column("outcome", Text, nullable=False),
    Column("reason", Text),
    Column("kept", JSONB),
    Column("source_hash", LargeBinary, nullable=False),
    Column("source_version", BigInteger, nullable=False, server_default="0"),
    Column("deleted_at", DateTime(timezone=True)),
    Column("first_run", UUID, nullable=False),
    Column("last_run", UUID, nullable=False),
    CheckConstraint("outcome IN ('migrated', 'quarantined', 'excluded')", name="outcome"),
    CheckConstraint("outcome = 'migrated' OR reason IS NOT NULL", name="reason"),
    Index("ix_legacy_id_map_new_id", "entity", "new_id"),
)

legacy_routing = Table(
    "legacy_routing",
    metadata,
    Column("one", Boolean, primary_key=True, server_default="true"),
    Column("master", Text, nullable=False, server_default="legacy"),
    Column("epoch", BigInteger, nullable=False, server_default="0"),
    Column("switched_at", DateTime(timezone=True), nullable=False, server_default=func.now()),
    Column(
        "audited", BigInteger, nullable=False, server_default="0"
    ),  # the audit log's last entry that the legacy system needs not hear of
    CheckConstraint("one", name="one"),
    CheckConstraint("master IN ('legacy', 'new')", name="master"),
)

legacy_quarantine = Table(
    "legacy_quarantine",
    metadata,
    Column("id", BigInteger, Identity(), primary_key=True),
    Column("run_id", UUID, nullable=False),
    Column("entity", Text, nullable=False),
    Column("legacy_id", Text, nullable=False),
    Column("reason", Text, nullable=False),
    Column("detail", JSONB, nullable=False),
    Column("raw", JSONB, nullable=False),
    Column("first_seen", DateTime(timezone=True), nullable=False, server_default=func.now()),
    Column("last_seen", DateTime(timezone=True), nullable=False, server_default=func.now()),
    Column("resolution", Text),
    Column("resolved_by", Text),
    Column("resolved_at", DateTime(timezone=True)),
    UniqueConstraint("entity", "legacy_id", "reason", name="uq_legacy_quarantine_row"),
    Index("ix_legacy_quarantine_reason", "reason", "id"),
)

legacy_numbers = Table(
    "legacy_numbers",
    metadata,
    Column("kind", Text, primary_key=True),
    Column("subject", Text, primary_key=True),
    Column("number", BigInteger, Identity(start=1_000_000_000), nullable=False),
    UniqueConstraint("kind", "number", name="uq_legacy_numbers_number"),
)

legacy_usage = Table(
    "legacy_usage",
    metadata,
    Column("day", Date, primary_key=True),
    Column("endpoint", Text, primary_key=True),
    Column("client", Text, primary_key=True),
    Column("program", Text, primary_key=True),
    Column("requests", BigInteger, nullable=False),
)

legacy_shadow = Table(
    "legacy_shadow",
    metadata,
    Column("id", BigInteger, Identity(), primary_key=True),
    Column("at", DateTime(timezone=True), nullable=False),
    Column("method", Text, nullable=False),
    Column("path", Text, nullable=False),
    Column("status_old", Integer),
    Column("status_new", Integer),
    Column("difference", JSONB, nullable=False),
    Column("explanation", Text),
)

legacy_shadow_counts = Table(
    "legacy_shadow_counts",
    metadata,
    Column("outcome", Text, primary_key=True),
    Column("count", BigInteger, nullable=False),
)
