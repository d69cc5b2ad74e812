"""The way of every legacy table, in the order in which they come along."""

from collections.abc import Sequence
from typing import Any

from dsplatform.migration.landing_datasets import DatasetsStep, TagsStep
from dsplatform.migration.landing_files import FilesStep
from dsplatform.migration.landing_people import RolesStep, UsersStep
from dsplatform.migration.landing_pointers import PointersStep
from dsplatform.migration.landing_rights import RIGHTS, RightsStep
from dsplatform.migration.landing_versions import VersionsStep
from dsplatform.migration.leaving import leaving
from dsplatform.migration.model import Entity
from dsplatform.migration.step import Step, Surroundings


def every_step(around: Surroundings) -> Sequence[Step[Any]]:
    """One for each table, but those that come with another's rows."""
    return [
        RolesStep(around),
        UsersStep(around),
        FilesStep(around),
        TagsStep(around),
        DatasetsStep(around),
        VersionsStep(around),
        PointersStep(around, Entity.POINTERS),
        PointersStep(around, Entity.VERSION_TAGS),
        *(RightsStep(around, entity) for entity in RIGHTS),
        *leaving(),
    ]
