"""One rule: what may be done, what is seen in lists, and who is told to hold a right agree, and agree with a second opinion."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Literal

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from dsplatform.bootstrap import Platform
from dsplatform.core import access
from dsplatform.core.database import Transaction
from dsplatform.core.domain import Actor, Scope
from dsplatform.core.errors import Denied, NotFound
from dsplatform.core.types import DatasetId, FileId, PermissionType, PlatformRight
from dsplatform.core.values import DatasetRef
from dsplatform.permissions import service
from dsplatform_tests import make

USERS, GROUPS = ("ann", "ben", "cleo"), ("analysts", "billing")
DATASETS = ("alpha", "beta", "gamma", "delta")
DELETED = "delta"
FILES = {
    "in alpha and in delta": b"1",
    "in beta, in a version that was deleted": b"2",
    "in beta": b"3",
    "in gamma and in beta": b"4",
    "in delta": b"5",
    "in alpha, under two names": b"6",
}
NAMED_BY = {
    "in alpha and in delta": {"alpha"},
    "in beta, in a version that was deleted": set[str](),
    "in beta": {"beta"},
    "in gamma and in beta": {"beta", "gamma"},
    "in delta": set[str](),
    "in alpha, under two names": {"alpha"},
}
"""The living datasets of which a version that was not deleted names the file."""

Time = Literal["for good", "to come", "over"]
strength = list(PermissionType).index


@dataclass(frozen=True)
class Case:
    """Who holds what."""

    roles: tuple[frozenset[PlatformRight] | Literal["admin"], ...]
    active: tuple[bool, ...]
    members: frozenset[tuple[str, str]]
    """(group, user)"""
    grants: frozenset[tuple[str, str, PermissionType, Time]]
    """(to a user, a group or everyone, on a dataset or a file, right, end)"""
    scope: Scope
    """Of the credential that is used."""
    only: frozenset[str] | None
    """The datasets that it works for."""
    wanted: PermissionType = PermissionType.READ
    """The right that is asked about."""


rights = st.sampled_from(PermissionType)
cases = st.builds(
    Case,
    roles=st.tuples(
        *[
            st.just("admin")
            | st.frozensets(st.sampled_from([PlatformRight.CREATE, PlatformRight.READ_ALL, PlatformRight.WRITE_ALL]), max_size=1)
        ]
        * 3
    ),
    active=st.tuples(*[st.sampled_from([True, True, True, False])] * 3),
    members=st.frozensets(st.tuples(st.sampled_from(GROUPS), st.sampled_from(USERS))),
    grants=st.frozensets(
        st.tuples(
            st.sampled_from([*USERS, *GROUPS, "everyone"]),
            st.sampled_from([*DATASETS, *FILES]),
            rights,
            st.sampled_from(["for good", "to come", "over"]),
        ),
        max_size=12,
    ),
    scope=st.builds(Scope, rights | st.just(PermissionType.ADMIN)),
    only=st.none() | st.frozensets(st.sampled_from(DATASETS)),
    wanted=rights,
)

NONE: frozenset[PlatformRight] = frozenset()
MUCH = Case(
    roles=(NONE, NONE, frozenset({PlatformRight.READ_ALL})),
    active=(True, True, True),
    members=frozenset({("analysts", "ann")}),
    grants=frozenset(
        {
            ("ann", "alpha", PermissionType.READ, "over"),
            ("ben", "alpha", PermissionType.WRITE, "to come"),
            ("analysts", "beta", PermissionType.ADMIN, "for good"),
            ("everyone", "gamma", PermissionType.READ, "for good"),
            ("ben", "delta", PermissionType.ADMIN, "for good"),
            ("ann", "in delta", PermissionType.READ, "for good"),
        }
    ),
    scope=Scope(),
    only=None,
)
NARROW = (replace(MUCH, scope=Scope(PermissionType.READ), wanted=PermissionType.WRITE), replace(MUCH, only=frozenset({"alpha"})))
ENOUGH = (MUCH, *NARROW)
"""Something of everything: one of them finds each mutant below."""


@dataclass
class World:
    """Datasets, files, users and groups that are always there."""

    platform: Platform
    datasets: Mapping[str, DatasetRef]
    files: Mapping[str, FileId]

    def arrange(self, case: Case) -> None:
        """Writes the case down, in rows."""
        with self.platform.db.transaction() as tx:
            tx.execute("DELETE FROM permissions")
            tx.execute("DELETE FROM group_members")
            for name, role, active in zip(USERS, case.roles, case.active, strict=True):
                own = [] if role == "admin" else [str(right) for right in role]
                tx.execute("UPDATE roles SET rights = CAST(:rights AS text[]) WHERE role_name = :name", rights=own, name=f"role of {name}")
                tx.execute(
                    "UPDATE users SET is_active = :active, role_id = (SELECT id FROM roles WHERE role_name = :role) WHERE username = :name",
                    active=active,
                    role="admin" if role == "admin" else f"role of {name}",
                    name=name,
                )
            for group, user in case.members:
                tx.execute(
                    "INSERT INTO group_members (group_id, user_id) SELECT g.id, u.id FROM groups g, users u "
                    "WHERE g.group_name = :grp AND u.username = :user",
                    grp=group,
                    user=user,
                )
            for to, on, right, end in sorted(case.grants):
                tx.execute(
                    "INSERT INTO permissions (resource_type, resource_id, user_id, group_id, permission_type, expires_at) "
                    "VALUES (:type, :id, (SELECT id FROM users WHERE username = :to), "
                    "(SELECT id FROM groups WHERE group_name = :to), :right, "
                    "CASE :end WHEN 'to come' THEN now() + interval '1 hour' WHEN 'over' THEN now() - interval '1 hour' END) "
                    "ON CONFLICT DO NOTHING",
                    type="dataset" if on in self.datasets else "file",
                    id=self.datasets[on].id if on in self.datasets else self.files[on],
                    to=to,
                    right=str(right),
                    end=end,
                )

    def actor(self, name: str, scope: Scope) -> Actor | None:
        with self.platform.db.transaction() as tx:
            try:
                return replace(self.platform.permissions.actor(tx, name), scope=scope)
            except NotFound:
                return None


@pytest.fixture
def world(platform: Platform, system: Actor) -> World:
    refs = {name: make.dataset(platform, name) for name in DATASETS}
    make.commit(platform, refs["alpha"], {"a": FILES["in alpha and in delta"], "b": FILES["in alpha, under two names"]})
    make.commit(platform, refs["alpha"], {"c": FILES["in alpha, under two names"]})
    make.commit(platform, refs["beta"], {"a": FILES["in beta, in a version that was deleted"], "b": FILES["in beta"]})
    make.commit(platform, refs["beta"], {"c": FILES["in gamma and in beta"]}, remove=["a"])
    make.commit(platform, refs["gamma"], {"a": FILES["in gamma and in beta"]})
    make.commit(platform, refs["delta"], {"a": FILES["in delta"], "b": FILES["in alpha and in delta"]})
    ids = {
        name: FileId(
            make.column(platform.db, "SELECT id FROM files WHERE content_hash = encode(sha256(CAST(:data AS bytea)), 'hex')", data=data)[0]
        )
        for name, data in FILES.items()
    }
    with platform.db.transaction() as tx:
        tx.execute("UPDATE dataset_versions SET purged_at = now() WHERE dataset_id = :id AND version_number = 1", id=refs["beta"].id)
        tx.execute("UPDATE datasets SET deleted_at = now() WHERE id = :id", id=refs[DELETED].id)
        for name in USERS:
            tx.execute("INSERT INTO roles (role_name) VALUES (:name)", name=f"role of {name}")
        for name in GROUPS:
            tx.execute("INSERT INTO groups (group_name) VALUES (:name)", name=name)
    for name in USERS:
        platform.permissions.create_user(name)
    return World(platform, refs, ids)


# --- the second opinion --------------------------------------------------------------------------------------------------------


def holds(case: Case, user: str, wanted: PermissionType, on: str) -> bool:
    """Whether the user has the right on a dataset or a file by her role or by a grant on it."""
    role = case.roles[USERS.index(user)]
    if role == "admin":
        return True
    if PlatformRight.READ_ALL in role and wanted == "read":
        return True
    if PlatformRight.WRITE_ALL in role and wanted in {"read", "write"}:
        return True
    mine = {user, "everyone"} | {group for group, member in case.members if member == user}
    return any(
        to in mine and where == on and end != "over" and strength(right) >= strength(wanted) for to, where, right, end in case.grants
    )


def may(case: Case, user: str, wanted: PermissionType, on: str) -> bool:
    """The same, as far as the credential goes."""
    if strength(case.scope.right) < strength(wanted):
        return False
    if on in DATASETS:
        return (case.only is None or on in case.only) and holds(case, user, wanted, on)
    return (case.only is None and holds(case, user, wanted, on)) or any(may(case, user, wanted, dataset) for dataset in NAMED_BY[on])


# --- what the platform says ----------------------------------------------------------------------------------------------------


def answers(world: World, case: Case) -> Iterator[tuple[str, object, object]]:
    """(what was asked, what the platform says, what is right)."""
    platform, everything = world.platform, world.platform.permissions
    only = None if case.only is None else tuple(world.datasets[name].id for name in sorted(case.only))
    scope = replace(case.scope, dataset_ids=only)
    system = platform.actor()
    right = case.wanted
    for user, active in zip(USERS, case.active, strict=True):
        actor = world.actor(user, scope)
        yield f"{user} is active", actor is not None, active
        if actor is None:
            continue
        seen = {name for name in DATASETS if name != DELETED and may(case, user, right, name)}
        for name, ref in world.datasets.items():
            expected = may(case, user, right, name)
            yield f"{user} checks {right} on {name}", everything.check_permission(actor, right, ref.id), expected
            yield f"{user} requires {right} on {name}", required(platform, actor, right, dataset=ref.id), expected
            if right is PermissionType.READ:
                yield f"{user} opens {name}", opened(platform, actor, name), name in seen
                yield f"{user} opens {name} by its id", opened(platform, actor, f"#{ref.id}"), name in seen
            if may(case, user, PermissionType.READ, name):
                yield f"{user} asks for {right} on {name}", stands(platform, actor, ref, right), expected
        listed = platform.datasets.list_datasets(actor, right=right)
        yield f"{user} lists by {right}", {one.slug for one in listed}, seen
        yield f"{user} counts by {right}", platform.datasets.count(actor, right=right), len(seen)
        for name, file_id in world.files.items():
            yield (
                f"{user} requires {right} on file {name}",
                required(platform, actor, right, file=file_id),
                may(case, user, right, name),
            )
    for name, ref in world.datasets.items():
        told = {holder.username for holder in everything.who_can(system, ref, right)}
        right_ones = {user for user, active in zip(USERS, case.active, strict=True) if active and holds(case, user, right, name)}
        yield f"who can {right} {name}", told, right_ones | {"system"}
        for user, active in zip(USERS, case.active, strict=True):
            yield (
                f"can {user} {right} {name}",
                everything.can(system, ref, right, user).allowed,
                active and holds(case, user, right, name),
            )


def required(
    platform: Platform, actor: Actor, right: PermissionType, *, dataset: DatasetId | None = None, file: FileId | None = None
) -> bool:
    try:
        with platform.db.transaction() as tx:
            if dataset is not None:
                platform.permissions.require(tx, actor, right, dataset)
            if file is not None:
                platform.permissions.require_file(tx, actor, right, file)
    except (Denied, NotFound):
        return False
    return True


def stands(platform: Platform, actor: Actor, dataset: DatasetRef, right: PermissionType) -> bool:
    try:
        return platform.permissions.can(actor, dataset, right).allowed
    except Denied:
        return False


def opened(platform: Platform, actor: Actor, name: str) -> bool:
    try:
        platform.datasets.open(actor, name)
    except NotFound:
        return False
    return True


def wrong(world: World, case: Case) -> list[str]:
    """What the platform says that is not right."""
    world.arrange(case)
    return [f"{asked}: {said}, not {right}" for asked, said, right in answers(world, case) if said != right]


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(case=cases)
@example(case=ENOUGH[0])
@example(case=ENOUGH[1])
@example(case=ENOUGH[2])
def test_all_answers_agree(world: World, case: Case) -> None:
    assert wrong(world, case) == []


VIEW = """
    SELECT user_id, resource_type, resource_id, permission_type, id AS grant_id FROM permissions
    WHERE user_id IS NOT NULL AND {own}
    UNION ALL
    SELECT m.user_id, p.resource_type, p.resource_id, p.permission_type, p.id FROM permissions p JOIN group_members m ON {member}
    UNION ALL
    SELECT u.id, p.resource_type, p.resource_id, p.permission_type, p.id FROM permissions p CROSS JOIN users u WHERE {everyone}
