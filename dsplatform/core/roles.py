"""The database role that the services work as: it reads and writes rows, and can do nothing else.

Tables belong to their owner, the login that applies the migrations. The services log in as `dsplatform_app`, or take on that role where
they are given the owner's login. A mistake of ours, or a statement that somebody slips in, then meets what the role may not: change or
drop tables, switch triggers off, empty a table, change a version that was made, change or delete a row of the audit log.

The role belongs to the whole server, its rights to one database. `equip` gives it exactly these, as often as it is called.
"""

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import psycopg
from psycopg import errors as pg
from psycopg import sql

ROLE = "dsplatform_app"

RIGHTS = ("SELECT", "INSERT", "UPDATE", "DELETE")
"""What the role may do with a table."""

_ENTRY = ("actor_id", "actor", "token_id", "address", "action", "object_type", "object_id", "before", "after", "request_id", "result")
FEWER = {
    "alembic_version": ("SELECT",),
    "audit_log": ("SELECT", *(f"INSERT ({column})" for column in _ENTRY)),  # number and time are the server's
    "audit_seals": ("SELECT", "INSERT"),
    "dataset_versions": ("SELECT", "INSERT", "UPDATE (purged_at)", "DELETE"),
    "dataset_version_files": ("SELECT", "INSERT", "DELETE"),
}
"""Tables with which it may do less."""

_TABLES = """
    SELECT c.oid, c.relname, c.relacl, c.relkind IN ('v', 'm') AS is_view FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE n.nspname = current_schema() AND c.relkind IN ('r', 'p', 'v', 'm') AND pg_has_role(c.relowner, 'USAGE')
"""
_HELD = f"""
    SELECT t.relname, a.privilege_type FROM ({_TABLES}) t CROSS JOIN aclexplode(t.relacl) a WHERE a.grantee = '{ROLE}'::regrole
    UNION ALL
    SELECT t.relname, a.privilege_type || ' (' || c.attname || ')'
    FROM ({_TABLES}) t JOIN pg_attribute c ON c.attrelid = t.oid CROSS JOIN aclexplode(c.attacl) a WHERE a.grantee = '{ROLE}'::regrole
"""  # noqa: S608 - a constant


def take_on(connection: psycopg.Connection, *_: object) -> None:
    """Works as the role from here on, where the login may and the role has its rights in this database. Changes nothing else."""
    connection.execute(
        f"SELECT set_config('role', rolname, false) FROM pg_roles WHERE rolname = '{ROLE}' AND rolname <> current_user "  # noqa: S608 - constants
        f"AND pg_has_role(oid, '{_taking(connection)}') AND has_table_privilege(oid, to_regclass('alembic_version'), 'SELECT')".encode()
    )
    connection.commit()


def _taking(connection: psycopg.Connection) -> str:
    """What the server calls the right to take a role on. Since 16 not every member has it."""
    return "SET" if connection.info.server_version >= 160_000 else "MEMBER"


def equip(connection: psycopg.Connection) -> None:
    """Makes the role where the login may, and gives it what it needs in this database; takes away what it has beyond. Does nothing where
    all is as it should be. For the owner, on a connection that commits each statement."""
    if not _made(connection):
        return
    with connection.transaction():
        for statement in _missing(connection):
            connection.execute(statement)
    if not _scalar(connection, f"SELECT pg_has_role('{ROLE}', '{_taking(connection)}')"):
        with suppress(pg.InsufficientPrivilege):  # else who made the role has to say who may take it on; `standing` tells
            connection.execute(sql.SQL("GRANT {} TO CURRENT_USER").format(sql.Identifier(ROLE)))


def let_in(connection: psycopg.Connection) -> None:
    """Lets the role log in by itself, on a server that asks nobody for a password."""
    if not _scalar(connection, f"SELECT EXISTS (SELECT FROM pg_roles WHERE rolname = '{ROLE}' AND rolcanlogin)"):  # noqa: S608 - a constant
        _made(connection)
        connection.execute(sql.SQL("ALTER ROLE {} LOGIN").format(sql.Identifier(ROLE)))


@dataclass(frozen=True)
class Standing:
    """As whom the services work."""

    user: str
    fenced: bool
    """Whether it is the role, with no more than it needs."""

    def __str__(self) -> str:
        if self.fenced:
            return f"the services work as {self.user}, which can only read and write rows"
        return (
            f"the services work as {self.user}, which can change tables: let `dsplatform db upgrade` run as a login that may create roles, "
            f"or create {ROLE} and grant it to the login of DSPLATFORM_DATABASE_URL"
        )


def standing(connection: psycopg.Connection) -> Standing:
    """As whom a service works that is given this login."""
    take_on(connection)
    user = str(_scalar(connection, "SELECT current_user"))
    unbound = _scalar(connection, "SELECT rolsuper FROM pg_roles WHERE rolname = current_user")
    return Standing(user, user == ROLE and not unbound)


def _made(connection: psycopg.Connection) -> bool:
    """Whether the role is there, afterwards."""
    if _scalar(connection, f"SELECT EXISTS (SELECT FROM pg_roles WHERE rolname = '{ROLE}')"):  # noqa: S608 - a constant
        return True
    try:
        connection.execute(sql.SQL("CREATE ROLE {} NOLOGIN").format(sql.Identifier(ROLE)))
    except (pg.DuplicateObject, pg.UniqueViolation):
        pass  # another process was first
    except pg.InsufficientPrivilege:
        return False
    return True


def _missing(connection: psycopg.Connection) -> Iterator[sql.Composed]:
    """Statements that make the role's rights what they should be."""
    held: dict[str, set[str]] = {}
    for name, right in connection.execute(_HELD.encode()).fetchall():
        held.setdefault(name, set()).add(right)
    for _, name, _, is_view in connection.execute(_TABLES.encode()).fetchall():
        wanted = {"SELECT"} if is_view else set(FEWER.get(name, RIGHTS))
        has = held.get(name, set())
        for verb, preposition, rights in (("REVOKE", "FROM", has - wanted), ("GRANT", "TO", wanted - has)):
            if rights:
                yield sql.SQL(f"{verb} {', '.join(sorted(rights))} ON {{}} {preposition} {{}}").format(
                    sql.Identifier(name), sql.Identifier(ROLE)
                )
    # Before PostgreSQL 15 everybody may create tables there.
    schema = _scalar(
        connection,
        "SELECT nspname FROM pg_namespace WHERE nspname = current_schema() AND pg_has_role(nspowner, 'USAGE') "  # noqa: S608 - a constant
        f"AND has_schema_privilege('{ROLE}', oid, 'CREATE')",
    )
    if schema:
        yield sql.SQL("REVOKE CREATE ON SCHEMA {} FROM PUBLIC, {}").format(sql.Identifier(schema), sql.Identifier(ROLE))


def _scalar(connection: psycopg.Connection, question: str) -> Any:
    row = connection.execute(question.encode()).fetchone()
    return row and row[0]
