"""The validation finds what is wrong: 200 faults are planted into a clean copy, and 200 are found, each by the check that is for it."""

import random
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from dsplatform.bootstrap import Platform, bootstrap
from dsplatform.core.database import Transaction
from dsplatform.core.errors import Denied
from dsplatform.migration import bytes_check, validation
from dsplatform.migration.checks import Both
from dsplatform.migration.source import LegacyDatabase
from dsplatform.migration.validation import TITLES, Checked, ValidationService, examine
from dsplatform_tests import make
from dsplatform_tests.copies import Copies, Place
from dsplatform_tests.legacy.generator import TIMEZONE
from dsplatform_tests.migration import legacy_side
from dsplatform_tests.migration import make as migration_make
from dsplatform_tests.migration.faults import KINDS
from dsplatform_tests.migration.ground import Fault, Ground
from dsplatform_tests.migration.legacy_side import Legacy

FAULTS = 200
Mounts = tuple[tuple[str, Path], ...]
TOGETHER = 13
"""Faults of one round: few enough that each has rows of its own."""


def brought(platform: Platform, url: str, folder: Path, datasets: int) -> Legacy:
    """A copy in which nothing is odd."""
    made, _ = legacy_side.built(platform, url, folder, "G1a", datasets=datasets, attachments=1, oddities=False, phase_1=True)
    made.migrate()
    return made


def small(place: Place[None]) -> Mounts:
    with bootstrap(place.settings, place.database_url) as platform:
        return brought(platform, place.legacy_url, place.legacy_folder, 4).mounts


@pytest.fixture
def copied(copies: Copies, request: pytest.FixtureRequest) -> Iterator[Place[Mounts] | None]:
    if "large" in request.fixturenames:
        yield None
        return
    with copies.of(small) as place:
        yield place


@pytest.fixture
def legacy(platform: Platform, copied: Place[Mounts]) -> Legacy:
    return Legacy(copied.legacy_url, copied.legacy_folder, platform, copied.made)


@pytest.fixture
def large(platform: Platform, legacy_url: str, legacy_folder: Path) -> Legacy:
    return brought(platform, legacy_url, legacy_folder, 25)


class Undone(Exception):
    """The end of a round."""


@contextmanager
def undone(platform: Platform) -> Iterator[Transaction]:
    """A transaction of the database's owner that leaves nothing behind, and in which no trigger and no foreign key works."""
    with suppress(Undone), make.tampering(platform.db) as tx:
        tx.execute("SET LOCAL session_replication_role = replica")
        tx.execute("SET LOCAL datestyle = 'ISO'")
        yield tx
        raise Undone


def found(checks: Sequence[Checked]) -> set[tuple[str, str, str, str]]:
    return {(check.code, one.entity, one.key, one.column) for check in checks for one in check.differences}


