import pytest
import yaml
from fastapi.testclient import TestClient

from dsplatform.bootstrap import Platform
from dsplatform.core.values import DatasetRef
from dsplatform_tests import make
from dsplatform_tests.api.conftest import AsUser, Grant

SALES = "/api/v1/datasets/sales"
RULES = {"tables": [{"component": "prices.csv", "columns": {"price": {"type": "float64", "min": 0}}}]}


@pytest.fixture
def ada(as_user: AsUser, sales: DatasetRef) -> TestClient:
    return as_user("ada")


@pytest.mark.parametrize("contract", [RULES, yaml.safe_dump(RULES)])
def test_a_contract_is_set_as_an_object_or_as_yaml(contract: object, ada: TestClient) -> None:
    assert ada.get(f"{SALES}/contract").json() == {"items": []}
    terms = ada.put(f"{SALES}/contract", json={"policy": "enforce", "contract": contract}).json()
    assert (terms["branch"], terms["policy"], terms["on_breach"], terms["revision"], terms["updated_by"]) == (
        "",
        "enforce",
        "quarantine",
        1,
        "ada",
    )
    assert terms["contract"] == RULES
    assert ada.get(f"{SALES}/contract").json() == {"items": [terms]}
    changed = ada.put(f"{SALES}/contract", json={"policy": "warn"}).json()
    assert (changed["policy"], changed["contract"], changed["revision"]) == ("warn", RULES, 2)


@pytest.mark.parametrize(
    "contract",
    [
        {"tables": [{"component": "a", "colums": {}}]},
        {"table": []},
        "tables: [",
        {"tables": {"a": {"b": {}}}},
    ],
)
def test_what_is_no_contract_is_refused_with_its_place(contract: object, ada: TestClient) -> None:
    answer = ada.put(f"{SALES}/contract", json={"contract": contract})
    assert answer.status_code == 422
    assert answer.json()["code"] == "contract_unclear"


def test_a_contract_nested_without_end_is_refused(ada: TestClient) -> None:
    for depth in (100, 900):
        body = '{"contract": {"tables": ' + "[" * depth + "]" * depth + "}}"
        answer = ada.put(f"{SALES}/contract", content=body, headers={"Content-Type": "application/json"})
        assert answer.status_code in {400, 422}


def test_names_of_any_script_survive(ada: TestClient) -> None:
    rules = {"tables": [{"component": "a", "columns": {"gr\u00f6\u00dfe\u2028\U0001f600": {}, "yes": {}, "2024-01-01": {}}}]}
    assert ada.put(f"{SALES}/contract", json={"contract": rules}).json()["contract"] == rules


def test_a_contract_is_learnt(ada: TestClient) -> None:
    learnt = ada.get(f"{SALES}/contract/learned?ref=2&ranges=true").json()
    text = ada.get(f"{SALES}/contract/learned?ref=2&ranges=true&format=yaml")
    assert text.headers["content-type"].startswith("application/yaml")
    assert yaml.safe_load(text.text) == learnt
    assert ada.put(f"{SALES}/contract", json={"contract": learnt}).json()["contract"] == learnt
    assert ada.post(f"{SALES}/contract/check", json={}).json() == {"branch": "main", "policy": "warn", "breaches": []}


def test_a_version_is_held_against_another_contract(ada: TestClient) -> None:
    wrong = {"tables": [{"component": "prices.csv", "columns": {"price": {"max": 3}}}]}
    judged = ada.post(f"{SALES}/contract/check", json={"ref": "2", "contract": wrong}).json()
    assert [(breach["rule"], breach["column"]) for breach in judged["breaches"]] == [("range", "price")]


@pytest.fixture
def quarantined(ada: TestClient, platform: Platform, sales: DatasetRef) -> TestClient:
    """Versions 3 and 4 broke the contract."""
    ada.put(f"{SALES}/contract", json={"policy": "enforce", "contract": RULES})
    for price in ("-1", "-2"):
        make.commit(platform, sales, {"prices.csv": f"id,price\n1,{price}.5\n".encode()})
    return ada


def test_what_breaks_a_contract_waits_for_a_decision(quarantined: TestClient) -> None:
    page = quarantined.get(f"{SALES}/quarantine?limit=1&total=true").json()
    assert ([item["version_number"] for item in page["items"]], page["next"], page["total"]) == ([4], "4", 2)
    rest = quarantined.get(f"{SALES}/quarantine?after=4").json()
    assert ([item["version_number"] for item in rest["items"]], rest["next"]) == ([3], None)
    assert "price" in rest["items"][0]["report"][0]


def test_a_person_accepts_or_dismisses(quarantined: TestClient, platform: Platform, sales: DatasetRef) -> None:
    accepted = quarantined.post(f"{SALES}/quarantine/3/accept", json={"reason": "refunds"}).json()
    assert (accepted["quarantined"]["state"], accepted["quarantined"]["decided_by"], accepted["version_number"]) == ("accepted", "ada", 3)
    dismissed = quarantined.post(f"{SALES}/quarantine/4/dismiss", json={"reason": "a mistake"}).json()
    assert (dismissed["quarantined"]["state"], dismissed["version_number"]) == ("dismissed", None)
    assert quarantined.get(f"{SALES}/quarantine").json()["items"] == []
    assert len(quarantined.get(f"{SALES}/quarantine?decided=true").json()["items"]) == 2
    again = quarantined.post(f"{SALES}/quarantine/4/accept", json={"reason": "after all"})
    assert (again.status_code, again.json()["code"]) == (409, "decided_already")
    never = quarantined.post(f"{SALES}/quarantine/1/accept", json={"reason": "why"})
    assert (never.status_code, never.json()["code"]) == (404, "not_in_quarantine")
    assert make.held(platform, sales)["prices.csv"] == b"id,price\n1,-1.5\n"


def test_rights_that_contracts_take(quarantined: TestClient, as_user: AsUser, grant: Grant, sales: DatasetRef) -> None:
    bob, path = as_user("bob"), f"/api/v1/datasets/{sales.id}"
    grant("bob", "read", sales.id)
    assert bob.put(f"{path}/contract", json={"policy": "off"}).json()["missing"] == "admin"
    for decision in ("accept", "dismiss"):
        assert bob.post(f"{path}/quarantine/3/{decision}", json={"reason": "x"}).json()["missing"] == "write"
    assert len(bob.get(f"{path}/quarantine").json()["items"]) == 2
