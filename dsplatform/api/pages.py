"""Lists in pages, by key: `next` of one page is `after` of the following one."""

from collections.abc import Callable, Sequence
from typing import Annotated, TypeVar

from fastapi import Query
from pydantic import BaseModel, Field

T = TypeVar("T")
Key = TypeVar("Key", str, int)
Next = TypeVar("Next")

Limit = Annotated[int, Query(ge=1, le=1000, description="How many a page has at most", examples=[100])]
Total = Annotated[bool, Query(description="Count all of them, too", examples=[True])]
After = Annotated[str, Query(max_length=1000, description="`next` of the page before", examples=["main"])]


class Page(BaseModel):
    """A part of a list. A page is stable: what comes or goes elsewhere in the list moves nothing into it or out of it."""

    next: str | None = Field(None, description="Give it as `after` for the next page; null: this is the last", examples=["main"])
    total: int | None = Field(None, description="How many there are in all, where `total=true` was asked for", examples=[3])


def page_of(found: Sequence[T], key: Callable[[T], Key], after: Key, limit: int) -> tuple[list[T], Key | None]:
    """The items of one page of a list that is short enough to be read as a whole, in the order of their keys, and what is next."""
    return cut(sorted((item for item in found if key(item) > after), key=key), key, limit)


def cut(found: Sequence[T], key: Callable[[T], Next], limit: int) -> tuple[list[T], Next | None]:
    """The same of the rest of a list, of which one more than the page has was asked for."""
    items = list(found[:limit])
    return items, key(items[-1]) if len(found) > limit else None
