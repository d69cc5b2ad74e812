"""What Dagster's web server says of its runs. The API imports nothing of Dagster: it asks over HTTP, as a browser does."""

import contextlib
import http.client
import json
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, urlsplit

TIMEOUT_SECONDS = 3.0
EVENTS = 500

_FIND = """query($filter: RunsFilter!) { runsOrError(filter: $filter, limit: 1) { ... on Runs { results { runId status } } } }"""
_REASON = """query($run: ID!, $limit: Int!) { runOrError(runId: $run) { ... on Run { eventConnection(limit: $limit) { events {
  ... on ExecutionStepFailureEvent { error { message } failureMetadata { description } }
  ... on RunFailureEvent { message } } } } } }"""


@dataclass(frozen=True)
class Run:
    """A run of a job."""

    id: str
    status: str
    """As Dagster calls it: QUEUED, STARTED, SUCCESS, FAILURE …"""
    url: str
    """Where a person looks at it."""


class Runs:
    """The runs of the Dagster instance behind one web server."""

    def __init__(self, url: str, link: str = "") -> None:
        """`url` as `http://127.0.0.1:3000`; empty: there is none to ask. `link`: where browsers find the same; empty: there."""
        self._url = url
        self._link = link or url

    def tagged(self, key: str, value: str) -> Run | None:
        """The latest run with that tag; None where there is none, or nobody answers."""
        found = self._ask(_FIND, filter={"tags": [{"key": key, "value": value}]})
        try:
            run = found["runsOrError"]["results"][0]
            return Run(run["runId"], run["status"], f"{self._link}/runs/{quote(run['runId'])}")
        except (KeyError, IndexError, TypeError):
            return None

    def reason(self, run: Run) -> str | None:
        """Why the run failed, as its first failure says."""
        found = self._ask(_REASON, run=run.id, limit=EVENTS)
        try:
            events = [event for event in found["runOrError"]["eventConnection"]["events"] if event]
        except (KeyError, TypeError):
            return None
        for event in events:
            described = (event.get("failureMetadata") or {}).get("description") or (event.get("error") or {}).get("message")
            if described or event.get("message"):
                return str(described or event["message"]).strip()
        return None

    def _ask(self, query: str, **variables: object) -> dict[str, Any]:
        """What a question gives; nothing where there is nobody to ask, or no answer."""
        if not self._url:
            return {}
        parts = urlsplit(self._url)
        kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
        connection = kind(parts.hostname or "", parts.port, timeout=TIMEOUT_SECONDS)
        with contextlib.closing(connection):
            try:
                body = json.dumps({"query": query, "variables": variables})
                connection.request("POST", f"{parts.path}/graphql", body, {"Content-Type": "application/json"})
                answer = json.load(connection.getresponse())
            except (OSError, http.client.HTTPException, ValueError):
                return {}
        data = answer.get("data") if isinstance(answer, dict) else None
        return data if isinstance(data, dict) else {}
