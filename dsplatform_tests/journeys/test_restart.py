"""The database dies again and again while files are ingested (T04, C3 of the crash matrix); callers repeat, and nothing is lost."""

import random
import threading
import time
from collections.abc import Mapping
from io import BytesIO

import pytest

from dsplatform.bootstrap import Platform, bootstrap
from dsplatform.core.errors import Unavailable
from dsplatform.core.settings import Settings
from dsplatform.core.types import FilePath
from dsplatform.embedded import EmbeddedPostgres
from dsplatform_tests import make
from dsplatform_tests.journeys import aftermath, works
from dsplatform_tests.journeys.conftest import kill


def repeated(platform: Platform, name: str, parts: Mapping[FilePath, bytes], key: str) -> tuple[int, int]:
    """Commits as a caller does who was not answered: the same again, with the same key, until there is an answer.
    (The version's number, how often there was none.)"""
    for failures in range(1_000):
        try:
            committed = platform.versions.create_version(
                platform.actor(), works.dataset(platform, name), {part: BytesIO(data) for part, data in parts.items()}, idempotency_key=key
            )
            return committed.version_number, failures
        except Unavailable:
            time.sleep(0.02)
    raise AssertionError("the database does not come back")


@pytest.mark.parametrize("restarts", [5, pytest.param(30, marks=pytest.mark.soak)])
def test_a_server_that_dies_while_files_are_ingested_loses_nothing_that_was_acknowledged(
    restarts: int, settings: Settings, mortal: EmbeddedPostgres
) -> None:
    acknowledged: list[dict[str, object]] = []
    failures: list[int] = []
    over = threading.Event()

    def write(writer: int) -> None:
        generator, number = random.Random(writer), 0
        while not over.is_set():
            number += 1
            name, parts = f"set{generator.randrange(2)}", works.contents(generator)
            parts[FilePath("mine")] = b"%d %d" % (writer, number)  # so that each key makes a version
            version, unanswered = repeated(platform, name, parts, f"{writer}-{number}")
            failures.append(unanswered)
            held = {part: works.digest(data) for part, data in parts.items()}
            acknowledged.append({"what": "version", "dataset": name, "number": version, "parts": held})

    with bootstrap(settings, mortal.url("dsplatform")) as platform:
        writers = [threading.Thread(target=write, args=(writer,)) for writer in range(3)]
        for writer in writers:
            writer.start()
        try:
            for number in range(restarts):
                before = len(acknowledged)
                deadline = time.monotonic() + make.PATIENCE
                while len(acknowledged) < before + 3 and time.monotonic() < deadline:
                    time.sleep(0.01 * (number % 5 + 1))
                kill(mortal)
        finally:
            over.set()
            for writer in writers:
                writer.join()
        assert len(failures) == len(acknowledged) >= 3 * restarts
        assert sum(failures) >= restarts, "nobody was disturbed"
        assert aftermath.lost(platform, acknowledged) == []
        assert len({(entry["dataset"], entry["number"]) for entry in acknowledged}) == len(acknowledged), "one key, one version"
        assert make.column(platform.db, "SELECT count(*) FROM dataset_versions") == [len(acknowledged)]
        assert aftermath.unreachable(platform) == []
        assert make.problems(platform) == []
        assert aftermath.left_over(platform) == {}
        make.assert_sound(platform)
