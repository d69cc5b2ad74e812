"""Passwords: which are taken, and how they are kept and compared.

argon2id with the parameters that OWASP and RFC 9106 call for where memory allows. A hash takes 64 MiB and about a tenth of a second of
several processors, so that only a few are made at a time.

Of a legacy system there may be bcrypt hashes. They are compared, and made anew with the next login. As long as there are any, each
comparison costs what both kinds cost, so that the time of an answer does not tell who has which, or whether there is such a user.
"""

import base64
import os
import re
import unicodedata
from functools import partial

import bcrypt
from argon2 import PasswordHasher, Type
from argon2.exceptions import InvalidHashError, VerifyMismatchError

from dsplatform.core.errors import Invalid, Unavailable
from dsplatform.core.turnstile import Turnstile

PARAMETERS = {"time_cost": 3, "memory_cost": 65_536, "parallelism": 4, "hash_len": 32, "salt_len": 16}
"""Of argon2id; memory in KiB. A hash with others is made anew at the next login."""

AT_ONCE, WAITING, PATIENCE = 2, 4, 5.0
"""How many hashes a process computes at a time, how many more may wait for it, and for how many seconds."""

SHORTEST, LONGEST = 12, 1_024
"""Characters of a password."""

_BCRYPT = re.compile(r"\$2[abxy]\$\d\d\$[./A-Za-z0-9]{53}")
_BCRYPT_BYTES = 72
"""Of a password, what bcrypt looks at."""

_BUSY = "too many passwords are being checked at this moment: try again, or use a token, which needs no check of this kind"

_turnstile = Turnstile(AT_ONCE, WAITING, PATIENCE, partial(Unavailable, _BUSY))
"""One for the process, however many services there are in it."""


def acceptable(password: str) -> str:
    """The form in which a new password is hashed: Unicode NFKC, so that it is the same from every keyboard. Raises `Invalid` for one of
    the wrong length; any characters will do."""
    normal = _normal(password)
    if normal is None or not SHORTEST <= len(normal) <= LONGEST:
        raise Invalid(f"a password has {SHORTEST} to {LONGEST:,} characters: choose some words that do not belong together")
    return normal


def _normal(password: str) -> str | None:
    """NFKC, as NIST SP 800-63B asks; None for what nobody can have chosen."""
    if len(password) > LONGEST:
        return None
    normal = unicodedata.normalize("NFKC", password)
    try:
        normal.encode()
    except UnicodeEncodeError:
        return None
    return normal


class Passwords:
    """Makes and compares hashes."""

    def __init__(self) -> None:
        passes, memory, lanes, length, salt = (
            PARAMETERS[name] for name in ("time_cost", "memory_cost", "parallelism", "hash_len", "salt_len")
        )
        self._hasher = PasswordHasher(passes, memory, lanes, length, salt, type=Type.ID)
        self._nobodys = _hash_of_nothing()

    def hash(self, password: str) -> str:
        """What is kept of a new password. Raises `Invalid` for one that is not acceptable, `Unavailable` when too many wait."""
        normal = acceptable(password)
        with _turnstile.place_and_turn():
            return self._hasher.hash(normal)

    def hash_again(self, password: str) -> str:
        """What is kept of a password that was compared and is right: it may be shorter than a new one. Raises `Unavailable`."""
        with _turnstile.place_and_turn():
            return self._hasher.hash(_normal(password) or "")

    def matches(self, kept: str | None, password: str, *, bcrypt_rounds: int = 0) -> bool:
        """Whether it is the password whose hash was kept. Costs the same where none was kept, and for one that nobody can have chosen.

        `bcrypt_rounds` are those of the bcrypt hashes that anybody has, as a power of two; 0: nobody has one. Raises `Unavailable` when
        too many wait.
        """
        normal = _normal(password)
        is_bcrypt = kept is not None and _BCRYPT.fullmatch(kept) is not None
        with _turnstile.place_and_turn():
            try:
                right = bool(self._hasher.verify(self._nobodys if kept is None or is_bcrypt or normal is None else kept, normal or ""))
            except (VerifyMismatchError, InvalidHashError):
                right = False
            if kept is not None and is_bcrypt:
                right = _matches_bcrypt(kept, "" if normal is None else password)
            elif bcrypt_rounds:
                _matches_bcrypt(f"$2b${bcrypt_rounds:02}${'.' * 53}", "" if normal is None else password)
        return right and kept is not None and normal is not None

    def is_outdated(self, kept: str) -> bool:
        """Whether it was made in another way than today's."""
        return _BCRYPT.fullmatch(kept) is not None or self._hasher.check_needs_rehash(kept)


def _matches_bcrypt(kept: str, password: str) -> bool:
    """The legacy system hashed what was typed, in UTF-8 and up to the 72nd byte."""
    try:
        return bcrypt.checkpw(password.encode()[:_BCRYPT_BYTES], kept.encode())
    except ValueError:  # a salt that cannot be
        return False


def _hash_of_nothing() -> str:
    """A hash of today's parameters that no password has: comparing with it costs as much as with any other."""
    salt, tag = (base64.b64encode(os.urandom(PARAMETERS[length])).rstrip(b"=").decode() for length in ("salt_len", "hash_len"))
    memory, passes, lanes = (PARAMETERS[name] for name in ("memory_cost", "time_cost", "parallelism"))
    return f"$argon2id$v=19$m={memory},t={passes},p={lanes}${salt}${tag}"
