import re
from dataclasses import FrozenInstanceError, fields
from pathlib import Path

import pytest

from dsplatform.core.settings import Settings, WrongSetting, documentation

SECRET = "postgresql://ann:hunter2@db.example:5432/x"

WRONG = [
    ("DATABASE_URL", "mysql://host/x", "must be a PostgreSQL URL"),
    ("DATABASE_URL", "postgresql://", "must be a PostgreSQL URL"),
    ("DATABASE_URL", "nonsense", "must be a PostgreSQL URL"),
    ("OWNER_DATABASE_URL", "sqlite:///x", "must be a PostgreSQL URL"),
    ("DAGSTER_DATABASE_URL", "sqlite:///x", "must be a PostgreSQL URL"),
    ("POOL_SIZE", "0", "must lie between 2 and 100"),
    ("POOL_SIZE", "101", "must lie between 2 and 100"),
    ("POOL_SIZE", "many", "invalid literal"),
    ("POOL_SIZE", "2.5", "invalid literal"),
    ("STORAGE_URL", "gs://bucket", "storage of kind 'gs' is not supported: give a folder, or s3://bucket/prefix"),
    ("STORAGE_URL", "s3://", "'' is no bucket's name"),
    ("DROP_URL", "s3://bucket", "must name a prefix"),
    ("DROP_URL", "/srv/drop", "must be written as s3://bucket/prefix"),
    ("SETTLE_SECONDS", "-1", "must lie between 0 and 86400"),
    ("SETTLE_SECONDS", "86401", "must lie between 0 and 86400"),
    ("SETTLE_SECONDS", "nan", "must lie between"),
    ("SETTLE_SECONDS", "inf", "must lie between"),
    ("SETTLE_SECONDS", "soon", "could not convert"),
    ("BATCH_FILES", "0", "must lie between 1 and 100000"),
    ("BATCH_FILES", "100001", "must lie between 1 and 100000"),
    ("GC_GRACE_DAYS", "-1", "must lie between 0 and 3650"),
    ("WORKERS", "0", "must lie between 1 and 64"),
    ("WORKERS", "65", "must lie between 1 and 64"),
    ("API_PORT", "0", "must lie between 1 and 65535"),
    ("API_PORT", "65536", "must lie between 1 and 65535"),
    ("DAGSTER_PORT", "http", "invalid literal"),
    ("SECRET_KEY", "short", "must have 32 bytes at least"),
    ("RATE_LIMIT", "-1", "must lie between 0 and"),
    ("MAX_UPLOAD_BYTES", "0", "must lie between 1 and"),
    ("MAX_UPLOADS", "0", "must lie between 1 and 1000"),
    ("HEADER_SECONDS", "0", "must lie between 0.1 and 3600"),
    ("BODY_SECONDS", "never", "could not convert"),
    ("ANSWER_SECONDS", "3601", "must lie between 0.1 and 3600"),
    ("SHUTDOWN_SECONDS", "-1", "must lie between 0 and 3600"),
    ("CORS_ORIGINS", "*", "`*` would let every page in"),
    ("CORS_ORIGINS", "https://app.example.org/path", "must be origins such as"),
    ("TRUSTED_PROXIES", "proxy.example.org", "does not appear to be an IP"),
    ("METRICS_PUBLIC", "yes", "must be one of on, off"),
    ("DAGSTER_URL", "localhost:3000", "must be an address such as"),
    ("DAGSTER_LINK", "dagster.example", "must be an address such as"),
    ("LEGACY_DATABASE_URL", "mysql://host/db", "must be a PostgreSQL URL"),
    ("LEGACY_MOUNTS", "/mnt/old", "must be pairs such as"),
    ("LEGACY_MOUNTS", "old=/new", "must be pairs such as"),
    ("LEGACY_TIMEZONE", "Mars/Olympus", "must be a time zone such as"),
    ("LEGACY_TIMEZONE", "../etc/localtime", "must be a time zone such as"),
    ("LEGACY_API", "yes", "must be one of on, off"),
    ("LEGACY_SUNSET", "soon", "Invalid isoformat string"),
    ("LEGACY_URL", "localhost:8000", "must be an address such as"),
    ("LEGACY_SECRET", "secret", "must have 16 bytes at least"),
    ("LEGACY_ACCESS_MINUTES", "0", "must lie between 1 and 10080"),
    ("LEGACY_REFRESH_DAYS", "366", "must lie between 1 and 365"),
    ("LOG_LEVEL", "loud", "must be one of debug, info, warning, error"),
]


def _of(**values: str) -> Settings:
    return Settings.from_env({f"DSPLATFORM_{name}": value for name, value in values.items()})


@pytest.mark.parametrize(("name", "value", "reason"), WRONG)
def test_a_wrong_value_is_refused_with_the_variable_and_the_reason(name: str, value: str, reason: str) -> None:
    with pytest.raises(WrongSetting, match=re.escape(reason)) as caught:
        _of(**{name: value})
    assert str(caught.value).startswith(f"DSPLATFORM_{name}: ")


