"""What a version holds, in the old words: its file, its sheets, its tables (sections 2.2 to 2.4)."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from dsplatform.api.legacy.adapter import LegacyDatasetAdapter
from dsplatform.api.legacy.errors import Answer
from dsplatform.api.legacy.table_shapes import File, SheetInfo, VersionFile
from dsplatform.core.domain import Actor
from dsplatform.core.errors import NotFound
from dsplatform.core.types import FilePath, VersionId
from dsplatform.core.values import DatasetRef
from dsplatform.files.model import FileDamaged
from dsplatform.migration.old_files import OldFile
from dsplatform.migration.old_model import OldVersion
from dsplatform.permissions.model import MissingRight
from dsplatform.schemas.capturing import SchemaNotCaptured
from dsplatform.schemas.converting import ConversionFailed, NotConvertible
from dsplatform.schemas.model import ComponentSchema, Status, Table, VersionSchema

SHOWN = "Read permission required to view versions"
BROKEN_SHEET = "Error parsing file"
PARQUET = "application/parquet"
CAPTURED_AT_ONCE = 64 << 20
"""Files up to this size are read where nobody has read them yet, for who asks for their columns."""


class Contents:
    """One version of a dataset, for who may read it."""

    def __init__(self, adapter: LegacyDatasetAdapter, actor: Actor, dataset: DatasetRef, version: OldVersion) -> None:
        self._services = adapter.services
        self._adapter = adapter
        self._actor = actor
        self._dataset = dataset
        self.version = version

    @property
    def ref(self) -> str:
        """What names it for the services."""
        return str(self.version.version_number)

    @property
    def component(self) -> FilePath:
        """The component that is *the* file of the version. 404 where there is none."""
        if self.version.component is None:
            raise Answer(404, f"File for version {self.version.id} not found")
        return FilePath(self.version.component)

    # --- files and sheets ------------------------------------------------------------------------------------------------------

    def files(self) -> list[OldFile]:
        """What it holds, by index and name."""
        found = self._services.legacy.files(self._actor, self._dataset, self.version)
        return sorted(found, key=lambda one: (one.component_index is None, one.component_index or 0, one.component_name or ""))

    def shapes(self, files: Sequence[OldFile]) -> list[VersionFile]:
        """Components in the form of G1b."""
        own = [(VersionId(self.version.new_id), str(one.component)) for one in files if one.file_number is None]
        numbers = self._services.legacy.file_numbers(own) if own else {}
        return [self._shape(one, one.file_number or numbers[VersionId(self.version.new_id), str(one.component)]) for one in files]

    def sheets(self) -> list[SheetInfo]:
        """The sheets that the old server knew of; of a version that was made here the one that it would have."""
        primary = next((one for one in self.files() if one.component == self.version.component), None)
        if primary is None:
            return []
        if primary.sheets is not None:
            return [SheetInfo(name=one["name"], index=one["index"], description=one.get("description")) for one in primary.sheets]
        if primary.file_number is not None:
            return []  # it came along, and none was kept
        return [sheet_of(primary.file_name, self.captured())]

    def _shape(self, one: OldFile, number: int) -> VersionFile:
        file = File(
            file_type="parquet", mime_type=PARQUET, file_size=one.file_size, id=number, created_at=self._adapter.naive(one.created_at)
        )
        return VersionFile(
            version_id=self.version.id,
            file_id=number,
            component_type=one.component_type,
            component_name=one.component_name,
            component_index=one.component_index,
            metadata=None if one.metadata is None else dict(one.metadata),
            file=file,
        )

    # --- tables ----------------------------------------------------------------------------------------------------------------

    def table(self) -> tuple[Table, int | None] | None:
        """The first table of its file, and its rows; None where it has none, or nobody has read it yet."""
        found = self.captured()
        if found is None or found[0].layout is None:
            return None
        component, schema = found
        tables = schema.layouts[component.layout or 0].tables
        return (tables[0], component.rows[0]) if tables else None

    def captured(self) -> "tuple[ComponentSchema, VersionSchema] | None":
        """What reading its file found; None where nobody has read it yet."""
        id_ = VersionId(self.version.new_id)
        try:
            schema = self._services.schemas.schema_of(self._actor, self._dataset, id_)
        except SchemaNotCaptured:
            found = self._services.schemas.capture_at_once(self._actor, self._dataset, id_, most_bytes=CAPTURED_AT_ONCE)
            if found is None:
                return None
            schema = found
        component = next((one for one in schema.components if one.name == self.version.component), None)
        return None if component is None else (component, schema)


def sheet_of(file_name: str, captured: "tuple[ComponentSchema, VersionSchema] | None") -> SheetInfo:
    """The one sheet that the old server told of a file: what was not read counts as good."""
    if captured is not None and captured[0].status is not Status.OK:
        return SheetInfo(name=file_name, index=0, description=BROKEN_SHEET)
    return SheetInfo(name=file_name.rpartition(".")[0] or file_name, index=0)


@contextmanager
def opened(adapter: LegacyDatasetAdapter, actor: Actor, number: int, version: int) -> Iterator[Contents]:
    """The version that an old address names, for the length of the block. 403 and 404 in the old words, also for what the block raises."""
    dataset = adapter.dataset(actor, number)
    with adapter.refusing(SHOWN, number):
        try:
            yield Contents(adapter, actor, dataset, adapter.version(actor, dataset, number, version))
        except (Answer, MissingRight):
            raise
        except NotFound as err:  # it went meanwhile
            raise Answer(404, f"Version {version} not found") from err


@contextmanager
def failing(status: int, detail: str, *, conversion: str = "Internal Server Error") -> Iterator[None]:
    """Says in the old words why there are no bytes: `detail` for a file that has none that could be Parquet."""
    try:
        yield
    except NotConvertible as err:
        raise Answer(status, detail) from err
    except FileDamaged as err:
        raise Answer(404, "File data not found") from err
    except ConversionFailed as err:
        raise Answer(500, conversion) from err
