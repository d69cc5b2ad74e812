"""What history and storage that can be trusted need: which store belongs to this database, retention rules, findings of the sweep.

The keys of an intent are random hexadecimal digits: compressing them takes time and saves nothing.
"""

from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

STATEMENTS = (
    "ALTER TABLE upload_intents ALTER COLUMN storage_keys SET STORAGE EXTERNAL",
    "ALTER TABLE tombstones ADD COLUMN file_size bigint",
    # One row: the store that this database's keys point into. A job that deletes refuses any other.
    """
CREATE TABLE store_binding (
    singleton boolean DEFAULT 'true' NOT NULL,
    store_id text NOT NULL,
    bound_at timestamptz DEFAULT now() NOT NULL,
    restored_at timestamptz,
    CONSTRAINT pk_store_binding PRIMARY KEY (singleton),
    CONSTRAINT ck_store_binding_singleton CHECK (singleton)
)
    """,
    # Objects that a sweep found and nothing names. Only what a second, later sweep finds again is buried.
    """
CREATE TABLE sweep_candidates (
    storage_key text NOT NULL,
    found_by uuid NOT NULL,
    found_at timestamptz DEFAULT now() NOT NULL,
    CONSTRAINT pk_sweep_candidates PRIMARY KEY (storage_key)
)
    """,
    # Null: that rule does not apply. A version goes when no rule keeps it.
    """
CREATE TABLE retention_rules (
    dataset_id bigint NOT NULL,
    keep_last integer,
    keep_days integer,
    updated_by bigint NOT NULL,
    updated_at timestamptz DEFAULT now() NOT NULL,
    CONSTRAINT pk_retention_rules PRIMARY KEY (dataset_id),
    CONSTRAINT ck_retention_rules_keep_last CHECK (keep_last >= 1),
    CONSTRAINT ck_retention_rules_keep_days CHECK (keep_days >= 0),
    CONSTRAINT ck_retention_rules_some CHECK (keep_last IS NOT NULL OR keep_days IS NOT NULL),
    CONSTRAINT fk_retention_rules_dataset_id FOREIGN KEY(dataset_id) REFERENCES datasets (id) ON DELETE CASCADE,
    CONSTRAINT fk_retention_rules_updated_by FOREIGN KEY(updated_by) REFERENCES users (id)
)
    """,
    "CREATE INDEX ix_files_verified ON files (verified_at, id) WHERE verified_at IS NOT NULL",
    # Deleting a version asks who has it for a parent; few versions have a second one.
    "CREATE INDEX ix_dataset_versions_merge_parent ON dataset_versions (merge_parent_version_id) WHERE merge_parent_version_id IS NOT NULL",
    "CREATE INDEX ix_datasets_deleted ON datasets (deleted_at) WHERE deleted_at IS NOT NULL",
)


def upgrade() -> None:
    """Adds the tables."""
    for statement in STATEMENTS:
        op.execute(statement)


def downgrade() -> None:
    """Takes the tables away again; what they held can be entered and found again."""
    for statement in (
        "DROP INDEX ix_datasets_deleted",
        "DROP INDEX ix_dataset_versions_merge_parent",
        "DROP INDEX ix_files_verified",
        "DROP TABLE retention_rules",
        "DROP TABLE sweep_candidates",
        "DROP TABLE store_binding",
        "ALTER TABLE tombstones DROP COLUMN file_size",
        "ALTER TABLE upload_intents ALTER COLUMN storage_keys SET STORAGE EXTENDED",
    ):
        op.execute(statement)
