"""What several routes take or answer."""

import re
from datetime import datetime
from typing import Annotated

from fastapi import Query
from pydantic import AwareDatetime, BaseModel, BeforeValidator, ConfigDict, Field, model_validator


def _written(value: object) -> object:
    """Refuses a number, which would be taken for seconds since 1970."""
    if isinstance(value, (int, float)) or (isinstance(value, str) and re.fullmatch(r"\s*[-+]?[0-9_.]+([eE][-+]?[0-9]+)?\s*", value)):
        raise ValueError("write a moment as in 2026-11-01T12:00:00Z")
    return value


Moment = Annotated[AwareDatetime, BeforeValidator(_written)]
"""A moment with its time zone, as RFC 3339 writes it."""

Ref = Annotated[
    str | None,
    Query(
        max_length=300, description="A version: its number, `latest`, a branch or a tag; else the head of `main`", examples=["main", "3"]
    ),
]
DryRun = Annotated[bool, Query(description="Only say what would happen", examples=[True])]


class Input(BaseModel):
    """A body. What it does not know is refused, and nothing is turned from one type into another."""

    model_config = ConfigDict(extra="forbid", strict=True)

    @model_validator(mode="before")
    @classmethod
    def _of_characters(cls, given: object) -> object:
        """Refuses what JSON can write and no text can hold: halves of characters, and NUL."""
        waiting = [given]
        while waiting:
            value = waiting.pop()
            if isinstance(value, dict):
                waiting += [*value, *value.values()]
            elif isinstance(value, list):
                waiting += value
            elif isinstance(value, str) and re.search("[\x00\ud800-\udfff]", value):
                raise ValueError("a text holds a NUL, or half a character: remove it")
        return given


class Output(BaseModel):
    """An answer, read from what a service gave."""

    model_config = ConfigDict(from_attributes=True)


class Freed(Output):
    """Contents that nothing names any more which you may see. The collector takes what nobody names after its grace period."""

    files: int = Field(description="How many", examples=[2])
    bytes: int = Field(description="Their size", examples=[1048576])


class Removal(Output):
    """What a deletion takes, or has taken."""

    dataset: str = Field(description="Slug of the dataset", examples=["sales"])
    versions: list[int] = Field(description="Numbers of the versions that go", examples=[[1, 2]])
    components: int = Field(description="How many components these have in all", examples=[7])
    freed: Freed = Field(description="What nothing names any more after it")


class Component(Output):
    """One file of a version, under its name."""

    name: str = Field(description="Unique in the version", examples=["2026/january.csv"])
    file_size: int = Field(description="Bytes", examples=[52481])
    file_type: str = Field(description="Kind of content, from its first bytes", examples=["csv"])
    content_hash: str = Field(
        description="SHA-256 of the exact bytes", examples=["9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"]
    )
    # Not its file's id: they count up, so that an old one tells who stores a content that somebody else has it, too.


class Version(Output):
    """A version of a dataset. It never changes; only what points at it does."""

    id: int = Field(description="Unique among the versions of all datasets", examples=[93])
    number: int = Field(description="Counts from 1 in each dataset, without gaps", examples=[3])
    message: str = Field(description="What its author said about it", examples=["January, corrected"])
    parent_number: int | None = Field(description="The version that it was made from; null: it is a first one", examples=[2])
    merge_parent_number: int | None = Field(description="What was merged in, where it is a merge")
    author: str = Field(description="Who made it", examples=["ada"])
    created_at: datetime = Field(description="When it was made")
    components: int = Field(description="How many it has", examples=[12])
    total_bytes: int = Field(description="Their size", examples=[629772])
    overlay_hash: str = Field(description="SHA-256 of the document that says what it changed; each document names its parents'")
    pointers: list[str] = Field(description="Branches, then tags, that point here", examples=[["main", "v1.0"]])
    purged_at: datetime | None = Field(description="When its files were deleted; null: it can be read")
