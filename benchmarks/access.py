"""Lists and names among very many datasets, for who may see a few of them."""

import io
import time
from collections.abc import Callable
from pathlib import Path

from benchmarks.measure import spread
from benchmarks.setting import fresh_platform, owner, table
from dsplatform.bootstrap import Platform
from dsplatform.core.domain import Actor
from dsplatform.core.types import DatasetId, PermissionType

DATASETS = 100_000
GRANTS = 1_000
VERSIONS = 3
PAGE = 100


def access(scratch: Path, rounds: int) -> str:
    """Pages of 100 among 100,000 datasets, for a user with 1,000 grants and for one who may see all."""
    with fresh_platform(scratch) as platform:
        system = platform.actor()
        few = platform.permissions.create_user("few", "viewer")
        fill(platform, system, few)
        slug = platform.datasets.list_datasets(few, limit=500)[-1].slug
        rows = [
            ("list, first page", few, lambda: _page(platform, few), "≤ 15"),
            ("list, a page in the middle", few, lambda: _page(platform, few, after=slug), "≤ 15"),
            ("list, the last page", few, lambda: _page(platform, few, after="d099"), ""),
            ("list, with a search that finds 100", few, lambda: _page(platform, few, search="77"), ""),
            ("list, with a search that finds nothing", few, lambda: _page(platform, few, search="nowhere"), ""),
            ("list, what she may write", few, lambda: _page(platform, few, right=PermissionType.WRITE), ""),
            ("count", few, lambda: platform.datasets.count(few), ""),
            ("one by its slug", few, lambda: platform.datasets.open(few, slug), ""),
            ("a check", few, lambda: platform.permissions.check_permission(few, PermissionType.READ, DatasetId(77)), ""),
            ("list, first page", system, lambda: _page(platform, system), ""),
            ("list, a page in the middle", system, lambda: _page(platform, system, after="d050"), ""),
            ("list, with a search that finds 100", system, lambda: _page(platform, system, search="77"), ""),
            ("count", system, lambda: platform.datasets.count(system), ""),
            ("one by its slug", system, lambda: platform.datasets.open(system, slug), ""),
        ]
        measured = [(what, f"{GRANTS:,} grants" if who is few else "admin", _median(work, rounds), bar) for what, who, work, bar in rows]
    return table(
        f"{DATASETS:,} datasets with {VERSIONS} versions each, in the service, ms", ["what", "for whom", "figure", "bar"], measured
    )


def fill(platform: Platform, system: Actor, few: Actor) -> None:
    """Rows alone: 100,000 datasets, and 1,000 of them granted to one user, by herself, by a group and for everyone."""
    platform.versions.create_version(system, platform.datasets.create_dataset(system, "d"), {"a": io.BytesIO(b"1")})
    with platform.db.transaction() as tx:
        tx.execute(
            "INSERT INTO datasets (name, slug, description, created_by) "
            "SELECT n, n, 'what the department ' || i % 100 || ' sends every day', :owner "
            "FROM (SELECT i, 'd' || lpad(CAST(i AS text), 6, '0') AS n FROM generate_series(1, CAST(:count AS integer)) i) s "
            "ORDER BY md5(n)",  # names are not made in their order
            owner=system.user_id,
            count=DATASETS,
        )
        tx.execute(
            "INSERT INTO permissions (resource_type, resource_id, user_id, permission_type) "
            "SELECT 'dataset', id, :owner, 'admin' FROM datasets WHERE slug <> 'd'",
            owner=system.user_id,
        )
        tx.execute(
            "INSERT INTO dataset_versions (dataset_id, version_number, overlay_file_id, component_count, total_bytes, created_by) "
            "SELECT d.id, n, v.overlay_file_id, 1, 1, v.created_by FROM dataset_versions v, datasets d, "
            "generate_series(1, CAST(:versions AS integer)) n WHERE d.slug <> 'd'",
            versions=VERSIONS,
        )
        group = tx.scalar("INSERT INTO groups (group_name) VALUES ('few') RETURNING id")
        tx.execute("INSERT INTO group_members (group_id, user_id) VALUES (:group, :user)", group=group, user=few.user_id)
        tx.execute(
            "INSERT INTO permissions (resource_type, resource_id, user_id, group_id, permission_type) "
            "SELECT 'dataset', id, CASE WHEN n % 10 < 7 THEN CAST(:user AS bigint) END, "
            "CASE WHEN n % 10 IN (7, 8) THEN CAST(:group AS bigint) END, CASE WHEN n % 2 = 0 THEN 'read' ELSE 'write' END "
            "FROM (SELECT id, row_number() OVER (ORDER BY slug) AS n FROM datasets WHERE slug LIKE :these) d",
            user=few.user_id,
            group=group,
            these="d%00",  # each hundredth
        )
    with owner(platform) as tx:
        tx.execute("VACUUM ANALYZE")


def _page(
    platform: Platform, actor: Actor, *, after: str = "", search: str | None = None, right: PermissionType = PermissionType.READ
) -> int:
    return len(platform.datasets.list_datasets(actor, after=after, search=search, right=right, limit=PAGE))


def _median(work: Callable[[], object], rounds: int) -> str:
    milliseconds = []
    for _ in range(12 * rounds):  # the first ones teach the driver and the server the statement
        started = time.perf_counter()
        work()
        milliseconds.append((time.perf_counter() - started) * 1000)
    return spread(milliseconds[6:])


ALL: dict[str, Callable[[Path, int], str]] = {"access": access}
