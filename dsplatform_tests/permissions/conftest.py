"""People whom many tests here need."""

import pytest

from dsplatform.bootstrap import Platform
from dsplatform.core.domain import Actor


@pytest.fixture
def root(platform: Platform) -> Actor:
    """An admin."""
    return platform.permissions.create_user("root", "admin")


@pytest.fixture
def ann(platform: Platform) -> Actor:
    """An editor, who has nothing yet."""
    return platform.permissions.create_user("ann")


@pytest.fixture
def ben(platform: Platform) -> Actor:
    """Another editor."""
    return platform.permissions.create_user("ben")
