"""Previews of stored versions: who may look, what she gets, and what a hostile file or question can do."""

import json
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from threading import Event, Thread
from typing import Any

import psutil
import pytest

from dsplatform.bootstrap import Platform
from dsplatform.core.errors import Denied, Invalid, NotFound, Unavailable
from dsplatform.core.types import PermissionType
from dsplatform.core.values import DatasetRef
from dsplatform.schemas import previewing, sandbox
from dsplatform.schemas.capturing import SchemaNotCaptured
from dsplatform.schemas.model import NoSuchTable, SeveralTables
from dsplatform.schemas.previewing import NotPreviewable, TooManyPreviews, WrongCursor
from dsplatform.schemas.previews.conditions import ColumnMissing, WrongCondition
from dsplatform.schemas.previews.model import Cut
from dsplatform_tests import make

ORDERS = b"id,city,amount\n" + b"".join(b"%d,%s,%d.50\n" % (n, (b"Rome", b"Oslo", b"")[n % 3], n) for n in range(100))
INJECTIONS = [
    "1; DROP TABLE files; --",
    "' OR '1'='1",
    '" OR ""="',
    "1 OR 1=1",
    "1) UNION SELECT * FROM users --",
    "'; COPY (SELECT 1) TO '/tmp/x'; --",
    "read_csv('/etc/passwd')",
    "$(touch /tmp/x)",
    "%27%20OR%201=1",
    "{{7*7}}",
    "\\'; SELECT pg_sleep(10); --",
    ":1 %s ? {0}",
    "../../etc/passwd",
]


@pytest.fixture
def shop(platform: Platform) -> DatasetRef:
    """A dataset of one small table."""
    made = make.dataset(platform, "shop")
    make.commit(platform, made, {"orders.csv": ORDERS})
    return made


@pytest.fixture(autouse=True, scope="module")
def _ended() -> Iterator[None]:
    yield
    previewing._sandbox().close()


def rows(platform: Platform, of: DatasetRef, *where: str, **wanted: Any) -> list[list[Any]]:
    return json.loads(platform.previews.preview(platform.actor(), of, where=where, **wanted).body)  # type: ignore[no-any-return]


def test_a_version_is_looked_at(platform: Platform, shop: DatasetRef) -> None:
    page = platform.previews.preview(platform.actor(), shop, columns=["amount", "city"], where=["id < 3", "city is not null"])
    assert json.loads(page.body) == [[0.5, "Rome"], [1.5, "Oslo"]]
    assert (page.component, page.sheet, page.rows, page.next, page.cut) == ("orders.csv", None, 2, None, None)
    assert [(column.name, column.type) for column in page.columns] == [("amount", "float64"), ("city", "string")]


def test_an_older_version_keeps_its_rows(platform: Platform, shop: DatasetRef) -> None:
    make.commit(platform, shop, {"orders.csv": b"id\n7\n"})
    assert rows(platform, shop) == [[7]]
    assert len(rows(platform, shop, ref="1")) == 100


def test_pages_put_together_are_the_whole(platform: Platform, shop: DatasetRef) -> None:
    found, cursor, pages = [], None, 0
    while pages == 0 or cursor:
        page = platform.previews.preview(platform.actor(), shop, where=["city = Oslo"], limit=7, cursor=cursor)
        found += json.loads(page.body)
        cursor, pages = page.next, pages + 1
    assert found == rows(platform, shop, "city = Oslo")
    assert [row[0] for row in found] == list(range(1, 100, 3))
    assert pages == 5


def test_the_last_page_says_so_although_it_is_full(platform: Platform, shop: DatasetRef) -> None:
    assert platform.previews.preview(platform.actor(), shop, limit=100).next is None
    assert platform.previews.preview(platform.actor(), shop, limit=99).next is not None


def test_a_cursor_is_of_its_question(platform: Platform, shop: DatasetRef) -> None:
    actor = platform.actor()
    cursor = platform.previews.preview(actor, shop, where=["id > 3"], limit=1).next
    assert cursor
    assert rows(platform, shop, "id>3", limit=1, cursor=cursor) == [[5, None, 5.5]], "the same question in other words"
    other: dict[str, Any] = {"where": ["id > 4"]}
    for wrong in (other, {**other, "where": []}, {"where": ["id > 3"], "columns": ["id"]}):
        with pytest.raises(WrongCursor):
            platform.previews.preview(actor, shop, cursor=cursor, **wrong)
    for broken in ("", "x", "é", cursor[:-4], cursor + "AAAA", "A" * 32, ("B" if cursor[0] != "B" else "C") + cursor[1:]):
        with pytest.raises(WrongCursor):
            platform.previews.preview(actor, shop, where=["id > 3"], cursor=broken)
    make.commit(platform, shop, {"orders.csv": ORDERS + b"100,Rome,1.50\n"})
    with pytest.raises(WrongCursor):
        platform.previews.preview(actor, shop, where=["id > 3"], cursor=cursor)
    assert rows(platform, shop, "id > 3", ref="1", limit=1, cursor=cursor) == [[5, None, 5.5]]


