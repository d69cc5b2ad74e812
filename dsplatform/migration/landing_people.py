"""Roles and users come along.

A role of the legacy system opened no dataset, so ours gives the right to make datasets and none besides, also one that was called `admin`.
Passwords come along as the bcrypt hashes that they are. Anything else that was stored in their place is not read further, and is kept
nowhere: it may be a plain password.
"""

import hashlib
from collections.abc import Collection, Container, Iterable, Iterator, Mapping, Sequence
from itertools import chain
from zoneinfo import ZoneInfo

from dsplatform.core.database import Transaction
from dsplatform.core.errors import Invalid
from dsplatform.core.types import principal_name
from dsplatform.migration.canonical import is_bcrypt
from dsplatform.migration.columns import Columns, plain
from dsplatform.migration.landed_rows import IdMap
from dsplatform.migration.model import SALT, SECRET, Entity, Gone, Group, Key, Landed, Reason, SourceRow
from dsplatform.migration.people_rows import PeopleRows, Place, RoleRow, UserRow
from dsplatform.migration.source import Snapshot
from dsplatform.migration.step import Prepared, Step, Surroundings

LENGTH = 64
"""Characters of a name at most."""


class RolesStep(Step[None]):
    """Roles."""

    entity = Entity.ROLES

    def __init__(self, around: Surroundings) -> None:
        self._zone = around.zone

    def begin(self, tx: Transaction, highest: Key | None) -> None:
        """Ours begin far above theirs."""
        PeopleRows(tx).lead("roles", highest[0] if highest else 0)

    def land(self, tx: Transaction, groups: Sequence[Group], prepared: Prepared[None]) -> Iterable[Landed]:
        """Writes the roles; a name that a role of ours has gets `legacy-` before it."""
        naming = _Naming(tx, Entity.ROLES, [group.row for group in groups], "role_name", self._zone, before="legacy-")
        rows, landed = [], []
        for (row, _), columns, place, name in naming.named():
            rows.append(RoleRow(place.id, name, columns.text("description") or ""))
            landed.append(columns.landed(Entity.ROLES, row.key, place.id))
        PeopleRows(tx).write_roles(rows)
        return landed

    def dependents(self, source: Snapshot, keys: Sequence[Key]) -> Mapping[Entity, Collection[Key]]:
        """Users whose role was not there before."""
        return {Entity.USERS: {row.key for row in source.where("users", "role_id", [key[0] for key in keys])}}


class UsersStep(Step[None]):
    """Users."""

    entity = Entity.USERS

    def __init__(self, around: Surroundings) -> None:
        self._zone = around.zone

    def begin(self, tx: Transaction, highest: Key | None) -> None:
        """Ours begin far above theirs; the one who stands for those who do not exist is made."""
        rows = PeopleRows(tx)
        rows.lead("users", highest[0] if highest else 0)
        rows.add_unknown()

    def land(self, tx: Transaction, groups: Sequence[Group], prepared: Prepared[None]) -> Iterable[Landed]:
        """Writes the users. A name that somebody has gets the legacy id behind it."""
        people = PeopleRows(tx)
        roles = IdMap(tx).new_ids(Entity.ROLES, {group.row.values.get("role_id") or 0 for group in groups})
        before = IdMap(tx).kept(Entity.USERS, [group.row.key for group in groups])
        viewer = people.viewer()
        naming = _Naming(tx, Entity.USERS, [group.row for group in groups], "soeid", self._zone)
        rows, landed = [], []
        for (row, _), columns, place, name in naming.named():
            role = roles.get(columns.number("role_id") or 0)
            if role is None:
                columns.find(Reason.UNKNOWN_ROLE, role_id=columns.number("role_id"))
            columns.keep(soeid=columns.text("soeid"), role_id=columns.number("role_id"), **plain(row.values, "created_at", "updated_at"))
            password = _password(row, columns)
            changed = columns.kept.get("password") != before.get(row.key, {}).get("password")
            is_new = place.name is None
            rows.append(UserRow(place.id, name, role or viewer, password, columns.at("created_at"), is_new, changed))
            landed.append(columns.landed(Entity.USERS, row.key, place.id))
        people.write_users(rows)
        return landed

    def remove(self, tx: Transaction, gone: Sequence[Gone]) -> None:
        """They may do nothing any more."""
        PeopleRows(tx).deactivate([one.new_id for one in gone if one.new_id is not None])

    def dependents(self, source: Snapshot, keys: Sequence[Key]) -> Mapping[Entity, Collection[Key]]:
        """What names users without a foreign key."""
        found: dict[Entity, Collection[Key]] = {}
        for entity in (Entity.PERMISSIONS, Entity.DATASET_PERMISSIONS, Entity.FILE_PERMISSIONS):
            if source.has(entity):
                found[entity] = {row.key for row in source.where(entity, "user_id", [key[0] for key in keys])}
        return found


