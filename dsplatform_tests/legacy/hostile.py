"""Values of `files.file_path` that lead somewhere else, or nowhere: what a person who may write the row could try."""

import os
import socket
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import cycle
from pathlib import Path
from threading import Event, Thread

from dsplatform_tests.legacy import content
from dsplatform_tests.legacy.rows import OLD_MOUNT

SECRET = content.parquet(666)
"""The bytes of the file that lies outside the base folder. Whoever holds them was deceived."""


@dataclass(frozen=True)
class Hostile:
    """A path, and why it must not be read: any of the reasons is right."""

    path: str
    reasons: frozenset[str]


def hostile_paths(folder: Path) -> Sequence[Hostile]:
    """More than fifty, for a system whose only root and base is `folder`, once `lay_traps` was there."""
    outside = folder.with_name(f"{folder.name}-outside")
    bad, nowhere = frozenset({"bad_path"}), frozenset({"missing_bytes", "bad_path"})
    elsewhere = (
        "/etc/passwd",
        "/etc/shadow",
        "//etc/passwd",
        "/./etc/../etc/passwd",
        "/etc/passwd\n",
        "/",
        "/proc/self/environ",
        "/proc/self/fd/0",
        "/proc/self/root/etc/passwd",
        "/proc/1/root/etc/passwd",
        "/dev/zero",
        "/dev/stdin",
        "/dev/fd/0",
        str(outside / "secret.parquet"),
        f"{folder}/../{outside.name}/secret.parquet",
        f"{folder}/datasets/../../{outside.name}/secret.parquet",
        f"../{outside.name}/secret.parquet",
        "../../../../../../../../etc/passwd",
        f"datasets/../../{outside.name}/secret.parquet",
        "..",
        ".",
        "file:///etc/passwd",
        "FILE:///etc/passwd",
        "file://localhost/etc/passwd",
        "file:///%65tc/passwd",
        "file://",
        "file:///",
        "",
        f"file://{folder}/../{outside.name}/secret.parquet",
        f"file://{folder}/%2e%2e/{outside.name}/secret.parquet",
        f"file://{folder}/..%2f{outside.name}%2fsecret.parquet",
        f"file://otherhost{folder}/ground.parquet",
        f"file://{folder}/ground.parquet%00",
        str(folder),
        f"{folder}/",
        f"{folder}/datasets",
        f"{folder}/traps/fifo",
        f"{folder}/traps/socket",
        f"{folder}/traps/link",
        f"{folder}/traps/links/secret.parquet",
        f"{folder}/traps/chain",
        f"{folder}/traps/loop",
        f"{folder}/traps/relative",
        f"{folder}/traps/proc",
        f"{folder}/traps/dangling",
        f"{folder}/traps/folder_link/../secret.parquet",
        f"{folder}/{'n' * 300}",
        f"{folder}/{'d/' * 3000}x",
        f"{OLD_MOUNT}/../../etc/passwd",
        f"{OLD_MOUNT}/../{outside.name}/secret.parquet",
        f"{OLD_MOUNT}/traps/link",
    )
    lost = (
        "~/secret.parquet",
        "$HOME/secret.parquet",
        "file:/etc/passwd",
        r"\\server\share\x.parquet",
        r"C:\data\x.parquet",
        "\u202e/etc/passwd",
        "\x01",
    )
    schemes = ("http://localhost/x.parquet", "s3://bucket/key.parquet")
    return [
        *(Hostile(path, bad) for path in elsewhere),
        *(Hostile(path, nowhere) for path in lost),
        *(Hostile(path, frozenset({"unsupported"})) for path in schemes),
    ]


def lay_traps(folder: Path) -> None:
    """Makes what the paths lead to: a file beside the folder, and links, a pipe and a socket within it."""
    outside = folder.with_name(f"{folder.name}-outside")
    traps = folder / "traps"
    for made in (outside / "inner", traps, folder / "datasets"):
        made.mkdir(parents=True, exist_ok=True)
    (outside / "secret.parquet").write_bytes(SECRET)
    os.mkfifo(traps / "fifo")
    with socket.socket(socket.AF_UNIX) as listening:
        before = os.getcwd()
        os.chdir(traps)  # the whole path may be too long for the address of a socket
        try:
            listening.bind("socket")
        finally:
            os.chdir(before)
    links = {
        "link": outside / "secret.parquet",
        "links": outside,
        "chain": traps / "link",
        "loop": traps / "loop",
        "proc": Path("/proc/self/environ"),
        "relative": Path("../..") / outside.name / "secret.parquet",
        "dangling": outside / "absent",
        "folder_link": outside / "inner",
    }
    for name, target in links.items():
        (traps / name).symlink_to(target)


@contextmanager
def swapped(path: Path, target: Path) -> Iterator[None]:
    """While the block runs, the file at `path` becomes a link to `target` and a file again, over and over."""
    stop = Event()
    good, link = path.with_name(f"{path.name}.good"), path.with_name(f"{path.name}.link")

    def swap() -> None:
        for is_link in cycle((True, False)):
            if stop.is_set() and is_link:
                return
            if is_link:
                link.symlink_to(target)
                link.replace(path)
            else:
                good.write_bytes(data)
                good.replace(path)

    data = path.read_bytes()
    thread = Thread(target=swap)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()
