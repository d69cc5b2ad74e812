"""Every method of every service says who may call it, and means it; every change is written down together with what it changes."""

import ast
import inspect
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import fields, replace
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest

import dsplatform
from dsplatform.bootstrap import Platform, bootstrap
from dsplatform.core.access import guard_of
from dsplatform.core.database import Transaction
from dsplatform.core.domain import Actor, AuditEntry, Origin, Scope
from dsplatform.core.errors import Denied, NotFound, Unavailable
from dsplatform.core.roles import ROLE
from dsplatform.core.settings import Settings
from dsplatform.core.types import PlatformRight
from dsplatform.embedded import EmbeddedPostgres
from dsplatform.migration.wiring import LegacySide
from dsplatform.permissions.model import MissingRight
from dsplatform.permissions.service import keep
from dsplatform_tests import conftest, make
from dsplatform_tests.copies import Copies, Place
from dsplatform_tests.guards.cases import ADMIN, CASES, ELSEWHERE, READ, WRITE, Case
from dsplatform_tests.guards.world import CANARY, PASSING, World, built, dump, last, noted

SOURCE = Path(dsplatform.__file__).parent
SERVICES = {
    field.name: field.type for field in (*fields(Platform), *fields(LegacySide)) if field.name not in {"settings", "db", "credential"}
}


def methods(service: str) -> dict[str, Callable[..., object]]:
    """The public methods of a service, or of `platform` itself."""
    owner = Platform if service == "platform" else SERVICES[service]
    return {f"{service}.{name}": method for name, method in inspect.getmembers(owner, inspect.isfunction) if not name.startswith("_")}


ALL = {name: method for service in (*SERVICES, "platform") for name, method in methods(service).items()}
GUARDS = {name: guard_of(method) for name, method in ALL.items()}


