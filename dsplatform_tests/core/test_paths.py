from pathlib import Path

import pytest

from dsplatform.core import paths
from dsplatform.core.errors import Unavailable
from dsplatform.core.paths import shipped


def test_a_checkout_has_it_at_the_top() -> None:
    assert (shipped("migrations") / "env.py").is_file()
    assert shipped("dagster.yaml").is_file()
    assert shipped("samples").is_dir()


def test_an_installed_wheel_has_it_inside_the_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = tmp_path / "dsplatform"
    (package / "_shipped" / "samples").mkdir(parents=True)
    monkeypatch.setattr(paths, "_PACKAGE", package)
    assert shipped("samples") == package / "_shipped" / "samples"


def test_what_is_missing_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(paths, "_PACKAGE", tmp_path / "dsplatform")
    with pytest.raises(Unavailable, match=r"dagster.yaml is missing from this installation"):
        shipped("dagster.yaml")
