"""Named points of the protocols where a test may stop a process: the crash matrix of ARCHITECTURE.md, as code.

`DSPLATFORM_FAILPOINT=name:action[:n]` acts at the n-th passage (default: the first) of the named point: `kill` ends the process at
once, `pause` stops it until it is continued, `raise` lets the step fail. Without the variable a point costs one comparison.
"""

import os
import signal

POINTS: dict[str, str] = {
    "upload.intent_open": "U1",
    "upload.spooling": "U2",
    "upload.spooled": "U3",
    "upload.keys_named": "U4",
    "object.begun": "U5",
    "object.linked": "U5",
    "upload.written": "U5",
    "upload.sealed": "U6",
    "upload.recorded": "C1",
    "upload.spare_buried": "U10",
    "upload.healed": "H1",
    "file.staged": "U7",
    "s3.parts_begun": "M1",
    "s3.parts_joined": "M2",
    "version.committing": "C1",
    "version.moved": "C1",
    "version.committed": "C2",
    "inbox.claimed": "A1",
    "inbox.decided": "A2",
    "inbox.put_away": "A3",
    "expiry.sessions": "S1",
    "expiry.uploads": "U6",
    "gc.locked": "G1",
    "gc.buried": "G2",
    "purge.leased": "G2",
    "purge.deleted": "G3",
    "sweep.listed": "U9",
    "sweep.buried": "U9",
    "fold.folded": "F1",
    "scrub.marked": "Q1",
    "version.emptying": "D1",
    "dataset.reaping": "D1",
    "legacy.begun": "L1",
    "legacy.landed": "L1",
    "legacy.committed": "L2",
    "follow.settled": "L3",
    "switch.closed": "L4",
    "switch.validated": "L4",
    "switch.turned": "L5",
    "rollback.held": "L6",
    "rollback.turned": "L7",
}
"""Every point, and the row of the crash matrix that it stands for. A test compares this list with the calls and with the matrix."""


class FailpointReached(RuntimeError):
    """What `raise` raises."""


def arm(text: str) -> None:
    """Sets this process' point, as the variable does; an empty text sets none. Raises ValueError for what is no point and action."""
    global _name, _action, _left
    name, _, rest = text.partition(":")
    action, _, passage = rest.partition(":")
    if text and (name not in POINTS or action not in {"kill", "pause", "raise"}):
        raise ValueError(f"DSPLATFORM_FAILPOINT: {text!r} is no point and action")
    _name, _action, _left = name, action, int(passage or 1)


_name, _action, _left = "", "", 1
arm(os.environ.get("DSPLATFORM_FAILPOINT", ""))


def reach(name: str) -> None:
    """Says that this point is passed now."""
    global _left
    if name == _name:
        _left -= 1
        if _left == 0:
            _act(name)


def _act(name: str) -> None:
    if _action == "raise":
        raise FailpointReached(name)
    os.kill(os.getpid(), signal.SIGKILL if _action == "kill" else signal.SIGSTOP)
