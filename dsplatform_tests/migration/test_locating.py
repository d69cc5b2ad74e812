"""A legacy `file_path` opens what lies in an allowed folder, and nothing else, whatever it says."""

import os
import socket
from collections.abc import Callable
from pathlib import Path
from urllib.parse import quote

import pytest
from hypothesis import HealthCheck, example, given
from hypothesis import settings as with_settings
from hypothesis import strategies as st

from dsplatform.core.errors import Unavailable
from dsplatform.migration import locating
from dsplatform.migration.locating import Locator, NotLocated
from dsplatform.migration.model import Reason

SECRET, GOOD = b"nobody may read this", b"a file of the legacy system"


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`in` may be read. Beside it lie secrets, some under names like those that are allowed, and links lead to them."""
    world = tmp_path_factory.mktemp("world").resolve()
    for secret in ("out/secret", "in-other/secret", "in2/secret", "secret", "%2e%2e/secret"):
        (world / secret).parent.mkdir(exist_ok=True)
        (world / secret).write_bytes(SECRET)
    for good in ("in/good", "in/base/good", "in/base/7/good", "in/far/good"):
        (world / good).parent.mkdir(parents=True, exist_ok=True)
        (world / good).write_bytes(GOOD)
    links = {
        "in/link": world / "out/secret",
        "in/link-to-link": world / "in/link",
        "in/folder-link": world / "out",
        "in/up-link": Path(".."),
        "in/base/steps-link": Path("../../out/secret"),
        "in/root-link": Path("/"),
        "in/etc-link": Path("/etc/passwd"),
        "in/null-link": Path("/dev/null"),
        "in/zero-link": Path("/dev/zero"),
        "in/own-link": Path("/proc/self/environ"),
        "in/fd-link": Path("/proc/self/fd/0"),
        "in/loop": world / "in/loop",
        "in/loop-a": world / "in/loop-b",
        "in/loop-b": world / "in/loop-a",
        "in/dangling": world / "out/nothing",
        "in/inner-link": world / "in/good",
        "in/inner-folder": world / "in/base",
    }
    for link, target in links.items():
        (world / link).symlink_to(target)
    os.mkfifo(world / "in/pipe")
    here = Path.cwd()
    os.chdir(world / "in")  # a socket's name has 100 bytes at most
    with socket.socket(socket.AF_UNIX) as unix:
        unix.bind("socket")
    os.chdir(here)
    return world


@pytest.fixture(scope="module")
def locator(world: Path) -> Locator:
    return Locator(
        [world / "in"], world / "in/base", [("/old", world / "in/base"), ("/old/far", world / "in/far"), ("/gone", world / "out")]
    )


HOSTILE = [
    "/etc/passwd",
    "/etc/shadow",
    "/proc/self/environ",
    "/dev/zero",
    "//etc/passwd",
    "file:///etc/passwd",
    "file://localhost/etc/passwd",
    "file:///%65tc/passwd",
    "file:////etc/passwd",
    "FILE:///etc/passwd",
    "../../out/secret",
    "../../secret",
    "7/../../../secret",
    "./../../secret",
    "../../../../../../../../../../../../etc/passwd",
    "..",
    "{in}/../secret",
    "{in}/../out/secret",
    "{in}/./../secret",
    "{in}//..//secret",
    "{in}/base/../../secret",
    "{in}/nothing/../../secret",
    "{in}/up-link/secret",
    "{in}/up-link/out/secret",
    "{in}-other/secret",
    "{in}2/secret",
    "{out}/secret",
    "{in}/link",
    "{in}/link-to-link",
    "{in}/folder-link/secret",
    "{in}/base/steps-link",
    "{in}/root-link/etc/passwd",
    "{in}/etc-link",
    "{in}/null-link",
    "{in}/zero-link",
    "{in}/own-link",
    "{in}/fd-link",
    "{in}/loop",
    "{in}/loop-a/good",
    "{in}/dangling",
    "{in}/pipe",
    "{in}/socket",
    "{in}/base",
    "{in}",
    "/old/../../secret",
    "/old/../etc/passwd",
    "/old/../gone/secret",
    "/gone/secret",
    "/olden/secret",
    "file://{in}/%2e%2e/secret",
    "file://{in}/..%2fsecret",
    "file://{in}/%2e%2e%2fsecret",
    "file://{in}/%252e%252e/secret",
    "file://{in}/good%00.parquet",
    "file://elsewhere{in}/good",
    "file://127.0.0.1{in}/good",
    "file://",
    "{in}/good\0",
    "\0",
    "",
    "s3://bucket/good",
    "http://localhost/good",
    "{in}/" + "a/" * 3000 + "good",
    "{in}/" + "n" * 300,
    "{in}/\ud800",
    "~/secret",
    "$HOME/secret",
]


@pytest.mark.parametrize("path", HOSTILE, ids=lambda path: ascii(path)[:60])
@pytest.mark.timeout(20)
def test_no_hostile_path_opens_anything(path: str, world: Path, locator: Locator) -> None:
    with pytest.raises(NotLocated) as refused:
        locator.open(path.replace("{in}", str(world / "in")).replace("{out}", str(world / "out")))
    assert refused.value.reason in {Reason.BAD_PATH, Reason.MISSING_BYTES, Reason.UNSUPPORTED}


def test_there_are_fifty_hostile_paths() -> None:
    assert len(set(HOSTILE)) >= 50


@pytest.mark.parametrize(
    "path",
    [
        "{in}/good",
        "{in}//good",
        "{in}/./base/../good",
        "{in}/inner-link",
        "{in}/inner-folder/7/good",
        "file://{in}/good",
        "file://localhost{in}/good",
        "File://LOCALHOST{in}/good",
        "file://{in}/g%6fod",
        "good",
        "7/good",
        "./7/../good",
        "/old/good",
        "/old//7/good",
        "/old/far/good",
        "/app/../old/good",
        "file:///old/good",
    ],
)
def test_what_lies_in_an_allowed_folder_is_found_however_it_is_written(path: str, world: Path, locator: Locator) -> None:
    with locator.open(path.replace("{in}", str(world / "in"))) as found:
        assert found.read() == GOOD


def test_the_longest_old_folder_counts_and_only_whole_steps_of_it(world: Path) -> None:
    (world / "in/far/only-far").write_bytes(GOOD)
    locator = Locator([world / "in"], None, [("/o", world / "in/base"), ("/o/l", world / "in/far")])
    with locator.open("/o/l/only-far") as found:
        assert found.read() == GOOD
    with pytest.raises(NotLocated, match="No such file"):
        locator.open("/o/lonely/only-far")


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        ("{in}/nothing", Reason.MISSING_BYTES),
        ("{in}/good/below", Reason.MISSING_BYTES),
        ("/old/nothing", Reason.MISSING_BYTES),
        ("{out}/nothing", Reason.BAD_PATH),
        ("{in}2/secret", Reason.BAD_PATH),
        ("{in}/pipe", Reason.BAD_PATH),
        ("s3://bucket/key", Reason.UNSUPPORTED),
    ],
)
def test_the_reason_tells_what_is_missing_from_what_may_not_be_read(path: str, reason: Reason, world: Path, locator: Locator) -> None:
    with pytest.raises(NotLocated) as refused:
        locator.open(path.replace("{in}", str(world / "in")).replace("{out}", str(world / "out")))
    assert refused.value.reason is reason


def test_a_relative_path_needs_a_base_and_no_path_is_read_without_a_root(world: Path) -> None:
    with pytest.raises(NotLocated, match="DSPLATFORM_LEGACY_BASE"):
        Locator([world / "in"], None, []).open("good")
    with pytest.raises(NotLocated, match="DSPLATFORM_LEGACY_ROOTS"):
        Locator([], None, []).open(str(world / "in/good"))


def test_a_root_that_is_not_there_is_no_missing_file(tmp_path: Path) -> None:
    with pytest.raises(Unavailable, match="gone"):
        Locator([tmp_path / "gone"], None, []).open(str(tmp_path / "gone" / "file"))


def test_a_disk_that_fails_is_no_missing_file(world: Path, locator: Locator, monkeypatch: pytest.MonkeyPatch) -> None:
    def failing(*_: object) -> int:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(locating, "_walked", failing)
    with pytest.raises(Unavailable, match="Input/output error"):
        locator.open(str(world / "in/good"))


def a_link_to_the_secret(place: Path, world: Path) -> None:
    place.symlink_to(world / "out/secret")


def a_pipe(place: Path, world: Path) -> None:
    os.mkfifo(place)


@pytest.mark.parametrize("instead", [a_link_to_the_secret, a_pipe])
@pytest.mark.timeout(20)
def test_a_file_that_is_replaced_after_it_was_judged_is_not_read(
    instead: Callable[[Path, Path], None], world: Path, locator: Locator, monkeypatch: pytest.MonkeyPatch
) -> None:
    victim = world / "in" / instead.__name__
    victim.write_bytes(GOOD)

    def replaced(path: str) -> str:
        real = resolve(path)
        if real == str(victim) and not victim.is_symlink():
            victim.unlink()
            instead(victim, world)
        return real

    resolve = os.path.realpath
    monkeypatch.setattr(os.path, "realpath", replaced)
    with pytest.raises(NotLocated):
        locator.open(f"{victim.parent}/base/../{victim.name}")
    assert not victim.is_file() or victim.is_symlink(), "it was replaced in between"


def test_a_folder_that_is_replaced_by_a_link_after_it_was_judged_is_not_entered(
    world: Path, locator: Locator, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = world / "in/swapped"
    folder.mkdir()
    (folder / "secret").write_bytes(GOOD)

    def replaced(path: str) -> str:
        real = resolve(path)
        if real.startswith(str(folder)) and not folder.is_symlink():
            (folder / "secret").unlink()
            folder.rmdir()
            folder.symlink_to(world / "out")
        return real

    resolve = os.path.realpath
    monkeypatch.setattr(os.path, "realpath", replaced)
    with pytest.raises(NotLocated):
        locator.open(f"{folder}/../swapped/secret")
    assert folder.is_symlink(), "it was replaced in between"


def test_no_descriptor_is_left_open(world: Path, locator: Locator) -> None:
    def descriptors() -> int:
        return len(os.listdir("/proc/self/fd")) if os.path.isdir("/proc/self/fd") else 0

    before = descriptors()
    locator.open(str(world / "in/base/7/good")).close()
    for path in ("in/pipe", "in/nothing", "in/base"):
        with pytest.raises(NotLocated):
            locator.open(str(world / path))
    assert descriptors() == before


STEPS = [
    "..",
    ".",
    "",
    "in",
    "in2",
    "in-other",
    "out",
    "base",
    "7",
    "far",
    "old",
    "good",
    "secret",
    "link",
    "folder-link",
    "up-link",
    "root-link",
]
STEPS += ["inner-link", "inner-folder", "loop", "pipe", "%2e%2e", "%2f", "etc", "passwd", "dev", "zero", "a b", "ü", "\n"]


@given(
    start=st.sampled_from(
        ["", "/", "{world}/", "{world}/in/", "file://", "file:///", "file://{world}/in/", "file://localhost/", "/old/", "/gone/"]
    ),
    steps=st.lists(st.sampled_from(STEPS), max_size=9),
)
@with_settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_whatever_is_opened_is_a_file_of_ours(start: str, steps: list[str], world: Path, locator: Locator) -> None:
    try:
        found = locator.open(start.replace("{world}", str(world)) + "/".join(steps))
    except NotLocated:
        return
    with found:
        assert found.read() == GOOD


NAMES = st.text(st.characters(exclude_characters="/\0", exclude_categories=["Cs"]), min_size=1).filter(
    lambda name: len(name.encode()) <= 200 and name not in {".", ".."}
)


@given(name=NAMES)
@example(name="100%25.parquet")
@example(name="a?b#c")
@with_settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_file_is_found_by_each_of_its_addresses_whatever_its_name(name: str, world: Path, locator: Locator) -> None:
    place = world / "in/base/names" / name
    place.parent.mkdir(exist_ok=True)
    place.write_bytes(name.encode())
    try:
        for path in (str(place), f"file://{quote(str(place))}", f"names/{name}", f"/old/names/{name}"):
            with locator.open(path) as found:
                assert found.read() == name.encode(), path
    finally:
        place.unlink()
