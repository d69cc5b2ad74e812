import stat
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from dsplatform.core import private_files
from dsplatform.core.errors import Unavailable
from dsplatform.core.settings import Settings, WrongSetting
from dsplatform.permissions.secret_key import SecretKey


def test_it_is_made_once_and_readable_by_its_owner_alone(tmp_path: Path) -> None:
    path = tmp_path / "home" / "secret_key"
    key = SecretKey("", path)
    assert not path.exists()
    made = key.of("sessions")
    assert len(made) == 32
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert SecretKey("", path).of("sessions") == made
    assert key.of("sessions") == made
    assert [each.name for each in path.parent.iterdir()] == ["secret_key"]


def test_each_purpose_has_a_key_of_its_own_and_none_is_the_secret(tmp_path: Path) -> None:
    key = SecretKey("s" * 32, tmp_path / "unused")
    assert key.of("sessions") != key.of("cursors")
    assert b"s" * 32 not in {key.of("sessions"), key.of("cursors")}
    assert not (tmp_path / "unused").exists()


def test_of_many_who_make_it_at_once_one_wins(tmp_path: Path) -> None:
    for round_ in range(20):
        path = tmp_path / f"key{round_}"
        barrier = threading.Barrier(8)

        def make(path: Path = path, barrier: threading.Barrier = barrier) -> bytes:
            barrier.wait()
            return SecretKey("", path).of("x")

        with ThreadPoolExecutor(8) as pool:
            found = {future.result() for future in [pool.submit(make) for _ in range(8)]}
        assert found == {SecretKey("", path).of("x")}
    assert len(list(tmp_path.iterdir())) == 20


def test_a_file_that_was_cut_off_is_no_key(tmp_path: Path) -> None:
    (tmp_path / "key").write_text("short")
    with pytest.raises(Unavailable, match="too short"):
        SecretKey("", tmp_path / "key").of("x")


def test_a_file_is_replaced_in_one_step_and_private_whatever_it_was(tmp_path: Path) -> None:
    path = tmp_path / "credentials"
    path.write_text("old")
    path.chmod(0o644)
    private_files.write(path, "new")
    assert path.read_text() == "new"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert private_files.write_once(path, "newer") == "new"
    assert [each.name for each in tmp_path.iterdir()] == ["credentials"]


def test_where_nothing_can_be_written_it_says_so(tmp_path: Path) -> None:
    (tmp_path / "home").write_text("a file")
    with pytest.raises(Unavailable, match="cannot be written"):
        private_files.write(tmp_path / "home" / "credentials", "x")


def test_a_key_that_is_too_short_is_no_setting_and_not_shown() -> None:
    with pytest.raises(WrongSetting, match="DSPLATFORM_SECRET_KEY: its value cannot be used: must have 32 bytes") as caught:
        Settings.from_env({"DSPLATFORM_SECRET_KEY": "x" * 31})
    assert "xxx" not in str(caught.value)
    settings = Settings.from_env({"DSPLATFORM_SECRET_KEY": "ü" * 16, "DSPLATFORM_TOKEN": "dsp_secret"})
    assert settings.secret_key == "ü" * 16
    assert "ü" not in repr(settings)
    assert "dsp_secret" not in repr(settings)
