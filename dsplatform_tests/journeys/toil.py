"""What the processes of the soak do until they are killed: `work(platform, seed, ledger)`, without an end.

Refusals that the protocol knows are counted in the ledger and tried again; anything else is a failure and is written there, too. What
is going to be deleted is announced in the ledger before, so that the end knows what may be gone.
"""

import os
import random
import time
import traceback
from collections.abc import Callable
from io import BytesIO

from dsplatform.bootstrap import Platform
from dsplatform.core.errors import Conflict, Gone, Invalid, NotFound, Unavailable
from dsplatform.core.types import FilePath
from dsplatform.core.values import DatasetRef
from dsplatform.files import upload
from dsplatform.versioning.publishing import Publisher
from dsplatform_tests.journeys.crew import Ledger
from dsplatform_tests.journeys.works import COMMON, common, dataset, digest

SHARED = 3
"""Datasets that everybody writes to."""
LIFE = "1 second"
"""Of uploads; in production an hour. A process that is stopped for longer finds that its upload has expired."""

Step = Callable[[Platform, random.Random, Ledger], None]


def _for_ever(platform: Platform, seed: int, ledger: Ledger, step: Step, pause: float) -> None:
    generator = random.Random(f"{seed} {os.getpid()}")
    while True:
        try:
            step(platform, generator, ledger)
        except (Conflict, Gone, Invalid, NotFound, Unavailable) as err:
            ledger.write("refused", error=type(err).__name__, says=str(err))
            time.sleep(0.02 if isinstance(err, Unavailable) else 0)
        except Exception:  # noqa: BLE001 - the end of the soak reports it
            ledger.write("failed", trace=traceback.format_exc())
        time.sleep(generator.uniform(0, pause))


# --- who adds ------------------------------------------------------------------------------------------------------------------


def _meeting(ledger: Ledger) -> None:
    """Gives others time to come between a barrier and its commit, and lets the ledger know when they did."""
    seal, reconcile, rebase = upload.StagedUpload.seal, upload.StagedUpload.reconcile, Publisher._rebase

    def sealed(self: upload.StagedUpload) -> None:
        seal(self)
        time.sleep(random.uniform(0, 0.03))

    def reconciled(self: upload.StagedUpload) -> None:
        ledger.write("met", how="overtaken")
        reconcile(self)

    def rebased(self: Publisher, *args: object) -> object:
        ledger.write("met", how="head moved")
        return rebase(self, *args)  # type: ignore[arg-type]

    upload.StagedUpload.seal = sealed  # type: ignore[method-assign]
    upload.StagedUpload.reconcile = reconciled  # type: ignore[method-assign]
    Publisher._rebase = rebased  # type: ignore[method-assign,assignment]


def write(platform: Platform, seed: int, ledger: Ledger) -> None:
    """Versions of shared datasets and of its own, with contents that others have, too; staged files, of which some are given up."""
    _meeting(ledger)
    _for_ever(platform, seed, ledger, _write, 0.05)


def _write(platform: Platform, generator: random.Random, ledger: Ledger) -> None:
    if generator.random() < 0.3:
        for _ in range(6):
            _stage(platform, generator, ledger)
        return
    name = f"shared{generator.randrange(SHARED)}" if generator.random() < 0.7 else f"own{generator.randrange(6)}"
    parts = _contents(generator)
    remove = _some_name(platform, name, generator) if generator.random() < 0.3 else []
    committed = platform.versions.create_version(
        platform.actor(),
        dataset(platform, name),
        {part: BytesIO(data) for part, data in parts.items()},
        remove=[part for part in remove if part not in parts],
    )
    held = {part: digest(data) for part, data in parts.items()}
    ledger.write("version", dataset=committed.dataset.slug, number=committed.version_number, parts=held)


def _contents(generator: random.Random) -> dict[FilePath, bytes]:
    """Some that are new, of which few are too large to be held in memory, and some that come and go."""
    chosen = [generator.randbytes(300_000 if generator.random() < 0.05 else generator.randrange(1, 2_000))]
    chosen += [common(generator.randrange(COMMON)) for _ in range(generator.randrange(3))]
    chosen += [fleeting(generator)] if generator.random() < 0.1 else []
    return {FilePath(f"part-{generator.randrange(30)}"): data for data in chosen}


