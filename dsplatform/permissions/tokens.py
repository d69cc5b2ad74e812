"""The form of secrets that we hand out: a prefix that people and scanners know, 32 random bytes, and a checksum.

As GitHub writes its tokens (https://github.blog/2021-04-05-behind-githubs-new-authentication-token-formats/): prefix, `_`, the random part
in base 62, and six digits of its CRC-32, so that a mistyped or a made up token is told without asking the database.
"""

import hashlib
import secrets
import string
import zlib

API, REFRESH = "dsp", "dsr"
"""Prefixes: of API tokens, and of what renews a session."""

_DIGITS = string.digits + string.ascii_uppercase + string.ascii_lowercase
_LENGTH = 43  # of 256 bits in base 62
_CHECK = 6


def new(prefix: str) -> str:
    """A new secret: 256 random bits."""
    body = _base62(secrets.randbits(256), _LENGTH)
    return f"{prefix}_{body}{_checksum(prefix, body)}"


def is_formed(prefix: str, secret: str) -> bool:
    """Whether the text has the form and its checksum is right. Says nothing about whether it was ever handed out."""
    head, _, rest = secret.partition("_")
    body, check = rest[:_LENGTH], rest[_LENGTH:]
    return head == prefix and len(rest) == _LENGTH + _CHECK and set(rest) <= set(_DIGITS) and check == _checksum(prefix, body)


def digest(secret: str) -> str:
    """What is stored instead of the secret: its SHA-256. It has 256 random bits, so that no slow hash is needed."""
    return hashlib.sha256(secret.encode()).hexdigest()


def hint(secret: str) -> str:
    """What may be shown of it, so that its owner knows which one it is."""
    return secret[:8]


def _base62(number: int, length: int) -> str:
    digits = []
    for _ in range(length):
        number, digit = divmod(number, 62)
        digits.append(_DIGITS[digit])
    return "".join(reversed(digits))


def _checksum(prefix: str, body: str) -> str:
    return _base62(zlib.crc32(f"{prefix}_{body}".encode()), _CHECK)
