"""A copy is held against its legacy system: nothing is found where all came along, whatever is odd there."""

from pathlib import Path

import pytest

from dsplatform.bootstrap import Platform
from dsplatform.migration.validation import ValidationService
from dsplatform_tests.legacy.bad_rows import build_bad
from dsplatform_tests.legacy.generator import TIMEZONE
from dsplatform_tests.migration import legacy_side, make
from dsplatform_tests.migration.legacy_side import Legacy


def validation(legacy: Legacy) -> ValidationService:
    """What compares both."""
    return make.validation(legacy.platform, legacy.url, legacy.folder, mounts=legacy.mounts, zone=TIMEZONE)


def told(legacy: Legacy) -> list[tuple[str, ...]]:
    """What is found, all bytes read, but that findings wait for decisions."""
    found = validation(legacy).validate(legacy.platform.actor(), sample=None)
    return [(check.code, *one.plain().values()) for check in found.checks for one in check.differences if check.code != "V9"]


@pytest.mark.parametrize("oddities", [False, True], ids=["clean", "odd"])
@pytest.mark.parametrize("generation", ["G0", "G1a", "G1b", "G2"])
def test_what_came_along_is_the_same(platform: Platform, legacy_url: str, legacy_folder: Path, generation: str, oddities: bool) -> None:
    legacy, _ = legacy_side.built(platform, legacy_url, legacy_folder, generation, datasets=2, attachments=1, oddities=oddities)
    legacy.migrate()
    assert told(legacy) == []
    assert validation(legacy).against(platform.actor()) == []


def test_rows_that_no_working_system_wrote_are_explained(platform: Platform, legacy_ascii_url: str, legacy_folder: Path) -> None:
    made = build_bad(legacy_ascii_url, legacy_folder, each=3)
    legacy = Legacy(legacy_ascii_url, legacy_folder, platform, made.mounts)
    legacy.migrate()
    assert told(legacy) == []
