"""How much one caller may ask for: requests a minute, and uploads at once. Kept in this process's memory, for it alone."""

import hashlib
import threading
import time
from collections import Counter, OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from dsplatform.core.domain import Actor
from dsplatform.core.errors import TooMany

REMEMBERED = 10_000
"""Callers whose share is remembered. Who was forgotten begins with a full one, so that their number must be no way round the limit:
only a credential that was found good has a share of its own, and an address costs whoever wants many of them."""


@dataclass
class _Share:
    """What is left of it, and when that was so."""

    left: float
    at: float


class Limits:
    """Shares of requests and of uploads. Safe between threads."""

    def __init__(self, per_minute: int, uploads: int, clock: Callable[[], float] = time.monotonic) -> None:
        """`per_minute` requests of one caller, all of them at once if she likes; 0: no limit. `uploads` at once in all, half of them by
        one caller."""
        self._per_minute = per_minute
        self._uploads = uploads
        self._each = max(1, uploads // 2)
        self._clock = clock
        self._lock = threading.Lock()
        self._shares: OrderedDict[str, _Share] = OrderedDict()
        self._uploading: Counter[str] = Counter()

    def admit(self, credential: bytes | None, address: str) -> None:
        """Counts a request. A credential that was found good before has a share of its own, so that nobody else at her address can use
        it up; any other request counts for the address. Raises `TooMany`."""
        if not self._per_minute:
            return
        with self._lock:
            key = _of_credential(credential) if credential else ""
            if key not in self._shares:
                key = f"address {address}"
            share = self._share(key)
            if share.left < 1:
                seconds = (1 - share.left) * 60 / self._per_minute
                raise TooMany(f"more than {self._per_minute} requests a minute: slow down, and repeat this one in a moment", seconds)
            share.left -= 1

    def found_good(self, credential: bytes) -> None:
        """The credential was found good: from now on it has a share of its own."""
        if not self._per_minute:
            return
        with self._lock:
            self._share(_of_credential(credential))

    @contextmanager
    def upload(self, actor: Actor) -> Iterator[None]:
        """Takes a place for one upload, for the length of the block. Raises `TooMany` at once when there is none."""
        token = actor.origin.token_id
        key = f"user {actor.user_id}" if token is None else f"token {token}"
        with self._lock:
            if self._uploading.total() >= self._uploads:
                raise TooMany(f"{self._uploads} uploads are under way, and there is no place for more: repeat this one in a moment", 5)
            if self._uploading[key] >= self._each:
                raise TooMany(f"{self._each} uploads of yours are under way: wait until one of them is done", 5)
            self._uploading[key] += 1
        try:
            yield
        finally:
            with self._lock:
                self._uploading[key] -= 1
                self._uploading += Counter()  # forgets who has none

    def uploads(self) -> int:
        """How many are under way."""
        with self._lock:
            return self._uploading.total()

    def _share(self, key: str) -> _Share:
        """The share as it is now: it fills evenly, up to what a minute gives."""
        now = self._clock()
        share = self._shares.setdefault(key, _Share(self._per_minute, now))
        share.left = min(self._per_minute, share.left + (now - share.at) * self._per_minute / 60)
        share.at = now
        self._shares.move_to_end(key)
        if len(self._shares) > REMEMBERED:
            self._shares.popitem(last=False)
        return share


def _of_credential(credential: bytes) -> str:
    return "credential " + hashlib.sha256(credential).hexdigest()
