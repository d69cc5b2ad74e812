"""The footer of a Parquet file, believed as far as it can be checked without reading the data: against the file's size and itself."""

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import BinaryIO

import pyarrow as pa
import pyarrow.parquet as pq
import pyarrow.types as t

from dsplatform.schemas.logical import LogicalType
from dsplatform.schemas.model import PROFILE_TEXT, Column, ColumnProfile, Json
from dsplatform.schemas.profiles.profiling import texts_of

STATISTICS_CHUNKS = 1_500
"""Chunks (row groups times columns) whose statistics are read; of a longer footer none, or reading it would take longer than 20 ms."""
EXPECTED = {"string": str, "float64": float, "boolean": bool}
"""What extremes of a type come as, where they could come as something else."""
SIGNATURE_BYTES = 28
"""What follows a plain footer that belongs to encrypted columns."""


def not_whole(path: Path) -> str | None:
    """Why a file cannot be Parquet from its first byte to its last, as far as its ends tell."""
    with path.open("rb") as file:
        size = file.seek(0, 2)
        file.seek(max(0, size - 8))
        tail = file.read()
        if b"PARE" in {tail[-4:], _at(file, 0, 4)}:
            return "it is encrypted, the footer too: write it without encryption"
        if size < 12 or tail[-4:] != b"PAR1":
            return "it begins as Parquet does and ends otherwise: it was cut off, or something was appended"
        footer = int.from_bytes(tail[:4], "little")
        if footer > size - 12:
            return f"it claims a footer of {footer} bytes, but has only {size} in all: it was cut at its beginning, or lies"
    return None


def _at(file: BinaryIO, start: int, count: int) -> bytes:
    file.seek(start)
    return file.read(count)


