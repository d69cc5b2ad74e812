"""Statements are constants of the code: nothing that somebody sends is ever put into their text (T57)."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

import dsplatform

SOURCE = Path(dsplatform.__file__).parent
ASKING = {"execute", "rows", "row", "scalar", "tuples"}
HERE = "it is written above, and looked at there"
OURS = "names of our own in the child's own database, of which nobody else's rows are part"
NAMED = "names of tables and columns of the legacy system's description, and texts of our own, chosen by the code"
CHOSEN: dict[str, dict[str, str]] = {
    "core/database.py": {
        "sql": "what the callers give, which are looked at",
        "_statement(sql)": "the same with its parameters written as the driver has them",
        "text('SELECT pg_advisory_unlock(hashtextextended(:name, 0))')": "a constant",
        "text('SELECT pg_try_advisory_lock(hashtextextended(:name, 0))')": "a constant",
    },
    "core/roles.py": {
        "_taking(connection)": "one of two words, by the server's release",
        "question": HERE,
        "statement": "made of constants and of the server's own names, which `quote_ident` wrote",
        "sql.SQL('ALTER ROLE {} LOGIN').format(sql.Identifier(ROLE))": "the driver quotes it",
        "sql.SQL('CREATE ROLE {} NOLOGIN').format(sql.Identifier(ROLE))": "the driver quotes it",
        "sql.SQL('GRANT {} TO CURRENT_USER').format(sql.Identifier(ROLE))": "the driver quotes it",
    },
    "core/verification.py": {"question": "one of the constants of the modules' verification"},
    "datasets/repository.py": {
        "' AND '.join(conditions)": HERE,
        "_listed(actor, wanted)": HERE,
        "_meant(name)": HERE,
        "among_seen(actor, PermissionType.ADMIN)": "one of three texts of core/access.py",
        "meant": HERE,
        "order": HERE,
    },
    "ingestion/repository.py": {"which": "a constant of the two callers"},
    "local.py": {"psycopg.sql.SQL('CREATE DATABASE {}').format(psycopg.sql.Identifier(name))": "the driver quotes it"},
    "migration/changes.py": dict.fromkeys(("int(seconds * 1000)", "question", "settled", "statement"), "a constant, or a number of ours"),
    "migration/checks.py": dict.fromkeys(("_MINE.format('p.dataset_id')", "_MINE.format('v.dataset_id')", "part", "question"), NAMED),
    "migration/checksums.py": dict.fromkeys(("firsts", "new", "seconds", "wanted"), "numbers, which the two databases gave as such"),
    "migration/landing_pointers.py": dict.fromkeys(("_TWINS[self.entity]", "self.entity"), NAMED),
    "migration/landing_versions.py": dict.fromkeys(("overlays[version.overlay_hash]",), NAMED),
    "migration/made_here_check.py": dict.fromkeys(("entity", "question"), "constants, or one of their names"),
    "migration/old_datasets.py": dict.fromkeys(
        (
            "' AND '.join(conditions)",
            "ORDERS[order]",
            "among_seen(actor)",
            "direction",
            "found",
            "kept_instant('m', 'updated_at')",
            "kept_time('m', 'created_at')",
            "kept_time('m', 'updated_at')",
            "name",
            "shown('datasets', 'l.new_id')",
            "shown('users', 'l.creator')",
        ),
        NAMED,
    ),
    "migration/old_files.py": dict.fromkeys(("where",), NAMED),
    "migration/old_numbers.py": dict.fromkeys(("column", "entity"), NAMED),
    "migration/people_rows.py": dict.fromkeys(("name", "table"), NAMED),
    "migration/remembered_rows.py": dict.fromkeys(
        (
            "kept_aware('m', 'last_updated_timestamp', 'updated_at')",
            "kept_aware('m', 'updated_at')",
            "kept_time('m', 'created_at')",
            "kept_time('m', 'ingestion_timestamp', 'created_at')",
            "kept_time('m', 'last_updated_timestamp', 'updated_at')",
            "kept_time('m', 'updated_at')",
            "shown('dataset_versions', 'p.version_id')",
            "shown('dataset_versions', 'v.id')",
            "shown('dataset_versions', 'v.parent_version_id')",
            "shown('datasets', 'd.id')",
            "shown('datasets', 'v.dataset_id')",
            "shown('roles', 'u.role_id')",
            "shown('users', 'p.user_id')",
            "shown('users', 'u.id')",
            "shown('users', 'v.created_by')",
        ),
        NAMED,
    ),
    "migration/reverse.py": dict.fromkeys(("table",), NAMED),
    "migration/reverse_account.py": dict.fromkeys(("step.entity",), NAMED),
    "migration/reverse_ours.py": dict.fromkeys(
        ("shown('datasets', 'd.id')", "shown('users', 'p.granted_by')", "shown('users', 'p.user_id')", "shown(str(entity), 'i')", "where"),
        NAMED,
    ),
    "migration/reverse_rights.py": dict.fromkeys(("shown('users', 'p.granted_by')", "shown('users', 'p.user_id')"), NAMED),
    "migration/reverse_rows.py": dict.fromkeys(
        (
            "names",
            "sequence",
            "sql.SQL('DELETE FROM {} WHERE {}').format(sql.Identifier(table), here)",
            "sql.SQL('INSERT INTO {} ({}) VALUES ({})').format(sql.Identifier(table), sql.SQL(', ').join(map(sql.Identifier, row)), sql.SQL(', ').join(map(sql.Placeholder, row)))",  # noqa: E501 - as it is written there
            "sql.SQL('SELECT 1 FROM {} WHERE {}').format(sql.Identifier(table), here)",
            "sql.SQL('UPDATE {} SET {} WHERE {} AND ({})').format(sql.Identifier(table), sql.SQL(', ').join((sql.SQL('{} = {}').format(sql.Identifier(name), sql.Placeholder(name)) for name in changed)), here, other)",  # noqa: E501
            "statement",
            "table",
            "where",
        ),
        "the driver quotes it, or it is a name of the legacy system's description",
    ),
    "migration/settling.py": dict.fromkeys(("entity", "step.entity"), NAMED),
    "migration/source.py": dict.fromkeys(
        (
            "declared",
            "err.diag.message_primary",
            "sql.SQL(' AND ').join(conditions)",
            "sql.SQL(' WHERE ')",
            "sql.SQL('CLOSE {}').format(cursor)",
            "statement",
        ),
        "the driver quotes it",
    ),
    "migration/version_rows.py": dict.fromkeys(("free",), NAMED),
    "permissions/grant_rows.py": {
        "_CONFLICT[grantee.kind]": "one of a constant's",
        "_LOCKED[object_type]": "one of a constant's",
        "sql": HERE,
    },
    "permissions/people_rows.py": {"held": HERE},
    "schemas/contracts/rowchecks.py": dict.fromkeys(("', '.join(parts)", "alias", "columns", "grouped", "sql", "there"), OURS),
    "versioning/history.py": {"sql": "a constant of the callers"},
    "versioning/repository.py": {"sql": HERE},
}
"""Pieces that are put into a statement and are no constants by their name, by file, each with the reason why it is safe."""


def pieces(node: ast.expr) -> Iterator[ast.expr]:
    """What a text is made of, beside what is written there: by an f-string, `+`, `%`, `.format`, `.join` or a choice."""
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "encode":
        yield from pieces(node.func.value)
    elif isinstance(node, ast.JoinedStr):
        for value in node.values:
            if isinstance(value, ast.FormattedValue):
                yield from pieces(value.value)
    elif isinstance(node, ast.BinOp):
        yield from (*pieces(node.left), *pieces(node.right))
    elif isinstance(node, ast.IfExp):
        yield from (*pieces(node.body), *pieces(node.orelse))
    elif not isinstance(node, ast.Constant):
        yield node


def is_constant(node: ast.expr) -> bool:
    """Whether the name says so: it is in capitals."""
    name = node.attr if isinstance(node, ast.Attribute) else node.id if isinstance(node, ast.Name) else ""
    return name.isupper()


def put_in(source: str) -> Iterator[str]:
    """Every piece of a statement that is no constant: of the first argument of a call that asks the database, and of every text that
    has words of SQL."""
    tree = ast.parse(source)
    texts = [
        node.args[0]
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in ASKING and node.args
    ]
    texts += [node for node in ast.walk(tree) if isinstance(node, (ast.JoinedStr, ast.BinOp)) and speaks_sql(node)]
    for text in texts:
        yield from (ast.unparse(piece) for piece in pieces(text) if not is_constant(piece))


def speaks_sql(node: ast.AST) -> bool:
    words = " ".join(each.value for each in ast.walk(node) if isinstance(each, ast.Constant) and isinstance(each.value, str))
    return re.search(r"\b(SELECT|INSERT INTO|UPDATE|DELETE FROM|WHERE|ORDER BY|GROUP BY|UNION|SET) ", words) is not None


def asks(source: str) -> bool:
    """Whether there is a database in the module: elsewhere `rows` and `row` are other things."""
    return re.search(r"\b(_?tx|connection|_database|session|cursor)\b", source) is not None


def test_nothing_but_constants_is_put_into_a_statement() -> None:
    found = {str(path.relative_to(SOURCE)): set(put_in(path.read_text())) for path in SOURCE.rglob("*.py") if asks(path.read_text())}
    assert {name: pieces for name, pieces in found.items() if pieces} == {name: set(known) for name, known in CHOSEN.items()}


@pytest.mark.parametrize(
    "source",
    [
        "tx.rows(f'SELECT 1 WHERE name = {name}')",
        "tx.row('SELECT 1 WHERE name = ' + name)",
        "tx.scalar('SELECT 1 WHERE name = %s' % name)",
        "tx.execute('DELETE FROM t WHERE name = {}'.format(name))",
        "sql = f'SELECT 1 ORDER BY {name}'",
        "parts.append('WHERE ' + name)",
        "tx.tuples(name)",
        "tx.execute(ONE if x else f'{name}')",
    ],
)
def test_a_text_that_is_put_in_is_found(source: str) -> None:
    assert any("name" in piece for piece in put_in(source))


def test_constants_are_none() -> None:
    assert list(put_in("tx.rows(f'SELECT {_COLUMNS} FROM t WHERE {model.RULE}', name=name)")) == []
