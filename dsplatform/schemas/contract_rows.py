"""Statements about contracts, reading hints and versions in quarantine. Their tables are declared in `repository.py`."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from dsplatform.core.database import Row, Transaction
from dsplatform.core.domain import ValueObject
from dsplatform.core.errors import NotFound
from dsplatform.core.types import DatasetId, PointerName, VersionId
from dsplatform.core.values import EnforcedRule
from dsplatform.schemas.contracts.model import Contract, OnBreach, Policy
from dsplatform.schemas.model import NO_HINTS, Hints, storable

QUARANTINE = "quarantine/"
"""What the names of quarantine branches begin with. Rules for every branch leave them alone, so that they can be repaired."""


@dataclass(frozen=True)
class Terms(ValueObject):
    """What a dataset's owner has set for a branch, or for every branch that has no terms of its own."""

    branch: str
    """Empty: for every branch."""
    policy: Policy
    on_breach: OnBreach
    contract: Contract
    revision: int
    """Counts how often these terms were set."""
    updated_by: str
    updated_at: datetime

    @property
    def rule(self) -> EnforcedRule:
        """What tells these terms from others."""
        return EnforcedRule(self.branch, self.revision)


@dataclass(frozen=True)
class Quarantined(ValueObject):
    """A version that was kept from its branch, and what a person decided about it."""

    version_id: VersionId
    version_number: int
    branch: PointerName
    target_branch: PointerName
    report: tuple[str, ...]
    """In sentences, why."""
    state: str
    """`open`, `accepted` or `dismissed`."""
    arrived_at: datetime
    decided_by: str | None
    decided_at: datetime | None
    decision: str | None
    """What the person gave as the reason."""


class Contracts:
    """Statements about the terms of one dataset."""

    def __init__(self, tx: Transaction, dataset_id: DatasetId) -> None:
        self._tx = tx
        self._dataset_id = dataset_id

    def enforced(self, branch: PointerName) -> EnforcedRule | None:
        """Which terms are enforced for the branch. Every commit asks: what is not needed is not read."""
        rows = self._tx.tuples(
            "SELECT branch, revision, policy FROM schema_contracts WHERE dataset_id = :dataset AND branch = ANY(CAST(:names AS text[]))",
            dataset=self._dataset_id,
            names=_names(branch),
        )
        if not rows:
            return None
        found, revision, policy = max(rows)  # the branch's own name is greater than the empty one
        return EnforcedRule(found, revision) if policy == Policy.ENFORCE else None

    def rename_branch(self, old: PointerName, new: PointerName) -> None:
        """The terms of a branch get its new name, in place of those that a former branch of that name left; so do open quarantines."""
        names = {"dataset": self._dataset_id, "old": old, "new": new}
        self._tx.execute("DELETE FROM schema_contracts WHERE dataset_id = :dataset AND branch = :new", dataset=self._dataset_id, new=new)
        self._tx.execute("UPDATE schema_contracts SET branch = :new WHERE dataset_id = :dataset AND branch = :old", **names)
        self._tx.execute(
            "UPDATE quarantined_versions SET branch = CASE branch WHEN :old THEN :new ELSE branch END, "
            "target_branch = CASE target_branch WHEN :old THEN :new ELSE target_branch END "
            "WHERE dataset_id = :dataset AND state = 'open' AND :old IN (branch, target_branch)",
            **names,
        )

    def effective(self, branch: PointerName) -> Terms | None:
        """The terms that count for the branch: its own, else those for every branch."""
        row = self._tx.row(
            _TERMS + "AND branch = ANY(CAST(:names AS text[])) ORDER BY branch DESC LIMIT 1", dataset=self._dataset_id, names=_names(branch)
        )
        return None if row is None else _terms(row)

    def all(self) -> Sequence[Terms]:
        """Every branch's, those for all branches first."""
        return [_terms(row) for row in self._tx.rows(_TERMS + "ORDER BY branch", dataset=self._dataset_id)]

    def get(self, branch: str) -> Terms | None:
        """Those that were set under exactly this name."""
        row = self._tx.row(_TERMS + "AND branch = :branch", dataset=self._dataset_id, branch=branch)
        return None if row is None else _terms(row)

    def put(self, branch: str, policy: Policy, on_breach: OnBreach, contract: Contract, user_id: int) -> None:
        """Sets them, in place of earlier ones. The caller holds the dataset's lock, as every commit does."""
        self._tx.execute(
            "INSERT INTO schema_contracts (dataset_id, branch, policy, on_breach, contract, updated_by) "
            "VALUES (:dataset, :branch, :policy, :on_breach, CAST(:contract AS jsonb), :user) "
            "ON CONFLICT (dataset_id, branch) DO UPDATE SET policy = excluded.policy, on_breach = excluded.on_breach, "
            "contract = excluded.contract, revision = schema_contracts.revision + 1, updated_by = excluded.updated_by, updated_at = now()",
            dataset=self._dataset_id,
            branch=branch,
            policy=policy.value,
            on_breach=on_breach.value,
            contract=json.dumps(contract.plain()),
            user=user_id,
        )