def test_a_stranger_may_not_look_and_a_reader_may(platform: Platform, shop: DatasetRef) -> None:
    ann = platform.permissions.create_user("ann")
    with pytest.raises(Denied):
        platform.previews.preview(ann, shop)
    platform.permissions.grant_permission(platform.actor(), ann, PermissionType.READ, shop.id)
    assert platform.previews.preview(ann, shop).rows == 100


def test_which_table_is_meant_has_to_be_said(platform: Platform, shop: DatasetRef) -> None:
    make.commit(platform, shop, {"more.csv": b"a\n1\n"})
    with pytest.raises(SeveralTables, match=r"2 files, 'orders.csv', 'more.csv'"):
        rows(platform, shop)
    assert rows(platform, shop, component="more.csv") == [[1]]
    with pytest.raises(NoSuchTable):
        rows(platform, shop, component="none.csv")
    with pytest.raises(NoSuchTable, match="no sheet 'x'"):
        rows(platform, shop, component="more.csv", sheet="x")
    with pytest.raises(NotFound):
        rows(platform, shop, ref="99")


def test_what_is_asked_wrongly_is_told(platform: Platform, shop: DatasetRef) -> None:
    with pytest.raises(ColumnMissing, match="id, city, amount"):
        rows(platform, shop, columns=["nothing"])
    with pytest.raises(WrongCondition, match="17"):
        rows(platform, shop, "id = many")
    for limit in (0, -1, 10_001):
        with pytest.raises(Invalid, match="1 to 10,000"):
            rows(platform, shop, limit=limit)


@pytest.mark.parametrize(
    ("name", "data", "reason"),
    [
        ("report.pdf", b"%PDF-1.7\n", "files of the kind pdf are stored, their columns are not read"),
        ("open.csv", b'a,b\n1,"2\n', "a quote is opened in line 2 and never closed"),
        ("cut.parquet", b"PAR1" + bytes(50), ""),
        ("empty.csv", b"", "the file is empty"),
        ("bad.json", b'{"a": 1,}', "line 1 is no JSON"),
    ],
)
def test_what_has_no_rows_gives_the_reason_of_its_capture(name: str, data: bytes, reason: str, platform: Platform) -> None:
    made = make.dataset(platform)
    make.commit(platform, made, {name: data})
    with pytest.raises(NotPreviewable) as caught:
        rows(platform, made)
    assert reason in str(caught.value)
    assert name in str(caught.value)


