"""Asks the rows of one file what a contract wants to know of them. Called in a child process of the sandbox.

The columns that are asked about go into a DuckDB file of their own, which spills to disk, so that memory does not follow the rows.
Values are compared by the rules of `contracts.measure`, as those of profiles are.
"""

import heapq
import json
import tempfile
from collections.abc import Callable, Iterable, Iterator
from datetime import datetime
from pathlib import Path

import duckdb
import pyarrow as pa

from dsplatform.schemas.contracts.judging import Answer, ColumnQuestion, Found, Question, key_name
from dsplatform.schemas.contracts.model import measure
from dsplatform.schemas.model import PROFILE_TEXT, Hints

EXAMPLES = 5
DATE_PARTS = (("YYYY", "%Y"), ("MM", "%m"), ("DD", "%d"))

Reader = Callable[[Path, str, str, Hints, str | None], Iterator[pa.RecordBatch]]
"""`readers.rows`: the rows of a table, with the columns as they are named in the capture."""


def answer(path: Path, file_type: str, name: str, hints: Hints, question: Question, rows: Reader) -> Answer:
    """What the rows say. Never raises for what the file holds; may end the process, so call it through the sandbox."""
    try:
        with tempfile.TemporaryDirectory(prefix="dsplatform-rows-") as folder:
            config: dict[str, str | bool | int | float | list[str]] = {
                "memory_limit": "256MB",
                "threads": 1,
                "temp_directory": folder,
                "preserve_insertion_order": False,
            }
            with duckdb.connect(str(Path(folder) / "rows.duckdb"), config=config) as database:
                _Rows(database, question).load(rows(path, file_type, name, hints, question.table))
                return Answer(None, tuple(_Rows(database, question).findings()))
    except MemoryError:
        return Answer("judging its rows needs more memory than a reader may use")
    except Exception as err:  # noqa: BLE001 - parsers of foreign bytes raise anything; the reason is kept for a person
        line = next((line.strip() for line in str(err).splitlines() if line.strip()), "") or type(err).__name__
        return Answer(line[:500].replace(str(path), "the file"))


