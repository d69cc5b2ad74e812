"""The words of the platform: ids, hashes, names and rights, each with the one rule that makes a raw value acceptable."""

import re
import unicodedata
from enum import StrEnum
from typing import NewType

from dsplatform.core.errors import Invalid

UserId = NewType("UserId", int)
DatasetId = NewType("DatasetId", int)
VersionId = NewType("VersionId", int)
FileId = NewType("FileId", int)

ContentHash = NewType("ContentHash", str)
"""SHA-256 of the exact bytes, 64 lower-case hexadecimal digits."""

FilePath = NewType("FilePath", str)
"""The name of a component inside a version: a relative path with `/`, in Unicode NFC."""

DatasetName = NewType("DatasetName", str)
PointerName = NewType("PointerName", str)
"""A branch or a tag; both live in one namespace per dataset."""

MAIN = PointerName("main")
LATEST = "latest"


class PermissionType(StrEnum):
    """A right on a dataset or a file. Each includes the ones before it."""

    READ = "read"
    WRITE = "write"
    ADMIN = "admin"

    def includes(self, other: "PermissionType") -> bool:
        """Whether who holds this right also holds `other`."""
        order = list(PermissionType)
        return order.index(self) >= order.index(other)


class PlatformRight(StrEnum):
    """A right that a role gives, beyond what is granted on single datasets and files. The role `admin` has all of them."""

    CREATE = "create"
    """Make datasets."""
    READ_ALL = "read_all"
    """Read every dataset, as if `read` were granted on each."""
    WRITE_ALL = "write_all"
    """Write every dataset, as if `write` were granted on each."""
    OPERATE = "operate"
    """See and start what keeps the store: inbox, usage of the whole store, garbage collection, scrub, verification."""
    AUDIT = "audit"
    """Read and check the audit log."""
    USERS = "users"
    """Make and change users, groups, roles and the tokens of others."""


_HASH = re.compile(r"[0-9a-f]{64}")
_DATASET = re.compile(r"\w(?:[\w .-]*[\w-])?")
_BIDI = frozenset("\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")


def content_hash(value: str) -> ContentHash:
    """Accepts 64 hexadecimal digits in either case."""
    lowered = value.lower()
    if not _HASH.fullmatch(lowered):
        raise Invalid(f"{value!r} is not a SHA-256 digest: expected 64 hexadecimal digits")
    return ContentHash(lowered)


def _hidden_character(text: str) -> str | None:
    """The first character that a person can't see or that reorders what she sees, as U+XXXX."""
    if text.isascii() and text.isprintable():
        return None
    for char in text:
        if unicodedata.category(char) in {"Cc", "Cs", "Zl", "Zp"} or char in _BIDI:
            return f"U+{ord(char):04X}"
    return None


def file_path(value: str) -> FilePath:
    """The rule for component names: relative, `/` between parts, no `.` or `..`, no backslash, no control or bidi characters,
    255 bytes a part and 1,024 in all. Two names that are equal in Unicode NFC are the same name."""
    name = unicodedata.normalize("NFC", value)
    parts = name.split("/")
    if hidden := _hidden_character(name):
        raise Invalid(f"file name {value!r} holds the character {hidden}: rename the file")
    if "\\" in name:
        raise Invalid(f"file name {value!r} holds a backslash: rename the file")
    if any(part in {"", ".", ".."} for part in parts):
        raise Invalid(f"file name {value!r} is not a relative path without empty, '.' or '..' parts")
    if len(name) > 63 and (len(name.encode()) > 1024 or any(len(part.encode()) > 255 for part in parts)):
        raise Invalid(f"file name {value[:40]!r}… has {len(name.encode())} bytes: 255 a part and 1,024 in all at most")
    return FilePath(name)


def dataset_name(value: str) -> DatasetName:
    """The rule for dataset names: letters and digits of any script, `_`, `-`, `.` and inner spaces, beginning with a letter or digit
    or `_`, no `..`, 128 bytes at most. What would make a reference (`name@ref`) or a path ambiguous is refused."""
    name = unicodedata.normalize("NFC", value)
    base = "".join(char for char in name if unicodedata.category(char) not in {"Mn", "Mc"})  # marks belong to the letter before
    if not _DATASET.fullmatch(base) or name[0] != base[0] or ".." in name:
        raise Invalid(
            f"{value!r} is no valid dataset name: use letters, digits, '_', '-', '.' and inner spaces, beginning with a letter or digit"
        )
    if len(name.encode()) > 128:
        raise Invalid(f"dataset name {value[:40]!r}… has {len(name.encode())} bytes: 128 at most")
    return DatasetName(name)


def principal_name(value: str) -> str:
    """The rule for names of users, groups and roles: letters and digits of any script, and `.`, `_`, `-`, `@`, `+` and single inner
    spaces, beginning with a letter or digit, 64 characters at most. Names are kept in lower case, with compatible forms made one
    (Unicode NFKC): `Ada` and `ada` are the same user."""
    name = ""
    if len(value) <= 64:
        name = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", value).casefold())
    wrong = not name or len(name) > 64 or not name[0].isalnum() or name.endswith(" ") or "  " in name
    if wrong or any(unicodedata.category(char)[0] not in "LMN" and char not in "._-@+ " for char in name):
        raise Invalid(
            f"{value[:64]!r} is no valid name of a user, group or role: use 1 to 64 letters, digits, '.', '_', '-', '@', '+' and single "
            "inner spaces, beginning with a letter or digit"
        )
    return name


def pointer_name(value: str) -> PointerName:
    """The rule for branch and tag names: 255 bytes at most; no control characters, spaces, `@`, `..`, leading `-`, empty parts
    between slashes; not a plain number and not `latest`, which already mean versions."""
    name = unicodedata.normalize("NFC", value)
    reason = None
    if not name or any(part in {"", "."} for part in name.split("/")):
        reason = "it has an empty part"
    elif _hidden_character(name) or any(char.isspace() for char in name):
        reason = "it holds a space or a control character"
    elif ".." in name or "@" in name or "\\" in name:
        reason = "it holds '..', '@' or a backslash"
    elif name.startswith("-"):
        reason = "it begins with '-'"
    elif name.isdecimal() or name == LATEST:
        reason = "numbers and 'latest' already name versions"
    elif len(name.encode()) > 255:
        reason = "it has more than 255 bytes"
    if reason:
        raise Invalid(f"{value[:80]!r} is no valid branch or tag name: {reason}")
    return PointerName(name)
