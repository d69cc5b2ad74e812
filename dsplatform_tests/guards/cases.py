# ruff: noqa: ARG005 - each call gets the service, the world and the actor, whatever it needs
"""One call for each method that a door may call: on whose behalf it is made is the tests' choice."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from io import BytesIO
from itertools import count
from types import SimpleNamespace
from typing import Any

from dsplatform.core.domain import Actor
from dsplatform.core.types import FilePath, PermissionType, PlatformRight
from dsplatform.migration.old_model import Wanted
from dsplatform.permissions.model import Grantee
from dsplatform.schemas.contracts.model import Policy
from dsplatform.versioning.composition import Taken
from dsplatform.versioning.model import Demand
from dsplatform.versioning.retention import Rule
from dsplatform.versioning.uploads import Part
from dsplatform_tests.guards.world import CANARY, World

READ, WRITE, ADMIN = PermissionType
CREATE, OPERATE, AUDIT, USERS = PlatformRight.CREATE, PlatformRight.OPERATE, PlatformRight.AUDIT, PlatformRight.USERS
FILE = f"{CANARY}.csv"

_numbers = count()


@dataclass(frozen=True)
class Case:
    """A call, and what it takes."""

    call: Callable[[World, Actor], object]
    needs: PermissionType | PlatformRight | None = None
    """None: whoever is known may, and is told nothing of what she may not see."""
    notes: str = ""
    """The action that the audit log gets when it is done; empty: nothing is changed."""
    by_admin: bool = False
    """Whether the right alone does not suffice: it takes the role `admin`."""
    apart: str = ""
    """Why the note is no part of the transaction that makes the change."""


def _of(service: str, needs: PermissionType | PlatformRight | None, **methods: Callable[[Any, World, Actor], object]) -> dict[str, Case]:
    return {f"{service}.{name}": Case(_call(service, call), needs) for name, call in methods.items()}


def _noting(
    service: str, needs: PermissionType | PlatformRight, **methods: tuple[str, Callable[[Any, World, Actor], object]]
) -> dict[str, Case]:
    return {f"{service}.{name}": Case(_call(service, call), needs, notes) for name, (notes, call) in methods.items()}


def _call(service: str, call: Callable[[Any, World, Actor], object]) -> Callable[[World, Actor], object]:
    return lambda world, actor: call(world.platform if service == "platform" else getattr(world.platform, service), world, actor)


def _opened(block: Any) -> object:
    with block as found:
        return found


def _version(world: World) -> Any:
    return world.versions[2].version_id


EVE = Grantee("user", None, "eve")
RITA = Grantee("user", None, "rita")

DATASETS: Mapping[str, Case] = {
    **_of(
        "datasets",
        READ,
        get=lambda s, w, a: s.get(a, "sales"),
        open=lambda s, w, a: s.open(a, "sales"),
    ),
    **_of(
        "datasets",
        None,
        list_datasets=lambda s, w, a: s.list_datasets(a),
        count=lambda s, w, a: s.count(a),
        restorable=lambda s, w, a: s.restorable(a),
    ),
    **_noting("datasets", CREATE, create_dataset=("dataset.create", lambda s, w, a: s.create_dataset(a, "new"))),
    **_noting(
        "datasets",
        ADMIN,
        update_dataset=("dataset.update", lambda s, w, a: s.update_dataset(a, "sales", description="new")),
        delete_dataset=("dataset.delete", lambda s, w, a: s.delete_dataset(a, "sales")),
        restore_dataset=("dataset.restore", lambda s, w, a: s.restore_dataset(a, "gone")),
    ),
    **_of(
        "deletion",
        ADMIN,
        preview_version=lambda s, w, a: s.preview_version(a, "sales@2"),
        preview_dataset=lambda s, w, a: s.preview_dataset(a, "sales"),
        retention=lambda s, w, a: s.retention(a, "sales", Rule(1, None)),
    ),
    **_noting(
        "deletion",
        ADMIN,
        delete_version=("version.delete", lambda s, w, a: s.delete_version(a, "sales@2")),
        set_retention=("retention.set", lambda s, w, a: s.set_retention(a, "sales", Rule(5, None))),
    ),
    **_noting(
        "deletion",
        OPERATE,
        apply_retention=("retention.apply", lambda s, w, a: s.apply_retention(a, dry_run=False)),
        reap=("dataset.reap", lambda s, w, a: s.reap(a)),
    ),
}

VERSIONS: Mapping[str, Case] = {
    **_of(
        "versions",
        READ,
        list_versions=lambda s, w, a: s.list_versions(a, w.sales),
        get_version=lambda s, w, a: s.get_version(a, w.sales),
        get_component=lambda s, w, a: s.get_component(a, w.sales, FILE, None),
        id_of=lambda s, w, a: s.id_of(a, w.sales),
        find=lambda s, w, a: s.find(a, "sales@1"),
    ),
    **_noting(
        "versions", WRITE, create_version=("version.commit", lambda s, w, a: s.create_version(a, w.sales, {"new.csv": BytesIO(b"id\n2\n")}))
    ),
    **_noting("uploads", WRITE, upload=("version.commit", lambda s, w, a: s.upload(a, w.sales, [Part("new.csv", BytesIO(b"id\n2\n"))]))),
    **_noting(
        "composition", WRITE, make_version=("version.commit", lambda s, w, a: s.make_version(a, w.sales, {"old.csv": Taken(FILE, "1")}))
    ),
    **_of(
        "branches",
        READ,
        list_branches=lambda s, w, a: s.list_branches(a, w.sales),
        list_tags=lambda s, w, a: s.list_tags(a, w.sales),
        history=lambda s, w, a: s.history(a, w.sales),
        picture=lambda s, w, a: s.picture(a, w.sales),
        is_ancestor=lambda s, w, a: s.is_ancestor(a, w.sales, "1", "2"),
        merge_bases=lambda s, w, a: s.merge_bases(a, w.sales, "main", "side"),
        diff=lambda s, w, a: s.diff(a, "sales@1", "sales@2"),
    ),
    **_noting(
        "branches",
        WRITE,
        create_branch=("branch.create", lambda s, w, a: s.create_branch(a, w.sales, "new")),
        create_tag=("tag.create", lambda s, w, a: s.create_tag(a, w.sales, "v2")),
        update_branch=("branch.move", lambda s, w, a: s.update_branch(a, w.sales, "side", "1", expected_head=w.side)),
        rename_branch=("branch.rename", lambda s, w, a: s.rename_branch(a, w.sales, "side", "aside")),
        delete_branch=("branch.delete", lambda s, w, a: s.delete_branch(a, w.sales, "side")),
        delete_tag=("tag.delete", lambda s, w, a: s.delete_tag(a, w.sales, "v1")),
        merge=("version.merge", lambda s, w, a: s.merge(a, w.sales, "side")),
    ),
    "branches.merge forward": Case(lambda w, a: w.platform.branches.merge(a, w.sales, "main", into="old"), WRITE, "version.merge"),
    **_of("protection", READ, protections=lambda s, w, a: s.protections(a, w.sales)),
    **_noting(
        "protection",
        ADMIN,
        protect=("branch.protect", lambda s, w, a: s.protect(a, w.sales, "side", Demand.ADMIN)),
        unprotect=("branch.unprotect", lambda s, w, a: s.unprotect(a, w.sales, "held")),
    ),
    **_noting("ingestion", WRITE, ingest_paths=("version.commit", lambda s, w, a: s.ingest_paths(a, [w.folder], "sales"))),
    **_of(
        "ingestion",
        OPERATE,
        outcomes=lambda s, w, a: s.outcomes(a),
        arrivals=lambda s, w, a: s.arrivals(a),
        count=lambda s, w, a: s.count(a),
    ),
}

SCHEMAS: Mapping[str, Case] = {
    **_of(
        "schemas",
        READ,
        capture_at_once=lambda s, w, a: s.capture_at_once(a, w.sales, w.versions[0].version_id, most_bytes=1_000),
        profiles=lambda s, w, a: s.profiles(a, w.sales, _version(w)),
        profile_of_each_layout=lambda s, w, a: s.profile_of_each_layout(a, w.sales, _version(w), 10),
        schema_of=lambda s, w, a: s.schema_of(a, w.sales, _version(w)),
        compare=lambda s, w, a: s.compare(a, w.sales, w.versions[1].version_id, _version(w)),
        change=lambda s, w, a: s.change(a, w.sales, _version(w)),
        history=lambda s, w, a: s.history(a, w.sales),
        semver=lambda s, w, a: s.semver(a, w.sales, _version(w)),
        columns=lambda s, w, a: s.columns(a, w.sales, _version(w)),
        unreadable=lambda s, w, a: s.unreadable(a, w.sales, _version(w)),
    ),
    **_of("previews", READ, preview=lambda s, w, a: s.preview(a, w.sales)),
    **_of(
        "conversions",
        READ,
        parquet=lambda s, w, a: _opened(s.parquet(a, w.sales, None, component=FilePath(FILE))),
        page=lambda s, w, a: s.page(a, w.sales, None, component=FilePath(FILE), offset=0, limit=1),
    ),
    **_of(
        "contracts",
        READ,
        terms=lambda s, w, a: s.terms(a, w.sales),
        hints=lambda s, w, a: s.hints(a, w.sales),
        learn=lambda s, w, a: s.learn(a, w.sales, _version(w)),
        check=lambda s, w, a: s.check(a, w.sales, _version(w)),
        quarantined=lambda s, w, a: s.quarantined(a, w.sales),
    ),
    **_noting(
        "contracts",
        ADMIN,
        set_terms=("contract.set", lambda s, w, a: s.set_terms(a, w.sales, policy=Policy.WARN)),
        set_hints=("hints.set", lambda s, w, a: s.set_hints(a, w.sales, {"date_order": "dmy"})),
    ),
    **_noting(
        "contracts",
        WRITE,
        accept=("quarantine.accept", lambda s, w, a: s.accept(a, w.sales, w.kept, "it is right", strategy="theirs")),
        dismiss=("quarantine.dismiss", lambda s, w, a: s.dismiss(a, w.sales, w.kept, "it is wrong")),
    ),
    "contracts.accept by a merge": Case(
        lambda w, a: w.platform.contracts.accept(a, w.sales, w.kept_apart, "it is right"), WRITE, "quarantine.accept"
    ),
}

FILES: Mapping[str, Case] = {
    **_of("files", CREATE, store_file=lambda s, w, a: s.store_file(a, BytesIO(b"new"))),
    **_of(
        "files",
        READ,
        describe=lambda s, w, a: s.describe(a, w.file_id),
        download=lambda s, w, a: _opened(s.download(a, w.file_id)),
        download_url=lambda s, w, a: s.download_url(a, w.file_id, filename="a.csv"),
        write_to=lambda s, w, a: s.write_to(a, w.file_id, w.folder.parent / f"out {next(_numbers)}", FilePath("a.csv")),
    ),
    **_of("inventory", READ, usage_of=lambda s, w, a: s.usage_of(a, w.sales)),
    **_of("inventory", OPERATE, why=lambda s, w, a: s.why(a, str(w.file_id)), usage=lambda s, w, a: s.usage(a)),
    **_of("gc", OPERATE, plan=lambda s, w, a: s.plan(a)),
    **_noting(
        "gc",
        OPERATE,
        mark=("gc.mark", lambda s, w, a: s.mark(a)),
        restored=("gc.stop", lambda s, w, a: s.restored(a)),
        clear_restore_flag=("gc.allow", lambda s, w, a: s.clear_restore_flag(a)),
    ),
    "gc.collect": Case(lambda w, a: w.platform.gc.collect(a), OPERATE, "gc.collect", apart="it works in many small transactions"),
    "scrub.presence": Case(
        lambda w, a: w.platform.scrub.presence(a), OPERATE, "scrub.presence", apart="it works in many small transactions"
    ),
    "scrub.contents": Case(
        lambda w, a: w.platform.scrub.contents(a), OPERATE, "scrub.contents", apart="it works in many small transactions"
    ),
    **_of("platform", OPERATE, verify=lambda s, w, a: s.verify(a)),
}

PEOPLE: Mapping[str, Case] = {
    **_of(
        "permissions", None, check_permission=lambda s, w, a: s.check_permission(a, READ, w.sales.id), of_user=lambda s, w, a: s.of_user(a)
    ),
    "permissions.of_user another": Case(lambda w, a: w.platform.permissions.of_user(a, "rita"), USERS),
    **_of(
        "permissions",
        READ,
        can=lambda s, w, a: s.can(a, w.sales, READ),
        can_file=lambda s, w, a: s.can_file(a, w.file_id, READ),
    ),
    **_of(
        "permissions",
        ADMIN,
        grants=lambda s, w, a: s.grants(a, w.sales),
        file_grants=lambda s, w, a: s.file_grants(a, w.file_id),
        who_can=lambda s, w, a: s.who_can(a, w.sales, READ),
    ),
    "permissions.can another": Case(lambda w, a: w.platform.permissions.can(a, w.sales, READ, "robot"), ADMIN),
    "permissions.can_file another": Case(lambda w, a: w.platform.permissions.can_file(a, w.file_id, READ, "robot"), ADMIN),
    **_noting(
        "permissions",
        ADMIN,
        set_permission=("permission.grant", lambda s, w, a: s.set_permission(a, w.sales, EVE, READ)),
        grant_permission=("permission.grant", lambda s, w, a: s.grant_permission(a, EVE, READ, w.sales.id)),
        revoke_permission=("permission.revoke", lambda s, w, a: s.revoke_permission(a, RITA, READ, w.sales.id)),
        revoke_grant=("permission.revoke", lambda s, w, a: s.revoke_grant(a, w.sales, w.grant)),
        grant_file=("permission.grant", lambda s, w, a: s.grant_file(a, EVE, READ, w.file_id)),
        revoke_file_grant=("permission.revoke", lambda s, w, a: s.revoke_file_grant(a, w.file_id, w.file_grant)),
    ),
    **_of(
        "accounts",
        None,
        list_tokens=lambda s, w, a: s.list_tokens(a),
        count_tokens=lambda s, w, a: s.count_tokens(a),
    ),
    "accounts.list_tokens another": Case(lambda w, a: w.platform.accounts.list_tokens(a, of="robot"), USERS),
    "accounts.count_tokens another": Case(lambda w, a: w.platform.accounts.count_tokens(a, of="robot"), USERS),
    **_noting("accounts", USERS, create_token=("token.create", lambda s, w, a: s.create_token(a, "new", of="robot"))),
    **_of("people", None, me=lambda s, w, a: s.me(a)),
    **_of(
        "people",
        USERS,
        list_users=lambda s, w, a: s.list_users(a),
        count_users=lambda s, w, a: s.count_users(a),
        get_user=lambda s, w, a: s.get_user(a, "rita"),
        list_groups=lambda s, w, a: s.list_groups(a),
        count_groups=lambda s, w, a: s.count_groups(a),
        get_group=lambda s, w, a: s.get_group(a, "crew"),
        list_members=lambda s, w, a: s.list_members(a, "crew"),
        list_roles=lambda s, w, a: s.list_roles(a),
        count_roles=lambda s, w, a: s.count_roles(a),
    ),
    **_noting(
        "people",
        USERS,
        create_user=("user.create", lambda s, w, a: s.create_user(a, "new")),
        change_user=("user.deactivate", lambda s, w, a: s.change_user(a, "robot", active=False)),
        create_group=("group.create", lambda s, w, a: s.create_group(a, "new")),
        delete_group=("group.delete", lambda s, w, a: s.delete_group(a, "crew")),
        add_member=("group.join", lambda s, w, a: s.add_member(a, "crew", "eve")),
        remove_member=("group.leave", lambda s, w, a: s.remove_member(a, "crew", "rita")),
        set_role_rights=("role.create", lambda s, w, a: s.set_role_rights(a, "new", [])),
        delete_role=("role.delete", lambda s, w, a: s.delete_role(a, "spare")),
    ),
    "people.set_password": Case(
        lambda w, a: w.platform.people.set_password(a, "eve", "correct horse battery"), USERS, "user.password", by_admin=True
    ),
    **_of(
        "audit",
        AUDIT,
        entries=lambda s, w, a: s.entries(a),
        count=lambda s, w, a: s.count(a),
        export=lambda s, w, a: list(s.export(a)),
        verify=lambda s, w, a: s.verify(a),
    ),
}

LEGACY: Mapping[str, Case] = {
    **_of(
        "legacy",
        None,
        datasets=lambda s, w, a: s.datasets(a, Wanted()),
        facets=lambda s, w, a: s.facets(a, Wanted()),
        labels=lambda s, w, a: s.labels(a),
        file_place=lambda s, w, a: s.file_place(a, 1),
        me=lambda s, w, a: s.me(a),
    ),
    **_of(
        "legacy",
        READ,
        dataset=lambda s, w, a: s.dataset(a, w.sales),
        versions=lambda s, w, a: s.versions(a, w.sales),
        version=lambda s, w, a: s.version(a, w.sales, w.side),
        numbered=lambda s, w, a: s.numbered(a, w.sales, 1),
        these=lambda s, w, a: s.these(a, w.sales, [w.side]),
        files=lambda s, w, a: s.files(a, w.sales, SimpleNamespace(new_id=w.side, component="side.csv")),
        pointers=lambda s, w, a: s.pointers(a, w.sales),
    ),
    **_of("legacy", WRITE, may_write=lambda s, w, a: s.may_write(a, w.sales)),
    **_of("legacy", ADMIN, may_administer=lambda s, w, a: s.may_administer(a, w.sales), levels=lambda s, w, a: s.levels(a, w.sales)),
    **_of("legacy", USERS, users=lambda s, w, a: s.users(a), role=lambda s, w, a: s.role(a, 1)),
    **_of("legacy", OPERATE, usage=lambda s, w, a: s.usage(a)),
    **_of("legacy_analysis", OPERATE, analyse=lambda s, w, a: s.analyse(a)),
    **_of(
        "migration",
        OPERATE,
        status=lambda s, w, a: s.status(a, ask_source=False),
        quarantine=lambda s, w, a: s.quarantine(a),
        migrate=lambda s, w, a: s.migrate(a),
        retry=lambda s, w, a: s.retry(a),
        finding=lambda s, w, a: s.finding(a, w.finding),
    ),
    **_noting("migration", OPERATE, resolve=("legacy.resolve", lambda s, w, a: s.resolve(a, "it is right", entity="users"))),
    **_of("validation", OPERATE, validate=lambda s, w, a: s.validate(a), against=lambda s, w, a: s.against(a)),
    **_of(
        "switching",
        OPERATE,
        capture=lambda s, w, a: s.capture(a),
        capture_script=lambda s, w, a: s.capture_script(a),
        release=lambda s, w, a: s.release(a),
        follow=lambda s, w, a: s.follow(a),
        waiting=lambda s, w, a: s.waiting(a),
        status=lambda s, w, a: s.status(a),
        switch=lambda s, w, a: s.switch(a),
        rollback=lambda s, w, a: s.rollback(a),
    ),
    **_of("shadow", OPERATE, summary=lambda s, w, a: s.summary(a)),
    **_noting("shadow", OPERATE, begin_anew=("shadow.forget", lambda s, w, a: s.begin_anew(a))),
}

CASES: Mapping[str, Case] = {**DATASETS, **VERSIONS, **SCHEMAS, **FILES, **PEOPLE, **LEGACY}

ELSEWHERE: Mapping[str, str] = {
    "accounts.revoke_token": "tokens of others: dsplatform_tests/permissions",
    "sessions.logout": "it takes a session: dsplatform_tests/permissions",
    "sessions.change_password": "it takes the old password: dsplatform_tests/permissions",
    "switching.bring_back": "it takes a switch: dsplatform_tests/migration",
}
"""Methods that these tests do not call, and where they are tested."""
