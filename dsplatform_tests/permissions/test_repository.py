import pytest

from dsplatform.core.database import ConstraintViolated, Database, Transaction
from dsplatform.core.types import PermissionType
from dsplatform.permissions.grant_rows import Grants
from dsplatform.permissions.model import Grantee
from dsplatform.permissions.repository import Users

READ, WRITE = PermissionType.READ, PermissionType.WRITE


def ann(tx: Transaction) -> Grantee:
    assert Users(tx).add("ann", "editor")
    actor = Users(tx).actor("ann")
    assert actor is not None
    return Grantee("user", actor.user_id, "ann")


def test_a_new_database_has_the_system_user_and_the_roles(db: Database) -> None:
    with db.transaction() as tx:
        system = Users(tx).actor("system")
        assert system is not None
        assert system.is_admin
        assert [row["role_name"] for row in tx.rows("SELECT role_name FROM roles ORDER BY 1")] == ["admin", "editor", "viewer"]


def test_a_role_makes_an_admin(db: Database) -> None:
    with db.transaction() as tx:
        assert Users(tx).add("root", "admin")
        root = Users(tx).actor("root")
        assert root is not None
        assert root.is_admin
        assert not Users(tx).add("bob", "emperor")
        assert Users(tx).actor("bob") is None


def test_a_user_who_is_not_active_is_nobody(db: Database) -> None:
    with db.transaction() as tx:
        ann(tx)
        tx.execute("UPDATE users SET is_active = false WHERE username = 'ann'")
        assert Users(tx).actor("ann") is None


def test_a_grant_is_held_on_its_object_alone(db: Database) -> None:
    with db.transaction() as tx:
        user, grants = ann(tx), Grants(tx)
        assert user.id is not None
        for right in (READ, READ, WRITE):
            grants.add(user, "dataset", 1, right, user.id)
        assert grants.held(user.id, "dataset", 1) == {READ, WRITE}
        assert (
            grants.held(user.id, "dataset", 2) == grants.held(user.id, "file", 1) == grants.held(user.id + 1, "dataset", 1) == frozenset()
        )


def test_a_grant_that_has_ended_is_not_held_and_may_be_made_again(db: Database) -> None:
    with db.transaction() as tx:
        user, grants = ann(tx), Grants(tx)
        assert user.id is not None
        grants.add(user, "dataset", 1, READ, user.id)
        tx.execute("UPDATE permissions SET expires_at = now() - interval '1 second'")
        assert grants.held(user.id, "dataset", 1) == frozenset()
        grants.add(user, "dataset", 1, READ, user.id)
        assert grants.held(user.id, "dataset", 1) == {READ}


@pytest.mark.parametrize(("kind", "right"), [("planet", "read"), ("dataset", "own")])
def test_the_database_knows_the_kinds_of_objects_and_rights(kind: str, right: str, db: Database) -> None:
    with pytest.raises(ConstraintViolated), db.transaction() as tx:
        Grants(tx).add(ann(tx), kind, 1, right, 1)  # type: ignore[arg-type]  # the claim
