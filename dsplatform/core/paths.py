"""What the platform carries beside its code: at the top of a checkout, inside the package of an installed wheel."""

from pathlib import Path
from uuid import uuid4

from dsplatform.core.errors import Unavailable

_PACKAGE = Path(__file__).parent.parent


def shipped(name: str) -> Path:
    """Where `migrations`, `samples` or `dagster.yaml` lies. Raises `Unavailable` when the installation lacks it."""
    for folder in (_PACKAGE / "_shipped", _PACKAGE.parent):
        if (folder / name).exists():
            return folder / name
    raise Unavailable(f"{name} is missing from this installation of dsplatform: install it again")


def instance_home(home: Path) -> None:
    """Makes a folder Dagster's home: with the shipped `dagster.yaml`, put there in one step, because running processes read it."""
    home.mkdir(parents=True, exist_ok=True)
    draft = home / f"dagster.yaml.{uuid4().hex}"
    draft.write_bytes(shipped("dagster.yaml").read_bytes())
    draft.replace(home / "dagster.yaml")
