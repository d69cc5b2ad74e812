"""Datasets come along with their labels; the catalogue's tags are known by what became of them."""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from dsplatform.core.database import Transaction
from dsplatform.migration.columns import Columns, plain
from dsplatform.migration.dataset_rows import DatasetRow, DatasetRows
from dsplatform.migration.mapped import Mapped, Numbers
from dsplatform.migration.model import Entity, Finding, Generation, Gone, Group, Key, Landed, Outcome, Reason, SourceRow
from dsplatform.migration.naming import free_dataset_name, safe_dataset_name, safe_label
from dsplatform.migration.people_rows import PeopleRows
from dsplatform.migration.source import Snapshot
from dsplatform.migration.step import Prepared, Step, Surroundings

MAX_LABELS = 100
"""Of one dataset, as `datasets` asks for."""


class TagsStep(Step[None]):
    """The catalogue's tags. They have no table here: each dataset has its labels itself."""

    entity = Entity.TAGS

    def __init__(self, around: Surroundings) -> None:
        self._zone = around.zone

    def land(self, tx: Transaction, groups: Sequence[Group], prepared: Prepared[None]) -> Iterable[Landed]:
        """Says what the tag was."""
        numbers: list[tuple[str, int]] = []
        for row, _ in groups:
            columns = Columns(row, self._zone)
            raw = _tag_name(columns)
            if label := safe_label(raw):
                numbers.append((label, row.key[0]))
            columns.keep(name=raw, description=columns.text("description"))
            if safe_label(raw) is None:
                columns.find(Reason.BAD_VALUE, name=raw)
            elif len(" ".join(raw.split())) > len(safe_label(raw) or ""):
                columns.find(Reason.BAD_NAME, name=raw, became=safe_label(raw))
            yield columns.landed(Entity.TAGS, row.key, None)
        Numbers(tx).put("label", numbers)

    def dependents(self, source: Snapshot, keys: Sequence[Key]) -> Mapping[Entity, Collection[Key]]:
        """The datasets that have the label."""
        found = source.where("dataset_tags", "tag_id", [key[0] for key in keys]) if source.has("dataset_tags") else ()
        return {Entity.DATASETS: {(row.key[0],) for row in found}}


@dataclass
class _Batch:
    """What the rows of a batch say, before the database was asked."""

    mains: frozenset[int] = frozenset()
    """Legacy ids of datasets with versions and no branch `main` of their own."""


@dataclass
class _Wanted:
    """One dataset on its way."""

    columns: Columns
    key: Key
    name: str
    row: dict[str, Any] = field(default_factory=dict)
    labels: list[str] = field(default_factory=list)
    tags: list[Landed] = field(default_factory=list)


