"""What reading a large workbook takes: every cell of half a million rows, exact types and the profile."""

import random
import sys
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from statistics import median

from benchmarks.measure import Run, run, spread
from benchmarks.setting import table

ROWS, COLUMNS = 500_000, 10

READ = """
import sys
from pathlib import Path
from dsplatform.schemas.sandbox import Request, shared
(capture,) = shared().extract([Request(Path(sys.argv[1]), "zip", "big.xlsx")])
assert capture.rows == {rows} and len(capture.tables[0].profile) == {columns}, capture.reason
"""
CALAMINE = """
import sys
import fastexcel
sheet = fastexcel.read_excel(sys.argv[1]).load_sheet(0, schema_sample_rows=None)
assert sheet.to_arrow().num_rows == {rows}
"""
OFFICE = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
MAIN = "http://schemas.openxmlformats.org/spreadsheetml/2006/main"
PACKAGE = "http://schemas.openxmlformats.org/package/2006/relationships"


def workbook(scratch: Path, rounds: int) -> str:
    """One workbook: ours, through the child process, and calamine, which guesses types and knows no error cells and no profile."""
    path = scratch / "big.xlsx"
    write(path, ROWS)
    ours, peer = list[Run](), list[Run]()
    for _ in range(rounds):
        peer.append(_python(CALAMINE, path))
        ours.append(_python(READ, path))
    unpacked = sum(entry.file_size for entry in zipfile.ZipFile(path).infolist()) >> 20
    path.unlink()
    return table(
        f"A workbook of {ROWS:,} rows and {COLUMNS} columns, {unpacked} MiB of XML",
        ["what", "seconds", "seconds of CPU", "peak MiB", "bar"],
        [
            ("every cell, types and profile, with the start of the child", *_figures(ours), "≤ 4"),
            ("calamine (fastexcel)", *_figures(peer), ""),
        ],
    )


def write(path: Path, rows: int) -> None:
    """Numbers, shared and own texts, days, moments, truth values: the XML that Excel writes, without openpyxl's minutes."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        archive.writestr("[Content_Types].xml", '<Types xmlns="http://schemas.openxmlformats.org/package/2006/content-types"/>')
        archive.writestr("_rels/.rels", _relations("officeDocument", "xl/workbook.xml"))
        archive.writestr(
            "xl/workbook.xml",
            f'<workbook xmlns="{MAIN}" xmlns:r="{OFFICE}"><sheets><sheet name="Sales" sheetId="1" r:id="worksheet"/></sheets></workbook>',
        )
        archive.writestr(
            "xl/_rels/workbook.xml.rels",
            _relations("worksheet", "sheet1.xml", "styles", "styles.xml", "sharedStrings", "sharedStrings.xml"),
        )
        formats = "".join(f'<xf numFmtId="{number}"/>' for number in (0, 14, 22))
        archive.writestr("xl/styles.xml", f'<styleSheet xmlns="{MAIN}"><cellXfs>{formats}</cellXfs></styleSheet>')
        for name, pieces in (("xl/sharedStrings.xml", _texts(rows)), ("xl/sheet1.xml", _rows(rows))):
            with archive.open(name, "w", force_zip64=True) as part:
                for piece in pieces:
                    part.write(piece.encode())


def _relations(*pairs: str) -> str:
    listed = "".join(
        f'<Relationship Id="{kind}" Type="{OFFICE}/{kind}" Target="{target}"/>'
        for kind, target in zip(pairs[::2], pairs[1::2], strict=True)
    )
    return f'<Relationships xmlns="{PACKAGE}">{listed}</Relationships>'


def _texts(rows: int) -> Iterator[str]:
    yield f'<sst xmlns="{MAIN}">' + "".join(f"<si><t>city number {number}</t></si>" for number in range(1000))
    for number in range(rows):
        yield f"<si><t>customer {number:07d}</t></si>"
    yield "</sst>"


def _rows(rows: int) -> Iterator[str]:
    values = random.Random(1)
    names = "".join(f'<c r="{letter}1" t="inlineStr"><is><t>name {letter}</t></is></c>' for letter in "ABCDEFGHIJ")
    yield f'<worksheet xmlns="{MAIN}"><sheetData><row r="1">{names}</row>'
    for row in range(2, rows + 2):
        yield (
            f'<row r="{row}" spans="1:10"><c r="A{row}"><v>{row}</v></c><c r="B{row}" t="s"><v>{998 + row}</v></c>'
            f'<c r="C{row}" t="s"><v>{row % 1000}</v></c><c r="D{row}"><v>{values.randrange(100_000)}</v></c>'
            f'<c r="E{row}"><v>{values.random() * 1000:.2f}</v></c><c r="F{row}" s="1"><v>{40000 + row % 5000}</v></c>'
            f'<c r="G{row}" s="2"><v>{40000 + row / 1000:.6f}</v></c><c r="H{row}" t="b"><v>{row % 2}</v></c>'
            f'<c r="I{row}" t="s"><v>{row % 50}</v></c><c r="J{row}"><v>{values.random()}</v></c></row>'
        )
    yield "</sheetData></worksheet>"


def _python(code: str, path: Path) -> Run:
    return run([sys.executable, "-c", code.format(rows=ROWS, columns=COLUMNS), str(path)], {})


def _figures(runs: list[Run]) -> tuple[str, str, str]:
    return spread([each.wall for each in runs]), f"{median(each.cpu for each in runs):.2f}", f"{max(each.rss for each in runs):.0f}"


ALL: dict[str, Callable[[Path, int], str]] = {"workbook": workbook}