def test_each_of_many_faults_is_found(large: Legacy, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(validation, "SHOWN", 100_000)
    rng = random.Random(5)
    kinds = [kind for _ in range(1 + FAULTS // len(KINDS)) for kind in rng.sample(sorted(KINDS), len(KINDS))][:FAULTS]
    planted: dict[int, list[Fault]] = {}
    seen: dict[int, set[tuple[str, str, str, str]]] = {}
    with LegacyDatabase(large.url).snapshot() as source:
        for number in range(0, FAULTS, TOGETHER):
            with undone(large.platform) as tx:
                ground = Ground(tx, rng)
                planted[number] = [Fault(kind, *KINDS[kind](ground)) for kind in kinds[number : number + TOGETHER]]
                seen[number] = found(list(examine(Both(source, tx, ZoneInfo(TIMEZONE)), TITLES)))
        with undone(large.platform) as tx:
            assert found(list(examine(Both(source, tx, ZoneInfo(TIMEZONE)), TITLES))) == set()
    assert sum(map(len, planted.values())) == FAULTS
    assert missed(planted, seen) == []
    for code in ("V1", "V2", "V3", "V5", "V6", "V7", "V8", "V9"):
        without = {number: {one for one in findings if one[0] != code} for number, findings in seen.items()}
        assert missed(planted, without), f"nobody would notice that {code} is switched off"


def missed(planted: Mapping[int, Sequence[Fault]], seen: Mapping[int, set[tuple[str, str, str, str]]]) -> list[Fault]:
    """The faults that nothing found which is about them."""
    return [fault for number, faults in planted.items() for fault in faults if tuple(fault)[1:] not in seen[number]]


def test_bytes_that_are_not_the_same_are_found(legacy: Legacy) -> None:
    """Objects damaged, cut and lost in the store, legacy files that changed since, and rows whose contents were exchanged."""
    platform, service = legacy.platform, comparing(legacy)
    files = dict(legacy.ask("SELECT legacy_id, new_id FROM legacy_id_map WHERE entity = 'files' AND new_id IS NOT NULL ORDER BY new_id"))
    damaged, cut, lost, changed, gone, one, other = random.Random(3).sample(sorted(files), 7)
    path = make.object_path(platform, files[damaged])
    data = path.read_bytes()
    rewrite(path, bytes([data[0] ^ 1]) + data[1:])
    path = make.object_path(platform, files[cut])
    rewrite(path, path.read_bytes()[:-1])
    make.object_path(platform, files[lost]).unlink()
    of = dict(legacy.run("SELECT id, file_path FROM files"))
    data = Path(of[int(changed)]).read_bytes()
    Path(of[int(changed)]).write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    Path(of[int(gone)]).unlink()
    with make.tampering(platform.db) as tx:
        for legacy_id, new in ((one, files[other]), (other, files[one])):
            tx.execute("UPDATE legacy_id_map SET new_id = :new WHERE entity = 'files' AND legacy_id = :id", new=new, id=legacy_id)
    checks = {check.code: check for check in service.validate(platform.actor(), sample=None).checks}
    assert {one.key for one in checks["V4"].differences} == {damaged, cut, lost, changed, gone, one, other}
    assert checks["V4"].compared == len(files)
    assert {str(files[id_]) in " ".join(found.key for found in checks["V5"].differences) for id_ in (cut, lost)} == {True}
    assert not checks["V2"].passed, "an exchanged content is seen by its components, too"


def test_a_sample_has_every_size_and_is_the_same_for_the_same_seed(legacy: Legacy) -> None:
    with legacy.platform.db.transaction() as tx:
        every = bytes_check.drawn(tx, None, 1)
        some = bytes_check.drawn(tx, 20, 1)
        assert some == bytes_check.drawn(tx, 20, 1)
        assert some != bytes_check.drawn(tx, 20, 2)
        assert bytes_check.drawn(tx, 10**6, 1) == every
    assert (len(some), len(set(some))) == (20, 20)
    places = sorted(every.index(one) * bytes_check.STRATA // len(every) for one in some)
    assert set(places) == set(range(bytes_check.STRATA)), "each tenth of the sizes has its share"


def test_a_switch_is_told_what_is_in_its_way(legacy: Legacy) -> None:
    actor, service = legacy.platform.actor(), comparing(legacy)
    assert service.against(actor) == []
    with make.tampering(legacy.platform.db) as tx:
        tx.execute("UPDATE datasets SET name = name || '.x' WHERE id = (SELECT min(new_id) FROM legacy_id_map WHERE entity = 'datasets')")
    (sentence,) = service.against(actor)
    assert "V2 row checksums: 1 difference(s) that nothing explains, as datasets 1 name" in sentence


def test_a_second_run_that_writes_is_found(legacy: Legacy) -> None:
    actor, service = legacy.platform.actor(), comparing(legacy)
    assert service.validate(actor, fast=True, repeat=True).passed
    legacy.run("UPDATE datasets SET description = 'new' WHERE id = 1")
    found = service.validate(actor, fast=True, repeat=True)
    assert [check.code for check in found.checks if check.passed is False] == ["V2", "V10"]
    assert service.validate(actor, fast=True, repeat=True).passed


def test_whoever_may_not_operate_is_refused(legacy: Legacy) -> None:
    eve = legacy.platform.permissions.create_user("eve", "editor")
    for call in (lambda: comparing(legacy).validate(eve), lambda: comparing(legacy).against(eve)):
        with pytest.raises(Denied):
            call()


def comparing(legacy: Legacy) -> ValidationService:
    return migration_make.validation(legacy.platform, legacy.url, legacy.folder, mounts=legacy.mounts, zone=TIMEZONE)


def rewrite(path: Path, data: bytes) -> None:
    path.chmod(0o600)
    path.write_bytes(data)
