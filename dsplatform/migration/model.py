"""What the legacy system is to us: its generations, its tables in the order in which they come along, and what becomes of each row."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, NamedTuple, TypeAlias

from dsplatform.core.domain import ValueObject

Key: TypeAlias = tuple[int, ...]
"""What tells a row apart within its table: its id, or the columns of a composite key in order."""


SECRET = "password_hash"  # noqa: S105 - the name of a column
"""What is stored in it may be a plain password."""
BCRYPT = r"^\$2[abxy]\$(0[4-9]|1[0-5])\$[./A-Za-z0-9]{53}$"
"""A bcrypt hash, of a cost that a login may have."""
SALT = 29
"""Characters of a bcrypt hash up to the end of its salt, which is drawn anew for each password and says nothing of it."""


class Generation(StrEnum):
    """A stage of the legacy system, told by the tables that it has."""

    G0 = "G0"
    """Linear versions, with sheets; nobody asks for permissions."""
    G1A = "G1a"
    """Parents, pointers and permissions; still with sheets."""
    G1B = "G1b"
    """As G1a, sheets being components of versions."""
    G2 = "G2"
    """No branches and no parents; overlays, version tags, a state per version."""


class Entity(StrEnum):
    """The legacy tables, in the order in which they come along: what others refer to comes first."""

    __hash__ = str.__hash__  # an enumeration's own is a call of Python, and every row asks several times

    ROLES = "roles"
    USERS = "users"
    FILES = "files"
    TAGS = "tags"
    DATASETS = "datasets"
    DATASET_TAGS = "dataset_tags"
    VERSIONS = "dataset_versions"
    VERSION_FILES = "dataset_version_files"
    SHEETS = "sheets"
    SHEET_METADATA = "sheet_metadata"
    POINTERS = "dataset_pointers"
    VERSION_TAGS = "version_tags"
    PERMISSIONS = "permissions"
    DATASET_PERMISSIONS = "dataset_permissions"
    FILE_PERMISSIONS = "file_permissions"
    SCHEMAS = "dataset_schema_versions"
    EXPLORATION_CONFIGS = "data_exploration_configs"
    EXPLORATION_RUNS = "data_exploration_runs"
    EXPLORATION_OUTPUTS = "exploration_outputs"
    SAMPLING_RUNS = "sampling_runs"
    SAMPLING_OUTPUTS = "sampling_outputs"
    ANALYSIS_CONFIGURATIONS = "analysis_configurations"
    ANALYSIS_RUNS = "analysis_runs"
    STATISTICS = "dataset_statistics"


class Outcome(StrEnum):
    """How a legacy row ends. Each that was read ends in exactly one of these."""

    MIGRATED = "migrated"
    QUARANTINED = "quarantined"
    """Something about it needs a decision. What could come along has come along all the same."""
    EXCLUDED = "excluded"
    """It does not come along, by a rule."""


class Reason(StrEnum):
    """Why a row is not simply migrated. `REASONS` says what each means and what to do."""

    MISSING_BYTES = "missing_bytes"
    SIZE_MISMATCH = "size_mismatch"
    HASH_MISMATCH = "hash_mismatch"
    ORPHAN_PARENT = "orphan_parent"
    CROSS_DATASET_PARENT = "cross_dataset_parent"
    CYCLE = "cycle"
    TWO_HEADS = "two_heads"
    FOREIGN_POINTER = "foreign_pointer"
    DUPLICATE_KEY = "duplicate_key"
    BAD_NAME = "bad_name"
    BAD_ENCODING = "bad_encoding"
    BAD_PATH = "bad_path"
    BAD_TIME = "bad_time"
    BAD_PASSWORD_HASH = "bad_password_hash"  # noqa: S105 - a reason, no password
    BAD_VALUE = "bad_value"
    UNKNOWN_OWNER = "unknown_owner"
    UNKNOWN_ROLE = "unknown_role"
    UNKNOWN_RIGHT = "unknown_right"
    UNKNOWN_RESOURCE = "unknown_resource"
    UNKNOWN_USER = "unknown_user"
    TOO_LARGE = "too_large"
    UNSUPPORTED = "unsupported"
    TRANSFORM_ERROR = "transform_error"
    MAIN_CREATED = "main_created"
    MADE_HERE = "made_here"


class Rule(StrEnum):
    """Why a row does not come along."""

    ORPHAN_FILE = "orphan_file"
    NO_HOME = "no_home"
    CAPTURED_ANEW = "captured_anew"
    OVERLAY = "overlay"


@dataclass(frozen=True)
class Meaning(ValueObject):
    """What a reason or a rule says to a person."""

    sentence: str
    remedy: str
    needs_decision: bool
    """Whether somebody has to look; False: a rule has decided, and what it did is recorded."""


REASONS: Mapping[Reason, Meaning] = {
    Reason.MISSING_BYTES: Meaning(
        "the row names a file that is not there, or that may not be read",
        "put the file where the row says, or name its folder in DSPLATFORM_LEGACY_ROOTS or DSPLATFORM_LEGACY_MOUNTS, and retry; else "
        "accept that its bytes are lost",
        True,
    ),
    Reason.SIZE_MISMATCH: Meaning(
        "the file has another size than its row says", "compare it with its source; its bytes came along as they are", True
    ),
    Reason.HASH_MISMATCH: Meaning(
        "the file has another hash than its row says", "compare it with its source; its bytes came along under their true hash", True
    ),
    Reason.ORPHAN_PARENT: Meaning(
        "the row belongs to one that does not exist", "accept it, or add in the legacy system what is missing, and retry", True
    ),
    Reason.CROSS_DATASET_PARENT: Meaning(
        "the version's parent is in another dataset", "accept it: the version came along without this parent, which is kept as a fact", True
    ),
    Reason.CYCLE: Meaning(
        "the version is an ancestor of itself, or its parent is younger than it",
        "accept it: the version came along without this parent",
        True,
    ),
    Reason.TWO_HEADS: Meaning("a branch has two heads", "accept it: the head with the highest number was taken", True),
    Reason.FOREIGN_POINTER: Meaning(
        "the branch or tag points at a version of another dataset", "accept it, or point it at a version of its dataset, and retry", True
    ),
    Reason.DUPLICATE_KEY: Meaning("the name was taken, so that the row got another one", "nothing: the old name is kept as a fact", False),
    Reason.BAD_NAME: Meaning(
        "the name is against our rule, so that the row got another one", "nothing: the old name is kept as a fact", False
    ),
    Reason.BAD_ENCODING: Meaning(
        "a text is no valid UTF-8, or holds a character that no text may hold",
        "look at the bytes, which are kept, and correct the text",
        True,
    ),
    Reason.BAD_PATH: Meaning(
        "the file path is no place that may be read",
        "name the folder in the roots or mounts of the settings, and retry; else accept it",
        True,
    ),
    Reason.BAD_TIME: Meaning(
        "the time does not exist in the zone, or exists twice, or cannot be kept", "nothing: what was written is kept as a fact", False
    ),
    Reason.BAD_PASSWORD_HASH: Meaning(
        "the stored password is no bcrypt hash, and may be a plain password: it was left behind", "give the user a new password", True
    ),
    Reason.BAD_VALUE: Meaning("a value is none that can be kept", "look at it, correct it in the legacy system, and retry", True),
    Reason.UNKNOWN_OWNER: Meaning(
        "the user whom the row belongs to does not exist",
        "nothing: it belongs to `legacy-unknown`, and only admins have rights on it",
        False,
    ),
    Reason.UNKNOWN_ROLE: Meaning("the user's role does not exist", "nothing: she has the role of those who only read", False),
    Reason.UNKNOWN_RIGHT: Meaning("the right is none of read, write and admin", "accept it: it gives no right", True),
    Reason.UNKNOWN_RESOURCE: Meaning("the right is on something that does not exist", "accept it: it gives no right", True),
    Reason.UNKNOWN_USER: Meaning("the right is of a user who does not exist", "accept it: it gives no right", True),
    Reason.TOO_LARGE: Meaning("a value is longer than can be kept", "shorten it in the legacy system, and retry; else accept it", True),
    Reason.UNSUPPORTED: Meaning("the row says something that we have no place for", "accept it: what it says is kept as a fact", True),
    Reason.TRANSFORM_ERROR: Meaning(
        "our own code failed on the row", "report the traceback that is kept with it; retry after the repair", True
    ),
    Reason.MAIN_CREATED: Meaning(
        "the dataset had no branch `main`, and got one at its highest version", "nothing: it is recorded that we made it", False
    ),
    Reason.MADE_HERE: Meaning(
        "the row says what was made here, and was written by the way back", "nothing: the version is here as it was made", False
    ),
}

RULES: Mapping[Rule, Meaning] = {
    Rule.ORPHAN_FILE: Meaning(
        "no version names the file", "nothing: its bytes stay where they are until the legacy system is taken away", False
    ),
    Rule.NO_HOME: Meaning(
        "results of explorations, samplings and analyses have no place here", "nothing: the row is kept as it was", False
    ),
    Rule.CAPTURED_ANEW: Meaning("schemas are captured anew from the bytes", "nothing", False),
    Rule.OVERLAY: Meaning("the overlay's file was never written; versions have overlays of ours", "nothing", False),
}

KEY_TELLS_ALL = frozenset({Entity.SCHEMAS})
"""Tables of whose rows only the key is read, because nothing else of them decides or is kept."""
KEPT_WHOLE = frozenset({Rule.NO_HOME, Rule.ORPHAN_FILE})
"""Of what is left behind by these rules the whole row is kept, to look at."""

_MEANINGS: Mapping[str, Meaning] = {str(code): said for code, said in (*REASONS.items(), *RULES.items())}


def meaning(code: str) -> Meaning:
    """Of a reason or a rule."""
    return _MEANINGS[code]


class SourceRow(NamedTuple):
    """A row of the legacy database, as it is now."""

    entity: str
    """The table."""
    key: tuple[int, ...]
    values: Mapping[str, Any]
    """By column. A column whose value Python cannot hold is None here and in `broken`."""
    broken: Mapping[str, bytes]
    """Text that is no valid UTF-8, a time beyond the years 1 to 9999 (`infinity`), JSON that cannot be read: as the server wrote it."""
    digest: str
    """Of all that the row says, by the server: it tells a change. Of a password only the salt of a bcrypt hash is in it. Hexadecimal."""


class Group(NamedTuple):
    """A row with those that land together with it."""

    row: SourceRow
    more: tuple[SourceRow, ...] = ()
    """Rows that are part of it, or decide with it. When one of them changes, comes or goes, the whole group is landed again."""


class Finding(NamedTuple):
    """Why a row is not simply migrated."""

    reason: Reason | Rule
    detail: Mapping[str, Any]
    """What a person needs to decide, as JSON: names, ids, places. Never a password, nor its hash."""


class Landed(NamedTuple):
    """What became of one legacy row."""

    entity: Entity
    key: Key
    outcome: Outcome
    new_id: int | None = None
    """Ours of the same thing; of a row that became part of something, that thing's."""
    findings: tuple[Finding, ...] = ()
    """The first is the reason of a row that is quarantined or excluded. What a migrated row has is recorded as decided by rule."""
    kept: Mapping[str, Any] | None = None
    """What the legacy row says and our tables have no place for, as JSON. Never a password, nor its hash."""


class Gone(NamedTuple):
    """A legacy row that came along once and does not exist any more."""

    entity: Entity
    key: Key
    new_id: int | None
    kept: Mapping[str, Any] | None


def legacy_id(key: Key) -> str:
    """The key as text: the id, or `12:34`."""
    return str(key[0]) if len(key) == 1 else ":".join(map(str, key))


def key_of(text: str) -> Key:
    """The key that `legacy_id` wrote."""
    return (int(text),) if ":" not in text else tuple(map(int, text.split(":")))
