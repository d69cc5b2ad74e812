"""The tables of docs/permissions.md say what the code does."""

import re
from pathlib import Path

import pytest

from dsplatform.bootstrap import Platform
from dsplatform.core.access import guard_of
from dsplatform.core.types import PermissionType, PlatformRight
from dsplatform.datasets.service import DatasetService
from dsplatform.permissions.service import PermissionService
from dsplatform.schemas.contracting import ContractService
from dsplatform.schemas.service import SchemaService
from dsplatform.versioning.branches import BranchService
from dsplatform.versioning.deletion import DeletionService
from dsplatform.versioning.model import Demand
from dsplatform.versioning.protection import ProtectionService
from dsplatform.versioning.service import VersionService
from dsplatform_tests.versioning.test_protection import LETS_THROUGH, WAYS

TEXT = (Path(__file__).parents[2] / "docs" / "permissions.md").read_text()

SAID = {
    "see the dataset in lists": None,  # `test_rule.py` compares
    "read versions": VersionService.get_version,
    "files": VersionService.get_component,
    "schemas": SchemaService.schema_of,
    "contracts": ContractService.terms,
    "history": BranchService.history,
    "add versions": VersionService.create_version,
    "make and move branches and tags": BranchService.update_branch,
    "merge": BranchService.merge,
    "decide about quarantine": ContractService.accept,
    "grant and take back rights": PermissionService.grant_permission,
    "protect branches": ProtectionService.protect,
    "set contracts": ContractService.set_terms,
    "delete versions": DeletionService.delete_version,
    "set retention": DeletionService.set_retention,
    "rename": DatasetService.update_dataset,
    "delete and restore the dataset": DatasetService.delete_dataset,
}


def rows(heading: str) -> list[list[str]]:
    """The cells of the first table below a heading."""
    part = TEXT.split(f"\n## {heading}\n")[1].split("\n## ")[0]
    lines = [line for line in part.splitlines() if line.startswith("|")]
    return [[cell.strip().strip("`") for cell in line.strip("|").split("|")] for line in lines[2:]]


def test_each_right_lets_do_what_its_row_says() -> None:
    said = rows("Rights on a dataset")
    assert [right for right, _ in said] == list(PermissionType)
    told = {what: right for right, sentence in said for what in re.split(r"[;,] ", sentence)}
    assert set(told) == set(SAID)
    for what, method in SAID.items():
        if method is not None:
            assert guard_of(method) in {f"permission {told[what]}", f"checks {told[what]}"}, what


def test_the_rights_of_roles_are_all_there() -> None:
    assert [right for right, _ in rows("Roles")] == list(PlatformRight)


def test_the_roles_have_the_rights_that_the_text_says(platform: Platform) -> None:
    with platform.db.transaction() as tx:
        told = {row["role_name"]: row["rights"] for row in tx.rows("SELECT role_name, rights FROM roles")}
    assert told == {"admin": [], "editor": ["create"], "viewer": []}
    assert "`editor` has `create`. `viewer` has none" in TEXT


@pytest.mark.parametrize("column", [0, 1, 2])
def test_a_protection_lets_through_what_its_column_says(column: int) -> None:
    commit, merge, by_hand = (row[1 + column] for row in rows("Protected branches"))
    demand = [None, Demand.ADMIN, Demand.MERGE][column]
    for way in WAYS:
        takes = commit if way == "commit" else merge if way in {"merge", "fast-forward"} else by_hand
        may = {"write": {"ann", "ben"}, "admin": {"ann"}, "nobody": set[str]()}[takes]
        assert {who for who, ways in LETS_THROUGH[demand].items() if way in ways} == may, way
