"""What contracts need: contracts and reading hints of datasets, versions in quarantine."""

from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

STATEMENTS = (
    # The branch '' means every branch without a row of its own.
    """
CREATE TABLE schema_contracts (
    dataset_id bigint NOT NULL,
    branch text NOT NULL,
    policy text NOT NULL,
    on_breach text DEFAULT 'quarantine' NOT NULL,
    contract jsonb NOT NULL,
    revision integer DEFAULT '1' NOT NULL,
    updated_by bigint NOT NULL,
    updated_at timestamptz DEFAULT now() NOT NULL,
    CONSTRAINT pk_schema_contracts PRIMARY KEY (dataset_id, branch),
    CONSTRAINT ck_schema_contracts_policy CHECK (policy IN ('off', 'warn', 'enforce')),
    CONSTRAINT ck_schema_contracts_on_breach CHECK (on_breach IN ('quarantine', 'reject')),
    CONSTRAINT fk_schema_contracts_dataset_id FOREIGN KEY(dataset_id) REFERENCES datasets (id) ON DELETE CASCADE,
    CONSTRAINT fk_schema_contracts_updated_by FOREIGN KEY(updated_by) REFERENCES users (id)
)
    """,
    """
CREATE TABLE reading_hints (
    dataset_id bigint NOT NULL,
    hints jsonb NOT NULL,
    CONSTRAINT pk_reading_hints PRIMARY KEY (dataset_id),
    CONSTRAINT fk_reading_hints_dataset_id FOREIGN KEY(dataset_id) REFERENCES datasets (id) ON DELETE CASCADE
)
    """,
    """
CREATE TABLE quarantined_versions (
    version_id bigint NOT NULL,
    dataset_id bigint NOT NULL,
    branch text NOT NULL,
    target_branch text NOT NULL,
    report jsonb NOT NULL,
    state text DEFAULT 'open' NOT NULL,
    arrived_at timestamptz DEFAULT now() NOT NULL,
    decided_by bigint,
    decided_at timestamptz,
    decision text,
    CONSTRAINT pk_quarantined_versions PRIMARY KEY (version_id),
    CONSTRAINT ck_quarantined_versions_state CHECK (state IN ('open', 'accepted', 'dismissed')),
    CONSTRAINT ck_quarantined_versions_decided CHECK ((state = 'open') = (decided_at IS NULL)),
    CONSTRAINT fk_quarantined_versions_version_id FOREIGN KEY(version_id) REFERENCES dataset_versions (id) ON DELETE CASCADE,
    CONSTRAINT fk_quarantined_versions_dataset_id FOREIGN KEY(dataset_id) REFERENCES datasets (id) ON DELETE CASCADE,
    CONSTRAINT fk_quarantined_versions_decided_by FOREIGN KEY(decided_by) REFERENCES users (id)
)
    """,
    "CREATE INDEX ix_quarantined_versions_dataset_id_state ON quarantined_versions (dataset_id, state)",
)


def upgrade() -> None:
    """Adds the tables."""
    for statement in STATEMENTS:
        op.execute(statement)


def downgrade() -> None:
    """Takes them away again. Contracts have to be set again; what is in quarantine stays on its branches, without its reports."""
    for statement in (
        "DROP TABLE quarantined_versions",
        "DROP TABLE reading_hints",
        "DROP TABLE schema_contracts",
    ):
        op.execute(statement)
