"""The form of an upload, in whatever order its fields come: a file is set down on disk until all of them are known."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any, BinaryIO

from fastapi import HTTPException
from fastapi.exceptions import RequestValidationError
from multipart import MultipartSegment, parse_options_header
from pydantic import BaseModel, ValidationError, field_validator

from dsplatform.api import forms
from dsplatform.api.legacy.errors import Answer

EXTENSIONS = ("csv", "xlsx", "xls", "xlsm")
MOST_TAGS, LONGEST_TAG = 20, 50
FIELD_BYTES = 1 << 20
"""Of all fields together."""


class UploadFields(BaseModel):
    """Of `POST /upload` (2.3)."""

    dataset_id: int | None = None
    name: str
    description: str | None = None
    tags: str | None = None
    parent_version_id: int | None = None
    message: str | None = None
    branch_name: str = "main"

    @field_validator("branch_name")
    @classmethod
    def _main(cls, value: str) -> str:
        return value or "main"


class CommitFields(BaseModel):
    """Of a commit to a branch (2.5)."""

    message: str | None = None


class AttachedFields(BaseModel):
    """Of what is attached (2.4)."""

    component_type: str
    component_name: str | None = None


@dataclass(frozen=True)
class SentFile:
    """A file that came with a form."""

    name: str
    bytes: BinaryIO

    def expect(self) -> None:
        """400 in the old words for a file without a name, or of a kind that the old server did not take."""
        if not self.name:
            raise Answer(400, "Filename cannot be empty")
        extension = self.name.rpartition(".")[2].lower() if "." in self.name else ""
        if extension not in EXTENSIONS:
            raise Answer(400, f"Unsupported file type: {extension}. Supported types: {', '.join(EXTENSIONS)}")


@dataclass(frozen=True)
class Sent:
    """A form as it came."""

    fields: dict[str, str]
    file: SentFile | None

    def read(self, model: type[Any]) -> tuple[Any, SentFile]:
        """The fields and the file. 422 as the old framework said it."""
        wrong: list[Any] = []
        found = None
        if self.file is None:
            wrong.append({"type": "missing", "loc": ("body", "file"), "msg": "Field required", "input": None})
        try:
            found = model(**{name: value for name, value in self.fields.items() if name in model.model_fields})
        except ValidationError as err:
            wrong += [{**each, "loc": ("body", *each["loc"])} for each in err.errors(include_url=False)]
        if wrong or self.file is None:
            raise RequestValidationError(wrong)
        return found, self.file


@contextmanager
def received(body: BinaryIO, content_type: str | None, folder: Path) -> Iterator[Sent]:
    """The form, as long as the block lasts; its file lies in the folder without a name, so that nothing is left of it. 400 for one that is
    malformed."""
    kind, options = parse_options_header(content_type or "")
    boundary = options.get("boundary", "")
    if kind != "multipart/form-data" or not 0 < len(boundary) <= 70:
        raise RequestValidationError([{"type": "missing", "loc": ("body", "file"), "msg": "Field required", "input": None}])
    folder.mkdir(parents=True, exist_ok=True)
    with TemporaryFile(dir=folder) as spooled:
        try:
            fields, name = _parts(body, boundary, spooled)
        except HTTPException as err:
            raise err if err.status_code == 413 else Answer(400, "There was an error parsing the body") from err
        spooled.seek(0)
        yield Sent(fields, None if name is None else SentFile(name, spooled))


def _parts(body: BinaryIO, boundary: str, spooled: BinaryIO) -> tuple[dict[str, str], str | None]:
    """The fields, the last of each name, and the name of the first file called `file`; its bytes are written to `spooled`."""
    fields: dict[str, bytearray] = {}
    name: str | None = None
    field, writing, size = bytearray(), False, 0
    for event in forms.events(body, boundary):
        if isinstance(event, MultipartSegment):
            field, writing = bytearray(), False
            if event.filename is None:
                fields[event.name] = field
            elif event.name == "file" and name is None:
                name, writing = event.filename, True
        elif event and writing:
            spooled.write(event)
        elif event:
            size += len(event)
            if size > FIELD_BYTES:
                raise HTTPException(413, f"the fields of the form have more than {FIELD_BYTES:,} bytes")
            field += event
    return {key: value.decode("utf-8", "replace") for key, value in fields.items()}, name


def labels(text: str | None) -> list[str]:
    """Labels as a form has them: a list in JSON, or separated by commas. 400 in the old words."""
    if not text:
        return []
    try:
        found = json.loads(text)
    except ValueError:
        found = text.split(",")
    if not isinstance(found, list) or not all(isinstance(one, str) for one in found):
        raise Answer(400, "Invalid tags format: Tags must be a list")
    kept = [one.strip() for one in found if one.strip()]
    if len(kept) > MOST_TAGS:
        raise Answer(400, f"Too many tags. Maximum allowed: {MOST_TAGS}")
    for one in kept:
        if len(one) > LONGEST_TAG:
            raise Answer(400, f"Tag '{one}' exceeds maximum length of {LONGEST_TAG} characters")
    return kept
