"""Contracts of datasets as people deal with them: set, learnt, checked; and what they decide about versions in quarantine."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice

from dsplatform.core.access import checks_permission, internal, requires_permission
from dsplatform.core.database import Database, Transaction
from dsplatform.core.domain import Actor, AuditEntry, ValueObject
from dsplatform.core.errors import Conflict, Invalid, NotFound
from dsplatform.core.interfaces import AccessControl, DatasetDirectory, FileKeeper, Merger, VersionReader
from dsplatform.core.types import PermissionType, PointerName, VersionId, pointer_name
from dsplatform.core.values import Component, DatasetRef
from dsplatform.schemas import sandbox
from dsplatform.schemas.capturing import Captures, Request, key_of
from dsplatform.schemas.contract_rows import Contracts, Quarantine, Quarantined, ReadingHints, Terms, standing_of
from dsplatform.schemas.contracts import judging
from dsplatform.schemas.contracts.judging import Answer, Asked, Question
from dsplatform.schemas.contracts.learning import learn
from dsplatform.schemas.contracts.model import Breach, Contract, OnBreach, Policy
from dsplatform.schemas.model import FileCapture, Hints, storable
from dsplatform.schemas.repository import Key

CHUNK = 512
REASON_LENGTH = 10_000


class NotInQuarantine(NotFound):
    """The version was never kept from a branch."""

    code = "not_in_quarantine"


class DecidedAlready(Conflict):
    """Somebody has accepted or dismissed the version before."""

    code = "decided_already"


@dataclass(frozen=True)
class Decided(ValueObject):
    """What became of a version in quarantine."""

    quarantined: Quarantined
    version_number: int | None
    """Where its branch is now; None for what was dismissed."""


@dataclass(frozen=True)
class Judged(ValueObject):
    """How a version stands to the contract of a branch."""

    branch: PointerName
    policy: Policy
    breaches: tuple[Breach, ...]


class ContractService:
    """Contracts, reading hints and quarantine of datasets."""

    def __init__(
        self, db: Database, files: FileKeeper, datasets: DatasetDirectory, versions: VersionReader, access: AccessControl, merger: Merger
    ) -> None:
        self._db = db
        self._files = files
        self._datasets = datasets
        self._versions = versions
        self._access = access
        self._merger = merger
        self._captures = Captures(db)

    # --- terms -----------------------------------------------------------------------------------------------------------------

    @requires_permission(PermissionType.READ)
    def terms(self, tx: Transaction, _actor: Actor, dataset: DatasetRef) -> Sequence[Terms]:
        """What is set for the dataset: for every branch (the empty name) and for some."""
        return Contracts(tx, dataset.id).all()

    @requires_permission(PermissionType.ADMIN)
    def set_terms(
        self,
        tx: Transaction,
        actor: Actor,
        dataset: DatasetRef,
        branch: str = "",
        *,
        policy: Policy | None = None,
        on_breach: OnBreach | None = None,
        contract: Contract | None = None,
    ) -> Terms:
        """Sets them for a branch, or (empty) for every branch without terms of its own. What is None stays as it is, at first `warn`,
        `quarantine` and a contract without rules. No commit is between two minds: it counts what is set when the branch moves."""
        name = pointer_name(branch) if branch else ""
        self._datasets.lock(tx, dataset.id)
        contracts = Contracts(tx, dataset.id)
        old = contracts.get(name)
        contracts.put(
            name,
            policy or (old.policy if old else Policy.WARN),
            on_breach or (old.on_breach if old else OnBreach.QUARANTINE),
            contract if contract is not None else (old.contract if old else Contract()),
            actor.user_id,
        )
        made = contracts.get(name)
        if made is None:
            raise AssertionError("what this transaction wrote cannot be missing in it")
        tx.note(_entry("contract.set", actor, dataset, None if old is None else _told(old), _told(made)))
        return made

    @requires_permission(PermissionType.READ)
    def hints(self, tx: Transaction, _actor: Actor, dataset: DatasetRef) -> Hints:
        """How the dataset's files are to be read."""
        return ReadingHints(tx).get(dataset.id)

    @requires_permission(PermissionType.ADMIN)
    def set_hints(self, tx: Transaction, actor: Actor, dataset: DatasetRef, given: Mapping[str, str | None]) -> Hints:
        """Sets those that are given (None takes one away) and keeps the others. They count for files that are read from now on.

        Raises `Invalid` for what is no date order, encoding or delimiter."""
        for name, value in given.items():
            if value is not None:
                _RULES[name](value)
        self._datasets.lock(tx, dataset.id)
        old = ReadingHints(tx).get(dataset.id)
        hints = replace(old, **given)
        ReadingHints(tx).put(dataset.id, hints)
        tx.note(_entry("hints.set", actor, dataset, old.plain(), hints.plain()))
        return hints

    # --- versions --------------------------------------------------------------------------------------------------------------

    @checks_permission(PermissionType.READ)
    def learn(self, actor: Actor, dataset: DatasetRef, version_id: VersionId, *, ranges: bool = False) -> Contract:
        """A contract that the version keeps. What was not read yet is read. Raises `NotFound` for a version that is none of the dataset's,
        `Gone` for one that was deleted."""
        with self._db.autocommit() as tx:
            self._access.require(tx, actor, PermissionType.READ, dataset.id)
            self._versions.belongs(tx, dataset, version_id)
        return learn(self._captured(version_id)[1], ranges=ranges)

    @checks_permission(PermissionType.READ)
    def check(self, actor: Actor, dataset: DatasetRef, version_id: VersionId, contract: Contract | None = None) -> Judged:
        """How the whole version stands to the contract of its branch, or to the one that is given; changes nothing. Raises as `learn`
        does."""
        with self._db.transaction() as tx:
            self._access.require(tx, actor, PermissionType.READ, dataset.id)
            self._versions.belongs(tx, dataset, version_id)
            branch = standing_of(tx, version_id)[1]
            terms = Contracts(tx, dataset.id).effective(branch)
        policy = terms.policy if terms else Policy.OFF
        wanted = contract if contract is not None else terms.contract if terms else Contract()
        return Judged(branch, policy, tuple(self._breaches(wanted, version_id)))

    @internal("for checks of what was captured")
    def judge(self, version_id: VersionId) -> Judged | None:
        """The same for a captured version, on nobody's behalf; None where no contract is asked for, or the version is gone."""
        with self._db.transaction() as tx:
            dataset_id, branch = standing_of(tx, version_id)
            terms = Contracts(tx, dataset_id).effective(branch)
            kept = Quarantine(tx).get(version_id)
        if terms is None or terms.policy is Policy.OFF:
            return None
        breaches = self._breaches(terms.contract, version_id)
        if kept is not None and kept.state == "open":
            known = {breach.sentence for breach in breaches}
            breaches = [*(Breach("schema", "", None, None, text) for text in kept.report if text not in known), *breaches]
        return Judged(branch, terms.policy, tuple(breaches))

    # --- quarantine ------------------------------------------------------------------------------------------------------------

    @requires_permission(PermissionType.READ)
    def quarantined(self, tx: Transaction, _actor: Actor, dataset: DatasetRef, *, decided: bool = False) -> Sequence[Quarantined]:
        """Versions that wait for a decision, with `decided` all that ever were in quarantine; the latest first."""
        return Quarantine(tx).all(dataset.id, decided=decided)

    @checks_permission(PermissionType.WRITE)
    def accept(self, actor: Actor, dataset: DatasetRef, version_id: VersionId, reason: str, *, strategy: str | None = None) -> Decided:
        """Brings a version from quarantine onto the branch that it was meant for, past the contract; who, when and why is written down
        in the same transaction. `strategy` (`ours`, `theirs`) decides what both sides changed; without it that is a conflict."""
        why = _reason(reason)
        kept = self._open(actor, dataset, version_id)
        message = f"accept version {kept.version_number} from {kept.branch}: {why}"
        number = self._merger.accept(
            actor,
            dataset,
            kept.version_number,
            kept.target_branch,
            strategy=strategy,
            message=message,
            within=lambda tx, number: _decide(tx, dataset, kept, "accept", actor, why, number),
        )
        return Decided(self._kept(version_id), number)

    @checks_permission(PermissionType.WRITE)
    def dismiss(self, actor: Actor, dataset: DatasetRef, version_id: VersionId, reason: str) -> Decided:
        """Says that the version will not be taken. It stays on its quarantine branch until that is deleted."""
        why = _reason(reason)
        kept = self._open(actor, dataset, version_id)
        with self._db.transaction() as tx:
            self._access.require(tx, actor, PermissionType.WRITE, dataset.id)
            _decide(tx, dataset, kept, "dismiss", actor, why)
        return Decided(self._kept(version_id), None)

    def _open(self, actor: Actor, dataset: DatasetRef, version_id: VersionId) -> Quarantined:
        with self._db.transaction() as tx:
            self._access.require(tx, actor, PermissionType.WRITE, dataset.id)
            found = Quarantine(tx).get(version_id)
            if found is None or standing_of(tx, version_id)[0] != dataset.id:
                raise NotInQuarantine(
                    f"that version of {dataset.slug!r} is not in quarantine: `dsplatform contract list {dataset.slug}` lists those that are"
                )
            self._versions.living(tx, version_id)
        if found.state != "open":
            raise _decided(found)
        return found

    def _kept(self, version_id: VersionId) -> Quarantined:
        with self._db.transaction() as tx:
            found = Quarantine(tx).get(version_id)
        if found is None:
            raise NotInQuarantine("the version was deleted meanwhile")
        return found

    # --- reading ---------------------------------------------------------------------------------------------------------------

    def _captured(self, version_id: VersionId) -> tuple[Mapping[str, Component], Mapping[str, FileCapture], Hints]:
        """The components and their captures, by name. What was not read yet is read, and kept."""
        with self._db.transaction() as tx:
            components = {str(item.name): item for item in self._versions.components(tx, version_id)}
            hints = ReadingHints(tx).get(standing_of(tx, version_id)[0])
            keys = {name: key_of(item.content_hash, name, hints) for name, item in components.items()}
            known = self._captures.known(tx, keys.values())
        missing = iter({keys[name]: item for name, item in components.items() if keys[name] not in known}.items())
        while chunk := dict(islice(missing, CHUNK)):
            with self._files.local_paths([item.file_id for item in chunk.values()]) as paths:
                requests: dict[Key, Request] = {
                    key: Request(path, item.file_type, item.name, hints) for path, (key, item) in zip(paths, chunk.items(), strict=True)
                }
                known |= self._captures.read(requests)
        return components, {name: known[key] for name, key in keys.items()}, hints

    def _breaches(self, contract: Contract, version_id: VersionId) -> list[Breach]:
        if not contract.tables:
            return []
        components, captures, hints = self._captured(version_id)
        asked = iter(
            [
                (name, place, question)
                for name, capture in captures.items()
                for place, question in judging.questions(contract, name, capture).items()
            ]
        )
        answers: dict[str, dict[Asked, Answer]] = {}
        while chunk := list(islice(asked, CHUNK)):
            for (name, place, _), answer in zip(chunk, self._answers(components, chunk, hints), strict=True):
                answers.setdefault(name, {})[place] = answer
        found = [
            breach for name, capture in captures.items() for breach in judging.breaches(contract, name, capture, answers.get(name, {}))
        ]
        return [*found, *judging.missing(contract, list(components))]

    def _answers(self, components: Mapping[str, Component], asked: Sequence[tuple[str, Asked, Question]], hints: Hints) -> Sequence[Answer]:
        files = [components[name] for name, _, _ in asked]
        with self._files.local_paths([item.file_id for item in files]) as paths:
            return sandbox.shared().answer(
                [
                    Request(path, item.file_type, item.name, hints, question)
                    for path, item, (_, _, question) in zip(paths, files, asked, strict=True)
                ]
            )


