"""Files that hold a secret: readable by their owner alone from the first moment on, and never half written."""

import contextlib
import os
from pathlib import Path
from uuid import uuid4

from dsplatform.core.errors import Unavailable


def write(path: Path, text: str) -> None:
    """Puts the text into the file, with mode 0600, in place of what was there."""
    draft = _draft(path, text)
    draft.replace(path)


def write_once(path: Path, text: str) -> str:
    """Puts the text into the file, with mode 0600, unless it is there: of several who try at once one wins. Answers with what stands
    in it."""
    draft = _draft(path, text)
    try:
        with contextlib.suppress(FileExistsError):
            os.link(draft, path)  # unlike a rename, it never replaces
    finally:
        draft.unlink()
    return path.read_text(encoding="utf-8")


def _draft(path: Path, text: str) -> Path:
    draft = path.with_name(f".{path.name}.{uuid4().hex}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(draft, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
        with open(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
    except OSError as err:
        raise Unavailable(f"{path} cannot be written: {err.strerror}") from err
    return draft
