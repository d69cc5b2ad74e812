"""Why a content is here, and what takes how much space."""

from datetime import UTC, datetime, timedelta

import pytest

from dsplatform.bootstrap import Platform
from dsplatform.core.domain import Actor
from dsplatform.core.errors import Conflict, Denied, Invalid, NotFound
from dsplatform.core.types import PermissionType
from dsplatform.files.inventory import Buried, Component, DatasetUsage, Overlay
from dsplatform_tests import make


def hash_of(platform: Platform, file_id: int) -> str:
    (content_hash,) = make.column(platform.db, "SELECT content_hash FROM files WHERE id = :id", id=file_id)
    return str(content_hash)


def point(platform: Platform, name: str, version_id: int, *, tag: bool) -> None:
    with platform.db.transaction() as tx:
        tx.execute(
            "INSERT INTO dataset_pointers (dataset_id, pointer_name, version_id, is_tag) "
            "SELECT dataset_id, :name, id, :tag FROM dataset_versions WHERE id = :id",
            name=name,
            id=version_id,
            tag=tag,
        )


# --- why -------------------------------------------------------------------------------------------------------------------------


def test_every_reference_of_a_file_is_told(platform: Platform, system: Actor) -> None:
    staged = make.stored(platform, b"shared")
    for name in ("shop", "depot"):
        make.commit(platform, make.dataset(platform, name), {"a.csv": b"shared"})
    reasons = platform.inventory.why(platform.system(), hash_of(platform, staged.file_id))
    assert (reasons.file_id, reasons.file_size, reasons.state, reasons.references) == (staged.file_id, 6, "ok", 3)
    assert reasons.components == (Component("depot", 1, "a.csv"), Component("shop", 1, "a.csv"))
    (session,) = reasons.staged
    assert (session.user, session.session_id, session.path) == (system.username, staged.session_id, "file")
    assert timedelta(hours=23) < session.until - datetime.now(UTC) <= timedelta(hours=24)
    assert (reasons.overlays, reasons.review_after, reasons.uploads, reasons.buried) == ((), None, (), ())


def test_an_overlay_is_told_as_one(platform: Platform) -> None:
    make.commit(platform, make.dataset(platform, "shop"), {"a": b"a"})
    (overlay,) = make.column(platform.db, "SELECT overlay_file_id FROM dataset_versions")
    assert platform.inventory.why(platform.system(), str(overlay)).overlays == (Overlay("shop", 1),)


def test_a_file_on_its_way_out_says_where_it_is(platform: Platform) -> None:
    reference = make.stored(platform, b"going")
    content_hash = hash_of(platform, reference.file_id)
    key = platform.files.get_file(reference.file_id).storage_key
    platform.files.delete_reference(reference)
    reasons = platform.inventory.why(platform.system(), content_hash)
    assert (reasons.references, reasons.staged) == (0, ())
    assert reasons.review_after is not None

    make.overdue(platform.db)
    platform.gc.collect(platform.system())
    reasons = platform.inventory.why(platform.system(), content_hash[:8])
    assert (reasons.content_hash, reasons.file_id, reasons.file_size) == (content_hash, None, None)
    (buried,) = reasons.buried
    assert buried == Buried(key, "unreferenced", buried.until)
    assert timedelta(days=7) < buried.until - datetime.now(UTC) <= timedelta(days=8)

    make.drained(platform)
    with pytest.raises(NotFound, match="nothing is left of it"):
        platform.inventory.why(platform.system(), content_hash)


def test_an_upload_that_may_be_writing_the_content_is_told(platform: Platform) -> None:
    reference = make.stored(platform, b"again")
    key = platform.files.get_file(reference.file_id).storage_key
    with platform.db.transaction() as tx:
        tx.execute(
            "INSERT INTO upload_intents (id, backend, storage_keys, expires_at) "
            "VALUES (gen_random_uuid(), 'local', ARRAY['x', :key], now() + interval '1 hour')",
            key=key,
        )
    (until,) = platform.inventory.why(platform.system(), hash_of(platform, reference.file_id)).uploads
    assert until > datetime.now(UTC)


def test_lists_are_cut_and_the_number_is_not(platform: Platform) -> None:
    make.commit(platform, make.dataset(platform), {f"{number:02}": b"same" for number in range(10)})
    (file_id,) = make.column(platform.db, "SELECT DISTINCT file_id FROM dataset_version_files")
    reasons = platform.inventory.why(platform.system(), str(file_id), limit=3)
    assert [one.component for one in reasons.components] == ["00", "01", "02"]
    assert reasons.references == 10


def test_eight_digits_name_a_content_when_no_other_begins_so(platform: Platform) -> None:
    with platform.db.transaction() as tx:
        for number, ending in enumerate(("0" * 54, "f" * 54)):
            tx.execute(
                "INSERT INTO files (content_hash, file_size, storage_type, file_path, file_type) VALUES (:hash, 1, 'local', :key, 'text')",
                hash=f"abcdef012{number}{ending}",
                key=f"key {number}",
            )
    assert platform.inventory.why(platform.system(), "ABCDEF0120").content_hash == "abcdef0120" + "0" * 54
    with pytest.raises(Conflict, match="several contents begin with abcdef01"):
        platform.inventory.why(platform.system(), "abcdef01")
    for nonsense in ("abcdef0", "no such thing", "", "0" * 65 + "a"):
        with pytest.raises(Invalid, match="8 to 64"):
            platform.inventory.why(platform.system(), nonsense)
    for unknown in ("1234567", "99999999", "a" * 64, "9" * 30):
        with pytest.raises(NotFound):
            platform.inventory.why(platform.system(), unknown)


