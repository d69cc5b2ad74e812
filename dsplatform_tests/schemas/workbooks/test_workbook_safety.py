"""Workbooks made to do harm: each is refused with a reason that names the limit, in little memory and time, and the next file is read."""

import re
import socket
import struct
import time
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from threading import Thread

import psutil
import pytest

from dsplatform.schemas.model import FileCapture, Status
from dsplatform.schemas.sandbox import MEMORY_BYTES, Request, Sandbox
from dsplatform.schemas.workbooks import archives
from dsplatform_tests.schemas.workbooks import books

ROW = '<row r="1"><c r="A1"><v>1</v></c></row>'
MIB = 1 << 20


@pytest.fixture(scope="module")
def box() -> Iterator[Sandbox]:
    """One child, which all attacks meet in turn."""
    sandbox = Sandbox(1)
    yield sandbox
    sandbox.close()


def _seconds() -> dict[psutil.Process, float]:
    """How long the processor has worked for each child, whatever else it does."""
    taken = {}
    for child in psutil.Process().children():
        with suppress(psutil.Error):
            times = child.cpu_times()
            taken[child] = times.user + times.system
    return taken


@pytest.fixture
def read(box: Sandbox, tmp_path: Path) -> Callable[[Path], FileCapture]:
    """Reads the file in the child; then, to show that all is well, an honest one. Neither takes much of the processor, nor of memory."""
    honest = books.write(tmp_path / "honest.xlsx", books.parts(books.sheet(ROW)))

    def run(path: Path, name: str | None = None) -> FileCapture:
        peak, seconds, done = [0], dict[psutil.Process, float](), False
        before = _seconds()

        def watch() -> None:
            while not done:
                for child in psutil.Process().children():
                    with suppress(psutil.Error):
                        peak[0] = max(peak[0], child.memory_info().rss)
                seconds.update(_seconds())
                time.sleep(0.01)

        watcher = Thread(target=watch)
        watcher.start()
        try:
            attacked, fine = box.extract([Request(path, "zip", name or path.name), Request(honest, "zip", "honest.xlsx")])
        finally:
            done = True
            watcher.join()
        assert (fine.status, fine.rows) == (Status.OK, 1)
        assert sum(taken - before.get(child, 0) for child, taken in seconds.items()) < 30
        assert 0 < peak[0] < MEMORY_BYTES
        return attacked

    return run


def _refused(capture: FileCapture, *words: str) -> None:
    assert capture.status is Status.UNREADABLE
    for word in words:
        assert word in (capture.reason or ""), capture.reason


def _zeros(mebibytes: int, before: bytes = b"", after: bytes = b"") -> Iterator[bytes]:
    yield before
    for _ in range(mebibytes):
        yield b" " * MIB
    yield after


def test_a_small_file_that_opens_to_256_mib_is_refused_by_its_ratio(read: Callable[[Path], FileCapture], tmp_path: Path) -> None:
    bomb = books.write(tmp_path / "x.xlsx", {**books.parts(books.sheet(ROW)), "xl/worksheets/sheet1.xml": _zeros(256, b"<worksheet>")})
    assert bomb.stat().st_size < 2 * MIB
    _refused(read(bomb), "unpacks to 256 MiB", "more than 100 times its size")


def test_parts_that_are_each_below_the_ratio_are_refused_by_their_sum(read: Callable[[Path], FileCapture], tmp_path: Path) -> None:
    many: books.Parts = {f"xl/media/{number}.bin": _zeros(15) for number in range(70)}
    _refused(read(books.write(tmp_path / "x.xlsx", {**books.parts(books.sheet(ROW)), **many})), "unpacks to 1,050 MiB", "1,024 MiB")


