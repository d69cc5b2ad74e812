"""Each oddity of the legacy system's data ends as the rules say; the table names them by their numbers in its description."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from dsplatform.bootstrap import Platform
from dsplatform.migration.model import Entity, legacy_id
from dsplatform_tests import make
from dsplatform_tests.legacy.generator import Built
from dsplatform_tests.migration.legacy_side import Legacy, built

GENERATIONS = ("G0", "G1a", "G1b", "G2")
Check = Callable[[Legacy, str], bool]


@dataclass(frozen=True)
class Ending:
    """How every row of an oddity ends."""

    entity: Entity
    outcome: str
    reasons: frozenset[str] = frozenset()
    """Among what is remarked about it."""
    check: Check = lambda _legacy, _id: True


def _version(question: str) -> Check:
    """Holds of the version that the row became."""
    return lambda legacy, id_: (
        legacy.ask(
            f"SELECT {question} FROM dataset_versions v JOIN legacy_id_map m ON m.new_id = v.id "
            "WHERE m.entity = 'dataset_versions' AND m.legacy_id = :id",
            id=id_,
        )
        == [(True,)]
    )


def _dataset(question: str) -> Check:
    return lambda legacy, id_: (
        legacy.ask(
            f"SELECT {question} FROM datasets d JOIN legacy_id_map m ON m.new_id = d.id WHERE m.entity = 'datasets' AND m.legacy_id = :id",
            id=id_,
        )
        == [(True,)]
    )


def _absent(table: str) -> Check:
    return lambda legacy, id_: legacy.outcomes(Entity(table))[id_][2] is None


MAIN_AT_TOP = (
    "(SELECT p.version_id FROM dataset_pointers p WHERE p.dataset_id = d.id AND p.pointer_name = 'main' AND NOT p.is_tag) = "
    "(SELECT id FROM dataset_versions v WHERE v.dataset_id = d.id ORDER BY version_number DESC LIMIT 1)"
)
RAW = "coalesce(m.kept->>'name', d.name)"
NO_GRANT = "NOT EXISTS (SELECT 1 FROM permissions p WHERE p.resource_type = 'dataset' AND p.resource_id = d.id)"
NUMBERS = "(SELECT max(version_number) > count(*) FROM dataset_versions v WHERE v.dataset_id = d.id)"
ROOTS = "(SELECT count(*) > 1 FROM dataset_versions v WHERE v.dataset_id = d.id AND v.parent_version_id IS NULL)"
OWN_MAIN = (
    "(SELECT c.metadata->'legacy'->>'file_id' = m.kept->>'file_id' FROM dataset_version_files c "
    "WHERE c.version_id = v.id AND c.component_name = 'main')"
)
DATASETS, VERSIONS, POINTERS, TAGS = Entity.DATASETS, Entity.VERSIONS, Entity.POINTERS, Entity.VERSION_TAGS
MIGRATED, QUARANTINED = "migrated", "quarantined"

ENDINGS: dict[str, Ending] = {
    "D1": Ending(DATASETS, MIGRATED, check=_dataset(f"d.name IN ({RAW}, {RAW} || '-' || m.legacy_id)")),
    "D2": Ending(DATASETS, MIGRATED, frozenset({"duplicate_key"}), _dataset("d.name = m.kept->>'name' || '-' || m.legacy_id")),
    "D4.parent": Ending(VERSIONS, QUARANTINED, frozenset({"cross_dataset_parent"}), _version("v.parent_version_id IS NULL")),
    "D4.first": Ending(VERSIONS, "", check=_version("v.version_number > 1")),
    "D5": Ending(DATASETS, MIGRATED, check=_dataset("NOT EXISTS (SELECT 1 FROM dataset_pointers p WHERE p.dataset_id = d.id)")),
    "D6": Ending(DATASETS, MIGRATED, check=_dataset(NUMBERS)),
    "D7": Ending(DATASETS, MIGRATED, check=_dataset(ROOTS)),
    "D8.none": Ending(DATASETS, MIGRATED, frozenset({"main_created"}), _dataset(MAIN_AT_TOP)),
    "D8.other": Ending(DATASETS, MIGRATED, frozenset({"main_created"}), _dataset(MAIN_AT_TOP)),
    "D10.attached": Ending(VERSIONS, ""),
    "D10.named": Ending(VERSIONS, MIGRATED, check=_version("v.component_count = 1")),
    "D11": Ending(VERSIONS, MIGRATED, check=_version(OWN_MAIN)),
    "D21.case": Ending(Entity.TAGS, MIGRATED),
    "D21.null": Ending(Entity.TAGS, MIGRATED),
    "D22.resource": Ending(Entity.PERMISSIONS, QUARANTINED, frozenset({"unknown_resource"}), _absent("permissions")),
    "D22.type": Ending(Entity.PERMISSIONS, QUARANTINED, frozenset({"unknown_right"}), _absent("permissions")),
    "D23.levels": Ending(Entity.PERMISSIONS, MIGRATED),
    "D23.tables": Ending(Entity.PERMISSIONS, MIGRATED),
    "D24.dataset": Ending(
        DATASETS, MIGRATED, frozenset({"unknown_owner"}), _dataset("(SELECT NOT is_active FROM users u WHERE u.id = d.created_by)")
    ),
    "D24.version": Ending(VERSIONS, MIGRATED, frozenset({"unknown_owner"})),
    "D25.archived": Ending(VERSIONS, MIGRATED, check=_version("m.kept->>'status' = 'archived' AND v.purged_at IS NULL")),
    "D25.deleted": Ending(VERSIONS, MIGRATED, check=_version("m.kept->>'status' = 'deleted' AND v.purged_at IS NULL")),
    "D26.gap": Ending(VERSIONS, MIGRATED, frozenset({"bad_time"})),
    "D26.twice": Ending(VERSIONS, MIGRATED, frozenset({"bad_time"})),
    "D27.dataset": Ending(DATASETS, MIGRATED, frozenset(), _dataset("coalesce(m.kept->>'given_name', d.name) = d.name")),
}
"""Those that are this module's to end; files and users have theirs elsewhere. An empty outcome: either."""