# --- usage -----------------------------------------------------------------------------------------------------------------------


def overlays(platform: Platform, dataset: str, numbers: tuple[int, ...]) -> int:
    """Bytes of the overlays of these versions."""
    return sum(
        make.column(
            platform.db,
            "SELECT f.file_size FROM dataset_versions v JOIN files f ON f.id = v.overlay_file_id JOIN datasets d ON d.id = v.dataset_id "
            "WHERE d.slug = :dataset AND v.version_number = ANY(CAST(:numbers AS int[]))",
            dataset=dataset,
            numbers=list(numbers),
        )
    )


def test_bytes_are_live_historical_shared_or_pending(platform: Platform, system: Actor) -> None:
    shop = make.dataset(platform, "shop")
    make.commit(platform, shop, {"a": b"1" * 10, "b": b"2" * 200})  # version 1: its "a" is history
    make.commit(platform, shop, {"a": b"3" * 3_000})
    tagged = make.commit(platform, shop, {"a": b"4" * 40_000})  # version 3: only a tag names its "a"
    point(platform, "v1.0", tagged.version_id, tag=True)
    make.commit(platform, shop, {"a": b"5" * 500_000})
    depot = make.dataset(platform, "depot")
    make.commit(platform, depot, {"x": b"2" * 200, "y": b"2" * 200})
    make.stored(platform, b"6" * 6_000_000)
    platform.files.delete_reference(make.stored(platform, b"7" * 70))
    platform.files.delete_reference(make.stored(platform, b"8" * 800))
    with platform.db.transaction() as tx:
        tx.execute("UPDATE gc_queue SET review_after = now() - interval '1 s' WHERE file_id = (SELECT max(id) FROM files)")
    platform.gc.collect(platform.system())

    live = 500_000 + 40_000 + 200 + overlays(platform, "shop", (3, 4))
    historical = 10 + 3_000 + overlays(platform, "shop", (1, 2))
    of_shop = DatasetUsage("shop", 5 + 4, live, historical, 0, 200)
    of_depot = DatasetUsage("depot", 1 + 1, 200 + overlays(platform, "depot", (1,)), 0, 0, 200)
    assert platform.inventory.usage_of(system, shop) == of_shop
    usage = platform.inventory.usage(platform.system())
    assert usage.datasets == (of_depot, of_shop)
    assert usage.live == of_shop.live + of_depot.live - 200
    assert (usage.historical, usage.staged, usage.pending) == (historical, 6_000_000, 70)
    assert (usage.buried, usage.buried_objects) == (800, 1)
    assert usage.stored == usage.live + usage.historical + usage.staged + usage.pending
    assert usage.files == 5 + 4 + 1 + 2  # contents of shop, its overlays, the overlay of depot, one staged and one pending
    assert usage.named == 210 + 3_200 + 40_200 + 500_200 + 400


def test_what_only_deleted_versions_and_datasets_name_is_pending(platform: Platform, system: Actor) -> None:
    shop = make.dataset(platform, "shop")
    first = make.commit(platform, shop, {"a": b"1" * 10})
    make.commit(platform, shop, {"a": b"2" * 200})
    depot = make.dataset(platform, "depot")
    make.commit(platform, depot, {"x": b"3" * 3_000})
    with platform.db.transaction() as tx:
        tx.execute("UPDATE dataset_versions SET purged_at = now() WHERE id = :id", id=first.version_id)
        tx.execute("UPDATE datasets SET deleted_at = now() WHERE slug = 'depot'")
    assert platform.inventory.usage_of(system, shop).pending == 10
    usage = platform.inventory.usage(platform.system())
    assert usage.pending == 10 + 3_000 + overlays(platform, "depot", (1,))
    assert usage.named == 200
    assert {one.dataset: (one.live, one.historical) for one in usage.datasets}["depot"] == (0, 0)


def test_an_empty_dataset_and_an_empty_store_take_nothing(platform: Platform, system: Actor) -> None:
    assert platform.inventory.usage_of(system, make.dataset(platform, "shop")) == DatasetUsage("shop", 0, 0, 0, 0, 0)
    usage = platform.inventory.usage(platform.system())
    assert (usage.stored, usage.datasets) == (0, ())


def test_the_usage_of_a_dataset_needs_read(platform: Platform) -> None:
    shop = make.dataset(platform, "shop")
    stranger = platform.permissions.create_user("stranger")
    with pytest.raises(Denied):
        platform.inventory.usage_of(stranger, shop)
    platform.permissions.grant_permission(platform.actor(), stranger, PermissionType.READ, shop.id)
    platform.inventory.usage_of(stranger, shop)
