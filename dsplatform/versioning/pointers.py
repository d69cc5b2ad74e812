"""Statements about where branches are, and about moving them."""

from collections.abc import Collection

from dsplatform.core.database import Transaction
from dsplatform.core.types import MAIN, ContentHash, DatasetId, PointerName, VersionId
from dsplatform.versioning.model import Demand, Draft, Head, TagsNeverMove


class Pointers:
    """Statements about branches and tags."""

    def __init__(self, tx: Transaction) -> None:
        self._tx = tx

    def head(self, dataset_id: DatasetId, branch: PointerName) -> Head | None:
        """Where the branch points. Raises `TagsNeverMove` when a tag has that name."""
        row = self._tx.row(
            "SELECT v.id, v.version_number, v.component_count, v.total_bytes, f.content_hash, p.is_tag, b.demands FROM dataset_pointers p "
            "JOIN dataset_versions v ON v.id = p.version_id JOIN files f ON f.id = v.overlay_file_id "
            "LEFT JOIN branch_protections b ON b.dataset_id = p.dataset_id AND b.branch = p.pointer_name "
            "WHERE p.dataset_id = :dataset AND p.pointer_name = :name",
            dataset=dataset_id,
            name=branch,
        )
        if row is None:
            return None
        if row["is_tag"]:
            raise TagsNeverMove(f"{branch!r} is a tag, and tags never move: name a branch")
        size, demands = (row["component_count"], row["total_bytes"]), row["demands"] and Demand(row["demands"])
        return Head(VersionId(row["id"]), row["version_number"], ContentHash(row["content_hash"]), *size, demands)

    def below(self, dataset_id: DatasetId, start: str) -> Collection[str]:
        """The names of branches and tags that begin so."""
        rows = self._tx.tuples(
            "SELECT pointer_name FROM dataset_pointers WHERE dataset_id = :dataset AND starts_with(pointer_name, :start)",
            dataset=dataset_id,
            start=start,
        )
        return {name for (name,) in rows}

    def create(self, dataset_id: DatasetId, branch: PointerName, version_id: VersionId, user_id: int) -> bool:
        """A new branch; False when the name is taken."""
        return (
            self._tx.execute(
                "INSERT INTO dataset_pointers (dataset_id, pointer_name, version_id, created_by) VALUES (:dataset, :name, :version, :user) "
                "ON CONFLICT (dataset_id, pointer_name) DO NOTHING",
                dataset=dataset_id,
                name=branch,
                version=version_id,
                user=user_id,
            )
            == 1
        )

    def move(self, dataset_id: DatasetId, branch: PointerName, seen: VersionId, to: VersionId, demands: Demand | None = None) -> bool:
        """Compare-and-swap: False when the branch is not at `seen` any more, or not protected so."""
        moved = self._tx.execute(
            "UPDATE dataset_pointers SET version_id = :to, moved_at = now() "
            "WHERE dataset_id = :dataset AND pointer_name = :name AND version_id = :seen AND NOT is_tag AND CAST(:demands AS text) "
            "IS NOT DISTINCT FROM (SELECT demands FROM branch_protections WHERE dataset_id = :dataset AND branch = :name)",
            dataset=dataset_id,
            name=branch,
            seen=seen,
            to=to,
            demands=demands and str(demands),
        )
        return moved == 1


def main_if_missing(pointers: Pointers, draft: Draft, version_id: VersionId) -> None:
    """The first version of a dataset also makes `main`, whatever branch it was written to."""
    if draft.seen is None and draft.change.branch != MAIN:
        pointers.create(draft.change.dataset.id, MAIN, version_id, draft.change.actor.user_id)