@pytest.fixture(params=GENERATIONS)
def migrated(request: pytest.FixtureRequest, platform: Platform, legacy_url: str, legacy_folder: Path) -> tuple[Legacy, Built]:
    legacy, made = built(platform, legacy_url, legacy_folder, request.param, datasets=6)
    legacy.migrate()
    return legacy, made


def test_every_oddity_ends_as_the_rules_say(migrated: tuple[Legacy, Built]) -> None:
    """And with all of them the platform keeps its invariants, a second run writes nothing, and schemas wait to be captured anew."""
    legacy, made = migrated
    wrong = []
    for name, ending in ENDINGS.items():
        outcomes = legacy.outcomes(ending.entity)
        for key in made.keys(name, ending.entity):
            id_ = legacy_id(key)
            if (
                (ending.outcome and outcomes[id_][0] != ending.outcome)
                or not ending.reasons <= legacy.remarks(ending.entity, id_)
                or not ending.check(legacy, id_)
            ):
                wrong.append((name, id_, outcomes[id_], legacy.remarks(ending.entity, id_)))
    assert wrong == []
    _pointers_and_rights(legacy, made)
    if made.keys("D21.case"):
        ((labels,),) = legacy.ask("SELECT labels FROM datasets WHERE name = 'labelled'")
        assert labels[:2] == ["Finance", "Q1 report"]
        assert len({label.casefold() for label in labels}) == len(labels)
    assert legacy.problems() == []
    _schemas_wait(legacy)
    assert legacy.migrate().written == 0


def _pointers_and_rights(legacy: Legacy, made: Built) -> None:
    for entity in (POINTERS, TAGS):
        for key in made.keys("D9", entity):
            assert legacy.outcomes(entity)[legacy_id(key)] == (QUARANTINED, "foreign_pointer", None)
        for key in made.keys("D27.pointer", entity):
            assert legacy.outcomes(entity)[legacy_id(key)][0] == MIGRATED
            kept = legacy.kept(entity, key[0])
            numbers = "SELECT count(*) FROM legacy_numbers WHERE kind = 'pointer' AND number = :id AND split_part(subject, ':', 1) <> '' "
            assert legacy.ask(numbers + "AND right(subject, length(:name)) = :name", id=key[0], name=kept["pointer"]) == [(1,)]
    if made.keys("D3"):  # nobody gains: what nobody could read nobody can
        for key in made.keys("D3", DATASETS):
            assert _dataset(NO_GRANT)(legacy, legacy_id(key))


def _schemas_wait(legacy: Legacy) -> None:
    """Without an event each, which would be thousands of deliveries."""
    imported = {id_ for (id_,) in legacy.ask("SELECT id FROM dataset_versions WHERE imported AND purged_at IS NULL")}
    assert imported
    assert imported <= set(legacy.platform.schemas.pending(10_000))
    assert legacy.ask("SELECT count(*) FROM deliveries") == [(0,)]


def test_what_is_imported_can_be_built_upon(platform: Platform, legacy_url: str, legacy_folder: Path) -> None:
    """Once the legacy system lets go: the next version follows the highest imported number and carries over what it does not change."""
    legacy, _ = built(platform, legacy_url, legacy_folder, "G1b", datasets=3, oddities=False)
    legacy.migrate()
    with make.tampering(platform.db) as tx:
        tx.execute("UPDATE datasets SET held = false")
    ((slug, highest, parts),) = legacy.ask(
        "SELECT d.slug, v.version_number, v.component_count FROM datasets d JOIN dataset_pointers p ON p.dataset_id = d.id "
        "JOIN dataset_versions v ON v.id = p.version_id WHERE p.pointer_name = 'main' ORDER BY d.id LIMIT 1"
    )
    dataset = platform.datasets.open(platform.actor(), slug)
    ((top,),) = legacy.ask("SELECT max(version_number) FROM dataset_versions WHERE dataset_id = :id", id=dataset.id)
    made = make.commit(platform, dataset, {"more.csv": b"a\n1\n"})
    assert made.version_number == top + 1 >= highest + 1
    assert legacy.ask("SELECT component_count FROM dataset_versions WHERE id = :id", id=made.version_id) == [(parts + 1,)]
    assert legacy.problems() == []