def test_a_million_entries_are_refused_before_they_are_listed(read: Callable[[Path], FileCapture], tmp_path: Path) -> None:
    entries = 1_000_000
    one = struct.pack("<4s6H3L5H2L", b"PK\x01\x02", 20, 20, 0, 0, 0, 33, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0) + b"x"
    end = struct.pack("<4sQ2H2L4Q", b"PK\x06\x06", 44, 45, 45, 0, 0, entries, entries, len(one) * entries, 0)
    locator = struct.pack("<4sLQL", b"PK\x06\x07", 0, len(one) * entries, 1)
    last = struct.pack("<4s4H2LH", b"PK\x05\x06", 0, 0, 0xFFFF, 0xFFFF, 0xFFFFFFFF, 0xFFFFFFFF, 0)
    path = tmp_path / "x.xlsx"
    path.write_bytes(b"PK\x03\x04" + one * entries + end + locator + last)
    _refused(read(path), "10,000")


def test_a_listing_longer_than_its_last_record_says_is_refused(read: Callable[[Path], FileCapture], tmp_path: Path) -> None:
    one = struct.pack("<4s6H3L5H2L", b"PK\x01\x02", 20, 20, 0, 0, 0, 33, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0) + b"x"
    last = struct.pack("<4s4H2LH", b"PK\x05\x06", 0, 0, 5, 5, 5 * len(one) - 5, 4, 0)
    path = tmp_path / "x.xlsx"
    path.write_bytes(b"PK\x03\x04" + one * 1_000_000 + last)
    _refused(read(path), "its archive is damaged")


def test_ten_thousand_and_one_parts_are_refused(read: Callable[[Path], FileCapture], tmp_path: Path) -> None:
    many = {f"xl/{number}": "" for number in range(archives.MAX_ENTRIES)}
    _refused(read(books.write(tmp_path / "x.xlsx", books.parts(books.sheet(ROW)) | many, zipfile.ZIP_STORED)), "10,000")


def test_entries_that_overlap_are_refused(read: Callable[[Path], FileCapture], tmp_path: Path) -> None:
    path = books.write(tmp_path / "x.xlsx", books.parts(books.sheet(ROW)) | {"xl/kernel": b"k" * 5000, "xl/copy": b"k" * 5000})
    content = bytearray(path.read_bytes())
    with zipfile.ZipFile(path) as archive:
        first = archive.getinfo("xl/kernel").header_offset
    at = content.rfind(b"xl/copy")
    content[at - 4 : at] = struct.pack("<L", first)
    path.write_bytes(content)
    _refused(read(path), "overlaps another")


def test_a_bomb_of_archives_within_archives_is_never_opened(read: Callable[[Path], FileCapture], tmp_path: Path) -> None:
    inner = books.write(tmp_path / "0.zip", {"0.bin": _zeros(64)})
    for level in range(1, 4):
        inner = books.write(tmp_path / f"{level}.zip", {f"lib {number}.zip": inner.read_bytes() for number in range(16)})
    inner.rename(tmp_path / "42.zip")
    capture = read(tmp_path / "42.zip")
    assert capture.status is Status.OPAQUE
    inside = books.parts(books.sheet(ROW)) | {"xl/embeddings/oleObject1.zip": (tmp_path / "42.zip").read_bytes()}
    assert read(books.write(tmp_path / "x.xlsx", inside)).rows == 1


def test_a_shared_text_without_end_is_refused(read: Callable[[Path], FileCapture], tmp_path: Path) -> None:
    noise = zlib.compress(bytes(range(256)) * 64, 0)[:4096].hex().encode() * 128
    text = [f'<sst xmlns="{books.MAIN}"><si><t>'.encode(), *[noise] * 100, b"</t></si></sst>"]
    capture = read(
        books.write(
            tmp_path / "x.xlsx",
            books.parts(books.sheet('<row r="1"><c r="A1" t="s"><v>0</v></c></row>')) | {"xl/sharedStrings.xml": text},
            zipfile.ZIP_STORED,
        )
    )
    _refused(capture, "longer than 64 MiB")


