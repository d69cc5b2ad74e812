"""Who asks in the matrix, and what for: people with more and less rights, and targets with one of everything that an address can name."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from itertools import count
from typing import Any

from fastapi.testclient import TestClient
from httpx2 import Response

from dsplatform.bootstrap import Platform
from dsplatform.core.domain import Actor
from dsplatform.core.types import DatasetId, FileId, PermissionType
from dsplatform.core.values import DatasetRef
from dsplatform.permissions.model import Grantee
from dsplatform.versioning.model import Demand
from dsplatform.versioning.retention import Rule
from dsplatform_tests import make

READ, WRITE, ADMIN = PermissionType
PASSWORD = "the seven green whales of the matrix"
ROWS = 97
"""Of a target's component, so that its size is a number that stands nowhere else."""

_numbers = count(1)


@dataclass(frozen=True)
class Target:
    """One of everything that a request can name. Of an absent one there is only what a request says."""

    word: str
    """In every name and every content."""
    dataset: int
    gone: int
    """A deleted dataset."""
    file: int
    grant: int
    file_grant: int
    token: int
    hash: str
    owner: str
    username: str
    member: str
    group: str
    role: str
    robot: str
    present: bool = True

    @property
    def slug(self) -> str:
        """Of the dataset."""
        return f"{self.word}-set"

    @property
    def component(self) -> str:
        """Of every version."""
        return f"{self.word}.csv"

    @property
    def side(self) -> str:
        """A branch that has gone its own way."""
        return f"{self.word}/side"

    @property
    def held(self) -> str:
        """A protected branch."""
        return f"{self.word}/held"

    @property
    def tag(self) -> str:
        """A tag."""
        return f"{self.word}-v1"

    def told(self) -> set[str]:
        """What nobody may learn who may not read the dataset."""
        size = str(len(content(self.word)))
        ids = {str(each) for each in (self.dataset, self.gone, self.file, self.grant, self.file_grant, self.token)}
        return {self.word, self.hash, self.hash[:12], size, *ids}


def content(word: str) -> bytes:
    """The bytes of a target's component."""
    return b"id,name\n" + b"".join(f"{row},{word} {'x' * 400}\n".encode() for row in range(ROWS))


ABSENT = Target(
    "absent-0000",
    dataset=7_199_999,
    gone=7_199_998,
    file=7_399_999,
    grant=7_499_999,
    file_grant=7_499_998,
    token=7_599_999,
    hash="ab" * 32,
    owner="nobody-0000",
    username="absent-user-0000",
    member="absent-member-0000",
    group="absent-group-0000",
    role="absent-role-0000",
    robot="absent-robot-0000",
    present=False,
)

_RANGES = {"datasets": 7_100_001, "files": 7_300_001, "permissions": 7_400_001, "dataset_versions": 7_200_001, "api_tokens": 7_500_001}


@dataclass
class World:
    """People and their ways to ask. Ann owns, Will writes, Rita reads, Eve is a stranger with datasets of her own, root is an admin."""

    platform: Platform
    client: TestClient
    headers: dict[str, dict[str, str]] = field(default_factory=dict)
    actors: dict[str, Actor] = field(default_factory=dict)
    known: list[Mapping[str, object]] = field(default_factory=list)
    """What was stored when last looked at, where nothing that changes it was done since."""

    def ask(self, who: str, method: str, path: str, **request: Any) -> Response:
        """The answer to a request with a number of its own: `last` has it."""
        self.last = f"matrix-{next(_numbers):08d}"
        headers = {"X-Request-ID": self.last, **self.headers[who], **request.pop("headers", {})}
        answer: Response = self.client.request(method, path, headers=headers, follow_redirects=False, **request)
        if answer.status_code < 400:
            self.known.clear()
        return answer

    def notes(self, request_id: str) -> list[tuple[str, str]]:
        """(result, action) of the rows that the audit log has of a request."""
        with self.platform.db.autocommit() as tx:
            found = tx.tuples("SELECT result, action FROM audit_log WHERE request_id = :id ORDER BY id", id=request_id)
        return [(str(result), str(action)) for result, action in found]

    def state(self) -> Mapping[str, object]:
        """A digest of every table, but for the log and what reading changes; and the objects."""
        with self.platform.db.autocommit() as tx:
            tables = [str(name) for (name,) in tx.tuples(_TABLES)]
            row = "CAST(to_jsonb(t) - 'last_used_at' AS text)"
            found: dict[str, object] = dict(tx.tuples(" UNION ALL ".join(make.digest(name, row) for name in tables)))
        return found | {"objects": make.objects(self.platform)}

    @contextmanager
    def unchanged(self) -> Iterator[None]:
        """Holds the block to change nothing that is stored."""
        before = self.known.pop() if self.known else self.state()
        yield
        after = self.state()
        assert {name for name in after if after[name] != before.get(name)} == set()
        self.known.append(after)

    def log_in(self) -> tuple[dict[str, str], str]:
        """A new session of Sue, as a header and as the token that renews it."""
        self.known.clear()
        answer = self.client.post("/api/v1/sessions", json={"username": "sue", "password": PASSWORD})
        session = answer.json()
        return {"Authorization": f"Bearer {session['access_token']}"}, session["refresh_token"]

    def target(self, owner: str, name: str | None = None) -> Target:
        """A new one of that owner, which Rita may read and Will may write."""
        self.known.clear()
        platform, actor, number = self.platform, self.actors[owner], next(_numbers)
        word = f"{name or 'canary'}-{number:04d}"
        dataset = platform.datasets.create_dataset(actor, f"{word}-set", description=f"{word} says", tags=[word])
        _history(platform, actor, dataset, word)
        deleted = platform.datasets.create_dataset(actor, f"{word}-gone")
        grants = _granted(platform, actor, self.actors, dataset, deleted)
        platform.datasets.delete_dataset(actor, deleted.key)
        _, components = platform.versions.get_version(actor, dataset, "1")
        file_id = components[0].file_id
        people = self._people(f"{number:04d}")
        return Target(
            word,
            dataset=dataset.id,
            gone=deleted.id,
            file=file_id,
            grant=grants,
            file_grant=platform.permissions.grant_file(actor, Grantee("user", None, "guest"), READ, FileId(file_id)).id,
            token=platform.accounts.create_token(actor, word).id,
            hash=components[0].content_hash,
            owner=actor.username,
            username=people["username"],
            member=people["member"],
            group=people["group"],
            role=people["role"],
            robot=people["robot"],
        )

    def _people(self, number: str) -> dict[str, str]:
        root = self.actors["root"]
        people = {part: f"{part}-{number}" for part in ("username", "member", "group", "role", "robot")}
        for user in ("username", "member"):
            self.platform.people.create_user(root, people[user], role="viewer")
        self.platform.people.create_user(root, people["robot"], role="viewer", is_service=True)
        self.platform.people.create_group(root, people["group"])
        self.platform.people.add_member(root, people["group"], people["member"])
        self.platform.people.set_role_rights(root, people["role"], [])
        return people


