"""Settings from the environment: one frozen object, checked at start. `SETTINGS` is the table that the README prints."""

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from datetime import date
from ipaddress import ip_network
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from dsplatform.core.errors import Invalid
from dsplatform.core.s3_address import S3Address

PREFIX = "DSPLATFORM_"


class WrongSetting(Invalid):
    """An environment variable holds a value that cannot be used."""

    code = "wrong_setting"


def _path(raw: str) -> Path:
    return Path(raw).expanduser().absolute()


def _directory_or_off(raw: str) -> Path | None:
    return None if raw.lower() == "off" else _path(raw)


def _number(kind: type[int] | type[float], low: float, high: float) -> Callable[[str], Any]:
    def parse(raw: str) -> int | float:
        value = kind(raw)
        if not low <= value <= high:
            raise ValueError(f"must lie between {low:g} and {high:g}")
        return value

    return parse


def _database_url(raw: str) -> str:
    scheme, _, rest = raw.partition("://")
    if scheme not in {"postgresql", "postgres", "postgresql+psycopg", "postgresql+psycopg2"} or not rest:
        raise ValueError("must be a PostgreSQL URL such as postgresql://user:password@host:5432/dsplatform")
    return f"postgresql+psycopg://{rest}"


def _storage_url(raw: str) -> str:
    scheme = urlsplit(raw).scheme
    if scheme == "s3":
        return str(S3Address.parse(raw))
    if scheme not in {"", "file"}:
        raise ValueError(f"storage of kind {scheme!r} is not supported: give a folder, or s3://bucket/prefix?endpoint=…&region=…")
    return str(_path(raw.removeprefix("file://")))


def _drop_url(raw: str) -> str:
    address = S3Address.parse(raw)
    if not address.prefix:
        raise ValueError("must name a prefix, as in s3://bucket/drop: what was taken goes beside it")
    return str(address)


def _secret_key(raw: str) -> str:
    if len(raw.encode()) < 32:
        raise ValueError("must have 32 bytes at least, chosen at random")
    return raw


def _legacy_secret(raw: str) -> str:
    if len(raw.encode()) < 16:
        raise ValueError("must have 16 bytes at least: a shorter one can be guessed from a token")
    return raw


def _day(raw: str) -> date:
    return date.fromisoformat(raw)


def _one_of(*choices: str) -> Callable[[str], str]:
    def parse(raw: str) -> str:
        if raw.lower() not in choices:
            raise ValueError(f"must be one of {', '.join(choices)}")
        return raw.lower()

    return parse


def _http_url(raw: str) -> str:
    parts = urlsplit(raw)
    if parts.scheme not in {"http", "https"} or not parts.hostname or parts.username or parts.query or parts.fragment:
        raise ValueError("must be an address such as http://127.0.0.1:3000")
    return raw.rstrip("/")


def _listed(raw: str) -> list[str]:
    return [one.strip() for one in raw.split(",") if one.strip()]


def _origins(raw: str) -> str:
    origins = _listed(raw)
    for one in origins:
        parts = urlsplit(one)
        if parts.scheme not in {"http", "https"} or not parts.hostname or one != f"{parts.scheme}://{parts.netloc}" or parts.username:
            raise ValueError("must be origins such as https://app.example.org, each named: `*` would let every page in")
    return ",".join(origins)


def _folders(raw: str) -> tuple[Path, ...]:
    return tuple(_path(one) for one in _listed(raw))


def _mounts(raw: str) -> tuple[tuple[str, Path], ...]:
    mounts = []
    for one in _listed(raw):
        old, mark, new = one.partition("=")
        if not mark or not old.startswith("/") or not new:
            raise ValueError("must be pairs such as /mnt/old=/data/legacy, separated by commas")
        mounts.append((old.rstrip("/") or "/", _path(new)))
    return tuple(mounts)


def _timezone(raw: str) -> str:
    try:
        ZoneInfo(raw)
    except (ZoneInfoNotFoundError, OSError, ValueError) as err:
        raise ValueError("must be a time zone such as Europe/Berlin") from err
    return raw


