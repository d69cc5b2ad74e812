"""Legacy systems beside a platform."""

from collections.abc import Iterator

import pytest

from dsplatform.migration import landing_files
from dsplatform_tests.journeys.crew import Crew, hired


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """A young file that is missing is looked for again at once."""
    monkeypatch.setattr(landing_files, "PAUSE", 0.0)


@pytest.fixture(scope="module")
def crew() -> Iterator[Crew]:
    """Processes that may be killed."""
    with hired() as ours:
        yield ours
