"""Where the bytes of a legacy file row lie. A `file_path` is hostile input: whoever could write the row could name any file of ours.

Nothing is opened that does not lie in one of the allowed roots, links resolved, and nothing that is no regular file. What was judged is
what is opened: the walk begins at the root's own descriptor and follows no link, and the descriptor is judged, not the name.
"""

import errno
import os
import posixpath
import re
import stat
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import BinaryIO
from urllib.parse import unquote_to_bytes

from dsplatform.core.errors import Invalid, Unavailable
from dsplatform.migration.model import Reason

LONGEST = 4096
"""Bytes that a path may have."""

_MISSING = {errno.ENOENT, errno.ENOTDIR, errno.EACCES, errno.EPERM}
_NO_PLACE = {errno.ELOOP, errno.ENAMETOOLONG, errno.ENXIO, errno.ENODEV, errno.EINVAL, errno.EILSEQ}
_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://")
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC


class NotLocated(Invalid):
    """The row's file cannot be read: there is none, or its path is no place that may be read."""

    code = "legacy_file_not_located"

    def __init__(self, reason: Reason, sentence: str) -> None:
        super().__init__(sentence)
        self.reason = reason
        """`missing_bytes`, `bad_path`, or `unsupported` for an address that is no file's."""


class Locator:
    """Opens legacy files: `base` is where relative paths begin, `mounts` is where old folders are today."""

    def __init__(self, roots: Sequence[Path], base: Path | None, mounts: Sequence[tuple[str, Path]]) -> None:
        self._allowed = tuple(roots)
        self._base = base
        # The longest comes first: of /data and /data/old, a file in /data/old is the second's.
        self._mounts = sorted(((_steps(old), new) for old, new in mounts), key=lambda mount: -len(mount[0]))

    def open(self, file_path: str) -> BinaryIO:
        """The file, to be read and closed by the caller.

        Raises `NotLocated` with the reason when the row is at fault, and `Unavailable` when a root or the disk is, so that a folder that
        is not mounted is never taken for missing files.
        """
        path = self._today(_path_of(file_path))
        steps = _steps(path)
        if ".." not in steps:
            try:
                return self._opened("/" + "/".join(steps), file_path)
            except NotLocated:
                pass  # there may be a link on the way, which the walk does not follow
        try:
            real = os.path.realpath(path)
        except PermissionError as err:  # a place of the system that may not even be looked at
            raise NotLocated(Reason.BAD_PATH, f"{_shown(file_path)} is no file: {err.strerror}") from err
        return self._opened(real, file_path)

    def _opened(self, real: str, file_path: str) -> BinaryIO:
        """The file at a path without links."""
        root = next((root for root in self._roots if real == root or real.startswith(root.rstrip("/") + "/")), None)
        if root is None:
            raise NotLocated(Reason.BAD_PATH, f"{_shown(file_path)} lies in none of the folders that may be read (DSPLATFORM_LEGACY_ROOTS)")
        try:
            descriptor = _walked(root, _steps(real[len(root) :]))
        except OSError as err:
            if err.errno in _MISSING:
                raise NotLocated(Reason.MISSING_BYTES, f"{_shown(file_path)} cannot be read: {err.strerror}") from err
            if err.errno in _NO_PLACE:
                raise NotLocated(Reason.BAD_PATH, f"{_shown(file_path)} is no file: {err.strerror}") from err
            raise Unavailable(f"the legacy file {_shown(file_path)} cannot be read now: {err.strerror}") from err
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            os.close(descriptor)
            raise NotLocated(Reason.BAD_PATH, f"{_shown(file_path)} is no regular file")
        return os.fdopen(descriptor, "rb")

    @cached_property
    def _roots(self) -> tuple[str, ...]:
        """The allowed folders, links resolved; the longest first, so that the walk is short."""
        return tuple(sorted((os.path.realpath(root) for root in self._allowed), key=len, reverse=True))

    def _today(self, path: str) -> str:
        """Where a path of the legacy server lies on this machine."""
        if not path.startswith("/"):
            if self._base is None:
                raise NotLocated(Reason.BAD_PATH, f"{_shown(path)} is relative, and DSPLATFORM_LEGACY_BASE does not say to what")
            return f"{self._base}/{path}"
        steps = _steps(posixpath.normpath(path))
        for old, new in self._mounts:
            if steps[: len(old)] == old:
                return "/".join([str(new), *steps[len(old) :]])
        return path


def _path_of(file_path: str) -> str:
    """The path that a column's text names; of a URI, decoded once."""
    path = file_path
    scheme = _SCHEME.match(file_path)
    if scheme:
        if scheme[1].lower() != "file":
            raise NotLocated(Reason.UNSUPPORTED, f"{_shown(file_path)} is no file of this machine: only file:// can be read")
        host, slash, rest = file_path[scheme.end() :].partition("/")
        if host.lower() not in {"", "localhost"}:
            raise NotLocated(Reason.BAD_PATH, f"{_shown(file_path)} is on another machine: {_shown(host)}")
        path = os.fsdecode(unquote_to_bytes(_bytes(slash + rest)))
    raw = _bytes(path)
    if not raw or b"\0" in raw or len(raw) > LONGEST:
        raise NotLocated(Reason.BAD_PATH, f"{_shown(file_path)} is no path: empty, too long, or with a NUL")
    return path


def _walked(root: str, steps: Sequence[str]) -> int:
    """A descriptor of what lies there, reached without following a link."""
    try:
        folder = os.open(root, _FOLDER)
    except OSError as err:
        raise Unavailable(f"the folder {root} of DSPLATFORM_LEGACY_ROOTS cannot be read: {err.strerror}") from err
    try:
        for step in steps[:-1]:
            above, folder = folder, os.open(step, _FOLDER, dir_fd=folder)
            os.close(above)
        return os.open(steps[-1] if steps else ".", _FILE, dir_fd=folder)
    finally:
        os.close(folder)


def _steps(path: str) -> list[str]:
    return [step for step in path.split("/") if step not in {"", "."}]


def _bytes(path: str) -> bytes:
    """As the file system has it. Half a surrogate pair is in no path."""
    try:
        return os.fsencode(path)
    except UnicodeEncodeError as err:
        raise NotLocated(Reason.BAD_PATH, f"{_shown(path)} is no path: it holds half a character") from err


def _shown(path: str) -> str:
    return ascii(path if len(path) <= 200 else path[:200] + "…")
