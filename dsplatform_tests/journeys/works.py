"""What processes do that are killed meanwhile: `work(platform, seed, ledger)`. The seed decides what, so that no two do the same."""

import hashlib
import random
from contextlib import suppress
from io import BytesIO

from dsplatform.bootstrap import Platform
from dsplatform.core.errors import Unavailable
from dsplatform.core.types import MAIN, FilePath
from dsplatform.core.values import Committed, Content, DatasetRef, Source, UploadOvertaken, VersionChange
from dsplatform.files import s3
from dsplatform.files.model import UploadExpired
from dsplatform.files.repository import Staged
from dsplatform.versioning import deletion
from dsplatform_tests.journeys.crew import Ledger

COMMON = 12
"""Contents that everybody has."""


def digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def common(number: int) -> bytes:
    """A content that many write; every fourth is too large to be held in memory."""
    return b"common %d\n" % (number % COMMON) * (40_000 if number % 4 == 0 else 3)


def invented(generator: random.Random) -> bytes:
    """A content that nobody has; one in four is too large to be held in memory."""
    return generator.randbytes(300_000 if generator.random() < 0.25 else generator.randrange(1, 5_000))


def dataset(platform: Platform, name: str) -> DatasetRef:
    """The dataset of that name."""
    with platform.db.transaction() as tx:
        return platform.datasets.ensure(tx, platform.actor(), name)


def contents(generator: random.Random) -> dict[FilePath, bytes]:
    """One to five components: new ones and common ones, at least one of each, so that each version is one."""
    chosen = [invented(generator), common(generator.randrange(COMMON))]
    chosen += [generator.choice([invented(generator), common(generator.randrange(COMMON))]) for _ in range(generator.randrange(4))]
    return {FilePath(f"part-{generator.randrange(40)}"): data for data in chosen}


def publish(platform: Platform, seed: int, ledger: Ledger) -> None:
    """One batch as ingestion makes it: several datasets, behind one barrier, with a stream among the files."""
    generator = random.Random(seed)
    batch: dict[str, dict[FilePath, bytes]] = {
        f"set{number}": contents(generator) for number in generator.sample(range(3), generator.choice([1, 1, 2, 3]))
    }
    generator.choice(list(batch.values()))[FilePath("stream")] = b"stream" + generator.randbytes(400_000)
    with platform.files.upload() as sending:
        changes = []
        for name, parts in batch.items():
            sources: list[Source] = [BytesIO(data) for data in parts.values()]
            put = {part: content for part, content in zip(parts, sending.add(sources), strict=True) if isinstance(content, Content)}
            changes.append(VersionChange(platform.actor(), dataset(platform, name), put, (), MAIN))
        outcomes = platform.versions.publish(sending, changes, lambda _tx, _index, _committed: None)
    for outcome, (name, parts) in zip(outcomes, batch.items(), strict=True):
        if not isinstance(outcome, Committed):
            raise outcome
        ledger.write("version", dataset=name, number=outcome.version_number, parts={part: digest(data) for part, data in parts.items()})


def stage(platform: Platform, seed: int, ledger: Ledger) -> None:
    """A file for a user at work; the same one again is a duplicate."""
    generator = random.Random(seed)
    data = generator.choice([invented(generator), common(seed)])
    for _ in range(2):
        reference = platform.files.store_file(platform.actor(), BytesIO(data))
        ledger.write("staged", session=str(reference.session_id), path=reference.path, hash=digest(data))


def overtaken(platform: Platform, seed: int, ledger: Ledger) -> None:
    """Somebody else records the content between our barrier and our commit: our copy goes to the collector."""
    data = random.Random(seed).randbytes(300_000 if seed % 2 else 300)
    with platform.files.upload() as sending:
        sending.add([BytesIO(data)])
        sending.seal()
        first = platform.files.store_file(platform.actor(), BytesIO(data))
        ledger.write("staged", session=str(first.session_id), path=first.path, hash=digest(data))
        for _ in range(2):
            with suppress(UploadOvertaken), platform.db.transaction() as tx:
                ids = sending.record(tx, [first.content_hash])
                Staged(tx).put(first.session_id, "again", ids[first.content_hash])
                break
            sending.reconcile()
    ledger.write("staged", session=str(first.session_id), path="again", hash=digest(data))


def heal(platform: Platform, seed: int, ledger: Ledger) -> None:
    """The content that was damaged arrives again, with others."""
    healed = common(seed)
    committed = platform.versions.create_version(
        platform.actor(), dataset(platform, "healed"), {f"part-{seed}": BytesIO(healed), "new": BytesIO(b"%d" % seed)}
    )
    parts = {f"part-{seed}": digest(healed), "new": digest(b"%d" % seed)}
    ledger.write("version", dataset="healed", number=committed.version_number, parts=parts)


def collect(platform: Platform, _seed: int, _ledger: Ledger) -> None:
    platform.gc.collect(platform.system())


def sweep(platform: Platform, _seed: int, _ledger: Ledger) -> None:
    platform.gc.collect(platform.system(), sweep=True)


def fold(platform: Platform, _seed: int, _ledger: Ledger) -> None:
    platform.gc.fold()


def scrub(platform: Platform, _seed: int, _ledger: Ledger) -> None:
    platform.scrub.contents(platform.system())


def delete_version(platform: Platform, seed: int, _ledger: Ledger) -> None:
    deletion.BATCH = 1
    platform.deletion.delete_version(platform.actor(), f"old{seed}@1")


def reap(platform: Platform, _seed: int, _ledger: Ledger) -> None:
    deletion.BATCH = 1
    platform.deletion.reap(platform.system())


def ingest(platform: Platform, _seed: int, _ledger: Ledger) -> None:
    platform.ingestion.discover()
    platform.ingestion.ingest_ready()


def publish_in_parts(platform: Platform, seed: int, ledger: Ledger) -> None:
    """The way of large objects, for one that is small: it has one part, because only the last may be small."""
    s3.MULTIPART_BYTES = 300_000
    publish(platform, seed, ledger)


def publish_slowly(platform: Platform, seed: int, ledger: Ledger) -> None:
    """One that was paused may find that its time is over."""
    try:
        publish(platform, seed, ledger)
    except (UploadExpired, Unavailable) as err:  # or its objects were gone before it could make them durable
        ledger.write("expired", error=str(err))


def collect_interrupted(platform: Platform, _seed: int, ledger: Ledger) -> None:
    """One that sleeps and loses its connection fails, and says so."""
    with suppress(Unavailable):
        platform.gc.collect(platform.system())
        ledger.write("undisturbed")


def sweep_interrupted(platform: Platform, _seed: int, ledger: Ledger) -> None:
    """The same, looking for strays."""
    with suppress(Unavailable):
        platform.gc.collect(platform.system(), sweep=True)
        ledger.write("undisturbed")