class DatasetsStep(Step[_Batch]):
    """Datasets, with their rows of `dataset_tags`."""

    entity = Entity.DATASETS
    attached = (Entity.DATASET_TAGS,)

    def __init__(self, around: Surroundings) -> None:
        self._zone = around.zone
        self._open_to_all = around.generation is Generation.G0

    def begin(self, tx: Transaction, highest: Key | None) -> None:
        """Ours begin far above theirs."""
        PeopleRows(tx).lead("datasets", highest[0] if highest else 0)

    def gather(self, source: Snapshot, rows: Sequence[SourceRow]) -> Sequence[Group]:
        """Each dataset with its rows of `dataset_tags`, and the tags that they name."""
        ids = [row.key[0] for row in rows]
        links = source.where("dataset_tags", "dataset_id", ids) if source.has("dataset_tags") else ()
        tags = {row.key[0]: row for row in source.rows("tags", sorted({(link.key[1],) for link in links}))} if links else {}
        more: dict[int, list[SourceRow]] = {}
        for link in links:
            of_one = more.setdefault(link.key[0], [])
            of_one.append(link)
            if link.key[1] in tags:
                of_one.append(tags[link.key[1]])
        return [Group(row, tuple(more.get(row.key[0], ()))) for row in rows]

    @contextmanager
    def prepare(self, source: Snapshot, groups: Sequence[Group]) -> Iterator[Prepared[_Batch]]:
        """Asks the source which of them will need a branch `main` of our making."""
        ids = [group.row.key[0] for group in groups]
        with_versions = {
            id_ for (id_,) in source.tuples("SELECT DISTINCT dataset_id FROM dataset_versions WHERE dataset_id = ANY(%s)", ids)
        }
        if source.has("dataset_pointers"):
            with_versions -= {
                id_
                for (id_,) in source.tuples(
                    "SELECT p.dataset_id FROM dataset_pointers p JOIN dataset_versions v ON v.id = p.dataset_version_id "
                    "AND v.dataset_id = p.dataset_id WHERE p.pointer_name = 'main' AND NOT p.is_tag AND p.dataset_id = ANY(%s)",
                    ids,
                )
            }
        yield Prepared(_Batch(frozenset(with_versions)))

    def land(self, tx: Transaction, groups: Sequence[Group], prepared: Prepared[_Batch]) -> Iterable[Landed]:
        """Writes the datasets; those that are there are changed, and keep their slug."""
        rows = DatasetRows(tx)
        people = Mapped(tx).people({group.row.values.get("created_by") or 0 for group in groups})
        ids = rows.ids([group.row.key[0] for group in groups])
        wanted = []
        for row, more in groups:
            columns = Columns(row, self._zone)
            raw = columns.text("name") or ""
            owner = people.get(columns.number("created_by") or -1)
            if owner is None:
                owner = people[0]
                columns.find(Reason.UNKNOWN_OWNER, user_id=columns.number("created_by"))
            name = safe_dataset_name(raw)
            if name != raw:
                columns.keep(name=raw)
                columns.find(Reason.BAD_NAME, name=raw, became=name)
            one = _Wanted(columns, row.key, name)
            one.labels, one.tags = _labels(more, self._zone, ids[row.key[0]].id)
            one.row = {"description": columns.text("description") or "", "owner": owner.id, "at": columns.at("created_at")}
            columns.keep(**plain(row.values, "updated_at"), description="" if row.values.get("description") == "" else None)
            if row.key[0] in prepared.work.mains:
                columns.find(Reason.MAIN_CREATED)
            wanted.append(one)
        names = self._free_names(rows, wanted, {one.key: ids[one.key[0]].id for one in wanted})
        slugs = self._free_slugs(rows, [one for one in wanted if ids[one.key[0]].is_new])
        rows.write(
            [
                DatasetRow(
                    ids[one.key[0]].id, names[one.key], slugs.get(one.key, ""), one.row["description"], one.labels, one.row["owner"],
                    one.row["at"], ids[one.key[0]].is_new,
                )
                for one in wanted
            ]
        )  # fmt: skip
        if self._open_to_all:
            rows.give_to_owners([ids[one.key[0]].id for one in wanted])
        for one in wanted:
            if names[one.key] != one.name:
                one.columns.find(Reason.DUPLICATE_KEY, name=one.name, became=names[one.key])
                one.columns.kept.setdefault("name", one.name)
            if "name" in one.columns.kept:
                one.columns.keep(given_name=names[one.key])
            yield one.columns.landed(Entity.DATASETS, one.key, ids[one.key[0]].id)
            yield from one.tags

    def _free_names(self, rows: DatasetRows, wanted: Sequence[_Wanted], ids: Mapping[Key, int]) -> dict[Key, str]:
        """Names that no other living dataset of the same owner has: in the order of the ids, the first keeps hers."""
        taken: set[tuple[int, str]] = set()
        while True:
            chosen: dict[Key, str] = {}
            seen: dict[int, set[str]] = {}
            for owner, name in taken:
                seen.setdefault(owner, set()).add(name)
            for one in wanted:
                of_owner = seen.setdefault(one.row["owner"], set())
                chosen[one.key] = free_dataset_name(one.name, one.key[0], of_owner)
                of_owner.add(chosen[one.key])
            found = rows.names_taken([(one.row["owner"], chosen[one.key], ids[one.key]) for one in wanted], list(ids.values()))
            if found <= taken:
                return chosen
            taken |= found

    def _free_slugs(self, rows: DatasetRows, wanted: Sequence[_Wanted]) -> dict[Key, str]:
        taken: set[str] = set()
        while True:
            seen, chosen = set(taken), {}
            for one in wanted:
                chosen[one.key] = free_dataset_name(one.name, one.key[0], seen)
                seen.add(chosen[one.key])
            found = rows.slugs_taken(list(chosen.values()))
            if found <= taken:
                return chosen
            taken |= found

    def remove(self, tx: Transaction, gone: Sequence[Gone]) -> None:
        """Hides datasets; they can be restored as any other can."""
        DatasetRows(tx).hide([one.new_id for one in gone if one.entity is Entity.DATASETS and one.new_id is not None])

    def owners(self, tx: Transaction, source: Snapshot, attached: Sequence[tuple[Entity, Key]]) -> Collection[Key]:
        """The dataset is the first part of the key."""
        return {(key[0],) for _, key in attached}

    def dependents(self, source: Snapshot, keys: Sequence[Key]) -> Mapping[Entity, Collection[Key]]:
        """Rights name datasets without a foreign key."""
        if not source.has("permissions"):
            return {}
        found = source.where("permissions", "resource_id", [key[0] for key in keys])
        return {Entity.PERMISSIONS: {row.key for row in found if row.values["resource_type"] == "dataset"}}


def _tag_name(columns: Columns) -> str:
    return columns.text("tag_name") or columns.text("name") or ""


def _labels(more: Sequence[SourceRow], zone: Any, dataset_id: int) -> tuple[list[str], list[Landed]]:
    """The labels of one dataset in the order of their tags, each once without regard to case, and what became of each row."""
    tags = {row.key[0]: row for row in more if row.entity == Entity.TAGS}
    labels: dict[str, str] = {}
    landed = []
    for link in sorted((row for row in more if row.entity == Entity.DATASET_TAGS), key=lambda row: row.key):
        tag = tags.get(link.key[1])
        label = None if tag is None else safe_label(_tag_name(Columns(tag, zone)))
        problem: Finding | None = None
        if tag is None:
            problem = Finding(Reason.ORPHAN_PARENT, {"tag_id": link.key[1]})
        elif label is None:
            problem = Finding(Reason.BAD_VALUE, {"tag_id": link.key[1]})
        elif label.casefold() not in labels and len(labels) == MAX_LABELS:
            problem = Finding(Reason.TOO_LARGE, {"labels": len(labels), "label": label})
        else:
            labels.setdefault(label.casefold(), label)
        outcome = Outcome.MIGRATED if problem is None else Outcome.QUARANTINED
        landed.append(Landed(Entity.DATASET_TAGS, link.key, outcome, dataset_id, () if problem is None else (problem,)))
    return list(labels.values()), landed
