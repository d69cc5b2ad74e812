"""What takes long to build is built once in a test process, and copied for each test that changes it."""

import shutil
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

import psycopg

from dsplatform.core.roles import ROLE
from dsplatform.core.settings import Settings
from dsplatform.embedded import EmbeddedPostgres

Made = TypeVar("Made")


def settings_of(home: Path) -> Settings:
    """Dropped files need not settle."""
    return Settings.from_env({"DSPLATFORM_HOME": str(home), "DSPLATFORM_SETTLE_SECONDS": "0"})


@dataclass(frozen=True)
class Place(Generic[Made]):
    """Where something is built, or copied to: a database of the platform, one of a legacy system, and one folder for both."""

    database_url: str
    legacy_url: str
    folder: Path
    """The same for each copy, because rows name the files in it."""
    made: Made
    """What the builder answered: plain values, without the address of a database."""

    @property
    def settings(self) -> Settings:
        """Of a platform whose home is here."""
        return settings_of(self.folder / "home")

    @property
    def legacy_folder(self) -> Path:
        """Of the legacy system's files."""
        return self.folder / "legacy"


class Copies:
    """Of one test process. `database(template)` is a database for the length of a block, and answers its name."""

    def __init__(self, server: EmbeddedPostgres, folder: Path, database: Callable[[str], AbstractContextManager[str]]) -> None:
        self._server, self._folder, self._database = server, folder, database
        self._built: dict[str, tuple[str, str, Path, Any]] = {}

    @contextmanager
    def of(self, build: Callable[[Place[None]], Made]) -> Iterator[Place[Made]]:
        """A copy of what `build` makes, which is called once and leaves no connection open. One copy at a time."""
        name = f"{build.__module__}.{build.__qualname__}"
        if name not in self._built:
            self._built[name] = self._build(build, f"copied_{len(self._built)}")
        ours, theirs, original, made = self._built[name]
        folder = original.with_name("here")
        shutil.copytree(original, folder, symlinks=True)
        try:
            with self._database(ours) as our_copy, self._database(theirs) as their_copy:
                yield self._place(our_copy, their_copy, folder, made)
        finally:
            shutil.rmtree(folder)

    def _build(self, build: Callable[[Place[None]], Made], name: str) -> tuple[str, str, Path, Made]:
        ours, theirs = f"{name}_platform", f"{name}_legacy"
        self._create(ours, "template")
        self._create(theirs, "template0")
        folder = self._folder / name / "here"
        folder.mkdir(parents=True)
        made = build(self._place(ours, theirs, folder, None))
        return ours, theirs, folder.rename(folder.with_name("original")), made

    def _create(self, name: str, template: str) -> None:
        with psycopg.connect(self._server.url("postgres", ""), autocommit=True) as connection:
            connection.execute(f"CREATE DATABASE {name} TEMPLATE {template}".encode())

    def _place(self, ours: str, theirs: str, folder: Path, made: Made) -> Place[Made]:
        return Place(self._server.url(ours, user=ROLE), self._server.url(theirs), folder, made)
