"""Questions about credentials."""

from datetime import datetime

from dsplatform.core.database import Transaction
from dsplatform.core.domain import Actor, Origin, Scope
from dsplatform.core.types import PermissionType
from dsplatform.permissions import tokens
from dsplatform.permissions.repository import actor_of


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
        only = row["dataset_ids"]
        scope = Scope(max(map(PermissionType, row["scopes"]), key=list(PermissionType).index), None if only is None else tuple(only))
        return actor_of(row, scope, Origin(row["token_id"], origin.address, origin.request_id))
