"""Names of the legacy system made into names of ours.

A name that our rule takes stays as it is (in Unicode NFC). Any other becomes a safe one that is made from it: the same every time, never
empty, and made from a safe name it is that name. What is unique here and was not there gets a suffix with the legacy id.
"""

import unicodedata
from collections.abc import Callable, Container

from dsplatform.core.errors import Invalid
from dsplatform.core.types import LATEST, MAIN, dataset_name, file_path, pointer_name

LABEL_LENGTH = 100
"""Characters of a label at most, as `datasets` asks for."""
DATASET_BYTES, POINTER_BYTES, PATH_BYTES, PART_BYTES = 128, 255, 1024, 255

_HIDDEN = frozenset({"Cc", "Cs", "Zl", "Zp"})
_BIDI = frozenset("\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")


def safe_dataset_name(raw: str) -> str:
    """A name that `dataset_name` takes: what it refuses is a `-`, and what may not begin or end a name is left out."""
    return _safe(raw, dataset_name, _dataset_form, "dataset")


def safe_pointer_name(raw: str) -> str:
    """A name that `pointer_name` takes: what it refuses is a `-`; a number, or `latest`, gets `legacy-` before it."""
    return _safe(raw, pointer_name, _pointer_form, "pointer")


def safe_tag_name(raw: str) -> str:
    """The same for a tag, which cannot be `main`: that is always a branch."""
    name = safe_pointer_name(raw)
    return f"legacy-{name}" if name == MAIN else name


def safe_component_name(raw: str) -> str:
    """A path that `file_path` takes: a backslash is a `/`, what nobody sees is a `_`, and empty, `.` and `..` parts are left out."""
    return _safe(raw, file_path, _path_form, "component")


def safe_label(raw: str) -> str | None:
    """The label with single blanks inside and none around, cut after 100 characters; None where nothing is left."""
    return " ".join(raw.split())[:LABEL_LENGTH].rstrip() or None


def free_dataset_name(name: str, legacy_id: int, taken: Container[str]) -> str:
    """The name, or the first of `name-17`, `name-17-2`, `name-17-3` and so on that is not taken."""
    return _free(name, legacy_id, taken, lambda suffix: _cut(name, DATASET_BYTES - len(suffix)) + suffix)


def free_pointer_name(name: str, legacy_id: int, taken: Container[str]) -> str:
    """The same for a branch or a tag."""
    return _free(name, legacy_id, taken, lambda suffix: _cut(name, POINTER_BYTES - len(suffix)) + suffix)


def free_component_name(name: str, legacy_file_id: int, taken: Container[str]) -> str:
    """The same for a component, with the id of its file."""
    folder, slash, last = name.rpartition("/")
    return _free(
        name, legacy_file_id, taken, lambda suffix: _cut_path(f"{folder}{slash}{_cut(last, PART_BYTES - len(suffix))}{suffix}", PATH_BYTES)
    )


def _free(name: str, legacy_id: int, taken: Container[str], suffixed: Callable[[str], str]) -> str:
    tried, number = name, 1
    while tried in taken:
        tried = suffixed(f"-{legacy_id}" if number == 1 else f"-{legacy_id}-{number}")
        number += 1
    return tried


def _safe(raw: str, rule: Callable[[str], str], form: Callable[[str], str], noun: str) -> str:
    try:
        return rule(raw)
    except (Invalid, UnicodeEncodeError):  # a lone surrogate cannot be measured in bytes
        pass
    try:
        return rule(form(unicodedata.normalize("NFC", raw)))
    except Invalid:
        return f"legacy-{noun}"


def _dataset_form(name: str) -> str:
    marks = {"Mn", "Mc"}
    kept = "".join(
        char if char == "_" or char.isalnum() or char in " .-" or unicodedata.category(char) in marks else "-" for char in _visible(name)
    )
    while ".." in kept:
        kept = kept.replace("..", ".")
    while kept and not (kept[0] == "_" or kept[0].isalnum()):
        kept = kept[1:]
    return _trimmed(_cut(kept, DATASET_BYTES))


def _trimmed(name: str) -> str:
    """Without what may not end a dataset's name: blanks and dots, also below marks."""
    while name and (base := "".join(char for char in name if unicodedata.category(char) not in {"Mn", "Mc"})) and base[-1] in " .":
        name = name[:-1]
    return name


def _pointer_form(name: str) -> str:
    kept = "".join("-" if char.isspace() or char in "@\\" else char for char in _visible(name))
    while ".." in kept:
        kept = kept.replace("..", ".")
    kept = "/".join(part for part in kept.split("/") if part not in {"", "."}).lstrip("-")
    kept = "/".join(part for part in kept.split("/") if part)
    if kept.isdecimal() or kept == LATEST:
        kept = f"legacy-{kept}"
    kept = _cut(kept, POINTER_BYTES)
    return kept.removesuffix("/.").removesuffix("/")


def _path_form(name: str) -> str:
    parts = _visible(name.replace("\\", "/")).split("/")
    return _cut_path("/".join(_cut(part, PART_BYTES) for part in parts if part not in {"", ".", ".."}), PATH_BYTES)


def _cut_path(path: str, most: int) -> str:
    """The path without the outermost folders that are too much."""
    parts = path.split("/")
    while len("/".join(parts).encode()) > most:
        parts = parts[1:]
    return "/".join(parts)


def _visible(name: str) -> str:
    """With `_` for what a person can't see, or what reorders what she sees."""
    if name.isascii() and name.isprintable():
        return name
    return "".join("_" if unicodedata.category(char) in _HIDDEN or char in _BIDI else char for char in name)


def _cut(text: str, most: int) -> str:
    """As many whole characters as have so many bytes in UTF-8."""
    return text if len(text) * 4 <= most else text.encode()[:most].decode(errors="ignore")