class _Rows:
    """The rows in their database: a number, and the columns asked about as text under the names c0, c1, …"""

    def __init__(self, database: duckdb.DuckDBPyConnection, question: Question) -> None:
        self._database = database
        self._question = question
        self._columns = {column: f"c{place}" for place, (column, _, _) in enumerate(question.types)}
        self._types = {column: (type_, format_) for column, type_, format_ in question.types}

    def load(self, batches: Iterable[pa.RecordBatch]) -> None:
        columns = "".join(f", {alias} VARCHAR" for alias in self._columns.values())
        self._database.execute(f"CREATE TABLE rows (n BIGINT{columns})")
        start = 1
        for batch in batches:
            arrays = {"n": pa.array(range(start, start + batch.num_rows), pa.int64())}
            arrays |= {alias: _texts(batch.column(name)) for name, alias in self._columns.items()}
            part = pa.table(arrays)  # noqa: F841 - DuckDB finds it by its name
            self._database.execute("INSERT INTO rows SELECT * FROM part")
            start += batch.num_rows

    def findings(self) -> Iterator[tuple[str, str, Found]]:
        for name, asked in self._question.columns:
            if asked.nulls and (nulls := self._nulls(self._columns[name])):
                yield "nullable", name, nulls
            for rule, is_wrong in self._rules(asked):
                if wrong := self._wrong(name, is_wrong):
                    yield rule, name, wrong
        for key in self._question.unique:
            if twice := self._twice(key):
                yield "unique", key_name(key), twice

    def _nulls(self, alias: str) -> Found | None:
        count, first = self._one(f"SELECT count(*), min(n) FROM rows WHERE {alias} IS NULL")  # noqa: S608 - our own alias
        return Found(count, 1, (("", count, first),)) if count else None

    def _rules(self, asked: ColumnQuestion) -> Iterator[tuple[str, Callable[[str], bool]]]:
        if asked.allowed is not None:
            allowed = {measured for value in asked.allowed for measured in _measured(asked.type, value)}
            yield "allowed", lambda text: not any(one in allowed for one in _measured(asked.type, text))
        if asked.low is not None or asked.high is not None:
            low, high = (None if end is None else list(_measured(asked.type, end)) for end in (asked.low, asked.high))

            def outside(text: str) -> bool:
                for value in _measured(asked.type, text):
                    return any(value < one for one in low or ()) or any(value > one for one in high or ()) or low == [] or high == []  # type: ignore[operator]
                return True

            yield "range", outside

    def _wrong(self, name: str, is_wrong: Callable[[str], bool]) -> Found | None:
        alias, format_ = self._columns[name], self._types[name][1]
        grouped = f"SELECT {alias}, count(*), min(n) FROM rows WHERE {alias} IS NOT NULL GROUP BY {alias}"  # noqa: S608 - our own alias
        cursor = self._database.execute(grouped)
        rows = values = 0
        worst: list[tuple[int, int, str]] = []
        while page := cursor.fetchmany(10_000):
            for text, count, first in page:
                if is_wrong(_iso(text, format_)):
                    rows, values = rows + count, values + 1
                    (heapq.heappush if len(worst) < EXAMPLES else heapq.heappushpop)(worst, (count, -first, text))
        examples = tuple((text[:PROFILE_TEXT], count, -first) for count, first, text in sorted(worst, reverse=True))
        return Found(rows, values, examples) if rows else None

    def _twice(self, key: tuple[str, ...]) -> Found | None:
        parts = [self._comparable(name) for name in key]
        there = " AND ".join(f"{self._columns[name]} IS NOT NULL" for name in key)
        self._database.execute(  # the parts are our own aliases
            f"CREATE OR REPLACE TEMP TABLE twice AS SELECT [{', '.join(parts)}] AS key, count(*) AS times, min(n) AS first "  # noqa: S608
            f"FROM rows WHERE {there} GROUP BY {', '.join(parts)} HAVING count(*) > 1"
        )
        values, rows = self._one("SELECT count(*), coalesce(sum(times), 0)::BIGINT FROM twice")
        if not values:
            return None
        found = self._database.execute("SELECT key, times, first FROM twice ORDER BY times DESC, first LIMIT ?", [EXAMPLES]).fetchall()
        return Found(rows, values, tuple((", ".join(values)[:PROFILE_TEXT], times, first) for values, times, first in found))

    def _comparable(self, name: str) -> str:
        """Text that is equal where the values are."""
        alias, type_ = self._columns[name], self._types[name][0]
        if type_ == "float64":
            return f"coalesce(CAST(TRY_CAST({alias} AS DOUBLE) + 0.0 AS VARCHAR), {alias})"
        if type_ == "boolean":
            return f"lower({alias})"
        if type_.startswith("decimal("):
            scale = int(type_.partition(",")[2].rstrip(")"))
            return f"coalesce(CAST(TRY_CAST({alias} AS DECIMAL(38,{max(0, min(scale, 38))})) AS VARCHAR), {alias})"
        return alias

    def _one(self, sql: str) -> tuple[int, int]:
        row = self._database.execute(sql).fetchone()
        if row is None:
            raise AssertionError("an aggregate without GROUP BY always gives one row")
        return row[0], row[1]


def _measured(type_: str, value: object) -> Iterator[object]:
    """The value to be compared, or nothing where it has no order."""
    try:
        yield measure(type_, value)
    except ValueError:
        return


def _iso(text: str, format_: str | None) -> str:
    """A date as its column's format says it, in ISO 8601."""
    if format_ is None:
        return text
    pattern = format_
    for part, directive in DATE_PARTS:
        pattern = pattern.replace(part, directive)
    try:
        return datetime.strptime(text, pattern).date().isoformat()  # noqa: DTZ007 - a day
    except ValueError:
        return text


def _texts(values: pa.Array) -> pa.Array:
    from dsplatform.schemas.profiles.profiling import texts_of

    try:
        return texts_of(values).cast(pa.string())
    except (pa.ArrowNotImplementedError, pa.ArrowInvalid, AttributeError):
        plain = values.to_pylist()
        return pa.array([None if value is None else json.dumps(value, default=str, sort_keys=True) for value in plain], pa.string())