def _addresses(raw: str) -> str:
    addresses = _listed(raw)
    for one in addresses:
        ip_network(one)
    return ",".join(addresses)


def _setting(help_: str, default: str, parse: Callable[[str], Any] = str, *, secret: bool = False, empty: Any = "") -> Any:
    """A dataclass field with what is needed to read, check and document it. `default` is written as in the environment; `empty` is what
    no value means."""
    return field(metadata={"help": help_, "default": default, "parse": parse, "empty": empty}, repr=not secret)


@dataclass(frozen=True)
class Settings:
    """How this installation is set up. Build it with `Settings.from_env()`; secrets stay out of its `repr`."""

    home: Path = _setting("Folder of everything local: database, stored files, drop folder, logs", "./.dsplatform", _path)
    database_url: str = _setting("PostgreSQL 14+ to use; empty: the embedded server in `HOME/postgres`", "", _database_url, secret=True)
    owner_database_url: str = _setting(
        "The same database with the login that changes its schema, for `dsplatform db upgrade`; empty: the same login",
        "",
        _database_url,
        secret=True,
    )
    dagster_database_url: str = _setting(
        "Database of Dagster's own tables; empty: `dagster` on the same server", "", _database_url, secret=True
    )
    pool_size: int = _setting("Database connections per process, at most", "5", _number(int, 2, 100))
    storage_url: str = _setting("Where the bytes lie: a folder, or `s3://bucket/prefix?endpoint=…&region=…`", "HOME/storage", _storage_url)
    drop_dir: Path = _setting("Watched folder: `<dataset>/[<branch>/]<file>`", "HOME/drop", _path)
    drop_url: str = _setting("Watched instead of the folder: `s3://bucket/prefix?endpoint=…&region=…`", "", _drop_url)
    processed_dir: Path | None = _setting("Where ingested files go; `off`: they stay", "HOME/processed", _directory_or_off)
    rejected_dir: Path | None = _setting("Where refused files go; `off`: they stay", "HOME/rejected", _directory_or_off)
    drop_user: str = _setting("User as whom the drop folder acts", "system")
    user: str = _setting("User as whom the command line acts", "system")
    token: str = _setting(
        "API token with which the command line acts; empty: that of `dsplatform login`, else as `DSPLATFORM_USER`", "", secret=True
    )
    secret_key: str = _setting(
        "Signs sessions: 32 random bytes or more, the same for all processes; empty: made once, in `HOME/secret_key`",
        "",
        _secret_key,
        secret=True,
    )
    settle_seconds: float = _setting("A dropped file is complete when unchanged for this long", "5", _number(float, 0, 86_400))
    batch_files: int = _setting("Files that one batch takes, at most", "10000", _number(int, 1, 100_000))
    gc_grace_days: float = _setting("Days until the bytes of what nothing names are deleted", "8", _number(float, 0, 3650))
    workers: int = _setting("Threads that hash and copy", "2", _number(int, 1, 64))
    api_port: int = _setting("Port of the HTTP API; a free one if taken", "8000", _number(int, 1, 65_535))
    dagster_port: int = _setting("Port of the Dagster UI; a free one if taken", "3000", _number(int, 1, 65_535))
    rate_limit: int = _setting(
        "Requests a minute over HTTP of one credential, or of one address without; `0`: no limit", "18000", _number(int, 0, 10_000_000)
    )
    max_upload_bytes: int = _setting("Largest upload over HTTP, in bytes, all its files together", "107374182400", _number(int, 1, 2**63))
    max_uploads: int = _setting("Uploads over HTTP at once; one credential may have half of them", "16", _number(int, 1, 1_000))
    header_seconds: float = _setting(
        "A client whose request's headers are not complete by then is cut off", "10", _number(float, 0.1, 3600)
    )
    body_seconds: float = _setting(
        "A client that sends less than 1 KiB a second of a body over this long is cut off", "20", _number(float, 0.1, 3600)
    )
    answer_seconds: float = _setting("A client that takes nothing of an answer for this long is cut off", "60", _number(float, 0.1, 3600))
    shutdown_seconds: float = _setting("How long requests under way may take when the API is stopped", "60", _number(float, 0, 3600))
    cors_origins: str = _setting("Web origins whose pages may call the API, separated by commas", "", _origins)
    trusted_proxies: str = _setting("Addresses of proxies whose `X-Forwarded-For` is believed, separated by commas", "", _addresses)
    metrics_public: str = _setting("`on`: `/metrics` needs no credential", "off", _one_of("on", "off"))
    dagster_url: str = _setting("Dagster UI that the API asks about runs; empty: it tells what the database knows", "", _http_url)
    dagster_link: str = _setting("The same as browsers reach it, for links; empty: as the API does", "", _http_url)
    legacy_database_url: str = _setting("PostgreSQL database of the legacy system", "", _database_url, secret=True)
    legacy_roots: tuple[Path, ...] = _setting(
        "Folders in which files of the legacy system may lie, separated by commas; no other file is read", "", _folders, empty=()
    )
    legacy_base: Path | None = _setting("Folder in the legacy roots that its relative paths begin at", "", _path, empty=None)
    legacy_mounts: tuple[tuple[str, Path], ...] = _setting(
        "Where its old folders are today: `/old=/new`, separated by commas", "", _mounts, empty=()
    )
    legacy_timezone: str = _setting("Time zone of the legacy server, whose times have none", "UTC", _timezone)
    legacy_api: str = _setting("`on`: the API answers under the legacy system's paths, too", "off", _one_of("on", "off"))
    legacy_sunset: date | None = _setting("From when on these paths are gone, as they tell: a date; empty: not known", "", _day, empty=None)
    legacy_url: str = _setting("Legacy server, whose answers are compared with ours; empty: none", "", _http_url)
    legacy_secret: str = _setting(
        "Signs the legacy API's tokens, as the legacy server did; empty: made of `DSPLATFORM_SECRET_KEY`", "", _legacy_secret, secret=True
    )
    legacy_access_minutes: int = _setting("How long its access tokens are good", "30", _number(int, 1, 10_080))
    legacy_refresh_days: int = _setting("How long its refresh tokens are good", "7", _number(int, 1, 365))
    log_level: str = _setting("Least level that is logged", "info", _one_of("debug", "info", "warning", "error"))

    @classmethod
    def from_env(cls, env: Mapping[str, str] | None = None) -> "Settings":
        """Reads `DSPLATFORM_*`. Raises `WrongSetting` with the name and the reason for a bad value or a name that does not exist."""
        env = os.environ if env is None else env
        known = {f"{PREFIX}{f.name.upper()}": f for f in fields(cls)}
        for name in env:
            if name.startswith(PREFIX) and name not in known and name not in INTERNAL:
                raise WrongSetting(f"{name} is not a setting; the settings are {', '.join(known)}")
        values: dict[str, Any] = {}
        for name, setting in known.items():
            raw = env.get(name, "").strip() or setting.metadata["default"]
            if raw.startswith("HOME/"):
                raw = str(values["home"] / raw.removeprefix("HOME/"))
            try:
                values[setting.name] = setting.metadata["parse"](raw) if raw else setting.metadata["empty"]
            except ValueError as err:
                shown = repr(raw) if setting.repr and "@" not in raw else "its value"  # a password may stand there
                raise WrongSetting(f"{name}: {shown} cannot be used: {err}") from err
        settings = cls(**values)
        for name, folder in (("PROCESSED_DIR", settings.processed_dir), ("REJECTED_DIR", settings.rejected_dir)):
            if folder is not None and folder.is_relative_to(settings.drop_dir):
                raise WrongSetting(
                    f"{PREFIX}{name}: {folder} lies in the drop folder {settings.drop_dir}, so its files would be taken again"
                )
        return settings


INTERNAL = frozenset({"DSPLATFORM_FAILPOINT"})
"""Variables of the prefix that are no settings: switches of the tests."""


def documentation() -> list[tuple[str, str, str]]:
    """(variable, default, meaning) of each setting, in reading order."""
    return [(f"{PREFIX}{f.name.upper()}", f.metadata["default"], f.metadata["help"]) for f in fields(Settings)]