def _decide(
    tx: Transaction, dataset: DatasetRef, kept: Quarantined, verb: str, actor: Actor, reason: str, number: int | None = None
) -> None:
    """Raises `DecidedAlready`, so that of two who decide at once one does. `number`: the version that the branch is at by now."""
    if not Quarantine(tx).decide(kept.version_id, _STATES[verb], actor.user_id, reason):
        raise _decided(Quarantine(tx).get(kept.version_id) or kept)
    after = {"version": kept.version_number, "branch": kept.target_branch, "reason": reason, "branch_is_at": number}
    tx.note(_entry(f"quarantine.{verb}", actor, dataset, None, after))


_STATES = {"accept": "accepted", "dismiss": "dismissed"}


def _entry(
    action: str, actor: Actor, dataset: DatasetRef, before: Mapping[str, object] | None, after: Mapping[str, object] | None
) -> AuditEntry:
    return AuditEntry(action, "dataset", str(dataset.id), actor, before, after)


def _told(terms: Terms) -> Mapping[str, object]:
    """Of a contract only how often it was set: the rules are kept beside."""
    return {"branch": terms.branch, "policy": terms.policy, "on_breach": terms.on_breach, "revision": terms.revision}


def _decided(kept: Quarantined) -> DecidedAlready:
    when = "" if kept.decided_at is None else f" on {kept.decided_at:%Y-%m-%d} by {kept.decided_by}"
    return DecidedAlready(f"version {kept.version_number} was {kept.state}{when} ({kept.decision}): a decision is made once")


def _reason(raw: str) -> str:
    text = raw.strip()
    if not text:
        raise Invalid("a decision needs its reason: say why with --reason")
    if len(text) > REASON_LENGTH or storable(text) != text:
        raise Invalid(f"the reason has more than {REASON_LENGTH:,} characters, or holds a NUL or a broken character")
    return text


def _date_order(value: str) -> None:
    if value not in {"dmy", "mdy"}:
        raise Invalid(f"{value!r} is no order of dates: write dmy (31/01/2024) or mdy (01/31/2024)")


def _encoding(value: str) -> None:
    try:
        "".encode(value)
    except (LookupError, ValueError):
        raise Invalid(f"{value!r} is no encoding of text: write one such as windows-1252, shift_jis or koi8-r") from None


def _delimiter(value: str) -> None:
    if len(value) != 1 or value in '"\r\n\x00' or storable(value) != value:
        raise Invalid(f"{value!r} is no delimiter: write one character, no quote and no line end")


_RULES: Mapping[str, Callable[[str], None]] = {"date_order": _date_order, "encoding": _encoding, "delimiter": _delimiter}
