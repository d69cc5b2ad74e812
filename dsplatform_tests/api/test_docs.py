"""docs/api.md is run, from its first line to its last, as one session."""

import json
import re
import shlex
from pathlib import Path
from typing import Any

from fastapi.testclient import TestClient

from dsplatform.api.errors import PROBLEMS
from dsplatform_tests.api.conftest import AsUser

TEXT = (Path(__file__).parents[2] / "docs" / "api.md").read_text()
BLOCKS = re.findall(r"^```sh\n(.*?)^```\n(?:```json\n(.*?)^```\n)?", TEXT, flags=re.MULTILINE | re.DOTALL)


def run(client: TestClient, line: str) -> Any:
    """The answer to one `curl` command."""
    line = re.sub(r"\$'((?:[^'\\]|\\.)*)'", lambda found: shlex.quote(found[1].replace("\\n", "\n")), line)
    words = shlex.split(line.replace("$API", "/api/v1").replace("$TOKEN", client.headers["authorization"].split()[1]))
    assert words.pop(0) == "curl"
    method, headers, body, address = None, {}, None, ""
    while words:
        match words.pop(0):
            case "-X":
                method = words.pop(0)
            case "-H":
                name, _, value = words.pop(0).partition(": ")
                headers[name] = value
            case "-d" | "--data-binary":
                body = words.pop(0)
            case word:
                assert not word.startswith("-"), word
                address = word
    return client.request(method or ("GET" if body is None else "POST"), address, headers=headers, content=body)


def assert_shown(shown: object, found: object) -> None:
    """What the document shows is in the answer."""
    if isinstance(shown, dict):
        assert isinstance(found, dict)
        for name, value in shown.items():
            assert_shown(value, found[name])
    elif isinstance(shown, list):
        assert isinstance(found, list)
        assert len(found) == len(shown)
        for one, other in zip(shown, found, strict=True):
            assert_shown(one, other)
    else:
        assert shown == found


def test_the_examples_do_what_they_show(as_user: AsUser) -> None:
    assert len(BLOCKS) >= 10
    client = as_user("ada")
    for commands, shown in BLOCKS:
        for line in commands.splitlines():
            answer = run(client, line)
            expected = json.loads(shown) if shown else {}
            assert answer.status_code == expected.get("status", answer.status_code), line
            assert answer.status_code < 400 or "status" in expected, (line, answer.text)
        if shown:
            assert_shown(expected, answer.json())


def test_every_status_is_explained() -> None:
    for status in PROBLEMS:
        assert f"| {status} | {PROBLEMS[status]['description']} |" in TEXT
