"""Workbooks made by hand, part by part, for what no honest program writes."""

import zipfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TypeAlias

Part: TypeAlias = str | bytes | Iterable[bytes]
Parts: TypeAlias = Mapping[str, Part]
MAIN = "http://schemas.openxmlformats.org/spreadsheetml/2006/main"
_OFFICE = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
_PACKAGE = "http://schemas.openxmlformats.org/package/2006/relationships"


def sheet(rows: str, *, before: str = "", after: str = "", dimension: str = "") -> str:
    """A worksheet's XML around its rows."""
    declared = f'<dimension ref="{dimension}"/>' if dimension else ""
    head = f'<?xml version="1.0" encoding="UTF-8"?>{before}<worksheet xmlns="{MAIN}">{declared}'
    return f"{head}<sheetData>{rows}</sheetData>{after}</worksheet>"


def shared(*items: str) -> str:
    """The part with the shared texts, each item the inside of an `si`."""
    return f'<?xml version="1.0" encoding="UTF-8"?><sst xmlns="{MAIN}">{"".join(f"<si>{item}</si>" for item in items)}</sst>'


def styles(*formats: str) -> str:
    """A style for each number format, after the general one."""
    codes = "".join(f'<numFmt numFmtId="{164 + number}" formatCode="{code}"/>' for number, code in enumerate(formats))
    cells = "".join(f'<xf numFmtId="{164 + number}"/>' for number in range(len(formats)))
    return f'<styleSheet xmlns="{MAIN}"><numFmts>{codes}</numFmts><cellXfs><xf numFmtId="0"/>{cells}</cellXfs></styleSheet>'


def parts(
    *sheets: str, states: Mapping[int, str] | None = None, kinds: Mapping[int, str] | None = None, properties: str = ""
) -> dict[str, str]:
    """The parts of a workbook with these sheets, named S1, S2, …"""
    listed = "".join(
        f'<sheet name="S{number}" sheetId="{number}" state="{(states or {}).get(number, "visible")}" r:id="rId{number}"/>'
        for number in range(1, len(sheets) + 1)
    )
    related = "".join(
        f'<Relationship Id="rId{number}" Type="{_OFFICE}/{(kinds or {}).get(number, "worksheet")}" Target="worksheets/sheet{number}.xml"/>'
        for number in range(1, len(sheets) + 1)
    )
    others = "".join(f'<Relationship Id="r{kind}" Type="{_OFFICE}/{kind}" Target="{kind}.xml"/>' for kind in ("styles", "sharedStrings"))
    book = f'<Relationship Id="r" Type="{_OFFICE}/officeDocument" Target="xl/workbook.xml"/>'
    return {
        "[Content_Types].xml": '<Types xmlns="http://schemas.openxmlformats.org/package/2006/content-types"/>',
        "_rels/.rels": f'<Relationships xmlns="{_PACKAGE}">{book}</Relationships>',
        "xl/workbook.xml": f'<workbook xmlns="{MAIN}" xmlns:r="{_OFFICE}">{properties}<sheets>{listed}</sheets></workbook>',
        "xl/_rels/workbook.xml.rels": f'<Relationships xmlns="{_PACKAGE}">{related}{others}</Relationships>',
        **{f"xl/worksheets/sheet{number}.xml": xml for number, xml in enumerate(sheets, 1)},
    }


def write(path: Path, content: Parts, compression: int = zipfile.ZIP_DEFLATED) -> Path:
    """An archive of the parts; a part may come in pieces."""
    with zipfile.ZipFile(path, "w", compression, compresslevel=1) as archive:
        for name, part in content.items():
            if isinstance(part, str | bytes):
                archive.writestr(name, part)
            else:
                with archive.open(name, "w", force_zip64=True) as entry:
                    for piece in part:
                        entry.write(piece)
    return path
