"""Fills an empty PostgreSQL database and a folder with a legacy system of any generation and size, the same for the same seed."""

import gc
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psycopg
from psycopg.sql import SQL, Identifier
from psycopg.types.json import Jsonb

from dsplatform_tests.legacy import ddl
from dsplatform_tests.legacy.ddl import Generation
from dsplatform_tests.legacy.oddities import plant
from dsplatform_tests.legacy.rows import OLD_MOUNT, PASSWORD, TIMEZONE, Key, Row, Rows, key_columns

__all__ = ["build", "Built", "Key", "OLD_MOUNT", "PASSWORD", "TIMEZONE"]

_FIRST = ("roles", "users", "files", "datasets", "dataset_versions", "tags", "sheets", "data_exploration_runs", "sampling_runs")
"""Tables that others refer to, in the order in which they can be filled."""


@dataclass(frozen=True)
class Built:
    """A legacy system that `build` made, and what is odd about it."""

    url: str
    generation: Generation
    folder: Path
    """Where its files are; the relative paths of D13 lie under it."""
    planted: dict[str, list[Key]]
    """Each oddity with all its rows: `D13.missing`, `D1`, `U1`. An oddity that the generation cannot have is not in it."""
    stray: list[Path]
    """Files that no row names (D12)."""
    counts: dict[str, int]
    """Rows by table."""

    @property
    def mounts(self) -> tuple[tuple[str, Path], ...]:
        """The old mount point of D13, and what it is now."""
        return ((OLD_MOUNT, self.folder),)

    def keys(self, oddity: str, table: str | None = None) -> list[tuple[int, ...]]:
        """The keys of the rows of an oddity and its kinds (`D13` has those of `D13.missing`), sorted, each once."""
        found = {key for name, keys in self.planted.items() if name == oddity or name.startswith(f"{oddity}.") for key in keys}
        return sorted(key.id for key in found if table in {None, key.table})


def build(
    url: str,
    folder: Path,
    generation: str,
    *,
    seed: int = 1,
    datasets: int = 30,
    versions: int = 3,
    attachments: int = 0,
    oddities: bool = True,
    shared_files: int | None = None,
    phase_1: bool = False,
    aware: bool = False,
) -> Built:
    """Makes the tables and fills them; `folder` becomes the server's base folder.

    There are `datasets` datasets with nothing odd, with `versions` versions and `attachments` more files per version on average,
    and beside them three or so for each oddity. `shared_files` is for size: so many physical files serve all rows (0: none is on
    disk). `phase_1` adds the planned columns of `files` to G0 and G1. `aware`: its times have a
    zone.
    """
    generation = Generation(generation)
    with _no_collection(), ddl.connected(url) as connection:
        connection.execute(ddl.create(generation, phase_1=phase_1, aware=aware).encode())
        if generation == Generation.G3:
            return Built(url, generation, folder, {}, [], {})
        step = min(600.0, 4 * 365 * 86_400 / (1 + datasets * (versions + 3)))
        rows = Rows(generation, folder, seed, shared_files, oddities, phase_1, step)
        people(rows)
        clean(rows, datasets, versions, attachments)
        if oddities:
            plant(rows)
        counts = write(connection, rows)
    return Built(url, generation, folder, dict(rows.planted), rows.stray, counts)


@contextmanager
def _no_collection() -> Iterator[None]:
    """A million rows in memory are no garbage; looking for some would take most of the time."""
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def people(rows: Rows) -> None:
    """Ids 1 and 2 are what the old code takes for admin and manager. The first six users are those who upload."""
    admin, manager, analyst = (
        rows.add("roles", id=number, role_name=name, description=None) for number, name in enumerate(("admin", "manager", "analyst"), 1)
    )
    for role in (admin, manager, analyst, analyst, analyst, analyst):
        rows.user(role)


def clean(rows: Rows, datasets: int, versions: int, attachments: int) -> None:
    """Datasets with nothing odd."""
    rng = rows.rng
    labels = [rows.label(f"label {number}") for number in range(1, min(datasets, 20) + 1)]
    for _ in range(datasets):
        dataset = rows.dataset()
        made: list[Row] = []
        for _ in range(rng.randint(1, 2 * versions - 1)):
            parent = rng.choice(made[-2:]) if made and rows.branching else None
            made.append(rows.version(dataset, parent, attachments=rng.randint(0, 2 * attachments)))
        if rows.branching:
            rows.pointer(dataset, "main", made[-1])
            if rng.random() < 0.3:
                rows.pointer(dataset, rng.choice(("develop", "hotfix")), rng.choice(made))
        if rows.generation != Generation.G0 and rng.random() < 0.3:
            rows.pointer(dataset, "v1", made[0], tag=True)
        for label in rng.sample(labels, min(len(labels), rng.randint(0, 3))):
            rows.labelled(dataset, label)
        _rights(rows, dataset)
        if rng.random() < 0.2:
            _runs(rows, dataset, made[-1])


