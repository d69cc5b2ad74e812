"""Alembic's entry: applies migrations over one connection and one transaction each.

The URL comes from the caller (`dsplatform db upgrade`, the tests), else from DSPLATFORM_DATABASE_URL, so that plain `alembic` works.
"""

import os

from alembic import context
from sqlalchemy import create_engine
from sqlalchemy.pool import NullPool

import dsplatform.core.outbox
import dsplatform.datasets.repository
import dsplatform.files.repository
import dsplatform.ingestion.repository
import dsplatform.migration.repository
import dsplatform.permissions.repository
import dsplatform.schemas.repository
import dsplatform.versioning.repository  # noqa: F401 - importing a repository declares its tables
from dsplatform.core.database import metadata


def run() -> None:
    """Migrates the database."""
    url = context.config.attributes.get("url") or os.environ["DSPLATFORM_DATABASE_URL"]
    engine = create_engine(url, poolclass=NullPool)
    with engine.connect() as connection:
        context.configure(connection=connection, target_metadata=metadata, compare_type=True, transaction_per_migration=True)
        with context.begin_transaction():
            context.run_migrations()


run()
