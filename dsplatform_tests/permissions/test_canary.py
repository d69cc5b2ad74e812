"""Secrets are in no row, no log and no `repr`."""

import logging
from contextlib import suppress
from dataclasses import replace

import pytest

from dsplatform.bootstrap import Platform, bootstrap
from dsplatform.core.domain import Origin
from dsplatform.core.errors import DsplatformError
from dsplatform.core.settings import Settings

PASSWORD, SECOND, GUESS = "canary of the password", "canary of the second one", "canary of a guess"
KEY = "canary of the signing key, which has 32 bytes"
HERE = Origin(address="10.0.0.1")


@pytest.mark.usefixtures("quick")
def test_no_secret_is_kept_shown_or_logged(settings: Settings, database_url: str, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    secrets = [PASSWORD, SECOND, GUESS, KEY]
    shown: list[object] = []
    with bootstrap(replace(settings, secret_key=KEY), database_url) as platform:
        assert platform.first_admin()
        root = platform.permissions.create_user("root", "admin")
        shown.append(platform.people.create_user(root, "ann", role="editor", password=PASSWORD))
        for user in ("ann", GUESS, "nobody"):
            with pytest.raises(DsplatformError) as refused:
                platform.sessions.login(user, GUESS, HERE)
            shown.append(refused.value)
        session = platform.sessions.login("ann", PASSWORD, HERE)
        renewed = platform.sessions.refresh(session.refresh_token, HERE)
        actor = platform.accounts.authenticate(renewed.access_token, HERE)
        token = platform.accounts.create_token(actor, "script")
        shown += [session, renewed, actor, token, platform.accounts.authenticate(token.secret, HERE), *platform.accounts.list_tokens(actor)]
        secrets += [session.access_token, session.refresh_token, renewed.access_token, renewed.refresh_token, token.secret]
        with suppress(DsplatformError):
            platform.sessions.change_password(actor, GUESS, SECOND)
        platform.sessions.change_password(actor, PASSWORD, SECOND)
        with pytest.raises(DsplatformError) as refused:
            platform.sessions.refresh(session.refresh_token, HERE)
        for credential in (token.secret[:-1] + "x", renewed.access_token):
            with pytest.raises(DsplatformError) as refused:
                platform.accounts.authenticate(credential, HERE)
            shown.append(refused.value)
        platform.accounts.revoke_token(actor, token.id)
        secrets.append((settings.home / "admin-token").read_text().strip())
        acting = replace(platform, credential=token.secret)
        shown += [platform.settings, acting]
        rows = dump(platform)
    assert len(rows) > 20
    assert "ann" in "".join(rows)
    text = "\n".join([*rows, *map(repr, shown), *map(str, shown), caplog.text])
    assert [secret for secret in secrets if secret in text] == []


def dump(platform: Platform) -> list[str]:
    """Every row of every table, as text."""
    with platform.db.autocommit() as tx:
        tables = [row["name"] for row in tx.rows("SELECT quote_ident(tablename) AS name FROM pg_tables WHERE schemaname = 'public'")]
        assert {"users", "sessions", "refresh_tokens", "api_tokens", "audit_log"} <= set(tables)
        return [str(row["line"]) for table in tables for row in tx.rows(f"SELECT CAST(t AS text) AS line FROM {table} t")]
