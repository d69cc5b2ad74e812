"""The cells of a sheet's XML: what is read fast is what an XML parser reads, and what cannot be read fast is left to it."""

from xml.sax.saxutils import escape

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dsplatform.schemas.workbooks.cells import RawCells, column_number, parse, scan

TEXTS = st.text(st.characters(codec="utf-8", exclude_categories=["Cs", "Cc"]) | st.sampled_from("&<>\"'\n\t_x00D1_ é漢🎉"), max_size=12)


def _letters(column: int) -> str:
    text = ""
    while column >= 0:
        text, column = chr(65 + column % 26) + text, column // 26 - 1
    return text


@st.composite
def pieces(draw: st.DrawFn) -> bytes:
    """Rows as programs write them, with all the forms of a cell that `scan` takes."""
    rows = []
    number = draw(st.integers(1, 1_000_000))
    for _ in range(draw(st.integers(1, 6))):
        cells = []
        columns = sorted(draw(st.sets(st.sampled_from([0, 1, 25, 26, 27, 701, 702, 703, 16383]), max_size=6)))
        for column in columns:
            style = draw(st.sampled_from(["", ' s="0"', ' s="7"', ' s="12345"']))
            tag = f'<c r="{_letters(column)}{number}"{style}'
            formula = draw(st.sampled_from(["", "<f>A1+1</f>", '<f t="shared" si="0"/>', "<f></f>"]))
            value = draw(st.one_of(st.floats(allow_nan=False, allow_infinity=False).map(repr), st.integers(0, 999).map(str)))
            cells.append(
                draw(
                    st.sampled_from(
                        [
                            f"{tag}/>",
                            f"{tag}></c>",
                            f"{tag}><v></v></c>",
                            f"{tag}>{formula}<v>{value}</v></c>",
                            f'{tag} t="n">{formula}<v>{value}</v></c>',
                            f'{tag} t="s"><v>3</v></c>',
                            f'{tag} t="b">{formula}<v>1</v></c>',
                            f'{tag} t="e">{formula}<v>#N/A</v></c>',
                            f'{tag} t="str">{formula}<v>{escape(draw(TEXTS))}</v></c>',
                            f'{tag} t="inlineStr"><is><t>{escape(draw(TEXTS))}</t></is></c>',
                            f'{tag} t="inlineStr"><is><t xml:space="preserve">{escape(draw(TEXTS))}</t></is></c>',
                        ]
                    )
                )
            )
        rows.append(f'<row r="{number}" spans="1:9" ht="15">{"".join(cells)}</row>')
        number += draw(st.integers(1, 3))
    return "".join(rows).encode()


def _plain(cells: RawCells) -> list[tuple[int, int, int, int, str]]:
    columns = (cells.rows, cells.columns, cells.types, cells.styles)
    return list(zip(*(column.tolist() for column in columns), cells.texts.to_pylist(), strict=True))


@given(pieces())
def test_what_is_read_fast_is_what_the_parser_reads(piece: bytes) -> None:
    fast = scan(piece)
    assert fast is not None
    slow, row = parse(piece)
    assert _plain(fast) == _plain(slow)
    assert not len(slow.rows) or row > int(slow.rows[-1])


