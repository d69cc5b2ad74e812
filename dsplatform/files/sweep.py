"""Looking through the whole store for objects that nothing names: what a crash in a bad moment or a restore leaves behind.

The store is listed first and the database asked afterwards, so that an object is never older than the answer about it. Two sweeps must
agree: the first notes what it finds, and only what another one finds again is buried, with a grace period before it is deleted.
"""

import re
from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from itertools import islice
from uuid import uuid4

from dsplatform.core.database import Database
from dsplatform.core.errors import Unavailable
from dsplatform.core.failpoints import reach
from dsplatform.files.binding import Binding, CollectionRefused
from dsplatform.files.refuse import Strays
from dsplatform.files.stores import StorageBackend, StoredObject

MINIMUM_AGE = timedelta(hours=48)
"""Younger objects may belong to an upload that is under way."""
GRACE = timedelta(days=8)
FEW = 1_000
"""So many findings are believed however small the store is; above, one object in a hundred."""
SHARE = 100
MOST = 100_000
"""Findings that one sweep keeps in memory; the next one finds the rest."""
BATCH = 1_000

_KEY = re.compile(r"[0-9a-f]{2}/[0-9a-f]{64}\.[0-9a-f]{32}")


class Sweep:
    """One look through the store."""

    def __init__(self, db: Database, storage: StorageBackend, binding: Binding) -> None:
        self._db = db
        self._storage = storage
        self._binding = binding

    def look(self) -> Sequence[StoredObject]:
        """The objects that nothing names and that are old enough to be judged.

        Raises `CollectionRefused` when there are more than can be believed, `Unavailable` when the list is not whole.
        """
        theirs = self._binding.require_for_sweep()
        listed = unknown = 0
        found: list[StoredObject] = []
        for page in self._pages():
            listed += len(page)
            strays = self._strays(page, theirs - MINIMUM_AGE)
            unknown += len(strays)
            found += strays[: MOST - len(found)]
        if unknown > max(FEW, listed // SHARE):
            raise CollectionRefused(
                f"{unknown} of {listed} objects are named by nothing, which is more than can be believed: is this the right database, "
                "and is it whole? Nothing was swept"
            )
        reach("sweep.listed")
        return found

    def _pages(self) -> Iterator[Sequence[StoredObject]]:
        """The listing, whose order shows that no page was lost or came twice."""
        last = ""
        for page in self._storage.list():
            for item in page:
                if item.key <= last:
                    raise Unavailable(f"the store's list is out of order at {item.key}: nothing was swept; try again")
                last = item.key
            yield page

    def _strays(self, page: Sequence[StoredObject], before: datetime) -> list[StoredObject]:
        """A name that is not a key's is none of ours, and left alone."""
        old = {item.key: item for item in page if item.modified_at < before and _KEY.fullmatch(item.key)}
        if not old:
            return []
        with self._db.autocommit() as tx:
            return [old[key] for key in Strays(tx).unknown(old)]

    def bury(self, found: Sequence[StoredObject]) -> tuple[int, int]:
        """Buries what an earlier sweep found, too, and notes the rest for the next one; how many were buried, and their bytes."""
        sweep = uuid4()
        count = size = 0
        with self._db.transaction() as tx:
            strays = Strays(tx)
            items = iter(found)
            while batch := list(islice(items, BATCH)):
                keys = [item.key for item in batch]
                buried, freed = strays.bury_found_again(sweep, keys, [item.size for item in batch], GRACE)
                count, size = count + buried, size + freed
                strays.found(sweep, keys)
            strays.forget_others(sweep)
            reach("sweep.buried")
        return count, size
