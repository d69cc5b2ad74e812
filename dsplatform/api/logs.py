"""The log: one JSON object a line, and no secret in any of them."""

import json
import logging
import os
import re
import sys
from collections.abc import Collection, Mapping
from datetime import UTC, datetime
from urllib.parse import unquote, urlsplit

from dsplatform.core.settings import Settings

FIELDS = {
    "request_id": "Of the request, as in the answer's `X-Request-ID` and in the audit log",
    "method": "HTTP method",
    "route": "The route's template, as `/api/v1/datasets/{dataset}`; empty: there is none",
    "status": "HTTP status; 0: the client went before there was one",
    "ms": "Milliseconds from the headers of the request to the end of the answer",
    "received": "Bytes of the request's body that were read",
    "sent": "Bytes of the answer's body",
    "user": "Who asked, where that is known",
    "address": "Where the client is, or the proxy that is not trusted",
}
"""What a line can hold besides `level`, `time`, `logger`, `message` and `error`, and what it means."""

HIDDEN = "***"
SECRET_VARIABLES = ("AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "DSPLATFORM_SECRET_KEY", "DSPLATFORM_TOKEN")
_PATTERNS = [
    (re.compile(r"\bds[a-z]_[0-9A-Za-z]{10,}"), HIDDEN),  # credentials of ours
    (re.compile(r"\beyJ[\w-]{8,}\.[\w-]+(\.[\w-]*)?"), HIDDEN),  # what is signed
    (re.compile(r"(?i)\b(bearer|basic|digest)(\s+|%20)[\w.~+/=-]+"), rf"\1 {HIDDEN}"),
    (re.compile(r"(://[^/\s:@'\"]*:)[^@\s'\"]+@"), rf"\1{HIDDEN}@"),
    (
        re.compile(
            r"(?i)(\b(?:x-amz-[a-z0-9-]+|awsaccesskeyid|signature|access_token|refresh_token|token|password|passwd|pwd|secret|api_key)"
            r"[\"']?\s*[=:]\s*)(\"[^\"]*\"|'[^']*'|[^&\s,;)}\"']+)"
        ),
        rf"\1{HIDDEN}",
    ),
]
_REPEATED = ("Exception in ASGI application", "Invalid HTTP request received.", "Unsupported upgrade request.", "No supported WebSocket")
"""Of uvicorn: the first is in the log already, with the request's id; the others are the client's affair."""


class JsonLines(logging.Formatter):
    """A record as one line of JSON. Texts pass the redaction, the traceback too."""

    def __init__(self, secrets: Collection[str] = ()) -> None:
        super().__init__()
        self._secrets = sorted({secret for secret in secrets if len(secret) >= 8}, key=len, reverse=True)

    def format(self, record: logging.LogRecord) -> str:
        """One line."""
        line: dict[str, object] = {
            "level": record.levelname,  # first: whoever shows these lines looks for it
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "logger": record.name,
            "message": self.redact(record.getMessage()),
        }
        for name in FIELDS:
            value = getattr(record, name, None)
            if value is not None:
                line[name] = self.redact(value) if isinstance(value, str) else value
        if record.exc_info:
            line["error"] = self.redact(self.formatException(record.exc_info))
        return json.dumps(line, ensure_ascii=False, default=str)

    def redact(self, text: str) -> str:
        """Without what looks like a credential, and without the secrets that are known."""
        for secret in self._secrets:
            text = text.replace(secret, HIDDEN)
        for pattern, instead in _PATTERNS:
            text = pattern.sub(instead, text)
        return text


def secrets_of(settings: Settings, env: Mapping[str, str]) -> set[str]:
    """Values that no line may hold."""
    found = {env[name] for name in SECRET_VARIABLES if env.get(name)}
    for url in (settings.database_url, settings.dagster_database_url):
        if password := urlsplit(url).password:
            found |= {password, unquote(password)}
    return found


def configure(settings: Settings) -> None:
    """The log of this process goes to its standard output, line by line."""
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(JsonLines(secrets_of(settings, os.environ)))
    handler.addFilter(lambda record: not str(record.msg).startswith(_REPEATED))
    logging.basicConfig(level=settings.log_level.upper(), handlers=[handler], force=True)