def test_one_long_text_in_many_cells_stays_one_text(read: Callable[[Path], FileCapture], tmp_path: Path) -> None:
    rows = "".join(f'<row r="{number}"><c r="A{number}" t="s"><v>0</v></c></row>' for number in range(1, 50_001))
    capture = read(
        books.write(tmp_path / "x.xlsx", books.parts(books.sheet(rows)) | {"xl/sharedStrings.xml": books.shared(f"<t>{'x' * 100_000}</t>")})
    )
    assert (capture.status, capture.rows) == (Status.OK, 49_999)
    assert capture.tables[0].profile[0].distinct == 1


@pytest.mark.parametrize("listed", [10, 10_000_000])
def test_a_size_that_the_archive_lies_about_is_noticed(read: Callable[[Path], FileCapture], tmp_path: Path, listed: int) -> None:
    path = books.write(
        tmp_path / "x.xlsx", books.parts(books.sheet("".join(f'<row r="{n}"><c r="A{n}"><v>{n}</v></c></row>' for n in range(1, 5000))))
    )
    content = bytearray(path.read_bytes())
    at = content.rfind(b"xl/worksheets/sheet1.xml")
    content[at - 46 + 24 : at - 46 + 28] = struct.pack("<L", listed)
    path.write_bytes(content)
    _refused(read(path), "not of the size that the archive lists")


LAUGHS = (
    '<!DOCTYPE x [<!ENTITY a "ha"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;">'
    + "".join(f'<!ENTITY {chr(number)} "{f"&{chr(number - 1)};" * 8}">' for number in range(ord("c"), ord("l")))
    + "]>"
)


def _external(path: str) -> str:
    return f'<!DOCTYPE x [<!ENTITY k SYSTEM "{path}">]>'


TEXT = '<row r="1"><c r="A1" t="str"><v>&k;</v></c></row>'
ODS = (
    '<?xml version="1.0"?>{}<office:document-content xmlns:office="urn:oasis:names:tc:opendocument:xmlns:office:1.0" '
    'xmlns:table="urn:oasis:names:tc:opendocument:xmlns:table:1.0" xmlns:text="urn:oasis:names:tc:opendocument:xmlns:text:1.0">'
    '<office:body><office:spreadsheet><table:table table:name="S"><table:table-row>{}</table:table-row></table:table>'
    "</office:spreadsheet></office:body></office:document-content>"
)
ODS_CELL = '<table:table-cell office:value-type="string"{}><text:p>{}</text:p></table:table-cell>'

ODS_PARTS = {
    "mimetype": "application/vnd.oasis.opendocument.spreadsheet",
    "META-INF/manifest.xml": '<manifest:manifest xmlns:manifest="urn:oasis:names:tc:opendocument:xmlns:manifest:1.0"/>',
}


def _ods(path: Path, prolog: str, cell: str) -> Path:
    return books.write(path, ODS_PARTS | {"content.xml": ODS.format(prolog, cell)})


@pytest.mark.parametrize("part", ["xl/worksheets/sheet1.xml", "xl/sharedStrings.xml", "xl/workbook.xml", "xl/styles.xml"])
def test_entities_that_grow_are_refused(read: Callable[[Path], FileCapture], tmp_path: Path, part: str) -> None:
    parts = books.parts(books.sheet(ROW)) | {"xl/sharedStrings.xml": books.shared("<t>1</t>"), "xl/styles.xml": books.styles("1")}
    parts[part] = re.sub(r'>1<|"1"', lambda found: found[0].replace("1", "&k;"), parts[part])
    head, end, rest = parts[part].rpartition("?>")
    parts[part] = head + end + LAUGHS + rest
    _refused(read(books.write(tmp_path / "x.xlsx", parts)), "document type")


