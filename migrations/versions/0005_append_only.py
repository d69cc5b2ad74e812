"""The audit log and its seals can only grow. What the role of the services may do is in `core.roles`, which every upgrade applies."""

from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

STATEMENTS = (
    """
CREATE FUNCTION refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
  RAISE EXCEPTION 'table % only grows: % is refused', TG_TABLE_NAME, TG_OP USING ERRCODE = 'restrict_violation';
END $$
    """,
    # Also for the owner, and where triggers are switched off for replication: whoever wants to change something has to drop them first.
    *(
        statement
        for table in ("audit_log", "audit_seals")
        for statement in (
            f"CREATE TRIGGER {table}_only_grows BEFORE UPDATE OR DELETE OR TRUNCATE ON {table} FOR EACH STATEMENT EXECUTE FUNCTION refuse_change()",
            f"ALTER TABLE {table} ENABLE ALWAYS TRIGGER {table}_only_grows",
        )
    ),
)


def upgrade() -> None:
    """Adds the triggers."""
    for statement in STATEMENTS:
        op.execute(statement)


def downgrade() -> None:
    """Takes them away again."""
    for table in ("audit_log", "audit_seals"):
        op.execute(f"DROP TRIGGER {table}_only_grows ON {table}")
    op.execute("DROP FUNCTION refuse_change()")