class Footer:
    """What a Parquet footer says, held against the file."""

    def __init__(self, path: Path, meta: pq.FileMetaData) -> None:
        self._path, self._meta = path, meta
        self._groups = [meta.row_group(index) for index in range(meta.num_row_groups)]

    def lie(self) -> str | None:
        """What cannot be true of it, or keeps its columns from being read."""
        with self._path.open("rb") as file:
            size = file.seek(0, 2)
            footer = int.from_bytes(_at(file, size - 8, 4), "little")
            if footer - self._meta.serialized_size == SIGNATURE_BYTES:  # to look at such a column would end the process
                return "columns of it are encrypted: write it without encryption"
            rows, said = sum(group.num_rows for group in self._groups), self._meta.num_rows
            if rows != said or any(group.num_rows < 0 for group in self._groups):
                return f"its footer contradicts itself: {said} rows in all, {rows} in its row groups"
            start, taken = size - 8 - footer, 4
            self._chunks = [[group.column(number) for number in range(group.num_columns)] for group in self._groups]
            for index, chunks in enumerate(self._chunks):
                if chunks and (other := chunks[0].file_path):
                    return f"it is a summary of other files, such as {other[:PROFILE_TEXT]!r}, which hold the rows"
                for number, chunk in enumerate(chunks):
                    begin, dictionary, length = chunk.data_page_offset, chunk.dictionary_page_offset, chunk.total_compressed_size
                    if dictionary is not None and 0 < dictionary < begin:
                        begin = dictionary
                    if begin < 0 or length < 0 or begin + length > start:
                        return (
                            f"its footer lies: column {number + 1} of row group {index + 1} would be the bytes {begin} to {begin + length},"
                            f" the data ends at {start}"
                        )
                    taken += length
            return "two or more Parquet files were put together into one" if _seam(file, start - taken) else None

    def leaves(self, schema: pa.Schema) -> list[int | None]:
        """For each column the index of its Parquet column, None where it has several or is repeated."""
        leaves, first = list[int | None](), 0
        for type_ in schema.types:
            count = _leaf_count(type_)
            leaves.append(first if count == 1 and not _is_nested(type_) else None)
            first += count
        return leaves if first == self._meta.num_columns else [None] * len(schema)

    def named_by_parquet(self, columns: tuple[Column, ...], leaves: Sequence[int | None]) -> tuple[Column, ...]:
        """The columns; those that Arrow has no type for as Parquet calls them."""
        special = {"Interval": "duration", "Enum": "string"}
        result = []
        for column, leaf in zip(columns, leaves, strict=True):
            type_ = special.get(str(self._meta.schema.column(leaf).logical_type)) if leaf is not None and column.type == "binary" else None
            result.append(column if type_ is None else Column(column.name, type_, column.nullable))
        return tuple(result)

    def compression(self) -> Json:
        """The codec of the first chunk."""
        first = self._groups[0] if self._groups else None
        codec = first.column(0).compression if first is not None and first.num_columns else "UNCOMPRESSED"
        return None if codec == "UNCOMPRESSED" else codec.lower()

    def profile(self, columns: tuple[Column, ...], leaves: Sequence[int | None]) -> tuple[ColumnProfile, ...]:
        """What the statistics of all row groups say together; nothing of nested columns."""
        if len(self._groups) * self._meta.num_columns > STATISTICS_CHUNKS:
            return ()
        return tuple(
            ColumnProfile() if leaf is None else self._column_profile(leaf, LogicalType.parse(column.type))
            for column, leaf in zip(columns, leaves, strict=True)
        )

    def _column_profile(self, leaf: int, type_: LogicalType) -> ColumnProfile:
        about = self._meta.schema.column(leaf)
        required, unsigned = about.max_definition_level == 0, "isSigned=false" in str(about.logical_type)
        nulls: int | None = 0
        ends: list[tuple[object, object]] | None = []
        for group, chunks in zip(self._groups, self._chunks, strict=True):
            rows = group.num_rows
            if not rows:
                continue
            statistics = chunks[leaf].statistics
            missing = 0 if required else None if statistics is None else statistics.null_count
            nulls = None if nulls is None or missing is None or not 0 <= missing <= rows else nulls + missing
            if ends is not None and missing != rows:
                found = None if statistics is None or not statistics.has_min_max else self._ends(statistics, type_, unsigned=unsigned)
                ends = None if found is None else [*ends, found]
        if not ends:
            return ColumnProfile(nulls=nulls)
        low, high = min(end[0] for end in ends), max(end[1] for end in ends)  # type: ignore[type-var]
        shown = [self._shown(value, leaf, type_) for value in (low, high)]
        return ColumnProfile(nulls=nulls, low=shown[0], high=shown[1]) if None not in shown else ColumnProfile(nulls=nulls)

    def _ends(self, statistics: pq.Statistics, type_: LogicalType, *, unsigned: bool) -> tuple[object, object] | None:
        """Least and greatest value as something that can be compared; None where the statistics cannot be trusted for this type."""
        if type_.name in {"date", "time", "timestamp", "timestamp with zone"}:
            ends = statistics.min_raw, statistics.max_raw
            return ends if all(isinstance(end, int) for end in ends) else None  # the raw ones of INT96 are bytes
        if type_.name in {"binary", "duration", "null"}:
            return None
        if type_.name == "string" and not (self._meta.created_by or "").startswith("parquet-cpp"):
            return None  # others cut long texts, and whether they did is not told
        raw = type_.name in {"int64", "float64"} and not unsigned  # they are as they mean, which saves most of the time
        low, high = (statistics.min_raw, statistics.max_raw) if raw else (statistics.min, statistics.max)
        expected = EXPECTED.get(type_.name)
        if expected is not None and not (isinstance(low, expected) and isinstance(high, expected)):
            return None
        if expected is float and not (math.isfinite(low) and math.isfinite(high)):
            return None  # a NaN hides what the others are
        return (low, high) if low <= high else None

    def _shown(self, value: object, leaf: int, type_: LogicalType) -> Json:
        if isinstance(value, bool):
            return "true" if value else "false"
        if isinstance(value, str):
            return value[:PROFILE_TEXT]
        if isinstance(value, int | float) and type_.name in {"int64", "uint64", "float64"}:
            return value
        if not isinstance(value, int):
            return f"{value:f}"  # a decimal
        if type_.name == "date":
            return _text(value, pa.date32())
        unit = json.loads(self._meta.schema.column(leaf).logical_type.to_json()).get("timeUnit")
        short = {"milliseconds": "ms", "microseconds": "us", "nanoseconds": "ns"}.get(unit)
        if short is None:
            return None
        if type_.name == "time":
            return _text(value, pa.time32("ms") if short == "ms" else pa.time64(short))
        return _text(value, pa.timestamp(short, "UTC" if type_.name == "timestamp with zone" else None))


def _text(value: int, type_: pa.DataType) -> str | None:
    """A count of days or parts of a second as text; None where that is no date that Arrow can write."""
    stored = pa.int32() if type_.bit_width == 32 else pa.int64()
    try:
        text: str = texts_of(pa.array([value], stored).cast(type_))[0].as_py()
    except (pa.ArrowInvalid, OverflowError):
        return None
    return None if text.startswith("<") else text


def _seam(file: BinaryIO, spare: int) -> bool:
    """Whether an inner Parquet file ends, and one begins, within the bytes that no column accounts for. Page indexes and filters are
    among them, so the seam need not be where they end."""
    if spare < 12:
        return False
    reach = min(spare, 1 << 20)
    part = _at(file, spare - reach, reach + 8)
    at = part.find(b"PAR1PAR1")
    while at >= 4:
        inner = int.from_bytes(part[at - 4 : at], "little")
        if 0 < inner <= spare - reach + at:
            return True
        at = part.find(b"PAR1PAR1", at + 1)
    return False


def _is_nested(type_: pa.DataType) -> bool:
    return _is_nested(type_.storage_type) if isinstance(type_, pa.BaseExtensionType) else t.is_nested(type_)


def _leaf_count(type_: pa.DataType) -> int:
    if isinstance(type_, pa.BaseExtensionType):
        return _leaf_count(type_.storage_type)
    if t.is_nested(type_):
        return sum(_leaf_count(type_.field(index).type) for index in range(type_.num_fields))
    return 1