"""
"""`rights_held` as it would be with another rule."""


def expired_grants_count(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    _view(world, own="true", member="m.group_id = p.group_id", everyone="p.user_id IS NULL AND p.group_id IS NULL")


def groups_do_not_count(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    _view(world, own=LASTS, member="false", everyone="p.user_id IS NULL AND p.group_id IS NULL")


def everyone_gets_what_groups_get(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    _view(world, own=LASTS, member="m.group_id = p.group_id", everyone="p.user_id IS NULL")


def a_list_forgets_the_credentials_datasets(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dsplatform.datasets.repository.seen_by", lambda *args: {**access.seen_by(*args), "only": None})


def a_check_forgets_the_credential(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Actor, "reaches", lambda *_: True)


def a_check_wants_the_very_right(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        service, "allows", lambda actor, held, wanted, _: actor.reaches(wanted, _) and (actor.holds_everywhere(wanted) or wanted in held)
    )


def a_list_wants_the_very_right(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    real = access.seen_by
    monkeypatch.setattr(
        "dsplatform.datasets.repository.seen_by",
        lambda actor, right=PermissionType.READ: {**real(actor, right), "sufficient": [str(right)]},
    )


def deleted_datasets_give_files(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    _grants_without(monkeypatch, "AND d.deleted_at IS NULL ")


def deleted_versions_give_files(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    _grants_without(monkeypatch, "AND v.purged_at IS NULL ")


LASTS = "(expires_at IS NULL OR expires_at > now())"


def _view(world: World, **parts: str) -> None:
    with make.tampering(world.platform.db) as tx:
        tx.execute("CREATE OR REPLACE VIEW rights_held AS " + VIEW.format(**parts))


def _grants_without(monkeypatch: pytest.MonkeyPatch, condition: str) -> None:
    real = Transaction.tuples

    def tuples(self: Transaction, sql: str, **params: object) -> object:
        return real(self, sql.replace(condition, "") if "dataset_version_files" in sql else sql, **params)

    monkeypatch.setattr(Transaction, "tuples", tuples)


@pytest.mark.parametrize(
    "mutant",
    [
        expired_grants_count,
        groups_do_not_count,
        everyone_gets_what_groups_get,
        a_list_forgets_the_credentials_datasets,
        a_check_forgets_the_credential,
        a_check_wants_the_very_right,
        a_list_wants_the_very_right,
        deleted_datasets_give_files,
        deleted_versions_give_files,
    ],
    ids=lambda mutant: str(mutant.__name__),
)
def test_mutants_of_the_rule_are_found(mutant: object, world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    mutant(world, monkeypatch)  # type: ignore[operator]
    assert any(wrong(world, case) for case in ENOUGH)