def _rights(rows: Rows, dataset: Row) -> None:
    """Some rights are in the other table; nobody has two to one dataset."""
    others = [user for user in rows.tables["users"][:6] if user["id"] != dataset["created_by"]]
    reader, writer, another = rows.rng.sample(others, 3)
    rows.grant(dataset, reader, "read")
    rows.grant(dataset, writer, "write")
    if rows.rng.random() < 0.2:
        rows.permission(dataset["id"], another, "read")
        rows.add("file_permissions", id=None, file_id=rows.tables["files"][-1]["id"], user_id=another["id"], permission_type="read")


def _runs(rows: Rows, dataset: Row, version: Row) -> None:
    """What has no home in the new system: analyses, their configurations and outputs."""
    user = rows.anyone()["id"]
    at = rows.now()
    output = rows.file(dataset["id"], version["id"])
    if rows.generation == Generation.G2:
        saved = rows.add(
            "analysis_configurations",
            name=f"saved {dataset['id']}",
            description=None,
            analysis_type="sampling",
            parameters={"n": 5},
            created_by=user,
            created_at=at,
        )
        rows.add(
            "analysis_runs",
            dataset_version_id=version["id"],
            user_id=user,
            run_type="sampling",
            run_parameters={"n": 5},
            saved_config_id=saved["id"],
            status="completed",
            run_timestamp=at,
            execution_time_ms=12,
            notes=None,
            output_file_id=output["id"],
            output_summary={"rows": 5},
        )
        rows.add(
            "dataset_statistics",
            id=None,
            version_id=version["id"],
            row_count=rows.row_count(version),
            column_count=4,
            size_bytes=900,
            statistics={},
            computed_at=at,
        )
        return
    rows.add("data_exploration_configs", user_id=user, name="saved", config={"n": 5}, created_at=at)
    explored = rows.add(
        "data_exploration_runs",
        dataset_version_id=version["id"],
        sheet_id=None,
        user_id=user,
        exploration_config={},
        run_timestamp=at,
        output_summary=None,
    )
    sampled = rows.add(
        "sampling_runs",
        dataset_version_id=version["id"],
        sheet_id=None,
        user_id=user,
        sampling_method="random",
        sampling_parameters={"n": 5},
        run_timestamp=at,
        status="completed",
    )
    rows.add(
        "exploration_outputs",
        exploration_run_id=explored["id"],
        output_index=0,
        file_id=output["id"],
        created_by=user,
        created_at=at,
        metadata=None,
    )
    rows.add(
        "sampling_outputs",
        sampling_run_id=sampled["id"],
        output_index=0,
        file_id=output["id"],
        created_by=user,
        created_at=at,
        output_name="sample",
        metadata=None,
    )


def write(connection: psycopg.Connection, rows: Rows) -> dict[str, int]:
    """Copies the rows into their tables, those columns that the tables have, and sets the sequences above the ids."""
    connection.execute(f"SET LOCAL timezone = '{TIMEZONE}'".encode())
    connection.execute("SET LOCAL session_replication_role = replica")  # no look-up per foreign key; the tests of the stand-in look them up
    columns: dict[str, list[tuple[str, str]]] = defaultdict(list)
    for table, column, kind in connection.execute(
        "SELECT table_name, column_name, data_type FROM information_schema.columns"
        " WHERE table_schema = 'public' ORDER BY table_name, ordinal_position"
    ):
        columns[table].append((column, kind))
    for table in sorted(columns, key=lambda name: (_FIRST.index(name) if name in _FIRST else len(_FIRST), name)):
        _copy(connection, table, columns[table], rows.tables[table])
        if columns[table][0][0] == "id":
            statement = SQL("SELECT setval(pg_get_serial_sequence(%s, 'id'), greatest(max(id), 1), max(id) IS NOT NULL) FROM {}")
            connection.execute(statement.format(Identifier(table)), [table])
    for table, row, column, value in rows.raw:
        update = SQL("UPDATE {} SET {} = convert_from(%s, 'SQL_ASCII') WHERE {}").format(
            Identifier(table), Identifier(column), SQL(" AND ").join(SQL("{} = %s").format(Identifier(name)) for name in key_columns(table))
        )
        connection.execute(update, [value, *(row[name] for name in key_columns(table))])
    return {table: len(rows.tables[table]) for table in columns}


def _copy(connection: psycopg.Connection, table: str, columns: Sequence[tuple[str, str]], rows: Sequence[Row]) -> None:
    statement = SQL("COPY {} ({}) FROM STDIN").format(Identifier(table), SQL(", ").join(Identifier(name) for name, _ in columns))
    names = [name for name, _ in columns]
    documents = [place for place, (_, kind) in enumerate(columns) if kind == "jsonb"]
    with connection.cursor() as cursor, cursor.copy(statement) as copy:
        for row in rows:
            values = [row.get(name) for name in names]
            for place in documents:
                if isinstance(values[place], dict):
                    values[place] = Jsonb(values[place])
            copy.write_row(values)
