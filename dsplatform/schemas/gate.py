"""Judges what is about to be committed to a branch whose contract is enforced. What it reads is kept as captures, so that it is read once.

An arrival is judged for what it brings: its files by the contract, and the schema of the whole version by the one of the head. What the
branch has already is not judged again; a person may have accepted it.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import islice
from typing import TypeAlias, TypeVar

from dsplatform.core.database import Database, Transaction
from dsplatform.core.interfaces import Upload
from dsplatform.core.types import DatasetId, FilePath, PointerName, VersionId
from dsplatform.core.values import Arrival, Committed, EnforcedRule, NotRead, Refusal
from dsplatform.schemas import sandbox
from dsplatform.schemas.capturing import Captures, Request, key_of
from dsplatform.schemas.comparing.changes import Comparison, Verdict
from dsplatform.schemas.comparing.comparison import compare
from dsplatform.schemas.contract_rows import Contracts, Quarantine, ReadingHints, Terms
from dsplatform.schemas.contracts import judging
from dsplatform.schemas.contracts.judging import Answer, Asked, Question
from dsplatform.schemas.contracts.model import Breach, Contract, OnBreach
from dsplatform.schemas.model import READER_VERSION, FileCapture, Hints, Status, VersionSchema
from dsplatform.schemas.repository import Key, SchemaVersions

CHUNK = 512
"""Files that lie ready to be read at once."""

K = TypeVar("K")
_Answered: TypeAlias = tuple[Key, Question]
_Named: TypeAlias = tuple[str, str]
"""(type of the file, name) of a component."""


class Gate:
    """See `core.interfaces.ArrivalGate`."""

    def __init__(self, db: Database) -> None:
        self._db = db
        self._captures = Captures(db)

    def enforced(self, tx: Transaction, dataset_id: DatasetId, branch: PointerName) -> EnforcedRule | None:
        """See `core.interfaces.ArrivalGate.enforced`."""
        return Contracts(tx, dataset_id).enforced(branch)

    def inspect(self, upload: Upload) -> "GateInspection":
        """See `core.interfaces.ArrivalGate.inspect`."""
        return GateInspection(self._db, self._captures, upload)

    def put_aside(self, tx: Transaction, committed: Committed) -> None:
        """See `core.interfaces.ArrivalGate.put_aside`."""
        if committed.quarantined_from is None:
            raise AssertionError("a version is put aside from some branch")
        target, report = committed.quarantined_from, committed.breaches
        Quarantine(tx).add(committed.version_id, committed.dataset.id, committed.branch, target, report)

    def renamed(self, tx: Transaction, dataset_id: DatasetId, old: PointerName, new: PointerName) -> None:
        """See `core.interfaces.ArrivalGate.renamed`."""
        Contracts(tx, dataset_id).rename_branch(old, new)

    def aside(self, tx: Transaction, version_id: VersionId) -> tuple[PointerName, Sequence[str]] | None:
        """See `core.interfaces.ArrivalGate.aside`."""
        found = Quarantine(tx).get(version_id)
        return None if found is None else (found.branch, found.report)


class GateInspection:
    """See `core.interfaces.Inspection`. What contents answered is remembered as long as the upload lasts."""

    def __init__(self, db: Database, captures: Captures, upload: Upload) -> None:
        self._db = db
        self._captures = captures
        self._upload = upload
        self._answers: dict[_Answered, Answer] = {}

    def judge(self, tx: Transaction, arrival: Arrival) -> Refusal | None:
        """See `core.interfaces.Inspection.judge`."""
        terms = Contracts(tx, arrival.dataset.id).effective(arrival.branch)
        if terms is None:
            raise AssertionError("an arrival is judged by terms that were found before")
        seen = self._look(tx, arrival, terms)
        if seen.unread or seen.unanswered(self._answers):
            raise NotRead(arrival)
        sentences = [breach.sentence for breach in seen.breaches(self._answers)]
        return Refusal(tuple(sentences), terms.on_breach is OnBreach.QUARANTINE) if sentences else None

    def read(self, arrival: Arrival) -> None:
        """See `core.interfaces.Inspection.read`."""
        with self._db.autocommit() as tx:
            terms = Contracts(tx, arrival.dataset.id).effective(arrival.branch)
            if terms is None:
                return  # there is nothing to be judged by any more
            seen = self._look(tx, arrival, terms)
        for chunk in _chunks(seen.unread):
            with self._upload.local_paths([key[0] for key in chunk]) as paths:
                requests = {key: Request(paths[key[0]], *chunk[key], seen.hints) for key in chunk}
                seen.known |= self._captures.read(requests)
        for asked in _chunks(seen.unanswered(self._answers)):
            with self._upload.local_paths([key[0] for key, _ in asked]) as paths:
                questions = [Request(paths[key[0]], *named, seen.hints, question) for (key, question), named in asked.items()]
                self._answers |= dict(zip(asked, sandbox.shared().answer(questions), strict=True))

    def _look(self, tx: Transaction, arrival: Arrival, terms: Terms) -> "_Seen":
        return _Seen(tx, self._captures, arrival, terms.contract)


class _Seen:
    """What is known of an arrival and its branch."""

    def __init__(self, tx: Transaction, captures: Captures, arrival: Arrival, contract: Contract) -> None:
        self._arrival = arrival
        self._contract = contract
        self.hints: Hints = ReadingHints(tx).get(arrival.dataset.id)
        self._put = {name: key_of(content.content_hash, name, self.hints) for name, content in arrival.put.items()}
        wanted = {self._put[name]: (content.file_type, str(name)) for name, content in arrival.put.items()}
        self._head = self._captured(tx, arrival.head)
        self._before: dict[FilePath, Key] = {}
        if self._head is None:
            self._before = {item.name: key_of(item.content_hash, item.name, self.hints) for item in arrival.before}
            wanted |= {self._before[item.name]: (item.file_type, str(item.name)) for item in arrival.before}
        self.known: dict[Key, FileCapture] = captures.known(tx, wanted)
        self._wanted = wanted

    @property
    def unread(self) -> dict[Key, _Named]:
        """What no reader has read yet."""
        return {key: named for key, named in self._wanted.items() if key not in self.known}

    def unanswered(self, answers: Mapping[_Answered, Answer]) -> dict[_Answered, _Named]:
        """What the contract has to ask of rows that were not asked yet."""
        return {
            (key, question): self._wanted[key]
            for name, key in self._put.items()
            if key in self.known
            for question in self._questions(name, key).values()
            if (key, question) not in answers
        }

    def breaches(self, answers: Mapping[_Answered, Answer]) -> Iterator[Breach]:
        """All that is wrong with the arrival. Everything was read."""
        for name, key in self._put.items():
            capture = self.known[key]
            mine: dict[Asked, Answer] = {asked: answers[key, question] for asked, question in self._questions(name, key).items()}
            found = judging.breaches(self._contract, name, capture, mine)
            if capture.status is Status.UNREADABLE and not found:
                yield Breach("unreadable", name, None, None, f"{name} cannot be read: {capture.reason}")
            yield from found
        if self._arrival.removed or self._arrival.head is None:
            left = {item.name for item in self._arrival.before}.difference(self._arrival.removed)
            yield from judging.missing(self._contract, [*left, *self._put])
        before = self._head or VersionSchema.compose({name: self.known[key] for name, key in self._before.items()})
        if self._arrival.head is not None:
            yield from broken(compare(before, self._after(before)))

    def _questions(self, name: str, key: Key) -> Mapping[Asked, Question]:
        return judging.questions(self._contract, name, self.known[key])

    def _captured(self, tx: Transaction, head: VersionId | None) -> VersionSchema | None:
        versions = SchemaVersions(tx)
        if head is None or versions.summary(head, READER_VERSION + self.hints.suffix) is None:
            return None
        return versions.get(head)

    def _after(self, before: VersionSchema) -> VersionSchema:
        """The schema of the version that would be made: what the head has, without what goes, and with what comes."""
        new = VersionSchema.compose({name: self.known[key] for name, key in self._put.items()})
        places = [next((at for at, old in enumerate(before.layouts) if old == layout), -1) for layout in new.layouts]
        layouts = list(before.layouts)
        for index, layout in enumerate(new.layouts):
            if places[index] < 0:
                places[index] = len(layouts)
                layouts.append(layout)
        fresh = {item.name: item if item.layout is None else replace(item, layout=places[item.layout]) for item in new.components}
        gone = {str(name) for name in self._arrival.removed}
        kept = [fresh.pop(item.name, item) for item in before.components if item.name not in gone]
        return VersionSchema(before.schema_version, tuple(layouts), (*kept, *fresh.values()))


def broken(change: Comparison) -> list[Breach]:
    """A breaking change, in sentences, without what harms nobody."""
    if change.verdict is not Verdict.BREAKING:
        return []
    graver = replace(
        change,
        components_restored=(),
        components_unlike=(),
        components_unread=(),
        layouts=(),
        sheets=tuple(sheets for sheets in change.sheets if sheets.verdict is Verdict.BREAKING),
        tables=tuple(table for table in change.tables if table.verdict is Verdict.BREAKING),
    )
    return [Breach("schema", "", None, None, sentence) for sentence in graver.sentences() or change.sentences()]


def _chunks(items: Mapping[K, _Named]) -> Iterator[dict[K, _Named]]:
    rest = iter(items.items())
    while chunk := dict(islice(rest, CHUNK)):
        yield chunk