def built(platform: Platform, client: TestClient) -> World:
    """A new world, without targets."""
    with make.tampering(platform.db) as tx:
        for table, first in _RANGES.items():
            tx.execute(f"ALTER TABLE {table} ALTER COLUMN id RESTART WITH {first}")
    world = World(platform, client)
    roles = {"root": "admin", "ann": "editor", "will": "viewer", "rita": "viewer", "eve": "editor", "max": "editor", "guest": "viewer"}
    for name, role in roles.items():
        _known(world, name, platform.permissions.create_user(name, role))
    platform.people.create_user(world.actors["root"], "sue", role="editor", password=PASSWORD)
    elsewhere = platform.datasets.create_dataset(world.actors["root"], "elsewhere")
    _token(world, "root to read", world.actors["root"], right=READ)
    _token(world, "ann to write", world.actors["ann"], right=WRITE)
    for name in ("root", "ann"):
        _token(world, f"{name} elsewhere", world.actors[name], dataset_ids=[elsewhere.id])
    world.headers |= {
        "nobody": {},
        "an unknown token": {"Authorization": "Bearer dsp_" + "0" * 40},
        "another scheme": {"Authorization": "Basic cm9vdDpyb290"},
    }
    return world


def _known(world: World, name: str, actor: Actor) -> None:
    world.actors[name] = actor
    _token(world, name, actor)


def _token(world: World, name: str, actor: Actor, **scope: Any) -> None:
    secret = world.platform.accounts.create_token(actor, name, **scope).secret
    world.headers[name] = {"Authorization": f"Bearer {secret}"}


def _history(platform: Platform, actor: Actor, dataset: DatasetRef, word: str) -> None:
    """Versions 1 to 3 on `main`, 4 on a side branch, 5 in quarantine; terms, hints, a rule, a protected branch and a tag."""
    name = f"{word}.csv"
    for number in range(3):
        more = {f"{word}-{number}.csv": f"id\n{number}\n".encode()} if number else {}
        made = make.commit(platform, dataset, {name: content(word), **more}, actor=actor, message=f"{word} {number}")
        if number:
            platform.schemas.capture_version_schema(made.version_id)
    platform.branches.create_branch(actor, dataset, f"{word}/side", "2")
    platform.branches.create_branch(actor, dataset, f"{word}/held", "2")
    platform.branches.create_tag(actor, dataset, f"{word}-v1", "2")
    make.commit(platform, dataset, {f"{word}-side.csv": b"id\n1\n"}, actor=actor, branch=f"{word}/side")
    kept = make.commit(platform, dataset, {f"{word}-kept.csv": b"id\n1\n"}, actor=actor, branch="quarantine/1").version_id
    platform.deletion.set_retention(actor, dataset.key, Rule(100, None))
    platform.protection.protect(actor, dataset, f"{word}/held", Demand.ADMIN)
    with platform.db.transaction() as tx:
        tx.execute(
            "INSERT INTO quarantined_versions (version_id, dataset_id, branch, target_branch, report) "
            "VALUES (:version, :dataset, 'quarantine/1', 'main', CAST(:report AS jsonb))",
            version=kept,
            dataset=dataset.id,
            report=f'["{word}"]',
        )


def _granted(platform: Platform, actor: Actor, actors: Mapping[str, Actor], dataset: DatasetRef, deleted: DatasetRef) -> int:
    """The number of Rita's grant."""
    for right, name in ((WRITE, "will"), (READ, "rita")):
        for each in (deleted, dataset):
            made = platform.permissions.grant_permission(actor, actors[name], right, DatasetId(each.id))
    return int(made.id)


def asking_as(world: World, name: str, headers: dict[str, str]) -> World:
    """The same world, in which a credential of this moment has a name."""
    return replace(world, headers={**world.headers, name: headers})


_TABLES = (
    "SELECT table_name FROM information_schema.tables WHERE table_schema = 'public' AND table_type = 'BASE TABLE' "
    "AND table_name NOT IN ('audit_log', 'audit_seals') ORDER BY table_name"
)