@pytest.fixture(scope="module")
def world(server: EmbeddedPostgres, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """One for everything that is refused: it changes nothing."""
    home = tmp_path_factory.mktemp("world")
    settings = Settings.from_env({"DSPLATFORM_HOME": str(home / "home"), "DSPLATFORM_SETTLE_SECONDS": "0"})
    with conftest._database(server, "template") as name, bootstrap(settings, server.url(name, user=ROLE)) as platform:
        yield with_files(platform, home)


def inhabited(place: Place[None]) -> World:
    """One to copy."""
    with bootstrap(place.settings, place.database_url) as platform:
        return with_files(platform, place.folder)


@pytest.fixture
def copied(copies: Copies) -> Iterator[Place[World]]:
    with copies.of(inhabited) as place:
        yield place


@pytest.fixture
def fresh(platform: Platform, copied: Place[World]) -> World:
    """One for what is done."""
    return replace(copied.made, platform=platform)


def with_files(platform: Platform, folder: Path) -> World:
    """A world with a file to ingest."""
    arrivals = folder / "in"
    arrivals.mkdir()
    (arrivals / "arrived.csv").write_text("id\n3\n")
    return built(platform, arrivals)


# --- who may -------------------------------------------------------------------------------------------------------------------


def test_every_public_method_says_who_may_call_it() -> None:
    assert [name for name, guard in GUARDS.items() if guard is None] == []


def test_every_method_that_is_for_doors_is_called_here() -> None:
    for_doors = {name for name, guard in GUARDS.items() if not str(guard).startswith("internal")}
    called = {name.split()[0] for name in CASES}
    assert for_doors - called == set(ELSEWHERE)
    assert called <= for_doors


def test_what_a_method_says_is_what_it_takes() -> None:
    for name, case in CASES.items():
        guard = str(GUARDS[name.split()[0]])
        if " " not in name and not guard.startswith("open"):
            assert guard.split()[-1] == str(case.needs), name


def enough(world: World, case: Case) -> Actor:
    """Somebody who may, and no more than that where a right is asked for."""
    if case.by_admin:
        return world.platform.system()
    return world.who(f"only-{case.needs}") if isinstance(case.needs, PlatformRight) else world.ann


def too_little(world: World, case: Case) -> dict[str, Actor]:
    """Everybody who may not."""
    admin = world.platform.system()
    elsewhere = Scope(ADMIN, (world.other.id,))
    if isinstance(case.needs, PlatformRight):
        lacking = world.who(f"all-but-{case.needs}")
        limited = {"write": replace(admin, scope=Scope(WRITE)), "elsewhere": replace(admin, scope=elsewhere)}
        return {"stranger": world.eve, "all but the right": lacking, **limited}
    found = {
        "stranger": world.eve,
        "token elsewhere": replace(world.ann, scope=elsewhere),
        "admin's elsewhere": replace(admin, scope=elsewhere),
    }
    if case.needs is not READ:
        found |= {"reader": world.rita, "token to read": replace(world.ann, scope=Scope(READ))}
    if case.needs is ADMIN:
        found |= {"writer": world.will, "token to write": replace(world.ann, scope=Scope(WRITE))}
    return found


@pytest.mark.parametrize("name", [name for name, case in CASES.items() if case.needs is not None])
def test_who_may_not_is_refused_changes_nothing_learns_nothing_and_is_written_down(name: str, world: World) -> None:
    case, platform = CASES[name], world.platform
    before = dump(world)
    for who, actor in too_little(world, case).items():
        since = last(platform.db)
        with pytest.raises((Denied, NotFound)) as caught:
            case.call(world, actor)
        assert dump(world) == before, who
        assert [(result, whose) for result, _, whose in noted(platform.db, since)] == [("refused", actor.user_id)], who
        assert CANARY not in str(caught.value), who
        if who in {"reader", "writer", "all but the right"}:
            assert isinstance(caught.value, MissingRight), who
            assert caught.value.missing == case.needs, who
            assert f"'{case.needs}'" in str(caught.value), who


@pytest.mark.parametrize("name", [name for name, case in CASES.items() if case.needs is None])
def test_what_is_open_to_all_tells_a_stranger_nothing(name: str, world: World) -> None:
    before = dump(world)
    for actor in (world.eve, replace(world.ann, scope=Scope(READ, (world.other.id + 1_000,)), origin=Origin(token_id=0))):
        assert CANARY not in repr(CASES[name].call(world, actor))
    assert dump(world) == before


def test_a_stranger_s_bytes_are_not_even_read(world: World) -> None:
    class Unread(BytesIO):
        def read(self, *_: object) -> bytes:
            raise AssertionError("somebody reads what may not be written")

        readinto = read  # type: ignore[assignment]  # whatever it is read by

    for actor in (world.eve, world.rita):
        with pytest.raises(MissingRight, match="'write'"):
            world.platform.versions.create_version(actor, world.sales, {"a.csv": Unread(b"1")})


def test_a_right_on_one_of_two_datasets_is_not_enough_to_compare_them(world: World) -> None:
    platform, mine = world.platform, world.platform.datasets.create_dataset(world.who("only-create"), "mine")
    actor = world.who("only-create")
    first, second = (make.commit(platform, mine, {"a.csv": b"id\n%d\n" % number}, actor=actor).version_id for number in range(2))
    for version in (first, second):
        platform.schemas.capture_version_schema(version)
    theirs = world.versions[2].version_id
    tries: list[Callable[[], object]] = [
        lambda: platform.branches.diff(actor, "mine@1", "sales@1"),
        lambda: platform.branches.diff(actor, "sales@1", "mine@1"),
        lambda: platform.schemas.compare(actor, mine, theirs, second, before_in=world.sales),
        lambda: platform.schemas.compare(actor, mine, theirs, second),
        lambda: platform.schemas.compare(actor, mine, first, theirs),
    ]
    for attempt in tries:
        with pytest.raises((Denied, NotFound)) as caught:
            attempt()
        assert CANARY not in str(caught.value)


# --- what is written down ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [name for name, case in CASES.items() if case.needs is not None and not case.notes])
def test_who_may_is_answered_and_what_changes_nothing_is_not_written_down(name: str, world: World) -> None:
    case, since = CASES[name], last(world.platform.db)
    before = dump(world)
    with suppress(Unavailable):  # a folder gives no addresses out
        case.call(world, enough(world, case))
    assert noted(world.platform.db, since) == []
    if name not in SILENT:
        assert dump(world) == before, "a change that nobody hears of"


SILENT = {
    "schemas.capture_at_once": "what it keeps can be found again at any time",
    "contracts.learn": "what it keeps can be found again at any time",
    "contracts.check": "what it keeps can be found again at any time",
    "previews.preview": "what it keeps can be found again at any time",
    "conversions.parquet": "what it keeps can be found again at any time",
    "conversions.page": "what it keeps can be found again at any time",
    **{f"legacy.{name}": "numbers of old clients, invented when they are first asked for" for name in ("dataset", "versions", "version")},
    **{f"legacy.{name}": "the same" for name in ("numbered", "these", "pointers")},
    "files.store_file": "staged for a day, for its user alone",
}
"""Methods that change something which is not written down, and why not."""


class Torn(Exception):
    """The transaction ends, just after the note was written."""


@pytest.mark.parametrize("name", [name for name, case in CASES.items() if case.notes])
def test_a_change_is_written_down_once_and_in_its_own_transaction(name: str, fresh: World, monkeypatch: pytest.MonkeyPatch) -> None:
    case, platform = CASES[name], fresh.platform
    actor = enough(fresh, case)
    before, since = dump(fresh, without=PASSING), last(platform.db)

    def torn(tx: Transaction, entries: list[AuditEntry]) -> None:
        keep(tx, entries)
        raise Torn

    if not case.apart:
        with monkeypatch.context() as patch:
            patch.setattr(platform.db, "_audit", torn)
            with pytest.raises(Torn):
                case.call(fresh, actor)
        assert dump(fresh, without=PASSING) == before, "what is not written down is not done"
        assert noted(platform.db, since) == [], "what is not done is not written down"
    case.call(fresh, actor)
    assert noted(platform.db, since) == [("done", case.notes, actor.user_id)]


def test_what_a_drop_folder_brings_is_noted_as_its_user_did_it(fresh: World) -> None:
    platform = fresh.platform
    target = platform.settings.drop_dir / "dropped" / "a.csv"
    target.parent.mkdir(parents=True)
    target.write_text("id\n1\n")
    target.with_name("a.csv.done").touch()
    platform.ingestion.discover()
    since = last(platform.db)
    platform.ingestion.ingest_ready()
    system = platform.system().user_id
    assert noted(platform.db, since) == [("done", "dataset.create", system), ("done", "version.commit", system)]


# --- doors ---------------------------------------------------------------------------------------------------------------------

MAY_CALL = {
    "it says who is calling": {
        ("api/caller.py", "accounts.authenticate"),
        ("api/sessions.py", "sessions.login"),
        ("api/sessions.py", "sessions.refresh"),
        ("cli/credentials.py", "accounts.authenticate"),
        ("cli/credentials.py", "sessions.identify"),
    },
    "it asks for the right to see figures": {("api/metrics.py", "permissions.require_right")},
    "numbers, which tell of no dataset": {
        ("api/metrics.py", "inventory.figures"),
        ("api/metrics.py", "inventory.reviews"),
        ("api/metrics.py", "ingestion.standing"),
        ("api/metrics.py", "outbox.pending"),
        ("api/metrics.py", "schemas.pending"),
        ("api/operations.py", "files.answers"),
    },
    "it reads what the same command has just stored": {("cli/ingest.py", "schemas.capture_version_schema")},
    "it does what the sensors do, before there are any": {
        ("cli/up.py", "ingestion.discover"),
        ("cli/up.py", "ingestion.ingest_ready"),
        ("cli/up.py", "audit.seal"),
        ("cli/up.py", "schemas.pending"),
        ("cli/up.py", "schemas.capture_version_schema"),
    },
    "what is shown is the same before and after": {("cli/storage.py", "gc.fold"), ("cli/audit.py", "audit.seal")},
}
"""Calls of internal methods by doors, by their reason. Everything else that a door calls asks for rights."""

INTERNAL = {name for name, guard in GUARDS.items() if str(guard).startswith("internal") and not name.startswith("platform.")}


def calls(source: str) -> Iterator[str]:
    """`service.method` of every call on a service, also on one that was given another name."""
    tree = ast.parse(source)
    names: dict[str, str] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Assign):
            pairs = [(node.targets[0], node.value)]
            if isinstance(node.targets[0], ast.Tuple) and isinstance(node.value, ast.Tuple):
                pairs = list(zip(node.targets[0].elts, node.value.elts, strict=True))
            names |= {
                target.id: value.attr
                for target, value in pairs
                if isinstance(target, ast.Name) and isinstance(value, ast.Attribute) and value.attr in SERVICES
            }
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute):
            on: Any = node.value
            service = on.attr if isinstance(on, ast.Attribute) else names.get(on.id) if isinstance(on, ast.Name) else None
            if service in SERVICES:
                yield f"{service}.{node.attr}"


def test_calls_are_found_however_a_service_is_called() -> None:
    named = "a, b = session.platform.gc, 1\nc = services.files\n"
    source = f"{named}a.fold()\nc.open(1)\nservices.schemas.pending(1)\n"
    assert set(calls(source)) & INTERNAL == {"gc.fold", "files.open", "schemas.pending"}


def test_doors_call_nothing_that_asks_for_no_right() -> None:
    found = {
        (str(path.relative_to(SOURCE)), call)
        for door in ("api", "cli")
        for path in (SOURCE / door).glob("*.py")
        for call in calls(path.read_text())
        if call in INTERNAL
    }
    assert found == set[tuple[str, str]]().union(*MAY_CALL.values())


def test_every_internal_method_says_why() -> None:
    assert [name for name, guard in GUARDS.items() if str(guard).startswith(("internal", "open")) and len(str(guard)) < 20] == []
