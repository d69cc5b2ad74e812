"""Footers of Parquet files are held against what was written down of them, and none does any harm."""

from io import BytesIO
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import settings as with_settings
from hypothesis import strategies as st

from dsplatform.migration import footers
from dsplatform.migration.footers import Footers, footer
from dsplatform.migration.locating import Locator
from dsplatform.migration.source import LegacyDatabase
from dsplatform_tests.legacy import content
from dsplatform_tests.legacy.ddl import connected
from dsplatform_tests.legacy.generator import Built, build

WRONG = {
    "G0": "UPDATE sheet_metadata SET metadata = metadata || '{\"rows\": 99}' WHERE id = 1 RETURNING "
    "(SELECT v.file_id FROM sheets s JOIN dataset_versions v ON v.id = s.dataset_version_id WHERE s.id = sheet_id)",
    "G1b": "UPDATE dataset_schema_versions SET schema_json = schema_json || '{\"row_count\": 99}' WHERE id = 1 RETURNING "
    "(SELECT file_id FROM dataset_versions v WHERE v.id = dataset_version_id)",
    "G2": "INSERT INTO dataset_statistics (version_id, row_count) VALUES (1, 99) ON CONFLICT (version_id) DO UPDATE SET row_count = 99 "
    "RETURNING (SELECT file_id FROM dataset_version_files f WHERE f.version_id = 1 AND component_type = 'primary')",
}


def found(built: Built, *, read_all: bool = False) -> dict[str, tuple[str, ...]]:
    with LegacyDatabase(built.url).snapshot() as source:
        looked = Footers(source, Locator([built.folder], built.folder, built.mounts)).look(read_all=read_all, hear=lambda *_: None)
        return {oddity.code: oddity.examples for oddity in looked}


@pytest.mark.parametrize("generation", WRONG)
def test_a_file_with_another_number_of_rows_than_was_written_down_is_told(generation: str, legacy_url: str, legacy_folder: Path) -> None:
    built = build(legacy_url, legacy_folder, generation, datasets=4, oddities=False)
    assert found(built) == {}
    with connected(built.url) as connection:
        row = connection.execute(WRONG[generation].encode()).fetchone()
    assert row is not None
    assert found(built) == {"D20.rows": (str(row[0]),)}


def test_so_many_footers_are_read_and_no_more(legacy_url: str, legacy_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    built = build(legacy_url, legacy_folder, "G0", datasets=3, oddities=False)
    with connected(built.url) as connection:
        connection.execute("UPDATE sheet_metadata SET metadata = metadata || '{\"rows\": 99}'")
    monkeypatch.setattr(footers, "MOST", 2)
    assert len(found(built)["D20.rows"]) == 2
    assert len(found(built, read_all=True)["D20.rows"]) > 2


GOOD = content.parquet(3)


@given(st.integers(0, len(GOOD) - 1), st.integers(1, 255))
@with_settings(max_examples=200)
def test_a_footer_that_is_damaged_is_passed_over(at: int, change: int) -> None:
    data = bytearray(GOOD)
    data[at] ^= change
    read = footer(BytesIO(bytes(data)))
    assert read is None or isinstance(read[0], int)


def test_a_footer_tells_rows_and_columns(monkeypatch: pytest.MonkeyPatch) -> None:
    read = footer(BytesIO(GOOD))
    assert read is not None
    assert read[1][:4] == ["id", "region", "amount", "paid"]
    assert [footer(BytesIO(data)) for data in (b"", b"PAR1", b"no parquet, whatever it is", GOOD[:-1])] == [None] * 4
    monkeypatch.setattr(footers, "FOOTER_BYTES", 100)
    assert footer(BytesIO(GOOD)) is None, "a long one"