@pytest.mark.parametrize("prolog", [LAUGHS, _external("file:///etc/hostname")], ids=["laughs", "external"])
def test_entities_in_an_ods_are_refused(read: Callable[[Path], FileCapture], tmp_path: Path, prolog: str) -> None:
    _refused(read(_ods(tmp_path / "x.ods", prolog, ODS_CELL.format("", "&k;"))), "document type")
    assert read(_ods(tmp_path / "y.ods", "", ODS_CELL.format("", "text"))).status is Status.OK


def test_no_external_entity_is_read_from_disk_or_network(read: Callable[[Path], FileCapture], tmp_path: Path) -> None:
    secret = tmp_path / "secret.txt"
    secret.write_text("very secret words")
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(0.2)
        for target in (secret.as_uri(), f"http://127.0.0.1:{server.getsockname()[1]}/x"):
            path = books.write(tmp_path / "x.xlsx", books.parts(books.sheet(TEXT, before=_external(target))))
            capture = read(path)
            _refused(capture, "document type")
            assert "very secret" not in str(capture)
            _refused(read(_ods(tmp_path / "x.ods", _external(target), ODS_CELL.format("", "&k;"))), "document type")
        with pytest.raises(TimeoutError):
            server.accept()


def test_an_external_link_of_a_workbook_is_not_followed(read: Callable[[Path], FileCapture], tmp_path: Path) -> None:
    parts = books.parts(books.sheet(ROW))
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(0.2)
        target = f"http://127.0.0.1:{server.getsockname()[1]}/sheet1.xml"
        parts["xl/_rels/workbook.xml.rels"] = parts["xl/_rels/workbook.xml.rels"].replace(
            'Target="worksheets/sheet1.xml"', f'Target="{target}" TargetMode="External"'
        )
        assert read(books.write(tmp_path / "x.xlsx", parts)).tables == ()
        with pytest.raises(TimeoutError):
            server.accept()


def test_a_relation_does_not_leave_the_archive(read: Callable[[Path], FileCapture], tmp_path: Path) -> None:
    parts = books.parts(books.sheet(ROW))
    rels = "xl/_rels/workbook.xml.rels"
    parts[rels] = parts[rels].replace("worksheets/sheet1.xml", "../../../../../../../etc/hostname")
    _refused(read(books.write(tmp_path / "x.xlsx", parts)), "is missing")


def test_a_cell_at_the_far_corner_costs_no_memory(read: Callable[[Path], FileCapture], tmp_path: Path) -> None:
    rows = '<row r="1"><c r="A1"><v>1</v></c></row><row r="1048576"><c r="XFD1048576"><v>1</v></c></row>'
    capture = read(books.write(tmp_path / "x.xlsx", books.parts(books.sheet(rows, dimension="A1:XFD1048576"))))
    assert (capture.rows, len(capture.tables[0].columns)) == (1 << 20, 1 << 14)


@pytest.mark.parametrize(
    "cell",
    [
        '<row r="1048577"><c r="A1048577"><v>1</v></c></row>',
        '<row r="1"><c r="XFE1"><v>1</v></c></row>',
        '<row r="99999999999"><c r="A1"><v>1</v></c></row>',
        '<row r="0"><c r="A0"><v>1</v></c></row>',
    ],
)
def test_a_cell_beyond_what_a_sheet_has_is_refused(read: Callable[[Path], FileCapture], tmp_path: Path, cell: str) -> None:
    _refused(read(books.write(tmp_path / "x.xlsx", books.parts(books.sheet(cell)))), "S1", "no sheet has so many")


def test_one_sheet_under_a_thousand_names_is_refused(read: Callable[[Path], FileCapture], tmp_path: Path) -> None:
    parts = books.parts(*[books.sheet(ROW)] * 1000)
    rels = "xl/_rels/workbook.xml.rels"
    parts[rels] = re.sub(r"worksheets/sheet\d+\.xml", "worksheets/sheet1.xml", parts[rels])
    _refused(read(books.write(tmp_path / "x.xlsx", parts)), "one sheet under several names")


