"""Requests made up from the description of the API, right and wrong ones: the answers are what the description says (schemathesis)."""

import json
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, settings
from schemathesis.config import SchemathesisConfig

from dsplatform.bootstrap import bootstrap
from dsplatform.core.roles import ROLE
from dsplatform.core.settings import Settings
from dsplatform.embedded import EmbeddedPostgres
from dsplatform_tests import conftest, make
from dsplatform_tests.api.matrix.routes import API
from dsplatform_tests.api.served import Served, served

HERE = "sales"


OPERATIONS: list[dict[str, Any]] = [
    {
        "include-name": f"GET /api/v1/datasets/{{dataset}}/{address}",
        "checks": {"unsupported_method": {"enabled": False}, "allow_header_conformance": {"enabled": False}},
    }
    for address in ("permissions/who-can", "versions/{number}/job")
]
"""These are also addresses of wider routes (`permissions/{grant}`, `versions/{ref}` of a branch that has slashes), which take DELETE."""
REFUSABLE = ["2xx", "3xx", "400", "401", "403", "404", "409", "410", "412", "416", "422", "429", "503"]
"""What a request may be answered that keeps to the schemas: names, refs, conditions, digests, passwords and pairs of parameters have rules
that no schema says. That good requests are accepted is what the matrix shows of every route."""


def described(*, coverage: bool = True, **parameters: Any) -> Any:
    config = SchemathesisConfig.from_dict(
        {
            "generation": {"allow-x00": False},  # no text that is taken may hold one, which is tested of every parameter elsewhere
            "checks": {
                "positive_data_acceptance": {"expected-statuses": REFUSABLE},
                "negative_data_rejection": {"expected-statuses": ["400", "401", "403", "404", "405", "406", "409", "414", "415", "422"]},
                "not_a_server_error": {"expected-statuses": ["2xx", "3xx", "4xx", "503"]},  # nobody captures what is made here
            },
            "operations": OPERATIONS,
            "phases": {"coverage": {"enabled": coverage}},
            **({"parameters": parameters} if parameters else {}),
        }
    )
    return schemathesis.openapi.from_dict(API, config=config)


ANYWHERE, INSIDE = described(), described(coverage=False, **{"path.dataset": HERE})
FEW = settings(
    max_examples=8,
    derandomize=True,
    database=None,
    deadline=None,
    suppress_health_check=list(HealthCheck),
)
MANY = 1_000
"""Cases that all test processes together have to reach."""
asked: Counter[str] = Counter()
"""By caller and operation, in this process."""


class Asked:
    """The running API, and its two callers."""

    def __init__(self, api: Served, tokens: dict[str, str]) -> None:
        self.url = f"http://127.0.0.1:{api.port}"
        self.headers = {name: {"Authorization": f"Bearer {secret}"} for name, secret in tokens.items()}


@pytest.fixture(scope="module")
def api(server: EmbeddedPostgres, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Asked]:
    """The API as a process of its own, with what the examples of its description speak of."""
    home = tmp_path_factory.mktemp("generated") / "home"
    with conftest._database(server, "template") as name:
        url = server.url(name, user=ROLE)
        with bootstrap(Settings.from_env({"DSPLATFORM_HOME": str(home)}), url) as platform:
            with make.tampering(platform.db) as tx:  # no number that is made up is one of these tokens
                tx.execute("ALTER TABLE api_tokens ALTER COLUMN id RESTART WITH 7500001")
            platform.permissions.create_user("ada", "editor")  # of the examples, which have her deactivated
            people = {"root": "admin", "nora": "editor"}
            actors = {name: platform.permissions.create_user(name, role) for name, role in people.items()}
            tokens = {name: platform.accounts.create_token(actor, name).secret for name, actor in actors.items()}
            nora = actors["nora"]
            sales = platform.datasets.create_dataset(nora, HERE)
            for number in range(3):
                made = make.commit(platform, sales, {"prices.csv": b"id,price\n1,%d\n" % number, "x.bin": b"\0%d" % number}, actor=nora)
                platform.schemas.capture_version_schema(made.version_id)
            platform.branches.create_branch(nora, sales, "feature/prices", "2")
            platform.branches.create_tag(nora, sales, "v1.0", "1")
        with served(url, home, {"rate_limit": 0}, probes=False) as running:
            yield Asked(running, tokens)
    told = tmp_path_factory.getbasetemp() / "asked"
    told.write_text(json.dumps(asked))
    others = told.parent.parent.glob("popen-*/asked") if told.parent.name.startswith("popen-") else [told]
    everywhere = sum((Counter(json.loads(one.read_text())) for one in others), Counter[str]())
    if len(everywhere) == len(list(ANYWHERE.get_all_operations())) + len(list(INSIDE.get_all_operations())):  # the last process sees all
        assert everywhere.total() >= MANY


@ANYWHERE.parametrize()  # type: ignore[untyped-decorator]  # it says nothing of its types
@FEW
def test_an_admin_is_answered_as_described(case: Any, api: Asked) -> None:
    answered(case, api, "root")


@INSIDE.parametrize()  # type: ignore[untyped-decorator]  # it says nothing of its types
@FEW
def test_an_editor_is_answered_as_described(case: Any, api: Asked) -> None:
    answered(case, api, "nora")


def answered(case: Any, api: Asked, who: str) -> None:
    case.call_and_validate(base_url=api.url, headers=api.headers[who])
    asked[f"{who} {case.operation.label}"] += 1
