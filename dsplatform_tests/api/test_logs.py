import json
import logging
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dsplatform.api import logs
from dsplatform.core.settings import Settings
from dsplatform.permissions import tokens

DOCS = (Path(__file__).parents[2] / "docs" / "operations.md").read_text()
JWT = "eyJhbGciOiJIUzI1NiIsInR5cCI6ImF0K2p3dCJ9.eyJzdWIiOiIxIiwiZXhwIjoxfQ.c2lnbmF0dXJlLXRoYXQtaXMtc2VjcmV0"
API_TOKEN, REFRESH_TOKEN = tokens.new(tokens.API), tokens.new(tokens.REFRESH)
SECRETS = {
    "a token": (API_TOKEN, "{}"),
    "a token in a header": (API_TOKEN, "Authorization: Bearer {}"),
    "a token in an address": (API_TOKEN, "GET /api/v1/datasets?access={}"),
    "what renews a session": (REFRESH_TOKEN, "refresh with {} failed"),
    "a session": (JWT, "cannot read {}"),
    "an unknown credential": ("c29tZWJvZHk6c2VjcmV0", "Authorization: Basic {}"),
    "a password in a database's address": ("pa55-w0rd", "cannot connect to postgresql+psycopg://ada:{}@db:5432/dsplatform"),
    "a password as libpq writes it": ("pa55-w0rd", "connection failed: host=db user=ada password={} dbname=x"),
    "a password in JSON": ("pa55 w0rd", '{{"username": "ada", "password": "{}"}}'),
    "a password in Python": ("pa55-w0rd", "{{'password': '{}'}}"),
    "a signature of a bucket": ("0a1b2c3d4e5f", "GET https://s3/b/k?X-Amz-Signature={}&X-Amz-Expires=300"),
    "a credential of a bucket": ("AKIA123/20260101", "GET https://s3/b/k?X-Amz-Credential={}&x=1"),
    "an older signature": ("Zm9vYmFy=", "https://s3/b/k?AWSAccessKeyId=AKIA&Signature={}&Expires=1"),
}


def line(message: str, secrets: set[str] | None = None, **extra: object) -> str:
    record = logging.LogRecord("dsplatform.test", logging.INFO, __file__, 1, "%s", (message,), None)
    record.__dict__.update(extra)
    return logs.JsonLines(secrets or set()).format(record)


@pytest.mark.parametrize("kind", SECRETS)
def test_no_line_holds_a_secret(kind: str) -> None:
    secret, sentence = SECRETS[kind]
    shown = line(sentence.format(secret))
    assert secret not in json.loads(shown)["message"]
    assert logs.HIDDEN in shown


def test_what_is_no_secret_stays() -> None:
    sentence = "dataset 'sales' has 3 tokens of ada@example.org, see https://example.org/docs?page=2 (#17); key main/2026.csv"
    assert json.loads(line(sentence))["message"] == sentence


def test_a_traceback_holds_no_secret() -> None:
    try:
        raise RuntimeError(f"no connection to postgresql://ada:pa55-w0rd@db/x with {API_TOKEN}")
    except RuntimeError:
        record = logging.LogRecord("x", logging.ERROR, __file__, 1, "failed", (), sys.exc_info())
    shown = json.loads(logs.JsonLines().format(record))
    assert "RuntimeError: no connection to" in shown["error"]
    assert "pa55" not in shown["error"]
    assert API_TOKEN not in shown["error"]


def test_secrets_that_the_settings_hold_are_hidden_wherever_they_stand() -> None:
    env = {"DSPLATFORM_DATABASE_URL": "postgresql://ada:s3cr%2Fet-w0rd@db/x", "AWS_SECRET_ACCESS_KEY": "wJalrXUtnFEMI/K7MDENG"}
    secrets = logs.secrets_of(Settings.from_env(env), env)
    shown = line("odd: s3cr/et-w0rd s3cr%2Fet-w0rd wJalrXUtnFEMI/K7MDENG end", secrets)
    assert json.loads(shown)["message"] == "odd: *** *** *** end"


def test_fields_are_hidden_as_messages_are() -> None:
    assert API_TOKEN not in line("answered", route=f"/x/{API_TOKEN}", user="ada", status=200)


@given(st.text())
def test_any_text_is_one_line_of_json(text: str) -> None:
    shown = line(text)
    assert "\n" not in shown
    assert isinstance(json.loads(shown)["message"], str)


def test_the_level_comes_first_for_who_shows_the_lines() -> None:
    assert line("x").startswith('{"level": "INFO"')


def test_uvicorn_s_repetitions_are_left_out(capsys: pytest.CaptureFixture[str]) -> None:
    root = logging.getLogger()
    before = root.handlers[:], root.level
    try:
        logs.configure(Settings.from_env({}))
        logging.getLogger("uvicorn.error").error("Exception in ASGI application\n")
        logging.getLogger("uvicorn.error").warning("something else")
        assert [json.loads(shown)["message"] for shown in capsys.readouterr().out.splitlines()] == ["something else"]
    finally:
        root.handlers[:], root.level = before[0], before[1]
        logging.captureWarnings(capture=False)


def test_every_field_is_documented() -> None:
    for name, meaning in logs.FIELDS.items():
        assert f"| `{name}` | {meaning} |" in DOCS, name
