"""Stored tables as Parquet: every value, once, in bounded memory, and nothing half made."""

import csv
import datetime as dt
import gzip
import io
import json
import sys
import tempfile
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from decimal import Decimal
from pathlib import Path
from threading import Barrier
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from openpyxl import Workbook

from dsplatform.bootstrap import Platform
from dsplatform.core.errors import Denied
from dsplatform.core.types import FilePath, PermissionType
from dsplatform.core.values import DatasetRef
from dsplatform.schemas import converting, sandbox
from dsplatform.schemas.conversions import writing
from dsplatform.schemas.conversions.model import Conversion, Converted
from dsplatform.schemas.converting import ConversionFailed, NotConvertible, TooManyConversions
from dsplatform.schemas.model import NO_HINTS, Column, NoSuchTable
from dsplatform.schemas.previews.model import Cut, fine_columns
from dsplatform.schemas.readers import Known, extract, rows
from dsplatform_tests import make

ORDERS = b"id,city,amount,day\n" + b"".join(
    b"%03d,%s,%d.50,2024-01-%02d\n" % (n, (b"Rome", b"Oslo", b"")[n % 3], n, n % 28 + 1) for n in range(100)
)


@pytest.fixture(autouse=True, scope="module")
def _ended() -> Iterator[None]:
    yield
    converting._converters().close()
    converting._pages().close()


@pytest.fixture
def shop(platform: Platform) -> DatasetRef:
    """A dataset whose one version has a file of each sort."""
    made = make.dataset(platform, "shop")
    components = {
        "orders.csv": ORDERS,
        "orders.csv.gz": gzip.compress(ORDERS, mtime=0),
        "own.parquet": make.parquet({"n": [1, 2]}),
        "people.json": json.dumps([{"name": "Ada", "born": {"year": 1815}, "tags": ["a"]}, {"name": None}]).encode(),
        "book.xlsx": workbook([("first", [["a", "b"], [1, "x"], [2.5, None]]), ("second", [["c"], [3]])]),
        "paper.pdf": b"%PDF-1.7 nothing to see",
        "header.csv": b"a,b\n",
    }
    make.commit(platform, made, components)
    return made


def workbook(sheets: Sequence[tuple[str, Sequence[Sequence[Any]]]]) -> bytes:
    book = Workbook()
    for name, lines in sheets:
        sheet = book.create_sheet(name)
        for line in lines:
            sheet.append(list(line))
    book.remove(book.worksheets[0])
    target = io.BytesIO()
    book.save(target)
    return target.getvalue()


def sent(platform: Platform, of: DatasetRef, component: str) -> bytes:
    with platform.conversions.parquet(platform.actor(), of, None, component=FilePath(component)) as found:
        data = b"".join(found.chunks)
    assert len(data) == found.size
    return data


def table(data: bytes) -> pa.Table:
    return pq.read_table(io.BytesIO(data))


def kept(platform: Platform) -> list[Path]:
    return list((platform.settings.home / "parquet").glob("*/*"))


def test_parquet_is_sent_as_it_is(platform: Platform, shop: DatasetRef) -> None:
    assert sent(platform, shop, "own.parquet") == make.parquet({"n": [1, 2]})
    assert not kept(platform)


def test_a_csv_is_sent_with_the_types_of_its_capture(platform: Platform, shop: DatasetRef) -> None:
    found = table(sent(platform, shop, "orders.csv"))
    assert found.schema == pa.schema({"id": pa.string(), "city": pa.string(), "amount": pa.float64(), "day": pa.date32()})
    assert found.slice(1, 2).to_pylist() == [
        {"id": "001", "city": "Oslo", "amount": 1.5, "day": dt.date(2024, 1, 2)},
        {"id": "002", "city": None, "amount": 2.5, "day": dt.date(2024, 1, 3)},
    ]
    assert found.num_rows == 100


def test_the_same_content_gives_the_same_bytes(platform: Platform, shop: DatasetRef) -> None:
    first = sent(platform, shop, "orders.csv")
    (made,) = kept(platform)
    assert sent(platform, shop, "orders.csv") == first
    made.unlink()
    assert sent(platform, shop, "orders.csv") == first
    assert table(sent(platform, shop, "orders.csv.gz")) == table(first)


