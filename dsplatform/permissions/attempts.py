"""How often somebody may try a password, so that guessing is hopeless and still nobody locks out another.

Each attempt takes a token out of a bucket that fills up slowly; a success gives it back. An address from which the account has been
logged into before has a bucket of its own for this account. All other addresses share one per account, and each has one for all accounts.
So a spray against one account, from wherever, leaves its owner the places she is known at, and her API tokens.

Kept in memory, of this process: a restart forgets it.
"""

import ipaddress
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

from dsplatform.core.errors import TooMany

OF_KNOWN, OF_ACCOUNT, OF_ADDRESS = (10, 60), (10, 60), (30, 10)
"""How many attempts at once, and the seconds until one more: at an account from a known address, from all others, and from one of these."""

KEPT = 10_000
"""Buckets of one kind; beyond that the one that was untouched for longest is forgotten."""


class Buckets:
    """Token buckets by name. Safe to share between threads."""

    def __init__(self, size: int, seconds: float, clock: Callable[[], float] = time.monotonic) -> None:
        """Each holds `size` tokens, and gets one every so many `seconds`."""
        self._size = size
        self._seconds = seconds
        self._clock = clock
        self._lock = threading.Lock()
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def take(self, name: str) -> float:
        """Takes a token. Answers with 0, or, when there is none, with the seconds until there is one."""
        with self._lock:
            tokens = self._tokens(name)
            if tokens < 1:
                return (1 - tokens) * self._seconds
            self._keep(name, tokens - 1)
            return 0

    def give_back(self, name: str) -> None:
        """Puts a token back."""
        with self._lock:
            self._keep(name, min(self._tokens(name) + 1, self._size))

    def _tokens(self, name: str) -> float:
        tokens, at = self._buckets.get(name, (float(self._size), self._clock()))
        return min(self._size, tokens + (self._clock() - at) / self._seconds)

    def _keep(self, name: str, tokens: float) -> None:
        self._buckets[name] = (tokens, self._clock())
        self._buckets.move_to_end(name)
        if len(self._buckets) > KEPT:
            self._buckets.popitem(last=False)


@dataclass(frozen=True)
class Attempt:
    """An attempt that was allowed: which buckets it was taken from."""

    taken: tuple[tuple[Buckets, str], ...]

    def succeeded(self) -> None:
        """It was no guess, so it does not count."""
        for buckets, name in self.taken:
            buckets.give_back(name)


class Attempts:
    """Decides whether a password may be tried."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._of_known = Buckets(*OF_KNOWN, clock)
        self._of_address = Buckets(*OF_ADDRESS, clock)
        self._of_account = Buckets(*OF_ACCOUNT, clock)

    def begin(self, account: str, address: str | None, *, known: bool) -> Attempt:
        """Counts an attempt. `known`: somebody has logged into the account from there before. Raises `TooMany`."""
        place = network(address)
        if known:
            wanted: tuple[tuple[Buckets, str], ...] = ((self._of_known, f"{account}\n{place}"),)
        else:
            wanted = ((self._of_address, place), (self._of_account, account))
        for buckets, name in wanted:
            if wait := buckets.take(name):
                raise TooMany("too many attempts to log in: wait a while, or use an API token, which always works", wait)
        return Attempt(wanted)


def network(address: str | None) -> str:
    """Whom an address stands for: of IPv6 it is the first 64 bits, of which every customer has all the others."""
    try:
        known = ipaddress.ip_address(address or "")
    except ValueError:
        return address or "local"
    if isinstance(known, ipaddress.IPv4Address):
        return str(known)
    return str(known.ipv4_mapped or ipaddress.IPv6Network((int(known), 64), strict=False))
