"""What earlier rows of the legacy system became, asked for many at once."""

from collections.abc import Collection, Mapping, Sequence
from typing import NamedTuple

from dsplatform.core.database import Transaction
from dsplatform.core.types import ContentHash
from dsplatform.migration.model import Entity
from dsplatform.migration.overlays import Stored
from dsplatform.migration.people_rows import UNKNOWN


class Person(NamedTuple):
    """A user of ours."""

    id: int
    username: str


class Home(NamedTuple):
    """A dataset of ours."""

    id: int
    slug: str


class Mapped:
    """Questions to the id map. Rows that are gone in the legacy system answer nothing."""

    def __init__(self, tx: Transaction) -> None:
        self._tx = tx

    def people(self, ids: Collection[int]) -> Mapping[int, Person]:
        """Users by their legacy ids, and under 0 the one who stands for those who do not exist."""
        rows = self._tx.tuples(
            "SELECT CAST(m.legacy_id AS bigint), u.id, u.username FROM legacy_id_map m JOIN users u ON u.id = m.new_id "
            "WHERE m.entity = :entity AND m.legacy_id = ANY(CAST(:ids AS text[])) AND m.deleted_at IS NULL "
            "UNION ALL SELECT 0, id, username FROM users WHERE username = :unknown",
            unknown=UNKNOWN,
            entity=Entity.USERS,
            ids=_texts(ids),
        )
        return {legacy: Person(id_, name) for legacy, id_, name in rows}

    def homes(self, ids: Collection[int]) -> Mapping[int, Home]:
        """Datasets by their legacy ids."""
        rows = self._tx.tuples(
            "SELECT CAST(m.legacy_id AS bigint), d.id, d.slug FROM legacy_id_map m JOIN datasets d ON d.id = m.new_id "
            "WHERE m.entity = :entity AND m.legacy_id = ANY(CAST(:ids AS text[])) AND m.deleted_at IS NULL",
            entity=Entity.DATASETS,
            ids=_texts(ids),
        )
        return {legacy: Home(id_, slug) for legacy, id_, slug in rows}

    def stored(self, ids: Collection[int]) -> Mapping[int, Stored | None]:
        """Files by their legacy ids; None for one that came along without bytes, or did not."""
        rows = self._tx.tuples(
            "SELECT CAST(m.legacy_id AS bigint), f.id, f.content_hash, f.file_size, f.file_type "
            "FROM legacy_id_map m LEFT JOIN files f ON f.id = m.new_id "
            "WHERE m.entity = :entity AND m.legacy_id = ANY(CAST(:ids AS text[])) AND m.deleted_at IS NULL",
            entity=Entity.FILES,
            ids=_texts(ids),
        )
        return {legacy: None if id_ is None else Stored(id_, ContentHash(hash_), size, type_) for legacy, id_, hash_, size, type_ in rows}

    def versions(self, ids: Collection[int]) -> Mapping[int, tuple[int, bool]]:
        """Versions by their legacy ids: (id, whether the legacy system took it away), also of those that are gone."""
        rows = self._tx.tuples(
            "SELECT CAST(legacy_id AS bigint), new_id, deleted_at IS NOT NULL FROM legacy_id_map "
            "WHERE entity = :entity AND legacy_id = ANY(CAST(:ids AS text[])) AND new_id IS NOT NULL",
            entity=Entity.VERSIONS,
            ids=_texts(ids),
        )
        return {legacy: (id_, gone) for legacy, id_, gone in rows}


class Numbers:
    """Numbers by which old clients know what has none here."""

    def __init__(self, tx: Transaction) -> None:
        self._tx = tx

    def put(self, kind: str, numbers: Sequence[tuple[str, int]]) -> None:
        """The numbers of the legacy system: (what has it, the number). Of several numbers of one thing the lowest stays."""
        lowest: dict[str, int] = {}
        for subject, number in numbers:
            lowest[subject] = min(number, lowest.get(subject, number))
        if not lowest:
            return
        self._tx.execute(
            "DELETE FROM legacy_numbers n USING unnest(CAST(:subjects AS text[]), CAST(:numbers AS bigint[])) w(subject, number) "
            "WHERE n.kind = :kind AND n.number = w.number AND n.subject <> w.subject",
            kind=kind,
            subjects=list(lowest),
            numbers=list(lowest.values()),
        )
        self._tx.execute(
            "INSERT INTO legacy_numbers AS n (kind, subject, number) SELECT :kind, w.subject, w.number "
            "FROM unnest(CAST(:subjects AS text[]), CAST(:numbers AS bigint[])) w(subject, number) "
            "ON CONFLICT (kind, subject) DO UPDATE SET number = least(n.number, excluded.number) WHERE n.number > excluded.number",
            kind=kind,
            subjects=list(lowest),
            numbers=list(lowest.values()),
        )


def _texts(ids: Collection[int]) -> list[str]:
    return [str(id_) for id_ in ids]
