"""What of one dataset is missing, changed or too much in the legacy system, and the writing of it."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, LiteralString

from dsplatform.migration.model import Entity, Key, SourceRow
from dsplatform.migration.naming import safe_label
from dsplatform.migration.old_model import OldVersion
from dsplatform.migration.reverse_files import Part, Written
from dsplatform.migration.reverse_ours import RANKS, Ours, OursReader, Stored
from dsplatform.migration.reverse_rows import ReverseRows, doomed
from dsplatform.migration.source import Snapshot

_POINTERS: Mapping[str, tuple[LiteralString, LiteralString]] = {
    "dataset_pointers": ("pointer_name", "SELECT id, pointer_name FROM dataset_pointers WHERE dataset_id = %s"),
    "version_tags": ("tag_name", "SELECT id, tag_name FROM version_tags WHERE dataset_id = %s"),
}
"""By table: the column of the name, and the question for ids and names."""


class ReverseDataset:
    """One dataset, between both systems."""

    def __init__(self, reader: OursReader, source: Snapshot, ours: Ours) -> None:
        self._ours = ours
        self._source = source
        self._parents = reader.parents(ours)
        there = {id_ for (id_,) in source.tuples("SELECT id FROM dataset_versions WHERE dataset_id = %s", ours.number)}
        self._goes = sorted(there if ours.dataset is None else there & ours.purged)
        unaccounted = reader.unaccounted(ours) | {version.id for version in ours.versions if version.id not in there}
        self.new = [(version, self._parts(reader, version)) for version in ours.versions if version.id in unaccounted]
        """Versions that the legacy system lacks, or that it got and that are not accounted for, with what they hold."""
        self.missing = [(version, parts) for version, parts in self.new if version.id not in there]
        """The first of them, parents before their children."""
        self.files_there = {key[0] for key in source.there("files", [(part.number,) for _, parts in self.missing for part in parts])}
        self.orphaned: dict[int, int | None] = {}
        """Old ids of versions whose parent goes, with the next ancestor."""
        if self._goes and source.has("dataset_versions", "parent_version_id"):
            for id_ in sorted({key[0] for key in self._children(source)} - set(self._goes)):
                self.orphaned[id_] = self._parents.get(id_)
        self._tables = [table for table in _POINTERS if source.has(table)]
        self._labels = self._kept_labels(reader, source)
        self.doomed = list(self._doomed(source))
        """The rows that go, in the order in which they can."""

    def _children(self, source: Snapshot) -> list[tuple[int, ...]]:
        return source.tuples("SELECT id FROM dataset_versions WHERE parent_version_id = ANY(%s)", self._goes)

    def _parts(self, reader: OursReader, version: OldVersion) -> Sequence[Stored]:
        parts = reader.parts(self._ours, version)
        if self._source.has("dataset_version_files"):
            return parts
        return [part for part in parts if part.old.component == version.component]  # there is one file for each version

    def bare(self, version: OldVersion, parts: Sequence[Stored]) -> list[int]:
        """The files without bytes that go with a version: its overlay, or its own where it holds nothing."""
        if not self._source.has("dataset_versions", "file_id"):
            return [version.overlay_id]
        return [] if version.file_id in {part.number for part in parts} else [version.file_id]

    def part(self, version: OldVersion, part: Stored) -> Part:
        """As a file is made of it."""
        return Part(self._ours.ref, version.version_number, part.old.component, part.file_id, part.content_hash, part.file_type)

    # --- what goes -------------------------------------------------------------------------------------------------------------

    def _doomed(self, source: Snapshot) -> Iterator[tuple[Entity, list[Key]]]:
        ours = self._ours
        whole = ours.number if ours.dataset is None else None
        yield from doomed(source, self._goes, whole)
        if whole is not None:
            return
        for table in self._tables:
            wanted = {pointer.id: pointer.name for pointer in ours.pointers if pointer.is_tag or table == "dataset_pointers"}
            keys: list[Key] = [
                (id_,)
                for id_, name in source.tuples(_POINTERS[table][1], ours.number)
                if id_ not in wanted and (id_ in ours.known_pointers or name in wanted.values())
            ]
            if keys:
                yield Entity(table), keys
        people = {user for user, _ in ours.held}
        if source.has("permissions"):
            rows = source.tuples(
                "SELECT id, user_id, permission_type::text FROM permissions WHERE resource_type = 'dataset' AND resource_id = %s",
                ours.number,
            )
            surplus: list[Key] = [(id_,) for id_, user, right in rows if right in RANKS and (user, right) not in ours.held]
            if surplus:
                yield Entity.PERMISSIONS, surplus
        if source.has("dataset_permissions"):
            rows = source.tuples("SELECT user_id FROM dataset_permissions WHERE dataset_id = %s", ours.number)
            surplus = [(ours.number, user) for (user,) in rows if user not in people]
            if surplus:
                yield Entity.DATASET_PERMISSIONS, surplus
        if labels := self._surplus_labels():
            yield Entity.DATASET_TAGS, labels

    def _kept_labels(self, reader: OursReader, source: Snapshot) -> Mapping[int, str]:
        """The tags of the dataset there, with the label that each became."""
        if not source.has("dataset_tags"):
            return {}
        ids = [tag for (tag,) in source.tuples("SELECT tag_id FROM dataset_tags WHERE dataset_id = %s", self._ours.number)]
        return {tag: label.casefold() for tag, name in reader.labels(ids).items() if (label := safe_label(name))}

    def _surplus_labels(self) -> list[Key]:
        wanted = {label.casefold() for _, label in self._ours.dataset.labels} if self._ours.dataset else set()
        return [(self._ours.number, tag) for tag, label in self._labels.items() if label not in wanted]

    # --- writing ---------------------------------------------------------------------------------------------------------------

    def write(self, rows: ReverseRows, written: Mapping[int, Written]) -> list[str]:
        """Makes the legacy rows say it; answers what they cannot."""
        if self._goes and self._source.has("dataset_versions", "parent_version_id"):
            rows.relink(self.orphaned | dict.fromkeys(self._goes))
        for entity, keys in self.doomed:
            rows.delete(entity, keys)
        dataset = self._ours.dataset
        if dataset is None:
            return []
        values: dict[str, Any] = {
            "name": dataset.name,
            "description": dataset.description,
            "created_by": dataset.created_by,
            "created_at": dataset.created_at,
            "updated_at": dataset.updated_at,
        }
        rows.put("datasets", {"id": self._ours.number}, values, changing=("name", "description", "updated_at"))
        self._write_labels(rows)
        unsaid = []
        for version, parts in self.missing:
            unsaid += self._write_version(rows, version, parts, written)
        unsaid += self._write_pointers(rows)
        return unsaid + self._write_rights(rows)

    def _write_labels(self, rows: ReverseRows) -> None:
        dataset, column = self._ours.dataset, "tag_name" if self._source.has("tags", "tag_name") else "name"
        if dataset is None or not self._source.has("dataset_tags"):
            return
        for number, label in dataset.labels:
            if label.casefold() in self._labels.values():
                continue
            same = rows.ids(f"SELECT id FROM tags WHERE id = %(id)s OR {column} = %(name)s ORDER BY id <> %(id)s", id=number, name=label)  # noqa: S608
            tag = same[0] if same else number
            rows.put("tags", {"id": tag}, {column: label})
            rows.put("dataset_tags", {"dataset_id": dataset.id, "tag_id": tag}, {})

    def _write_version(self, rows: ReverseRows, version: OldVersion, parts: Sequence[Stored], written: Mapping[int, Written]) -> list[str]:
        at, updated = version.created_at, version.updated_at
        has_own_file = self._source.has("dataset_versions", "file_id")
        for part in parts:
            if part.number in written:
                made = written[part.number]
                self._write_file(rows, part.number, at, made.file_type, made.mime_type, str(made.path), made.size)
        for number in self.bare(version, parts):
            overlay = "json", "application/json", f"file:///data/overlays/{number}", version.overlay_size
            self._write_file(rows, number, at, *(("parquet", None, None, None) if has_own_file else overlay))
        values = {
            "dataset_id": version.dataset_id,
            "version_number": version.version_number,
            "ingestion_timestamp": at,
            "last_updated_timestamp": updated,
            "uploaded_by": version.uploaded_by,
            "parent_version_id": self._parents[version.id],
            "message": version.message,
            "created_by": version.uploaded_by,
            "created_at": at,
            "updated_at": updated,
            **({"file_id": version.file_id} if has_own_file else {"overlay_file_id": version.overlay_id, "status": version.status}),
        }
        rows.put("dataset_versions", {"id": version.id}, values)
        self._write_sheets(rows, version, parts)
        if not self._source.has("dataset_version_files"):
            return []
        unsaid = []
        for part in parts:
            old = part.old
            said = {
                "component_type": old.component_type[:50],
                "component_name": old.component_name,
                "component_index": old.component_index,
                "metadata": None if old.metadata is None else dict(old.metadata),
            }
            rows.put("dataset_version_files", {"version_id": version.id, "file_id": part.number}, said)
            if part.number in written and written[part.number].file_type != "parquet":
                unsaid.append(
                    f"the rows of {old.component!r} in version {version.version_number} of dataset {self._name!r}: there are none"
                )
        return unsaid

    def _write_sheets(self, rows: ReverseRows, version: OldVersion, parts: Sequence[Stored]) -> None:
        """Those that the version had there: it was deleted and came back."""
        if not self._source.has("sheets"):
            return
        for sheet in self._ours.sheets.get(version.id) or [sheet for part in parts for sheet in part.old.sheets or ()]:
            said = {"dataset_version_id": version.id, "sheet_index": sheet["index"], "description": sheet.get("description")}
            rows.put("sheets", {"id": sheet["id"]}, {**said, "name": sheet.get("name", "")})
            if sheet.get("metadata") is not None and self._source.has("sheet_metadata"):
                rows.put("sheet_metadata", {"sheet_id": sheet["id"]}, {"metadata": sheet["metadata"]})

    def _write_file(
        self, rows: ReverseRows, number: int, at: Any, file_type: str, mime_type: str | None, path: str | None, size: int | None
    ) -> None:
        values = {"storage_type": "filesystem", "file_type": file_type, "mime_type": mime_type, "file_path": path, "file_size": size}
        rows.put("files", {"id": number}, {**values, "created_at": at})

    def _write_pointers(self, rows: ReverseRows) -> list[str]:
        ours, unsaid = self._ours, []
        there = {version.id for version in ours.versions}
        for pointer in ours.pointers:
            table = "dataset_pointers" if "dataset_pointers" in self._tables else "version_tags"
            if table not in self._tables or (table == "version_tags" and not pointer.is_tag) or pointer.version_id not in there:
                if pointer.is_tag or pointer.name != "main":
                    unsaid.append(f"{'tag' if pointer.is_tag else 'branch'} {pointer.name!r} of dataset {self._name!r}")
                continue
            values = {
                "dataset_id": ours.number,
                _POINTERS[table][0]: pointer.name,
                "dataset_version_id": pointer.version_id,
                "is_tag": pointer.is_tag,
                "created_at": pointer.created_at,
                "updated_at": pointer.updated_at,
            }
            rows.put(table, {"id": pointer.id}, values, changing=("dataset_version_id", "is_tag", "updated_at"))
        return unsaid

    def _write_rights(self, rows: ReverseRows) -> list[str]:
        ours, dataset = self._ours, self._ours.dataset
        if dataset is None:
            return []
        known = set(rows.ids("SELECT id FROM users WHERE id = ANY(%(ids)s)", ids=[grant.user for grant in ours.grants]))
        unsaid: list[str] = []
        for grant in ours.grants:
            if grant.user not in known:
                unsaid.append(f"the right {grant.right!r} of user {grant.name!r} on dataset {self._name!r}: she has no place there")
            elif self._source.has("dataset_permissions"):
                key: dict[str, object] = {"dataset_id": ours.number, "user_id": grant.user}
                rows.put("dataset_permissions", key, {"permission_type": grant.right}, changing=("permission_type",))
            elif self._source.has("permissions"):
                key = {
                    "resource_type": "dataset",
                    "resource_id": ours.number,
                    "user_id": grant.user,
                    "permission_type": grant.right,
                }
                by = dataset.created_by if grant.by is None else grant.by
                rows.put("permissions", key, {"granted_at": grant.at, "granted_by": by})
        if not self._tables_of_rights and {(grant.user, grant.right) for grant in ours.grants} != {(dataset.created_by, "admin")}:
            unsaid.append(f"rights on dataset {self._name!r}: nobody asks for any there")
        return unsaid

    @property
    def _tables_of_rights(self) -> list[Entity]:
        return [entity for entity in (Entity.PERMISSIONS, Entity.DATASET_PERMISSIONS) if self._source.has(entity)]

    @property
    def _name(self) -> str:
        return self._ours.ref.name

    # --- accounting ------------------------------------------------------------------------------------------------------------

    def leaves(self, source: Snapshot) -> Mapping[Entity, Sequence[Key]]:
        """The rows about the dataset that nothing refers to, as they are now."""
        found: dict[Entity, Sequence[Key]] = {
            Entity(table): [row.key for row in source.where(table, "dataset_id", [self._ours.number])] for table in self._tables
        }
        for entity in self._tables_of_rights:
            column = "resource_id" if entity is Entity.PERMISSIONS else "dataset_id"
            rows = source.where(entity, column, [self._ours.number])
            found[entity] = [row.key for row in rows if row.values.get("resource_type", "dataset") == "dataset"]
        return found

    def sheets(self, source: Snapshot) -> Mapping[Entity, Sequence[tuple[SourceRow, int]]]:
        """The rows about sheets of the versions that came back, each with the old id of its version."""
        if not source.has("sheets"):
            return {}
        sheets = source.where("sheets", "dataset_version_id", [version.id for version, _ in self.new])
        owner = {row.key[0]: int(row.values["dataset_version_id"]) for row in sheets}
        about = source.where("sheet_metadata", "sheet_id", list(owner)) if source.has("sheet_metadata") else ()
        return {
            Entity.SHEETS: [(row, owner[row.key[0]]) for row in sheets],
            Entity.SHEET_METADATA: [(row, owner[row.values["sheet_id"]]) for row in about],
        }