ODD = {
    "no reference": b'<row r="1"><c><v>1</v></c></row>',
    "no row number": b'<row><c r="A1"><v>1</v></c></row>',
    "attributes in another order": b'<row r="1"><c s="1" r="A1"><v>1</v></c></row>',
    "another attribute": b'<row r="1"><c r="A1" cm="1"><v>1</v></c></row>',
    "single quotes": b"<row r='1'><c r='A1'><v>1</v></c></row>",
    "blanks between": b'<row r="1"> <c r="A1"> <v>1</v> </c> </row>',
    "blanks in a tag": b'<row r="1"><c  r="A1" ><v>1</v></c></row>',
    "a comment": b'<row r="1"><c r="A1"><!-- <v>2</v> --><v>1</v></c></row>',
    "CDATA": b'<row r="1"><c r="A1" t="str"><v><![CDATA[<v>1</v>]]></v></c></row>',
    "rich text": b'<row r="1"><c r="A1" t="inlineStr"><is><r><t>a</t></r><r><t>b</t></r></is></c></row>',
    "a phonetic hint": b'<row r="1"><c r="A1" t="inlineStr"><is><t>a</t><rPh sb="0" eb="1"><t>b</t></rPh></is></c></row>',
    "a formula without value": b'<row r="1"><c r="A1"><f>A2</f></c><c r="B1"><v>1</v></c></row>',
    "an empty value": b'<row r="1"><c r="A1"><v/></c><c r="B1"><v>1</v></c></row>',
    "an extension": b'<row r="1"><c r="A1"><v>1</v><extLst><ext><c r="B1"><v>2</v></c></ext></extLst></c></row>',
    "a prefix": b'<x:row r="1"><x:c r="A1"><x:v>1</x:v></x:c></x:row>',
    "an unknown type": b'<row r="1"><c r="A1" t="q"><v>1</v></c></row>',
    "value before formula": b'<row r="1"><c r="A1"><v>1</v><f>A2</f></c></row>',
    "two values": b'<row r="1"><c r="A1"><v>1</v><v>2</v></c></row>',
    "four letters": b'<row r="1"><c r="AAAA1"><v>1</v></c></row>',
    "a name that begins alike": b'<row r="1"><c r="A1"><v>1</v></c></row><rowBreak/><row r="2"><c r="A2"><vv>1</vv></c></row>',
    "a lone attribute on the text": b'<row r="1"><c r="A1" t="inlineStr"><is><t xml:abcde="12345678">x</t></is></c></row>',
    "an unknown entity": b'<row r="1"><c r="A1" t="str"><v>&nbsp;</v></c></row>',
    "cut off": b'<row r="1"><c r="A1"><v>1</v></c></row><row r="2"><c r="A2"></row>',
}


@pytest.mark.parametrize("form", ODD)
def test_no_other_form_is_read_fast(form: str) -> None:
    assert scan(ODD[form]) is None


def test_odd_forms_mean_what_xml_says() -> None:
    def values(piece: bytes) -> list[tuple[int, int, str]]:
        return [(row, column, text) for row, column, _, _, text in _plain(parse(piece)[0])]

    for form in ("no reference", "no row number", "attributes in another order", "another attribute", "single quotes", "blanks between"):
        assert values(ODD[form]) == [(0, 0, "1")], form
    for form in ("blanks in a tag", "a comment", "a prefix", "an unknown type", "value before formula"):
        assert values(ODD[form]) == [(0, 0, "1")], form
    assert values(ODD["CDATA"]) == [(0, 0, "<v>1</v>")]
    assert values(ODD["rich text"]) == [(0, 0, "ab")]
    assert values(ODD["a phonetic hint"]) == [(0, 0, "a")]
    assert values(ODD["a formula without value"])[-1] == (0, 1, "1")


@given(pieces(), st.data())
def test_a_damaged_piece_is_never_read_otherwise_than_the_parser_reads_it(piece: bytes, data: st.DataObject) -> None:
    at = data.draw(st.integers(0, len(piece) - 1))
    damaged = piece[:at] + data.draw(st.sampled_from([b"", b"<", b">", b'"', b" ", b"/", b"v", b"0", b"&"])) + piece[at + 1 :]
    fast = scan(damaged)
    if fast is None:
        return
    try:
        slow, _ = parse(damaged)
    except ValueError:
        return
    mine = _plain(fast)
    # The fast way takes the row of a cell from its row alone, as the parser does, and so agrees in everything.
    assert mine == _plain(slow)


def test_rows_without_numbers_are_counted_on() -> None:
    first, row = parse(b"<row><c><v>1</v></c><c><v>2</v></c></row><row/><row><c><v>3</v></c></row>", 5)
    assert (first.rows.tolist(), first.columns.tolist(), row) == ([5, 5, 7], [0, 1, 0], 8)


def test_columns_have_letters() -> None:
    assert [column_number(_letters(number)) for number in range(20_000)] == list(range(20_000))


def test_a_piece_without_a_value_has_no_cells() -> None:
    cells = scan(b'<row r="3"/><row r="4"></row>')
    assert cells is None or not np.any(cells.rows)