def fleeting(generator: random.Random) -> bytes:
    """A content that all store and give up in these two seconds, so that they meet each other and the collector."""
    return b"fleeting %d %d" % (time.time() // 2, generator.randrange(3))


def _some_name(platform: Platform, name: str, generator: random.Random) -> list[str]:
    _, _, components = platform.versions.find(platform.actor(), name)
    return [generator.choice(list(components)).name] if len(components) > 10 else []


def _stage(platform: Platform, generator: random.Random, ledger: Ledger) -> None:
    data = fleeting(generator)
    reference = platform.files.store_file(platform.actor(), BytesIO(data))
    session = str(reference.session_id)
    ledger.write("staged", session=session, path=reference.path, hash=digest(data))
    fate = generator.random()
    if fate < 0.45:
        ledger.write("gives up", session=session)
        platform.files.delete_reference(reference)
    elif fate < 0.9:
        ledger.write("gives up", session=session)
        with platform.db.transaction() as tx:
            tx.execute("UPDATE upload_sessions SET expires_at = now() WHERE id = :id", id=session)


# --- who deletes ---------------------------------------------------------------------------------------------------------------


def delete(platform: Platform, seed: int, ledger: Ledger) -> None:
    """Deletes versions that nobody points at, whole datasets of a writer, and what interrupted deletions left."""
    _for_ever(platform, seed, ledger, _delete, 0.1)


def _delete(platform: Platform, generator: random.Random, ledger: Ledger) -> None:
    fate = generator.random()
    if fate < 0.75:
        with platform.db.transaction() as tx:
            name = tx.scalar(
                "SELECT d.slug || '@' || v.version_number FROM dataset_versions v JOIN datasets d ON d.id = v.dataset_id "
                "WHERE v.id > :chance * (SELECT max(id) FROM dataset_versions) AND d.deleted_at IS NULL AND v.purged_at IS NULL "
                "AND NOT EXISTS (SELECT 1 FROM dataset_pointers p WHERE p.version_id = v.id) ORDER BY v.id LIMIT 1",
                chance=generator.random(),
            )
        if name:
            ledger.write("deletes", version=name)
            platform.deletion.delete_version(platform.actor(), name)
    elif fate < 0.85:
        slug = _own(platform, generator)
        ledger.write("deletes", dataset=slug.slug)
        platform.datasets.delete_dataset(platform.actor(), slug.slug)
        with platform.db.transaction() as tx:
            tx.execute("UPDATE datasets SET deleted_at = now() - interval '31 days' WHERE deleted_at IS NOT NULL")
    elif fate < 0.95:
        platform.deletion.reap(platform.system())
    else:
        platform.deletion.resume()


def _own(platform: Platform, generator: random.Random) -> DatasetRef:
    with platform.db.transaction() as tx:
        return platform.datasets.find(tx, platform.actor(), f"own{generator.randrange(6)}")


# --- who keeps house -----------------------------------------------------------------------------------------------------------


def collect(platform: Platform, seed: int, ledger: Ledger) -> None:
    """Makes lives and graces short, and collects without pause; now and then it looks for strays."""
    _for_ever(platform, seed, ledger, _collect, 0.1)


def _collect(platform: Platform, generator: random.Random, ledger: Ledger) -> None:
    with platform.db.autocommit() as tx:
        for table, key, change in (
            ("upload_intents", "id", f"expires_at = least(expires_at, created_at + interval '{LIFE}')"),
            ("gc_queue", "file_id", "review_after = least(review_after, now())"),
            ("tombstones", "storage_key", "purge_after = least(purge_after, now())"),
        ):  # passing by what others hold, so that every deadlock is the platform's own
            tx.execute(f"UPDATE {table} SET {change} WHERE {key} IN (SELECT {key} FROM {table} ORDER BY {key} FOR UPDATE SKIP LOCKED)")
    done = platform.gc.collect(platform.system(), sweep=generator.random() < 0.05)
    with platform.db.autocommit() as tx:
        postponed = tx.scalar("SELECT coalesce(sum(attempts), 0) FROM gc_queue")
    ledger.write(
        "collected",
        sessions=done.sessions.count,
        uploads=done.uploads.count,
        unreferenced=done.unreferenced.count,
        purged=done.purged.count,
        skipped=int(postponed),
    )


def fold(platform: Platform, seed: int, ledger: Ledger) -> None:
    """Brings the counts up to date; every now and then compares them with the references."""
    _for_ever(platform, seed, ledger, _fold, 0.1)


def _fold(platform: Platform, generator: random.Random, ledger: Ledger) -> None:
    ledger.write("folded", deltas=platform.gc.fold())
    if generator.random() < 0.1 and (wrong := platform.gc.audit().miscounts):
        ledger.write("failed", trace=f"miscounted: {wrong[:3]}")


def watch(platform: Platform, seed: int, ledger: Ledger) -> None:
    """Scrubs and verifies while the others work: what they do is no fault."""
    _for_ever(platform, seed, ledger, _watch, 0.5)


def _watch(platform: Platform, generator: random.Random, ledger: Ledger) -> None:
    if generator.random() < 0.5:
        scrubbed = platform.scrub.contents(platform.system(), max_bytes=20_000_000)
        ledger.write("scrubbed", files=scrubbed.files)
        if scrubbed.damaged_files:
            ledger.write("failed", trace=f"damaged: {scrubbed.damages[:3]}")
        return
    problems = platform.verify(platform.system()).problems
    ledger.write("verified")
    if problems:
        ledger.write("failed", trace=f"verified: {problems[:3]}")


ROLES: dict[str, int] = {"write": 5, "delete": 2, "collect": 2, "fold": 1, "watch": 1}
"""How many processes there are of each."""
