"""Questions about API tokens."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from dsplatform.core.database import Row, Transaction
from dsplatform.core.domain import Actor, Origin, Scope, ValueObject
from dsplatform.core.types import PermissionType
from dsplatform.permissions import tokens
from dsplatform.permissions.repository import actor_of


@dataclass(frozen=True)
class Token(ValueObject):
    """An API token, without its secret."""

    id: int
    owner: str
    name: str
    hint: str
    """How it begins."""
    scope: Scope
    created_at: datetime
    expires_at: datetime
    revoked_at: datetime | None
    last_used_at: datetime | None
    """Within a minute."""


class Tokens:
    """API tokens."""

    def __init__(self, tx: Transaction) -> None:
        self._tx = tx

    def add(self, user_id: int, name: str, secret: str, scope: Scope, until: datetime) -> int:
        """Keeps what is needed to know the token again; answers with its id."""
        return int(
            self._tx.scalar(
                "INSERT INTO api_tokens (user_id, name, token_hash, token_hint, scopes, dataset_ids, expires_at) "
                "VALUES (:user, :name, :hash, :hint, CAST(:scopes AS text[]), CAST(:datasets AS bigint[]), :until) RETURNING id",
                user=user_id,
                name=name,
                hash=tokens.digest(secret),
                hint=tokens.hint(secret),
                scopes=[str(scope.right)],
                datasets=None if scope.dataset_ids is None else list(scope.dataset_ids),
                until=until,
            )
        )

    def owner(self, secret: str, origin: Origin) -> Actor | None:
        """On whose behalf the token acts; None unless it is good now. `last_used_at` is written at most once a minute."""
        row = self._tx.row(
            "SELECT t.id AS token_id, t.scopes, t.dataset_ids, u.id, u.username, r.role_name, r.rights, "
            "t.last_used_at IS NULL OR t.last_used_at < now() - interval '1 minute' AS long_ago "
            "FROM api_tokens t JOIN users u ON u.id = t.user_id JOIN roles r ON r.id = u.role_id "
            "WHERE t.token_hash = :hash AND t.revoked_at IS NULL AND t.expires_at > now() AND u.is_active",
            hash=tokens.digest(secret),
        )
        if row is None:
            return None
        if row["long_ago"]:
            self._tx.execute(
                "UPDATE api_tokens SET last_used_at = now() WHERE id = :id "
                "AND (last_used_at IS NULL OR last_used_at < now() - interval '1 minute')",
                id=row["token_id"],
            )
        return actor_of(row, _scope(row), Origin(row["token_id"], origin.address, origin.request_id))

    def get(self, token_id: int) -> Token | None:
        """One token."""
        row = self._tx.row(f"{_KEPT} WHERE t.id = :id", id=token_id)
        return None if row is None else _token(row)

    def page(self, after: int, limit: int, user_id: int, only: int | None) -> Sequence[Token]:
        """A user's tokens by id, from behind `after`; only that one, if one is named."""
        rows = self._tx.rows(
            f"{_KEPT} WHERE t.user_id = :user AND t.id > :after AND (CAST(:only AS bigint) IS NULL OR t.id = :only) "
            "ORDER BY t.id LIMIT :limit",
            user=user_id,
            after=after,
            only=only,
            limit=limit,
        )
        return [_token(row) for row in rows]

    def count(self, user_id: int, only: int | None) -> int:
        """How many tokens a user has; only that one, if one is named."""
        return int(
            self._tx.scalar(
                "SELECT count(*) FROM api_tokens WHERE user_id = :user AND (CAST(:only AS bigint) IS NULL OR id = :only)",
                user=user_id,
                only=only,
            )
        )

    def revoke(self, token_id: int) -> bool:
        """The token is no longer good; False: it was revoked before."""
        return self._tx.execute("UPDATE api_tokens SET revoked_at = now() WHERE id = :id AND revoked_at IS NULL", id=token_id) == 1

    def revoke_all(self, user_id: int) -> int:
        """None of a user's tokens is good any more; answers how many were."""
        return self._tx.execute(
            "UPDATE api_tokens SET revoked_at = now() WHERE user_id = :user AND revoked_at IS NULL AND expires_at > now()", user=user_id
        )


_KEPT = """
    SELECT t.id, u.username, t.name, t.token_hint, t.scopes, t.dataset_ids, t.created_at, t.expires_at, t.revoked_at, t.last_used_at
    FROM api_tokens t JOIN users u ON u.id = t.user_id
"""


def _scope(row: Row) -> Scope:
    only = row["dataset_ids"]
    return Scope(max(map(PermissionType, row["scopes"]), key=list(PermissionType).index), None if only is None else tuple(only))


def _token(row: Row) -> Token:
    return Token(
        row["id"],
        row["username"],
        row["name"],
        row["token_hint"],
        _scope(row),
        row["created_at"],
        row["expires_at"],
        row["revoked_at"],
        row["last_used_at"],
    )
