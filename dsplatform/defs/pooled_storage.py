"""Dagster's Postgres storages with a connection pool.

The stock ones open a connection for every operation outside the webserver, which is most of what an event costs: a
logged materialization takes 2 ms with a pool and 15 to 20 ms without. Everything else is theirs. The three storages of
a process share one pool, so that a run, the daemon and a code server need few of the server's connections.

`dagster.yaml` names these classes, and shows how to go back to the stock ones.
"""

from collections.abc import Mapping
from functools import cache
from typing import Any, Self

from dagster_postgres import PostgresEventLogStorage, PostgresRunStorage, PostgresScheduleStorage
from dagster_postgres.utils import create_pg_engine, pg_url_from_config

POOL_SIZE = 4
"""Connections that a process keeps open between operations."""


@cache
def _pool(postgres_url: str) -> Any:
    return create_pg_engine(
        postgres_url,
        isolation_level="AUTOCOMMIT",
        pool_size=POOL_SIZE,
        # The storages ask for a connection while they hold one: under a limit, threads would wait for each other. What is
        # more than the pool is opened and closed again, as the stock storages do with every one.
        max_overflow=-1,
        pool_recycle=600,
        pool_pre_ping=True,
        pool_use_lifo=True,
    )


class _Pooled:
    """In front of a stock storage: its engine becomes the process's pool once it has made sure of its tables."""

    def __init__(self, postgres_url: str, *, should_autocreate_tables: bool = True, inst_data: Any = None) -> None:
        super().__init__(postgres_url, should_autocreate_tables, inst_data)  # type: ignore[call-arg]  # the stock one
        self._engine = _pool(postgres_url)

    @classmethod
    def from_config_value(cls, inst_data: Any, config_value: Mapping[str, Any]) -> Self:
        """Called by Dagster with what `dagster.yaml` says. Whatever the URL's driver is, psycopg2 is meant."""
        _, _, rest = pg_url_from_config(config_value).partition("://")
        return cls(
            f"postgresql+psycopg2://{rest}",
            should_autocreate_tables=config_value.get("should_autocreate_tables", True),
            inst_data=inst_data,
        )

    def dispose(self) -> None:
        """Closes idle connections; the other storages of the process open new ones when they need them."""
        super().dispose()  # type: ignore[misc]  # the stock one
        self._engine.dispose()


class PooledEventLogStorage(_Pooled, PostgresEventLogStorage):
    """Events, assets and partitions."""


class PooledRunStorage(_Pooled, PostgresRunStorage):
    """Runs, their tags, and the daemons' heartbeats."""


class PooledScheduleStorage(_Pooled, PostgresScheduleStorage):
    """Ticks and the state of sensors and schedules."""