_TERMS = """
    SELECT c.branch, c.policy, c.on_breach, c.contract, c.revision, u.username, c.updated_at
    FROM schema_contracts c JOIN users u ON u.id = c.updated_by WHERE c.dataset_id = :dataset
"""


def _names(branch: PointerName) -> list[str]:
    return [branch] if branch.startswith(QUARANTINE) else [branch, ""]


def _terms(row: Row) -> Terms:
    return Terms(
        row["branch"],
        Policy(row["policy"]),
        OnBreach(row["on_breach"]),
        Contract.read(row["contract"]),
        row["revision"],
        row["username"],
        row["updated_at"],
    )


class ReadingHints:
    """Statements about how a dataset's files are to be read."""

    def __init__(self, tx: Transaction) -> None:
        self._tx = tx

    def get(self, dataset_id: DatasetId) -> Hints:
        """The dataset's hints."""
        plain = self._tx.scalar("SELECT hints FROM reading_hints WHERE dataset_id = :dataset", dataset=dataset_id)
        return NO_HINTS if plain is None else Hints(**plain)

    def put(self, dataset_id: DatasetId, hints: Hints) -> None:
        """Sets them, in place of earlier ones; no hints leave no row."""
        self._tx.execute("DELETE FROM reading_hints WHERE dataset_id = :dataset", dataset=dataset_id)
        if hints != NO_HINTS:
            self._tx.execute(
                "INSERT INTO reading_hints (dataset_id, hints) VALUES (:dataset, CAST(:hints AS jsonb))",
                dataset=dataset_id,
                hints=json.dumps(hints.plain()),
            )


class Quarantine:
    """Statements about versions that were kept from their branch."""

    def __init__(self, tx: Transaction) -> None:
        self._tx = tx

    def add(self, version_id: VersionId, dataset_id: DatasetId, branch: PointerName, target: PointerName, report: Sequence[str]) -> None:
        """A version that arrives there."""
        self._tx.execute(
            "INSERT INTO quarantined_versions (version_id, dataset_id, branch, target_branch, report) "
            "VALUES (:version, :dataset, :branch, :target, CAST(:report AS jsonb))",
            version=version_id,
            dataset=dataset_id,
            branch=branch,
            target=target,
            report=json.dumps(storable(list(report))),
        )

    def get(self, version_id: VersionId) -> Quarantined | None:
        """What is known of a version in quarantine."""
        row = self._tx.row(_QUARANTINED + "WHERE q.version_id = :version", version=version_id)
        return None if row is None else _quarantined(row)

    def all(self, dataset_id: DatasetId, *, decided: bool) -> Sequence[Quarantined]:
        """Those that wait for a decision, with `decided` the others too; the latest first. What was deleted does not wait."""
        rows = self._tx.rows(
            _QUARANTINED + "WHERE q.dataset_id = :dataset AND (CAST(:decided AS boolean) OR (q.state = 'open' AND v.purged_at IS NULL)) "
            "ORDER BY q.version_id DESC",
            dataset=dataset_id,
            decided=decided,
        )
        return [_quarantined(row) for row in rows]

    def decide(self, version_id: VersionId, state: str, user_id: int, decision: str) -> bool:
        """Writes down who decided what, when and why; False when it was decided before."""
        return (
            self._tx.execute(
                "UPDATE quarantined_versions SET state = :state, decided_by = :user, decided_at = now(), decision = :decision "
                "WHERE version_id = :version AND state = 'open'",
                version=version_id,
                state=state,
                user=user_id,
                decision=decision,
            )
            == 1
        )


_QUARANTINED = """
    SELECT q.version_id, v.version_number, q.branch, q.target_branch, q.report, q.state, q.arrived_at, u.username, q.decided_at, q.decision
    FROM quarantined_versions q JOIN dataset_versions v ON v.id = q.version_id LEFT JOIN users u ON u.id = q.decided_by
"""


def _quarantined(row: Row) -> Quarantined:
    return Quarantined(
        VersionId(row["version_id"]),
        row["version_number"],
        PointerName(row["branch"]),
        PointerName(row["target_branch"]),
        tuple(row["report"]),
        row["state"],
        row["arrived_at"],
        row["username"],
        row["decided_at"],
        row["decision"],
    )


def standing_of(tx: Transaction, version_id: VersionId) -> tuple[DatasetId, PointerName]:
    """(dataset, branch whose terms count) of a version: the one it was kept from, else `main` or the first by name of those that are
    there, else `main`. Raises `NotFound`."""
    row = tx.row(
        "SELECT v.dataset_id, coalesce((SELECT target_branch FROM quarantined_versions q WHERE q.version_id = v.id), "
        "(SELECT pointer_name FROM dataset_pointers p WHERE p.dataset_id = v.dataset_id AND p.version_id = v.id AND NOT p.is_tag "
        "ORDER BY pointer_name <> 'main', pointer_name LIMIT 1), 'main') AS branch FROM dataset_versions v WHERE v.id = :id",
        id=version_id,
    )
    if row is None:
        raise NotFound(f"version {version_id} does not exist")
    return DatasetId(row["dataset_id"]), PointerName(row["branch"])