def test_a_large_file_that_nobody_read_yet_is_not_waited_for(platform: Platform, shop: DatasetRef, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(previewing, "READ_AT_ONCE", 10)
    with pytest.raises(SchemaNotCaptured):
        rows(platform, shop)
    _, components = platform.versions.get_version(platform.actor(), shop)
    platform.schemas.capture_version_schema(platform.versions.get_version(platform.actor(), shop)[0].id)
    assert len(components) == 1
    assert len(rows(platform, shop)) == 100


@pytest.mark.parametrize("payload", INJECTIONS)
def test_no_parameter_is_ever_a_statement(payload: str, platform: Platform, shop: DatasetRef) -> None:
    doubled = payload.replace('"', '""')
    assert rows(platform, shop, f'city = "{doubled}"') == rows(platform, shop, f'city contains "{doubled}"') == []
    assert rows(platform, shop, f'city startswith "{doubled}"') == []
    assert len(rows(platform, shop, f'city != "{doubled}"')) == 67
    for wrong in (
        {"where": [f"id = {payload}"]},
        {"where": [f'"{doubled}" = 1']},
        {"where": [payload]},
        {"columns": [payload]},
        {"component": payload},
        {"sheet": payload},
        {"ref": payload},
        {"cursor": payload},
    ):
        with pytest.raises((Invalid, NotFound)):
            platform.previews.preview(platform.actor(), shop, **wrong)
    assert len(rows(platform, shop)) == 100
    assert make.column(platform.db, "SELECT count(*) FROM files") == [2]


@pytest.mark.parametrize("payload", INJECTIONS)
def test_names_and_values_of_a_file_are_never_statements(payload: str, platform: Platform) -> None:
    made = make.dataset(platform)
    make.commit(platform, made, {"t.jsonl": json.dumps({payload: payload, "n": 1}).encode()})
    doubled = payload.replace('"', '""')
    assert rows(platform, made, f'"{doubled}" = "{doubled}"', columns=[payload]) == [[payload]]


def test_a_reader_that_never_answers_is_ended_and_we_go_on(platform: Platform, shop: DatasetRef, monkeypatch: pytest.MonkeyPatch) -> None:
    assert len(rows(platform, shop)) == 100
    previewing._sandbox().close()
    monkeypatch.setattr(sandbox, "COMMAND", [sys.executable, "-c", "import time; time.sleep(600)"])
    monkeypatch.setattr(sandbox, "LOOK_SECONDS", 0.5)
    before = {process.pid for process in psutil.Process().children()}
    with pytest.raises(NotPreviewable, match="longer than 0 seconds"):
        rows(platform, shop)
    assert {process.pid for process in psutil.Process().children()} == before
    monkeypatch.undo()
    assert len(rows(platform, shop)) == 100


def test_a_bomb_ends_within_the_limits_and_we_go_on(platform: Platform, shop: DatasetRef) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    path = Path(platform.settings.home) / "bomb.parquet"
    path.parent.mkdir(parents=True, exist_ok=True)
    once = pa.DictionaryArray.from_arrays(pa.array([0] * 20_000, pa.int32()), pa.array(["x" * (4 << 20)]))
    pq.write_table(pa.table({"s": once, "n": range(20_000)}), path, compression="zstd", write_statistics=False, store_schema=False)
    assert path.stat().st_size < 1 << 20, "eighty GiB"
    made = make.dataset(platform, "bombs")
    make.commit(platform, made, {"bomb.parquet": path.read_bytes()})
    this = psutil.Process()
    before = this.memory_info().rss
    with pytest.raises(NotPreviewable, match="memory"):
        rows(platform, made)
    assert this.memory_info().rss - before < 200 << 20
    assert rows(platform, made, "n = 19999", columns=["n"]) == [[19_999]], "what is not asked for is not read"
    assert len(rows(platform, shop)) == 100


def test_few_look_at_a_time_and_the_others_are_told(platform: Platform, shop: DatasetRef, monkeypatch: pytest.MonkeyPatch) -> None:
    rows(platform, shop)
    inside, go = Event(), Event()

    def slow(*_: object) -> object:
        inside.set()
        assert go.wait(make.PATIENCE)
        raise Unavailable("enough")

    monkeypatch.setattr(sandbox.Sandbox, "look", slow)
    turnstile = platform.previews._turnstile
    monkeypatch.setattr(turnstile, "_patience", 0.0)
    refused: list[type[BaseException]] = []

    def ask() -> None:
        try:
            rows(platform, shop)
        except Unavailable as err:
            refused.append(type(err))

    first = Thread(target=ask)
    first.start()
    assert inside.wait(make.PATIENCE)
    with turnstile.turn():
        ask()
    assert refused == [TooManyPreviews], "two at a time"
    with ExitStack() as others:
        for _ in range(previewing.CHILDREN + previewing.WAITING - 1):
            others.enter_context(turnstile.place())
        ask()
    assert refused == [TooManyPreviews] * 2, "who finds no place does not even begin"
    go.set()
    first.join(make.PATIENCE)
    assert refused == [TooManyPreviews] * 2 + [Unavailable]


def test_nothing_is_written_down_and_no_file_is_left(
    platform: Platform, shop: DatasetRef, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    rows(platform, shop)
    with pytest.raises(WrongCondition):
        rows(platform, shop, "id")
    assert [path for path in tmp_path.iterdir() if path.name.startswith("dsplatform-preview-")] == []


def test_timestamps_that_fit_are_read_to_the_nanosecond(platform: Platform) -> None:
    made = make.dataset(platform)
    make.commit(
        platform, made, {"t.csv": b"at,far\n2024-01-31 10:00:00.123456789,0001-01-01 00:00:00\n2024-01-31 10:00:01,9999-12-31 00:00:00\n"}
    )
    assert rows(platform, made)[0] == ["2024-01-31T10:00:00.123456789", "0001-01-01T00:00:00"]


def test_a_page_of_little_time_goes_on_with_its_cursor(platform: Platform) -> None:
    made = make.dataset(platform)
    lines = b"".join(b'{"n": %d}\n' % n for n in range(60_000))
    make.commit(platform, made, {"t.jsonl": lines})
    page = platform.previews.preview(platform.actor(), made, where=["n = 59999"], seconds=-1)
    assert (page.rows, page.cut) == (0, Cut.TIME)
    assert page.next
    again = platform.previews.preview(platform.actor(), made, where=["n = 59999"], cursor=page.next)
    assert json.loads(again.body) == [[59_999]]
    assert again.cut is None
    assert replace(again, body=b"").next is None