def test_of_a_workbook_the_first_sheet_is_sent(platform: Platform, shop: DatasetRef) -> None:
    assert table(sent(platform, shop, "book.xlsx")).to_pylist() == [{"a": 1.0, "b": "x"}, {"a": 2.5, "b": None}]


def test_nested_json_is_sent_as_text(platform: Platform, shop: DatasetRef) -> None:
    found = table(sent(platform, shop, "people.json")).to_pylist()
    assert found[0] == {"name": "Ada", "born": '{"year": 1815}', "tags": '["a"]'}
    assert found[1] == {"name": None, "born": None, "tags": None}


def test_a_table_without_rows_has_its_columns(platform: Platform, shop: DatasetRef) -> None:
    found = table(sent(platform, shop, "header.csv"))
    assert (found.num_rows, found.schema) == (0, pa.schema({"a": pa.string(), "b": pa.string()}))


def test_what_is_no_table_is_told(platform: Platform, shop: DatasetRef) -> None:
    with pytest.raises(NotConvertible, match=r"'paper\.pdf' has no rows: files of the kind pdf"):
        sent(platform, shop, "paper.pdf")
    with pytest.raises(NoSuchTable):
        sent(platform, shop, "other.csv")


def test_who_may_not_read_gets_nothing(platform: Platform, shop: DatasetRef) -> None:
    sent(platform, shop, "orders.csv")
    ann = platform.permissions.create_user("ann")
    for ask in (
        lambda: platform.conversions.parquet(ann, shop, None, component=FilePath("orders.csv")).__enter__(),
        lambda: platform.conversions.page(ann, shop, None, component=FilePath("orders.csv"), offset=0, limit=1),
    ):
        with pytest.raises(Denied):
            ask()
    platform.permissions.grant_permission(platform.actor(), ann, PermissionType.READ, shop.id)
    assert platform.conversions.page(ann, shop, None, component=FilePath("orders.csv"), offset=0, limit=1).rows == 1


@pytest.mark.parametrize("component", ["orders.csv", "own.parquet", "people.json", "book.xlsx"])
def test_pages_are_those_of_previews(platform: Platform, shop: DatasetRef, component: str) -> None:
    actor, sheet = platform.actor(), "first" if component == "book.xlsx" else None
    whole = platform.previews.preview(actor, shop, component=component, sheet=sheet)
    found: list[Any] = []
    while True:
        page = platform.conversions.page(actor, shop, None, component=FilePath(component), offset=len(found), limit=30)
        assert (page.columns, page.total, page.cut) == (whole.columns, whole.rows, None)
        if not page.rows:
            break
        found += json.loads(page.body)
    assert found == json.loads(whole.body)


