"""Values as their column is typed: texts of delimited files become what their column's values are, and nothing is lost."""

from uuid import UUID

import pyarrow as pa
import pyarrow.compute as pc

from dsplatform.schemas.logical import LogicalType
from dsplatform.schemas.model import Column
from dsplatform.schemas.profiles.profiling import plain_values


def typed(values: pa.Array, column: Column, *, fine: bool = False) -> pa.Array:
    """The values in an Arrow type of the column's logical type. Nested values that a reader hands on as JSON text stay that.

    `fine`: texts of timestamps become nanoseconds, else microseconds. Raises `pa.ArrowInvalid` for a text that is no such value.
    """
    if isinstance(values.type, pa.UuidType):
        return pa.array([None if value is None else str(UUID(bytes=value)) for value in values.storage.to_pylist()], pa.string())
    values = plain_values(values)
    if not pa.types.is_string(values.type):
        return values
    logical = LogicalType.parse(column.type)
    if logical.digits is not None:
        return pc.cast(values, pa.decimal128(*logical.digits))
    match logical.name:
        case "null":
            return pa.nulls(len(values))
        case "boolean":
            return pc.equal(pc.utf8_lower(values), "true")
        case "int64" | "uint64" | "float64":
            return pc.cast(values, {"int64": pa.int64(), "uint64": pa.uint64(), "float64": pa.float64()}[logical.name])
        case "date":
            return pc.cast(_iso(values, column.format), pa.date32())
        case "time":
            day = pc.binary_join_element_wise("1970-01-01", values, " ")
            return pc.cast(pc.cast(day, pa.timestamp("ns")), pa.time64("ns"))
        case "timestamp" | "timestamp with zone":
            zone = "UTC" if logical.name == "timestamp with zone" else None
            return pc.cast(values, pa.timestamp("ns" if fine else "us", zone))
    return values


def nested_text(values: pa.Array, column: Column) -> bool:
    """Whether typed values are JSON texts of nested ones."""
    return bool(pa.types.is_string(values.type)) and column.type.endswith(">")


def _iso(values: pa.Array, format_: str | None) -> pa.Array:
    """Days as ISO 8601 has them."""
    if format_ is None:
        return values
    if format_.startswith("YYYY"):
        return pc.replace_substring(values, "/", "-")
    padded = pc.replace_substring_regex(values, r"\b([0-9])\b", r"0\1")
    order = r"\3-\2-\1" if format_.startswith("DD") else r"\3-\1-\2"
    return pc.replace_substring_regex(padded, r"^([0-9]{2})[/.-]([0-9]{2})[/.-]([0-9]{4})$", order)