@pytest.mark.parametrize(("columns", "reason"), [(16_384, "limit"), (90, "memory")])
def test_repeated_cells_of_an_ods_end_only_their_reader(
    read: Callable[[Path], FileCapture], tmp_path: Path, columns: int, reason: str
) -> None:
    many = ODS_CELL.format(f' table:number-columns-repeated="{columns}"', "text")
    content = ODS.format("", many).replace("<table:table-row>", '<table:table-row table:number-rows-repeated="1048576">')
    _refused(read(books.write(tmp_path / "x.ods", ODS_PARTS | {"content.xml": content})), reason)


@pytest.mark.parametrize("share", [0.3, 0.6, 0.95, 0.999])
def test_a_workbook_that_is_cut_off_is_refused(read: Callable[[Path], FileCapture], tmp_path: Path, share: float) -> None:
    path = books.write(tmp_path / "x.xlsx", books.parts(books.sheet(ROW * 1000)))
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * share)])
    _refused(read(path))


def test_damage_inside_a_sheet_names_the_sheet(read: Callable[[Path], FileCapture], tmp_path: Path) -> None:
    for rows in (
        "<row r='1'><c r='A1'><v>1</c></row>",
        '<row r="1"><c r="A1" t="s"><v>7</v></c></row>',
        "<row r='1'><c r='A1'><v>1</v></c></row><row",
    ):
        _refused(read(books.write(tmp_path / "x.xlsx", books.parts(books.sheet(ROW), books.sheet(rows)))), "sheet 'S2'")


def test_what_only_looks_like_a_workbook_is_refused(read: Callable[[Path], FileCapture], tmp_path: Path) -> None:
    for number, content in enumerate([b"PK\x03\x04 and no more", b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(600)]):
        path = tmp_path / f"{number}.xlsx"
        path.write_bytes(content)
        _refused(read(path))
    _refused(read(books.write(tmp_path / "x.xlsx", {"readme.txt": "hello"})), "missing")
    assert read(books.write(tmp_path / "x.zip", {"readme.bin": b"\0\1\2", "b": "x"})).status is Status.OPAQUE


def test_an_encrypted_workbook_says_so(read: Callable[[Path], FileCapture], tmp_path: Path) -> None:
    package = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(1000) + "EncryptedPackage".encode("utf-16-le") + bytes(1000)
    (tmp_path / "x.xlsx").write_bytes(package)
    _refused(read(tmp_path / "x.xlsx"), "encrypted", "without a password")
    path = books.write(tmp_path / "y.xlsx", books.parts(books.sheet(ROW)))
    content = bytearray(path.read_bytes())
    with zipfile.ZipFile(path) as archive:
        for entry in archive.infolist():
            content[entry.header_offset + 6] |= 1
    for found in re.finditer(b"PK\x01\x02", bytes(content)):
        content[found.start() + 8] |= 1
    path.write_bytes(content)
    _refused(read(path), "encrypted")


def test_each_limit_is_what_refuses(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    attacks = {
        "MAX_RATIO": books.write(tmp_path / "ratio.zip", {"x": _zeros(20)}),
        "MAX_UNPACKED": books.write(tmp_path / "sum.zip", {f"{number}": _zeros(15) for number in range(3)}),
        "MAX_ENTRIES": books.write(tmp_path / "many.zip", {f"{number}": "" for number in range(20)}),
        "MAX_LISTING": books.write(tmp_path / "long.zip", {"x" * 5000: ""}),
    }
    monkeypatch.setattr(archives, "MAX_UNPACKED", 40 * MIB)
    monkeypatch.setattr(archives, "MAX_ENTRIES", 10)
    monkeypatch.setattr(archives, "MAX_LISTING", 4000)
    for limit, path in attacks.items():
        with pytest.raises(archives.ArchiveError):
            archives.Archive(path)
        with monkeypatch.context() as lifted:
            lifted.setattr(archives, limit, 1 << 40)
            archives.Archive(path).close()