def test_a_large_page_says_where_it_was_cut(platform: Platform, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(converting, "MOST_BYTES", 1_000)
    made = make.dataset(platform, "wide")
    make.commit(platform, made, {"wide.csv": b"text,n\n" + b"".join(b"%s,1\n" % (b"x" * 300) for _ in range(10))})
    page = platform.conversions.page(platform.actor(), made, None, component=FilePath("wide.csv"), offset=0, limit=10)
    assert (page.rows, page.total, page.cut) == (3, 10, Cut.SIZE)


def test_a_child_that_is_killed_leaves_nothing(platform: Platform, shop: DatasetRef, monkeypatch: pytest.MonkeyPatch) -> None:
    sent(platform, shop, "own.parquet")
    platform.conversions.page(platform.actor(), shop, None, component=FilePath("own.parquet"), offset=0, limit=1)
    platform.previews.preview(platform.actor(), shop, component="orders.csv")  # captured by now
    dying = (
        "import json,os,sys\nfor q in sys.stdin:\n  open(json.loads(q)[0][6]['target'],'wb').write(b'PAR1 half'); os.kill(os.getpid(), 9)"
    )
    converting._converters().close()
    with monkeypatch.context() as patch:
        patch.setattr(sandbox, "COMMAND", [sys.executable, "-c", dying])
        with pytest.raises(ConversionFailed, match="SIGKILL"):
            sent(platform, shop, "orders.csv")
    assert not kept(platform)
    assert table(sent(platform, shop, "orders.csv")).num_rows == 100


def test_two_who_ask_at_once_have_it_converted_once(platform: Platform, shop: DatasetRef, monkeypatch: pytest.MonkeyPatch) -> None:
    platform.previews.preview(platform.actor(), shop, component="orders.csv")
    asked: list[str] = []
    real = sandbox.Sandbox.convert

    def counting(self: sandbox.Sandbox, request: sandbox.Request) -> Converted:
        asked.append(request.name)
        return real(self, request)

    monkeypatch.setattr(sandbox.Sandbox, "convert", counting)
    together = Barrier(4)

    def ask(_: int) -> bytes:
        together.wait(make.PATIENCE)
        return sent(platform, shop, "orders.csv")

    with ThreadPoolExecutor(4) as threads:
        assert len(set(threads.map(ask, range(4)))) == 1
    assert asked == ["orders.csv"]


def test_few_convert_at_a_time_and_the_others_are_told(platform: Platform, shop: DatasetRef, monkeypatch: pytest.MonkeyPatch) -> None:
    sent(platform, shop, "people.json")
    platform.previews.preview(platform.actor(), shop, component="orders.csv")
    turnstile = platform.conversions._turnstile
    monkeypatch.setattr(turnstile, "_patience", 0.0)
    places = converting.CHILDREN + converting.WAITING
    for taken, count in ((turnstile.turn, converting.CHILDREN), (turnstile.place, places)):
        with ExitStack() as others:
            for _ in range(count):
                others.enter_context(taken())
            for component in ("orders.csv", "paper.pdf"):  # to be converted; to be read first, when it has no rows
                with pytest.raises(TooManyConversions):
                    sent(platform, shop, component)
            assert sent(platform, shop, "people.json"), "what is there is nobody's work"
    assert table(sent(platform, shop, "orders.csv")).num_rows == 100


def test_what_is_collected_is_forgotten(platform: Platform, shop: DatasetRef) -> None:
    sent(platform, shop, "orders.csv")
    sent(platform, shop, "people.json")
    _, item = platform.versions.get_component(platform.actor(), shop, "orders.csv", None)
    with platform.db.transaction() as tx:
        platform.schemas.forget(tx, [item.content_hash])
    assert [item.content_hash in path.name for path in kept(platform)] == [False]


# --- what is written -----------------------------------------------------------------------------------------------------------


def day(year: int) -> dt.datetime:
    return dt.datetime(year, 1, 1)  # noqa: DTZ001 - files hold times without a zone


VALUES: dict[str, tuple[st.SearchStrategy[Any], pa.DataType]] = {
    "whole": (st.integers(-(2**63), 2**63 - 1), pa.int64()),
    "exact": (st.integers(10**21, 10**22 - 1).map(lambda n: Decimal(n * 10 + 7).scaleb(-4)), pa.decimal128(23, 4)),
    "text": (st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=8).map("x".__add__), pa.string()),
    "code": (st.integers(0, 99).map("00{}".format), pa.string()),
    "flag": (st.booleans(), pa.bool_()),
    "day": (st.dates(dt.date(1, 1, 1), dt.date(9999, 12, 31)), pa.date32()),
    "moment": (st.datetimes(day(1700), day(2200)), pa.timestamp("ns")),
    "early": (st.datetimes(day(1000), day(1500)), pa.timestamp("us")),
}


def in_process(path: Path, name: str) -> tuple[Converted, pa.Table]:
    capture = extract(path, "", name)
    first = capture.tables[0]
    target = path.with_name("target")
    wanted = Conversion(str(target), first.name, first.columns, first.rows, 1 << 30, capture.details, fine_columns(first))
    known = Known(capture.details, first.columns, {column.name for column in first.columns})
    done = writing.convert(
        path, Conversion.read(json.loads(json.dumps(wanted.plain()))), lambda: rows(path, "", name, NO_HINTS, first.name, known)
    )
    return done, pq.read_table(target) if done.reason is None else pa.table({})


