import re

from fastapi.testclient import TestClient


def test_the_page_of_all_routes_needs_no_other_host(client: TestClient) -> None:
    page = client.get("/docs")
    assert page.status_code == 200
    addresses = re.findall(r'(?:src|href)="([^"]+)"', page.text) + re.findall(r"url: '([^']+)'", page.text)
    assert len(addresses) >= 4
    for address in addresses:
        assert address.startswith("/")
        assert client.get(address).status_code == 200, address


def test_its_program_is_of_a_release_that_reads_our_description(client: TestClient) -> None:
    program = client.get("/docs/assets/swagger-ui-bundle.js").text
    assert client.get("/openapi.json").json()["openapi"].startswith("3.1")
    assert "3.1" in program
