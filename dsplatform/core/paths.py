"""What the platform carries beside its code: at the top of a checkout, inside the package of an installed wheel."""

from pathlib import Path

from dsplatform.core.errors import Unavailable

_PACKAGE = Path(__file__).parent.parent


def shipped(name: str) -> Path:
    """Where `migrations`, `samples` or `dagster.yaml` lies. Raises `Unavailable` when the installation lacks it."""
    for folder in (_PACKAGE / "_shipped", _PACKAGE.parent):
        if (folder / name).exists():
            return folder / name
    raise Unavailable(f"{name} is missing from this installation of dsplatform: install it again")
