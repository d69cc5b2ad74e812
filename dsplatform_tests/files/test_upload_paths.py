"""The bytes of a sealed upload, as files to read: its own, and what the store has."""

from io import BytesIO
from pathlib import Path

import pytest

from dsplatform.bootstrap import Platform, bootstrap
from dsplatform.core.errors import Gone
from dsplatform.core.s3_address import S3Address
from dsplatform.core.settings import Settings
from dsplatform.core.types import ContentHash
from dsplatform.core.values import Content
from dsplatform.files.upload import StagedUpload
from dsplatform_tests import make

LARGE = b"large" * 100_000


def added(upload: StagedUpload, *sources: bytes) -> list[ContentHash]:
    answers = upload.add([BytesIO(source) for source in sources])
    return [answer.content_hash for answer in answers if isinstance(answer, Content)]


def read(upload: StagedUpload, hashes: list[ContentHash]) -> list[bytes]:
    with upload.local_paths(hashes) as paths:
        return [paths[content_hash].read_bytes() for content_hash in hashes]


def test_new_large_duplicate_and_foreign_contents_are_read_as_they_are(platform: Platform) -> None:
    make.stored(platform, b"known")
    foreign = make.stored(platform, b"foreign").content_hash
    with platform.files.upload() as upload:
        hashes = added(upload, b"new", LARGE, b"known")
        upload.seal()
        assert read(upload, [*hashes, foreign]) == [b"new", LARGE, b"known", b"foreign"]
    make.drained(platform)
    make.assert_sound(platform)


def test_a_bucket_gives_the_same_bytes(settings: Settings, database_url: str, s3_address: S3Address, tmp_path: Path) -> None:
    environment = {
        "DSPLATFORM_HOME": str(tmp_path / "home"),
        "DSPLATFORM_STORAGE_URL": f"s3://{s3_address.bucket}/{s3_address.prefix}?endpoint={s3_address.endpoint}",
    }
    with bootstrap(Settings.from_env(environment), database_url) as platform:
        make.stored(platform, b"known")
        with platform.files.upload() as upload:
            hashes = added(upload, b"new", LARGE, b"known")
            upload.seal()
            assert read(upload, hashes) == [b"new", LARGE, b"known"]
        assert make.spooled(platform) == []


def test_a_damaged_content_that_is_uploaded_again_is_read_from_the_new_copy(platform: Platform) -> None:
    reference = make.stored(platform, b"precious")
    path = make.object_path(platform, reference.file_id)
    path.chmod(0o600)
    path.write_bytes(b"prec")
    with platform.files.upload() as upload:
        hashes = added(upload, b"precious")
        upload.seal()
        assert read(upload, hashes) == [b"precious"]


def test_what_nobody_stored_is_gone(platform: Platform) -> None:
    with platform.files.upload() as upload:
        upload.seal()
        with pytest.raises(Gone, match="upload it again"):
            read(upload, [ContentHash("0" * 64)])


def test_what_is_not_sealed_has_no_path(platform: Platform) -> None:
    with platform.files.upload() as upload:
        hashes = added(upload, b"in memory")
        with pytest.raises(AssertionError, match="seal"):
            read(upload, hashes)
