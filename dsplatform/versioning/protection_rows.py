"""Statements about protected branches, and the rule of what a protection lets through.

A protection is a row beside the branch: it goes with the branch when that is renamed, and when it is deleted.
"""

from collections.abc import Sequence

from dsplatform.core.database import Transaction
from dsplatform.core.domain import Actor
from dsplatform.core.errors import Denied
from dsplatform.core.interfaces import AccessControl
from dsplatform.core.types import DatasetId, PermissionType, PointerName
from dsplatform.core.values import DatasetRef, VersionChange
from dsplatform.versioning.model import COMMIT, MERGE, BranchProtected, Demand, Head, Protection


class Protections:
    """The protected branches of a dataset. Who changes them holds the dataset's lock."""

    def __init__(self, tx: Transaction, dataset_id: DatasetId) -> None:
        self._tx = tx
        self._dataset_id = dataset_id

    def all(self) -> Sequence[Protection]:
        """By the branches' names."""
        rows = self._tx.rows(
            "SELECT p.branch, p.demands, u.username AS set_by, p.set_at FROM branch_protections p JOIN users u ON u.id = p.set_by "
            "WHERE p.dataset_id = :dataset ORDER BY p.branch",
            dataset=self._dataset_id,
        )
        return [Protection(PointerName(row["branch"]), Demand(row["demands"]), row["set_by"], row["set_at"]) for row in rows]

    def get(self, branch: PointerName) -> Protection | None:
        """How the branch is protected."""
        return next((each for each in self.all() if each.branch == branch), None)

    def put(self, branch: PointerName, demands: Demand, user_id: int) -> None:
        """Protects a branch that exists, or changes how."""
        self._tx.execute(
            "INSERT INTO branch_protections (dataset_id, branch, demands, set_by) VALUES (:dataset, :branch, :demands, :user) "
            "ON CONFLICT (dataset_id, branch) DO UPDATE SET demands = excluded.demands, set_by = excluded.set_by, set_at = now()",
            dataset=self._dataset_id,
            branch=branch,
            demands=str(demands),
            user=user_id,
        )

    def remove(self, branch: PointerName) -> None:
        """Protects the branch no longer."""
        self._tx.execute(
            "DELETE FROM branch_protections WHERE dataset_id = :dataset AND branch = :branch", dataset=self._dataset_id, branch=branch
        )


def permit(
    tx: Transaction, access: AccessControl, actor: Actor, dataset: DatasetRef, branch: PointerName, demand: Demand | None, action: str
) -> None:
    """Raises `BranchProtected` where the protection of a branch keeps the actor from this way of changing it."""
    if demand is None or (demand is Demand.MERGE and action == MERGE):
        return
    if demand is Demand.MERGE and action == COMMIT:
        raise BranchProtected(actor, dataset, branch, demand, action)
    try:
        access.require(tx, actor, PermissionType.ADMIN, dataset.id)
    except Denied as err:
        raise BranchProtected(actor, dataset, branch, demand, action) from err


def permit_change(tx: Transaction, access: AccessControl, change: VersionChange, head: Head | None) -> None:
    """`permit` for a commit or a merge onto the branch that is at `head`; None: it begins with the change, and so has no protection."""
    action = COMMIT if change.merge_parent is None else MERGE
    permit(tx, access, change.actor, change.dataset, change.branch, None if head is None else head.demands, action)
