"""The platform, as Dagster's ops and sensors get it."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Protocol

import dagster as dg

from dsplatform.bootstrap import Platform, bootstrap
from dsplatform.core.errors import DsplatformError, Unavailable
from dsplatform.core.settings import Settings
from dsplatform.ingestion.model import IngestReport
from dsplatform.local import database_for


class PlatformSource(Protocol):
    """Opens the platform for the length of a block."""

    def open(self) -> AbstractContextManager[Platform]:
        """Every service, on a database that is there."""
        ...

    def in_run(self) -> AbstractContextManager[Platform]:
        """The same for an op or asset: an error of ours ends the step with its sentence."""
        ...

    def tell(self, report: IngestReport) -> None:
        """Hears what a batch did."""
        ...


class PlatformFromEnvironment:
    """The platform that DSPLATFORM_* describe. Nothing is read or opened before a run or a tick needs it."""

    @contextmanager
    def open(self) -> Iterator[Platform]:
        """Uses the server of DSPLATFORM_DATABASE_URL, else the embedded one, which is started where it does not run."""
        settings = Settings.from_env()
        with database_for(settings) as databases, bootstrap(settings, databases.services) as platform:
            yield platform

    @contextmanager
    def in_run(self) -> Iterator[Platform]:
        """What does not answer now is tried again by Dagster, three times; anything else fails at once."""
        try:
            with self.open() as platform:
                yield platform
        except Unavailable as err:
            raise dg.RetryRequested(max_retries=3, seconds_to_wait=5) from err
        except DsplatformError as err:
            raise dg.Failure(str(err), allow_retries=False) from err

    def tell(self, report: IngestReport) -> None:
        """Nobody in this process waits for it: the run shows it."""


class OpenedPlatform:
    """A platform that is open already: for runs inside another process of ours, and for tests."""

    def __init__(self, platform: Platform) -> None:
        self._platform = platform
        self.report: IngestReport | None = None
        self.error: DsplatformError | None = None

    @contextmanager
    def open(self) -> Iterator[Platform]:
        """The platform; it stays open afterwards."""
        yield self._platform

    @contextmanager
    def in_run(self) -> Iterator[Platform]:
        """An error of ours is kept for whoever started the run, who decides whether to try again."""
        try:
            yield self._platform
        except DsplatformError as err:
            self.error = err
            raise dg.Failure(str(err), allow_retries=False) from err

    def tell(self, report: IngestReport) -> None:
        """Keeps it for whoever started the run."""
        self.report = report
