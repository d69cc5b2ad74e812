"""The five kinds of error. A door turns the kind into its own terms (exit code, HTTP status); the sentence is for a person.

Raise the kind itself, or a subclass that stands next to the rule that raises it. A message says what happened, to what, and
what to do: lower case, no full stop, with the values.
"""

import math
from typing import Any, ClassVar


class DsplatformError(Exception):
    """Something the caller can act on. `code` is stable, for programs; the message may be reworded at any time."""

    code: ClassVar[str] = "error"

    refusal: Any = None
    """The `AuditEntry` of it, where somebody was refused something. The transaction that it ends has it kept, once it is rolled back."""


class NotFound(DsplatformError):
    """The thing named does not exist, or not for this caller."""

    code = "not_found"


class Gone(NotFound):
    """The thing named existed, and was deleted on purpose: what is left of it is that it was there."""

    code = "gone"


class Conflict(DsplatformError):
    """The request is fine, but the state it was made for has moved on, or the name is taken."""

    code = "conflict"


class Invalid(DsplatformError):
    """The input can never be accepted as it is."""

    code = "invalid"


class Denied(DsplatformError):
    """The caller lacks a right; the message names the right."""

    code = "denied"


class Unavailable(DsplatformError):
    """A part that we stand on (database, storage, disk space) does not answer now; the same request may succeed later."""

    code = "unavailable"


class TooMany(Unavailable):
    """The caller asks for more than its share at once; the same request succeeds later."""

    code = "too_many_requests"

    def __init__(self, message: str, retry_after: float) -> None:
        super().__init__(message)
        self.retry_after = max(1, math.ceil(retry_after))
        """Seconds until it is worth trying again."""
