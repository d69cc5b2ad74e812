"""Puts the legacy server behind the old paths, and writes down what comparing both has shown."""

import logging
import re
from collections.abc import Callable, Sequence

from fastapi import APIRouter, FastAPI, Request

from dsplatform.api.caller import origin_of
from dsplatform.api.legacy.caller import Unknown, credential_of, identified
from dsplatform.api.legacy.errors import Answer
from dsplatform.api.legacy.forwarding import OldServer
from dsplatform.api.legacy.shadow import Comparisons, Shadow
from dsplatform.bootstrap import Platform
from dsplatform.core.domain import Actor
from dsplatform.core.errors import DsplatformError, NotFound
from dsplatform.core.settings import Settings
from dsplatform.migration.shadow import Difference, Outcome

logger = logging.getLogger(__name__)

_DATASET = re.compile(r"/api/datasets/([0-9]{1,18})(?:/|$)")


def mirrored(app: FastAPI, settings: Settings, routers: Sequence[APIRouter], counted: Callable[[str], object]) -> None:
    """From now on what is asked of `app` is asked of the legacy server, too. `counted` hears how answers compare."""
    found = app.state.comparisons = Comparisons()

    def heard(outcome: Outcome, difference: Difference | None) -> None:
        counted(outcome)
        found.add(outcome, difference)

    def unseen(path: str) -> bool:
        """Whether the dataset that the path names exists: who does not see it may not read it."""
        platform: Platform = app.state.platform
        named = _DATASET.match(path)
        try:
            return named is not None and bool(platform.datasets.open(platform.system(), f"#{platform.legacy.dataset_id(int(named[1]))}"))
        except NotFound:
            return False

    def who(request: Request) -> Actor | None:
        """Who asks, for those who count it; the legacy server decides what she may."""
        try:
            return identified(app.state.platform, app.state.tokens, credential_of(request), origin_of(request))
        except (Answer, Unknown, DsplatformError):
            return None

    app.add_middleware(
        Shadow,
        old=OldServer(settings.legacy_url),
        routers=routers,
        master=lambda: master(app),
        unseen=unseen,
        who=who,
        heard=heard,
        most=settings.max_upload_bytes,
    )


def master(app: FastAPI) -> str:
    """Which system is written to at this moment: asked for each request, so that nobody has to notice the switch."""
    platform: Platform = app.state.platform
    return platform.switching.routing().master


def write_comparisons(app: FastAPI, platform: Platform) -> None:
    """Writes down what was found since the last time; what cannot be written waits."""
    comparisons: Comparisons | None = getattr(app.state, "comparisons", None)
    if comparisons is None:
        return
    outcomes, found = comparisons.take()
    if not outcomes:
        return
    try:
        platform.shadow.note(outcomes, found)
    except DsplatformError:
        comparisons.give_back(outcomes, found)
        logger.warning("comparisons with the legacy server could not be written down, and are kept", exc_info=True)