def _password(row: SourceRow, columns: Columns) -> str | None:
    """The bcrypt hash. Of which one it is, only what says nothing of it is kept: whether it becomes another."""
    kept = row.values.get(SECRET)
    if not isinstance(kept, str) or not is_bcrypt(kept):
        columns.find(Reason.BAD_PASSWORD_HASH)
        return None
    columns.keep(password=hashlib.sha256(kept[:SALT].encode()).hexdigest()[:16])
    return kept


class _Naming:
    """Finds the name of each row: its own in our form, or one made from it that nobody has."""

    def __init__(
        self, tx: Transaction, entity: Entity, rows: Sequence[SourceRow], column: str, zone: ZoneInfo, *, before: str = ""
    ) -> None:
        self._entity = entity
        self._before = before
        self._rows = rows
        self._columns = [Columns(row, zone) for row in rows]
        self._wanted = [_natural(columns, row.key[0], column) for columns, row in zip(self._columns, rows, strict=True)]
        people = PeopleRows(tx)
        self._places = people.places(entity, [row.key[0] for row in rows])
        tried = set(chain.from_iterable(self._candidates(name, row.key[0]) for name, row in zip(self._wanted, rows, strict=True)))
        ours = [place.id for place in self._places.values() if place.name is not None]
        self._taken: set[str] = set(people.taken(entity, tried, ours)) | {place.name for place in self._places.values() if place.name}

    def named(self) -> Iterator[tuple[Group, Columns, Place, str]]:
        """Each row with its columns, its place and its name."""
        for row, columns, wanted in zip(self._rows, self._columns, self._wanted, strict=True):
            place = self._places[row.key[0]]
            name = self._name(wanted, row.key[0], place, self._taken)
            self._taken.add(name)
            if name != wanted:
                columns.keep(name=wanted)
                columns.find(Reason.DUPLICATE_KEY, name=wanted, became=name)
            yield Group(row), columns, place, name

    def _name(self, wanted: str, id_: int, place: Place, taken: Container[str]) -> str:
        candidates = self._candidates(wanted, id_)
        if place.name in candidates:  # who has a name keeps it
            return place.name
        return next((name for name in candidates if name not in taken), candidates[-1])

    def _candidates(self, name: str, id_: int) -> list[str]:
        """The name, and what it becomes while it is taken. The last has an id twice, which nobody comes upon by chance."""
        tried = [name, *([f"{self._before}{name}"[:LENGTH].rstrip()] if self._before else [])]
        return [*tried, _suffixed(name, f"-{id_}"), _suffixed(name, f"-legacy-{id_}"), _suffixed(name, f"-legacy-{id_}-{id_}")]


def _suffixed(name: str, suffix: str) -> str:
    return name[: LENGTH - len(suffix)].rstrip() + suffix


def _natural(columns: Columns, id_: int, column: str) -> str:
    """The name in our form; one that cannot be a name of ours becomes the id."""
    raw = columns.text(column) or ""
    try:
        return principal_name(raw)
    except (Invalid, UnicodeError):
        pass
    try:
        name = principal_name(" ".join(raw.split()))
    except (Invalid, UnicodeError):
        name = f"legacy-{id_}"
    columns.keep(**{column: raw})
    columns.find(Reason.BAD_NAME, name=raw, became=name)
    return name
