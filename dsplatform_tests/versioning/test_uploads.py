from collections.abc import Iterator
from io import BytesIO
from typing import Any

import pytest

from dsplatform.bootstrap import Platform
from dsplatform.core.domain import Actor
from dsplatform.core.errors import Denied, Invalid
from dsplatform.versioning.uploads import Part
from dsplatform_tests import make

LARGE = b"x" * 400_000


class Noted(BytesIO):
    """A source that writes down that it was read."""

    def __init__(self, name: str, read: list[str], data: bytes = LARGE) -> None:
        super().__init__(data)
        self.called = name
        self._noted = read

    def read(self, size: int | None = -1) -> bytes:
        if self.called not in self._noted:
            self._noted.append(self.called)
        return super().read(size)


def test_parts_are_read_one_after_the_other_as_they_come(platform: Platform, system: Actor) -> None:
    dataset, read = make.dataset(platform), list[str]()

    def parts() -> Iterator[Part]:
        for name in ("a", "b", "c"):
            assert read == sorted({"a", "b", "c"} & set(map(chr, range(97, ord(name)))))
            yield Part(name, Noted(name, read, LARGE + name.encode()))

    done = platform.uploads.upload(system, dataset, parts())
    assert (done.committed.added, [one.name for one in done.components]) == (3, ["a", "b", "c"])
    assert make.held(platform, dataset) == {name: LARGE + name.encode() for name in ("a", "b", "c")}
    make.assert_sound(platform)


def test_what_is_refused_is_refused_before_its_bytes_are_read(platform: Platform, system: Actor) -> None:
    dataset, read = make.dataset(platform), list[str]()
    eve = platform.permissions.create_user("eve")
    attempts: list[tuple[Actor, str, dict[str, Any], type[Exception]]] = [
        (eve, "a", {}, Denied),
        (system, "../a", {}, Invalid),
        (system, "a", {"branch": "a..b"}, Invalid),
        (system, "a", {"message": "\x00"}, Invalid),
    ]
    for actor, name, more, error in attempts:
        with pytest.raises(error):
            platform.uploads.upload(actor, dataset, iter([Part(name, Noted(name, read))]), **more)
    assert read == []


def test_what_fails_on_the_way_leaves_nothing(platform: Platform, system: Actor) -> None:
    dataset = make.dataset(platform)

    def parts() -> Iterator[Part]:
        yield Part("a", BytesIO(LARGE))
        raise RuntimeError("the client is gone")

    with pytest.raises(RuntimeError, match="gone"):
        platform.uploads.upload(system, dataset, parts())
    assert platform.versions.list_versions(system, dataset) == []
    make.drained(platform)
    assert make.objects(platform) == set()
    make.assert_sound(platform)


def test_a_commit_leaves_one_entry_in_the_audit_log(platform: Platform, system: Actor) -> None:
    dataset = make.dataset(platform)
    platform.uploads.upload(system, dataset, [Part("a", BytesIO(b"1"))])
    assert make.column(platform.db, "SELECT count(*) FROM audit_log WHERE action = 'version.commit'") == [1]
