"""The history of a dataset's schema: what each version changed, and its number, MAJOR.MINOR.PATCH. Pure.

docs/schema-changes.md says how a version gets its number.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime

from dsplatform.core.domain import ValueObject
from dsplatform.schemas.comparing.comparison import Comparison, Verdict, compare
from dsplatform.schemas.comparing.widening import remembered
from dsplatform.schemas.model import Column, ComponentSchema, Layout, VersionSchema


@dataclass(frozen=True, order=True)
class Semver(ValueObject):
    """The number of a version of data, as readers of its columns see it."""

    major: int
    minor: int
    patch: int

    def after(self, verdict: Verdict | None) -> "Semver":
        """The number of the version that came next with this verdict. None, where the verdict is not known, counts as `identical`."""
        match verdict:
            case Verdict.BREAKING:
                return Semver(self.major + 1, 0, 0)
            case Verdict.COMPATIBLE:
                return Semver(self.major, self.minor + 1, 0)
        return Semver(self.major, self.minor, self.patch + 1)

    def __str__(self) -> str:
        return f"{self.major}.{self.minor}.{self.patch}"


FIRST = Semver(1, 0, 0)


@dataclass(frozen=True)
class Step(ValueObject):
    """One version in the history of a schema, against the captured one before it."""

    version: int
    created_at: datetime
    semver: str
    certain: bool
    """Whether every version up to this one is captured. Until it is, the number may change."""
    verdict: Verdict | None
    """None for the first version that is captured, and for one that is not."""
    sentences: tuple[str, ...]
    comparison: Comparison | None


def steps(versions: Iterable[tuple[int, datetime, VersionSchema | None]]) -> list[Step]:
    """A step per version. `versions` are (number, when, schema), each after the one it was made from; None where it is not captured.

    A column that had no values for a while is compared with what it was before.
    """
    found: list[Step] = []
    number: Semver | None = None
    certain = True
    before: VersionSchema | None = None
    known: VersionSchema | None = None  # `before`, with the types that its empty columns had earlier
    for version, created_at, schema in versions:
        change = None
        if schema is None:
            certain = False
        else:
            if before is None or known is None:
                known = schema
            else:
                change, known = _change(before, known, schema)
            before = schema
        verdict = None if change is None else change.verdict
        number = FIRST if number is None else number.after(verdict)
        told = ("its schema is not captured",) if schema is None else () if change is None else tuple(change.sentences())
        found.append(Step(version, created_at, str(number), certain, verdict, told, change))
    return found


def changes(versions: Iterable[tuple[int, datetime, VersionSchema | None]]) -> list[Step]:
    """`steps` without those that changed nothing: the first version, each change, and the versions that are not captured."""
    return [step for step in steps(versions) if step.verdict is not Verdict.IDENTICAL]


def remember(before: VersionSchema, after: VersionSchema, heirs: Mapping[str, str] | None = None) -> VersionSchema:
    """`after`, where columns without values have the types that they had in `before`. `heirs` tells under which name a component was
    there that is not in `before` under its own (`Comparison.components_followed`, turned round)."""
    old = {item.name: item.layout for item in before.components}
    layouts: list[Layout] = []
    place: dict[tuple[int, int | None], int] = {}
    components: list[ComponentSchema] = []
    for item in after.components:
        index = None
        if item.layout is not None:
            key = item.layout, old.get(item.name, old.get((heirs or {}).get(item.name, "")))
            index = place.setdefault(key, len(layouts))
            if index == len(layouts):
                layouts.append(_remembered(None if key[1] is None else before.layouts[key[1]], after.layouts[item.layout]))
        components.append(replace(item, layout=index))
    return VersionSchema(after.schema_version, tuple(layouts), tuple(components))


def _change(before: VersionSchema, known: VersionSchema, after: VersionSchema) -> tuple[Comparison, VersionSchema]:
    """What changed, and `after` with what is known of its empty columns. Against what is known a change can only be graver."""
    plain = compare(before, after)
    now_known = remember(known, after, {heir: name for name, heir in plain.components_followed})
    if known == before and now_known == after:
        return plain, now_known
    strict = compare(known, now_known)
    return (strict if strict.verdict is Verdict.BREAKING else plain), now_known


def _remembered(before: Layout | None, after: Layout) -> Layout:
    if before is None:
        return after
    lone = len(before.tables) == len(after.tables) == 1
    earlier = {table.name: {column.name: column for column in table.columns} for table in before.tables}
    tables = []
    for table in after.tables:
        known = earlier[before.tables[0].name] if lone else earlier.get(table.name, {})
        columns = tuple(_column(known[column.name], column) if column.name in known else column for column in table.columns)
        tables.append(replace(table, columns=columns))
    return replace(after, tables=tuple(tables))


def _column(before: Column, after: Column) -> Column:
    if "null" not in after.type:
        return after
    return replace(after, type=remembered(before.type, after.type), format=before.format if after.type == "null" else after.format)