@given(st.data())
@settings(max_examples=40, deadline=None)
def test_every_value_of_a_csv_survives(data: st.DataObject) -> None:
    kinds = data.draw(st.lists(st.sampled_from(sorted(VALUES)), min_size=2, max_size=5))
    names = [f"c{index}" for index in range(len(kinds))]
    lines = data.draw(st.lists(st.tuples(*(st.none() | VALUES[kind][0] for kind in kinds)), min_size=1, max_size=20))
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(names)
    for line in lines:
        writer.writerow(["" if value is None else value.isoformat(" ") if isinstance(value, dt.datetime) else value for value in line])
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "x.csv")
        path.write_text(text.getvalue(), encoding="utf-8", newline="")
        done, found = in_process(path, "x.csv")
    if any(all(value is None for value in line) for line in lines):
        return  # a line without anything may be no row: what the capture counts is tested where it is made
    assert done == Converted(None, len(lines))
    for name, kind, values in zip(names, kinds, zip(*lines, strict=True), strict=True):
        empty = all(value is None for value in values)
        assert found.schema.field(name).type == (pa.string() if empty else VALUES[kind][1]) or kind in {"moment", "early", "exact"}, kind
        assert [plain(value) for value in found[name].to_pylist()] == [plain(value) for value in values], kind


def plain(value: Any) -> Any:
    return value.to_pydatetime() if hasattr(value, "to_pydatetime") else value


CELLS = {
    "number": st.integers(-(2**50), 2**50).map(float) | st.floats(-1e9, 1e9, allow_nan=False).map("{:.15g}".format).map(float),
    "text": st.text(st.characters(min_codepoint=32, max_codepoint=0x2FF, exclude_characters="\x7f"), min_size=1, max_size=8).map(
        "x".__add__
    ),
    "flag": st.booleans(),
    "day": st.dates(dt.date(1950, 1, 1), dt.date(2100, 1, 1)),
}


@given(st.data())
@settings(max_examples=20, deadline=None)
def test_every_cell_of_a_workbook_survives(data: st.DataObject) -> None:
    kinds = data.draw(st.lists(st.sampled_from(sorted(CELLS)), min_size=1, max_size=4))
    names = [f"c{index}" for index in range(len(kinds))]
    lines = data.draw(st.lists(st.tuples(*(CELLS[kind] for kind in kinds)), min_size=2, max_size=10))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "x.xlsx")
        path.write_bytes(workbook([("s", [names, *lines]), ("other", [["z"], [1]])]))
        done, found = in_process(path, "x.xlsx")
        assert done == Converted(None, len(lines))
        capture = extract(path, "", "x.xlsx")
        assert found.column_names == [column.name for column in capture.tables[0].columns] == names
        shown = [
            row for batch in rows(path, "", "x.xlsx", NO_HINTS, "s") for row in zip(*(c.to_pylist() for c in batch.columns), strict=True)
        ]
    assert [tuple(row.values()) for row in found.to_pylist()] == shown == [tuple(line) for line in lines]


def batches(count: int, said: list[int]) -> Iterator[pa.RecordBatch]:
    values = pa.record_batch({"n": pa.array(range(1 << 16), pa.int64()), "text": [f"text number {n % 999}" for n in range(1 << 16)]})
    for _ in range(count):
        said.append(pa.default_memory_pool().bytes_allocated())
        yield values.slice(0)


def test_memory_does_not_grow_with_the_rows(tmp_path: Path) -> None:
    columns = (Column("n", "int64"), Column("text", "string"))
    held: list[int] = []
    target = str(tmp_path / "target")
    before = pa.default_memory_pool().bytes_allocated()
    done = writing.convert(tmp_path, Conversion(target, None, columns, None, 1 << 30), lambda: batches(100, held))
    assert done == Converted(None, 100 << 16)
    assert max(held) - before < 4 * writing.GROUP_BYTES
    with pq.ParquetFile(target) as file:
        assert file.metadata.num_row_groups == 50


@pytest.mark.parametrize(
    ("rows_", "most", "reason"), [(None, 1_000, "more than 1,000 bytes"), (7, 1 << 30, "it gave 131,072 rows, and 7 were")]
)
def test_what_is_too_large_or_other_than_its_capture_is_told(tmp_path: Path, rows_: int | None, most: int, reason: str) -> None:
    columns = (Column("n", "int64"), Column("text", "string"))
    wanted = Conversion(str(tmp_path / "target"), None, columns, rows_, most)
    assert reason in (writing.convert(tmp_path, wanted, lambda: batches(2, [])).reason or "")