@pytest.mark.parametrize(
    "url", ["s3://KEY:hunter2@bucket/x", "s3://KEY:hun/hunter2@bucket", "s3://bucket/x?endpoint=http://a:hunter2@host"]
)
def test_a_password_in_a_url_is_refused_and_never_repeated(url: str) -> None:
    with pytest.raises(WrongSetting) as caught:
        _of(STORAGE_URL=url)
    assert str(caught.value).startswith("DSPLATFORM_STORAGE_URL: its value cannot be used: ")
    assert "hun" not in str(caught.value)


def test_every_setting_that_can_be_wrong_is_among_the_wrong_ones() -> None:
    free = {
        "HOME",
        "DROP_DIR",
        "PROCESSED_DIR",
        "REJECTED_DIR",
        "DROP_USER",
        "USER",
        "TOKEN",
        "LEGACY_ROOTS",
        "LEGACY_BASE",
    }  # any text is a path or a name
    assert {name for name, _, _ in WRONG} | free == {field.name.upper() for field in fields(Settings)}


def test_an_unknown_variable_of_ours_is_refused_with_the_ones_there_are() -> None:
    with pytest.raises(
        WrongSetting, match=r"DSPLATFORM_POOLSIZE is not a setting; the settings are DSPLATFORM_HOME, .*DSPLATFORM_POOL_SIZE"
    ):
        _of(POOLSIZE="5")


def test_variables_of_others_and_of_the_tests_are_left_alone() -> None:
    settings = Settings.from_env({"HOME": "/root", "DSPLATFORMX": "1", "DSPLATFORM_FAILPOINT": "x:kill"})
    assert settings == Settings.from_env({})


def test_the_environment_of_the_process_is_the_default(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DSPLATFORM_WORKERS", "7")
    assert Settings.from_env().workers == 7


def test_without_any_variable_everything_has_its_default() -> None:
    settings = Settings.from_env({})
    assert settings.database_url == settings.dagster_database_url == ""
    assert (settings.pool_size, settings.workers, settings.batch_files, settings.settle_seconds) == (5, 2, 10_000, 5.0)
    assert (settings.api_port, settings.dagster_port, settings.log_level, settings.user) == (8000, 3000, "info", "system")


@pytest.mark.parametrize("blank", ["", "  "])
def test_a_blank_value_is_no_value(blank: str) -> None:
    assert _of(POOL_SIZE=blank, LOG_LEVEL=blank, DATABASE_URL=blank) == Settings.from_env({})


def test_everything_local_lies_below_home() -> None:
    settings = _of(HOME="/srv/data")
    assert settings.home == Path("/srv/data")
    assert settings.storage_url == "/srv/data/storage"
    assert settings.drop_dir == Path("/srv/data/drop")
    assert settings.processed_dir == Path("/srv/data/processed")
    assert settings.rejected_dir == Path("/srv/data/rejected")


def test_paths_are_made_absolute(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", "/home/ann")
    settings = _of(HOME="here", DROP_DIR="~/drop", STORAGE_URL="file://store")
    assert settings.home == tmp_path / "here"
    assert settings.drop_dir == Path("/home/ann/drop")
    assert settings.storage_url == str(tmp_path / "store")


def test_the_moves_can_be_turned_off() -> None:
    settings = _of(PROCESSED_DIR="off", REJECTED_DIR="OFF")
    assert settings.processed_dir is None
    assert settings.rejected_dir is None


@pytest.mark.parametrize("scheme", ["postgresql", "postgres", "postgresql+psycopg", "postgresql+psycopg2"])
def test_a_postgresql_url_is_accepted_in_every_spelling(scheme: str) -> None:
    assert _of(DATABASE_URL=f"{scheme}://h/x").database_url == "postgresql+psycopg://h/x"


def test_a_level_is_accepted_in_either_case() -> None:
    assert _of(LOG_LEVEL="DEBUG").log_level == "debug"


def test_secrets_are_not_shown() -> None:
    settings = _of(DATABASE_URL=SECRET, DAGSTER_DATABASE_URL=SECRET)
    assert "hunter2" in settings.database_url
    assert "hunter2" not in repr(settings)
    assert "database_url" not in str(settings)


def test_a_refused_secret_is_not_shown_either() -> None:
    with pytest.raises(WrongSetting) as caught:
        _of(DATABASE_URL=SECRET.replace("postgresql", "mysql"))
    assert "hunter2" not in str(caught.value)
    assert "its value cannot be used" in str(caught.value)


def test_settings_do_not_change() -> None:
    with pytest.raises(FrozenInstanceError):
        Settings.from_env({}).workers = 3  # type: ignore[misc]  # the claim


def test_the_documentation_has_every_setting_with_a_default_that_is_accepted() -> None:
    rows = documentation()
    assert [name for name, _, _ in rows] == [f"DSPLATFORM_{field.name.upper()}" for field in fields(Settings)]
    assert all(meaning for _, _, meaning in rows)
    written_out = Settings.from_env({name: default for name, default, _ in rows})
    assert written_out == Settings.from_env({})


@pytest.mark.parametrize("name", ["DSPLATFORM_PROCESSED_DIR", "DSPLATFORM_REJECTED_DIR"])
@pytest.mark.parametrize("folder", ["/data/drop", "/data/drop/done"])
def test_files_do_not_go_back_into_the_drop_folder(name: str, folder: str) -> None:
    with pytest.raises(WrongSetting, match="would be taken again"):
        Settings.from_env({"DSPLATFORM_DROP_DIR": "/data/drop", name: folder})
