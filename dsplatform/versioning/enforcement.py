"""Where a change goes whose branch has a contract that is enforced."""

from collections.abc import Callable
from datetime import UTC, datetime

from dsplatform.core.database import Transaction
from dsplatform.core.interfaces import ArrivalGate, Inspection
from dsplatform.core.types import PointerName
from dsplatform.core.values import Arrival, EnforcedRule, Refusal, VersionChange
from dsplatform.versioning import model
from dsplatform.versioning.model import Difference, Head
from dsplatform.versioning.pointers import Pointers
from dsplatform.versioning.repository import Versions


class Enforcement:
    """Asks the gate, and says what follows for versions and branches."""

    def __init__(self, gate: ArrivalGate, clock: Callable[[], datetime]) -> None:
        self._gate = gate
        self._clock = clock

    def rule(self, tx: Transaction, change: VersionChange) -> EnforcedRule | None:
        """The terms that a change is judged by; None: by none."""
        return None if change.accepted else self._gate.enforced(tx, change.dataset.id, change.branch)

    def aside(
        self, tx: Transaction, inspection: Inspection, change: VersionChange, seen: Head | None, diff: Difference
    ) -> tuple[PointerName, Refusal] | None:
        """The quarantine branch of a change that breaks the contract, and why; None: it keeps it.

        A merge is not put aside: who asked for it is told. Nor is a first version, because every other branch begins at `main`.
        Raises `NotRead`, and `ContractBreached` for what does not even go to quarantine.
        """
        before = () if seen is None else tuple(Versions(tx).components(seen.version_id))
        head = None if seen is None else seen.version_id
        arrival = Arrival(change.dataset, change.branch, head, before, {**diff.added, **diff.updated}, diff.removed)
        refusal = inspection.judge(tx, arrival)
        if refusal is None:
            return None
        if seen is None or change.merge_parent is not None or not refusal.quarantined:
            raise model.refused(change, refusal, first=seen is None)
        taken = Pointers(tx).below(change.dataset.id, model.QUARANTINE)
        return model.quarantine_branch(self._clock().astimezone(UTC).date(), taken), refusal
