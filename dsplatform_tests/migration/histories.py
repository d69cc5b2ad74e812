"""Random histories of the legacy system, and what a naive reading of the rules says that they become."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from hypothesis import strategies as st

from dsplatform_tests.migration.legacy_side import TIME, Legacy

CONTENTS = (b"", b"one", b"two,2\n", b"x" * 300, None)
"""What files of one history have in common or not; None: it is not there."""
NAMES = ("main", "notes", "notes-7", "é/a", "a\\b", None)
KINDS = ("primary", "attachment", "sheet")
RIGHTS = ("read", "write", "admin")
USERS = (1, 2, 3)


@dataclass
class OldFile:
    id: int
    data: bytes | None


@dataclass
class OldPart:
    file: OldFile
    kind: str
    name: str | None
    index: int | None


@dataclass
class OldVersion:
    id: int
    dataset_id: int
    number: int
    author: int
    message: str | None
    parent: "OldVersion | None"
    own: OldFile
    parts: list[OldPart]


@dataclass
class OldPointer:
    id: int
    dataset_id: int
    name: str
    version: OldVersion
    is_tag: bool


@dataclass
class OldRight:
    table: str
    id: int
    kind: str
    resource_id: int
    user_id: int
    right: str

    @property
    def unique(self) -> tuple[object, ...]:
        """What no two rows of the table have in common."""
        key = (self.table, self.kind, self.resource_id, self.user_id)
        return (*key, self.right) if self.table == "permissions" else key


@dataclass
class History:
    """Some datasets, their ids from `base` on."""

    base: int
    files: list[OldFile] = field(default_factory=list)
    datasets: list[int] = field(default_factory=list)
    versions: list[OldVersion] = field(default_factory=list)
    pointers: list[OldPointer] = field(default_factory=list)
    rights: list[OldRight] = field(default_factory=list)


@st.composite
def histories(draw: st.DrawFn, base: int) -> History:
    """A history: parents in any dataset, gaps, several roots, shared files, names that are missing or stand twice."""
    history = History(base)
    contents = draw(st.lists(st.sampled_from(CONTENTS), min_size=2, max_size=5))
    history.files = [OldFile(base + at, None if data is None else b"%d" % base + data) for at, data in enumerate(contents)]
    history.datasets = [base + at for at in range(draw(st.integers(1, 3)))]
    numbers: set[tuple[int, int]] = set()
    for at in range(draw(st.integers(0, 8))):
        dataset = draw(st.sampled_from(history.datasets))
        number = draw(st.sampled_from([one for one in range(1, 12) if (dataset, one) not in numbers][:4]))
        numbers.add((dataset, number))
        parent = draw(st.sampled_from([None, *history.versions, *history.versions[-1:]])) if history.versions else None
        named = draw(st.lists(st.sampled_from(history.files), unique_by=lambda file: file.id, max_size=4))
        parts = [
            OldPart(file, draw(st.sampled_from(KINDS)), draw(st.sampled_from(NAMES)), draw(st.sampled_from((None, 0, 1)))) for file in named
        ]
        own = draw(st.sampled_from(history.files))
        author, message = draw(st.sampled_from(USERS)), draw(st.sampled_from((None, "", "upload", "zwei\n")))
        history.versions.append(OldVersion(base + at, dataset, number, author, message, parent, own, parts))
    for at, (dataset, name) in enumerate(
        draw(
            st.lists(
                st.tuples(st.sampled_from(history.datasets), st.sampled_from(("main", "dev", "Main", "v 1", "2"))), unique=True, max_size=5
            )
        )
        if history.versions
        else ()
    ):
        history.pointers.append(OldPointer(base + at, dataset, name, draw(st.sampled_from(history.versions)), draw(st.booleans())))
    rights = [_right(draw, history, base + at) for at in range(draw(st.integers(0, 8)))]
    history.rights = list({right.unique: right for right in rights}.values())
    return history


def _right(draw: st.DrawFn, history: History, id_: int) -> OldRight:
    table = draw(st.sampled_from(("permissions", "dataset_permissions", "file_permissions")))
    kind = {"permissions": draw(st.sampled_from(("dataset", "file", "folder"))), "dataset_permissions": "dataset"}.get(table, "file")
    things = [file.id for file in history.files] if kind == "file" else history.datasets
    absent = [history.base + 99] if table == "permissions" else []
    right = draw(st.sampled_from((*RIGHTS, *(("owner", "") if table == "permissions" else ()))))
    return OldRight(table, id_, kind, draw(st.sampled_from([*things, *absent])), draw(st.sampled_from(USERS)), right)


def write(legacy: Legacy, history: History) -> None:
    """Puts the history into the legacy database."""
    for file in history.files:
        legacy.file(file.id, file.data)
    for id_ in history.datasets:
        legacy.put("datasets", id=id_, name=f"dataset {id_}", created_by=1, created_at=TIME, updated_at=TIME)
    for version in history.versions:
        put_version(legacy, version)
    for pointer in history.pointers:
        put_pointer(legacy, pointer)
    for right in history.rights:
        put_right(legacy, right)


def put_version(legacy: Legacy, version: OldVersion) -> None:
    legacy.put(
        "dataset_versions", id=version.id, dataset_id=version.dataset_id, version_number=version.number, file_id=version.own.id,
        ingestion_timestamp=TIME, last_updated_timestamp=TIME, uploaded_by=version.author, message=version.message,
        parent_version_id=version.parent.id if version.parent else None,
    )  # fmt: skip
    for part in version.parts:
        legacy.put(
            "dataset_version_files", version_id=version.id, file_id=part.file.id, component_type=part.kind, component_name=part.name,
            component_index=part.index, metadata={"of": part.file.id},
        )  # fmt: skip


def put_pointer(legacy: Legacy, pointer: OldPointer) -> None:
    legacy.put(
        "dataset_pointers", id=pointer.id, dataset_id=pointer.dataset_id, pointer_name=pointer.name, dataset_version_id=pointer.version.id,
        is_tag=pointer.is_tag, created_at=TIME, updated_at=TIME,
    )  # fmt: skip


def put_right(legacy: Legacy, right: OldRight) -> None:
    if right.table == "permissions":
        legacy.run(
            "INSERT INTO permissions (id, resource_type, resource_id, user_id, permission_type, granted_at, granted_by) "
            f"VALUES (%s, %s, %s, %s, %s, '{TIME}', 1)",
            right.id, right.kind, right.resource_id, right.user_id, right.right,
        )  # fmt: skip
    else:
        legacy.run(
            f"INSERT INTO {right.table} ({right.kind}_id, user_id, permission_type) VALUES (%s, %s, %s)",
            right.resource_id, right.user_id, right.right,
        )  # fmt: skip


# --- what it becomes ---------------------------------------------------------------------------------------------------------------


def parent_of(version: OldVersion) -> int | None:
    """Only an older version of the same dataset with a lower number is a parent."""
    parent = version.parent
    if parent is None or parent.dataset_id != version.dataset_id or parent.id >= version.id or parent.number >= version.number:
        return None
    return parent.id


def components_of(version: OldVersion) -> dict[str, bytes]:
    """The data of each component, by name."""
    found: dict[str, bytes] = {}
    has_main = any(part.kind == "primary" or part.name == "main" for part in version.parts)
    if not has_main and version.own.data is not None:
        found["main"] = version.own.data
    for part in sorted(version.parts, key=lambda one: (one.kind != "primary", one.index is None, one.index or 0, one.file.id)):
        if part.file.data is None:
            continue
        unnamed = "main" if part.kind == "primary" else part.kind + (f"-{part.index}" if part.index is not None else "")
        wanted = (part.name or unnamed).replace("\\", "/")
        tries = [wanted, f"{wanted}-{part.file.id}", *(f"{wanted}-{part.file.id}-{again}" for again in range(2, 9))]
        found[next(name for name in tries if name not in found)] = part.file.data
    return found


def pointers_of(history: History, dataset: int) -> dict[str, tuple[int, bool]]:
    """(version, whether it is a tag) by name, as far as the names need no suffix."""
    said = {"v 1": "v-1", "2": "legacy-2"}
    found = {
        ("legacy-main" if pointer.is_tag and pointer.name == "main" else said.get(pointer.name, pointer.name)): (
            pointer.version.id,
            pointer.is_tag,
        )
        for pointer in history.pointers
        if pointer.dataset_id == dataset and pointer.version.dataset_id == dataset
    }
    highest = max((version for version in history.versions if version.dataset_id == dataset), key=lambda one: one.number, default=None)
    if highest is not None:
        found.setdefault("main", (highest.id, False))
    return found


def strongest(rights: Sequence[OldRight], kind: str, resource_id: int, user_id: int) -> str | None:
    """The strongest right of ours that a row gives the user."""
    held = [
        RIGHTS.index(right.right)
        for right in rights
        if (right.kind, right.resource_id, right.user_id) == (kind, resource_id, user_id) and right.right in RIGHTS
    ]
    return RIGHTS[max(held)] if held else None


def found(legacy: Legacy, history: History) -> dict[str, Any]:
    """What the platform has of the history."""
    low, high = history.base, history.base + 99
    between = {"low": low, "high": high}
    versions = legacy.ask(
        "SELECT id, dataset_id, version_number, parent_version_id, created_by, message FROM dataset_versions "
        "WHERE id BETWEEN :low AND :high AND purged_at IS NULL ORDER BY id",
        **between,
    )
    parts = legacy.ask(
        "SELECT c.version_id, c.component_name, f.content_hash FROM dataset_version_files c JOIN files f ON f.id = c.file_id "
        "WHERE c.version_id BETWEEN :low AND :high",
        **between,
    )
    pointers = legacy.ask(
        "SELECT dataset_id, pointer_name, version_id, is_tag FROM dataset_pointers WHERE dataset_id BETWEEN :low AND :high", **between
    )
    return {"versions": versions, "parts": set(parts), "pointers": set(pointers)}
