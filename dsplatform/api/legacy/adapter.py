"""What all old endpoints share: the old numbers of things, the old words of refusals, the old form of times. It decides nothing."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from typing import Annotated
from zoneinfo import ZoneInfo

from fastapi import Depends, Path, Request

from dsplatform.api.caller import Services
from dsplatform.api.legacy import shapes
from dsplatform.api.legacy.errors import Answer
from dsplatform.bootstrap import Platform
from dsplatform.core.domain import Actor
from dsplatform.core.errors import NotFound
from dsplatform.core.types import PermissionType
from dsplatform.core.values import DatasetRef
from dsplatform.datasets.model import DatasetMissing
from dsplatform.migration.old_model import OldDataset, OldVersion, VersionElsewhere
from dsplatform.permissions.model import Grantee, MissingRight

DatasetNumber = Annotated[int, Path(gt=0)]
VersionNumber = Annotated[int, Path(gt=0)]
"""The *id* of a version, which old addresses hold."""


class LegacyDatasetAdapter:
    """Between the old server's words and our services, for one request."""

    def __init__(self, services: Platform) -> None:
        self.services = services
        self._zone = ZoneInfo(services.settings.legacy_timezone)

    # --- datasets and versions by their old numbers ----------------------------------------------------------------------------

    def dataset(self, actor: Actor, number: int, refusal: str | None = None) -> DatasetRef:
        """The dataset that old clients know by the number. What the caller may not see is the same as what does not exist: 403 in the
        words of `refusal`, as the old server asked for the right first, or 404 where it asked for none."""
        try:
            return self.services.datasets.open(actor, f"#{self.services.legacy.dataset_id(number)}")
        except DatasetMissing as err:
            if refusal is None or (actor.holds_everywhere(PermissionType.READ) and actor.scope.dataset_ids is None):
                raise Answer(404, f"Dataset {number} not found") from err
            raise Answer(403, refusal) from err

    def version(self, actor: Actor, dataset: DatasetRef, number: int, version_number: int) -> OldVersion:
        """The version with that old id, of the dataset that `number` names; it asks for `read`. 404 in the old words."""
        try:
            return self.services.legacy.version(actor, dataset, version_number)
        except VersionElsewhere as err:
            raise Answer(404, f"Version {version_number} does not belong to dataset {number}") from err
        except MissingRight:
            raise
        except NotFound as err:
            raise Answer(404, f"Version {version_number} not found") from err

    def grantee(self, number: int) -> Grantee | None:
        """The user whom old clients know by the number, as one to whom rights are granted; None: there is none."""
        new_id = self.services.legacy.user_id(number)
        found = self.services.legacy.people([new_id]).get(new_id)
        return None if found is None else Grantee("user", found.new_id, found.username)

    @contextmanager
    def refusing(self, refusal: str, number: int | None = None) -> Iterator[None]:
        """Says a missing right in the old words; and, where the dataset went meanwhile, that it is not there."""
        try:
            yield
        except MissingRight as err:
            raise Answer(403, refusal) from err
        except DatasetMissing as err:
            if number is None:
                raise
            raise Answer(404, f"Dataset {number} not found") from err

    # --- forms -----------------------------------------------------------------------------------------------------------------

    def instant(self, given: datetime | None) -> datetime | None:
        """What a client's time means, if there is one: without a zone it is one of the old server's clock."""
        return given if given is None or given.tzinfo else given.replace(tzinfo=self._zone)

    def naive(self, moment: datetime) -> datetime:
        """The moment as the old server's clock showed it, without a zone. What has none was kept so."""
        return moment if moment.tzinfo is None else moment.astimezone(self._zone).replace(tzinfo=None)

    def version_shape(self, version: OldVersion) -> shapes.DatasetVersion:
        """A version in the form of G1b."""
        return shapes.DatasetVersion(
            dataset_id=version.dataset_id,
            version_number=version.version_number,
            file_id=version.file_id,
            uploaded_by=version.uploaded_by,
            parent_version_id=version.parent_version_id,
            message=version.message,
            id=version.id,
            ingestion_timestamp=self.naive(version.created_at),
            last_updated_timestamp=self.naive(version.updated_at),
            file_type=version.file_type,
            file_size=version.file_size,
        )

    def dataset_shape(self, found: OldDataset, versions: Sequence[OldVersion] | None = None) -> shapes.Dataset:
        """A dataset. Without versions and without labels these are null."""
        return shapes.Dataset(
            name=found.name,
            description=found.description,
            id=found.id,
            created_by=found.created_by,
            created_at=self.naive(found.created_at),
            updated_at=self.naive(found.updated_at),
            current_version=found.current_version,
            file_type=found.file_type,
            file_size=found.file_size,
            versions=[self.version_shape(each) for each in versions] if versions else None,
            tags=[shapes.Tag(id=number, name=name) for number, name in found.labels] or None,
        )


async def _adapter(request: Request, services: Services) -> LegacyDatasetAdapter:
    made: LegacyDatasetAdapter | None = getattr(request.app.state, "adapter", None)
    if made is None or made.services is not services:
        made = request.app.state.adapter = LegacyDatasetAdapter(services)
    return made


Adapter = Annotated[LegacyDatasetAdapter, Depends(_adapter)]
"""The adapter on the services that answer."""
