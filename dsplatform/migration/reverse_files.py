"""Files for the legacy system: what versions of ours hold, where its own uploads lie, as Parquet wherever there are rows."""

import os
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import NamedTuple, Protocol
from uuid import UUID, uuid4, uuid5

from dsplatform.core.domain import Actor
from dsplatform.core.errors import Invalid, Unavailable
from dsplatform.core.interfaces import FileKeeper
from dsplatform.core.types import FileId, FilePath
from dsplatform.core.values import DatasetRef

NAMES = UUID("6ba7b811-9dad-11d1-80b4-00c04fd430c8")


class ParquetBytes(Protocol):
    """Parquet on its way out."""

    @property
    def chunks(self) -> Iterator[bytes]:
        """In order."""
        ...


class Tables(Protocol):
    """What makes Parquet of stored tables."""

    def parquet(self, actor: Actor, dataset: DatasetRef, ref: str | None, *, component: FilePath) -> AbstractContextManager[ParquetBytes]:
        """The component's rows. Raises `Invalid` for what has none."""
        ...


class Part(NamedTuple):
    """A component to be written."""

    dataset: DatasetRef
    version_number: int
    component: FilePath
    file_id: FileId
    content_hash: str
    file_type: str


class Written(NamedTuple):
    """A file of the legacy tree."""

    path: Path
    size: int
    file_type: str
    mime_type: str


class ReverseFiles:
    """Writes files to the legacy tree. What lies there already is never changed or removed."""

    def __init__(self, tables: Tables, files: FileKeeper, folder: Path | None) -> None:
        self._tables = tables
        self._files = files
        self._folder = folder

    def write(self, actor: Actor, part: Part, dataset: int, version: int) -> Written:
        """The component under the numbers by which old clients know its dataset and version. Repeating it changes nothing. Raises
        `Unavailable`."""
        if self._folder is None:
            raise Unavailable("no folder is named for files of the legacy system: set DSPLATFORM_LEGACY_ROOTS")
        folder = self._folder / "datasets" / str(dataset) / str(version)
        name = f"{dataset}_{version}_{uuid5(NAMES, f'{part.content_hash} {part.component}')}"
        table, other = folder / f"{name}.parquet", folder / f"{name}.{part.file_type.rpartition('/')[2] or 'bin'}"
        made = next((path for path in (table, other) if path.is_file()), None)
        if made is None:
            try:
                with self._tables.parquet(actor, part.dataset, str(part.version_number), component=part.component) as parquet:
                    made = _kept(table, parquet.chunks)
            except Invalid:  # there are no rows in it
                with self._files.verified_chunks(part.file_id) as chunks:
                    made = _kept(other, chunks)
        is_table = made.suffix == ".parquet"
        mime = "application/parquet" if is_table else "application/octet-stream"
        return Written(made, made.stat().st_size, "parquet" if is_table else part.file_type[:50], mime)


def _kept(path: Path, chunks: Iterable[bytes]) -> Path:
    """The file, whole under its name or not there, also after a power cut."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        draft = path.with_name(f".{uuid4().hex}.draft")
        try:
            with draft.open("xb") as file:
                for chunk in chunks:
                    file.write(chunk)
                file.flush()
                os.fsync(file.fileno())
            draft.replace(path)
        finally:
            draft.unlink(missing_ok=True)
        folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
    except OSError as err:
        raise Unavailable(f"a file of the legacy system cannot be written: {err.strerror or err}; see DSPLATFORM_LEGACY_ROOTS") from err
    return path
