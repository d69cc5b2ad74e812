"""What stands beside the code: containers, Dagster's instance and workspace, make, the pinned versions."""

import base64
import hashlib
import hmac
import importlib.util
import json
import re
import subprocess
import tomllib
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import psycopg
import pytest
import yaml
from dagster._core.instance.config import dagster_instance_config
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from dsplatform.core.s3_address import S3Address
from dsplatform.core.settings import Settings, documentation
from dsplatform.local import EmbeddedPostgres, services_role, upgrade

ROOT = Path(__file__).parent.parent
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
PROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
OURS = [name for name, service in SERVICES.items() if service["image"].startswith("dsplatform:")]
VARIABLE = re.compile(r"\$\{(\w+)(:-[^}]+)?\}")


def filled(text: str) -> str:
    """As compose fills it in when nothing is set."""
    return VARIABLE.sub(lambda found: (found[2] or ":-")[2:], text)


def pins() -> dict[str, str]:
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    return dict(line.split("==") for line in lines if not line.startswith("#"))


def test_the_containers_are_those_of_the_architecture() -> None:
    assert set(SERVICES) == {"postgres", "s3", "migrate", "code", "webserver", "daemon", "api"}


@pytest.mark.parametrize("name", SERVICES)
def test_a_container_has_a_health_check_or_ends_by_itself(name: str) -> None:
    service = SERVICES[name]
    if service["restart"] == "no":
        waited_for = [other["depends_on"].get(name, {}).get("condition") for other in SERVICES.values() if "depends_on" in other]
        assert "service_completed_successfully" in waited_for
    else:
        assert service["healthcheck"]["test"][0] == "CMD"


@pytest.mark.parametrize("name", SERVICES)
def test_a_container_waits_for_what_exists_and_can_become_so(name: str) -> None:
    for other, how in SERVICES[name].get("depends_on", {}).items():
        ends = SERVICES[other]["restart"] == "no"
        assert how["condition"] == ("service_completed_successfully" if ends else "service_healthy")


@pytest.mark.parametrize("name", SERVICES)
def test_ports_are_published_on_loopback_only(name: str) -> None:
    for port in SERVICES[name].get("ports", []):
        assert re.fullmatch(r"127\.0\.0\.1:\d+:\d+", filled(port))


def test_images_are_pinned_to_a_release() -> None:
    for service in SERVICES.values():
        assert re.fullmatch(r"[\w/-]+:\d+\.\d+(\.\d+)?", service["image"])
    assert {SERVICES[name]["image"] for name in OURS} == {f"dsplatform:{PROJECT['version']}"}
    dockerfile = SERVICES["migrate"]["build"]["dockerfile_inline"]
    assert re.search(r"^FROM python:3\.\d+-slim-\w+$", dockerfile, re.MULTILINE)
    assert "-c constraints.txt" in dockerfile


def test_the_image_gets_everything_that_the_build_needs() -> None:
    copied = re.findall(r"^COPY (.+) \S+$", SERVICES["migrate"]["build"]["dockerfile_inline"], re.MULTILINE)
    names = {name for line in copied for name in line.split()}
    built = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["hatch"]["build"]["targets"]["wheel"]
    assert names >= {"pyproject.toml", "constraints.txt", PROJECT["readme"], *PROJECT["license-files"]}
    assert names >= {*built["packages"], *built["force-include"]}
    assert all((ROOT / name).exists() for name in names)


@pytest.mark.parametrize("name", OURS)
def test_the_commands_of_our_containers_exist(name: str) -> None:
    scripts = {script.name for script in entry_points(group="console_scripts")}
    for command in (SERVICES[name]["command"], SERVICES[name].get("healthcheck", {}).get("test", [])[1:]):
        words = [str(word) for word in command]
        if not words:
            continue
        if words[:2] == ["sh", "-c"]:
            assert {part.split()[0] for part in words[2].split("&&")} <= scripts
        elif words[0] == "python":
            assert words[1] == "-c" or importlib.util.find_spec(words[2])
        else:
            assert words[0] in scripts
        for word in words:
            module, _, attribute = word.partition(":")
            if module.startswith("dsplatform."):
                found = importlib.import_module(module)
                assert not attribute or hasattr(found, attribute)


@pytest.mark.parametrize("name", OURS)
def test_the_environment_of_our_containers_holds_real_settings(name: str) -> None:
    env = {key: filled(str(value)) for key, value in SERVICES[name]["environment"].items()}
    settings = Settings.from_env(env)
    assert settings.database_url.startswith("postgresql+psycopg://")
    assert env["DSPLATFORM_DAGSTER_DATABASE_URL"].startswith("postgresql+psycopg2://")
    assert env["DAGSTER_HOME"] in {volume.split(":")[1] for volume in SERVICES[name]["volumes"]}


def test_only_the_migration_knows_the_owner_of_the_tables() -> None:
    for name in OURS:
        env = SERVICES[name]["environment"]
        assert ("DSPLATFORM_OWNER_DATABASE_URL" in env) == (name == "migrate")
        assert "${POSTGRES_PASSWORD" not in json.dumps({key: value for key, value in env.items() if "OWNER" not in key})


def test_the_logins_of_the_containers_are_made_with_the_database(tmp_path: Path) -> None:
    """Those of the file, on a real server, with their passwords."""
    with EmbeddedPostgres(tmp_path).running() as server:
        owner = urlsplit(filled(SERVICES["migrate"]["environment"]["DSPLATFORM_OWNER_DATABASE_URL"]))
        assert owner.username == SERVICES["postgres"]["environment"]["POSTGRES_USER"]
        assert owner.path == "/" + SERVICES["postgres"]["environment"]["POSTGRES_DB"]
        with psycopg.connect(server.url("postgres", ""), autocommit=True) as connection:
            for statement in filled(COMPOSE["configs"]["databases"]["content"]).strip().splitlines():
                connection.execute(statement.encode())
            connection.execute("CREATE DATABASE dsplatform")
            for name in ("DSPLATFORM_DATABASE_URL", "DSPLATFORM_DAGSTER_DATABASE_URL"):
                url = urlsplit(filled(SERVICES["api"]["environment"][name]))
                ((stored,),) = connection.execute("SELECT rolpassword FROM pg_authid WHERE rolname = %s", [url.username]).fetchall()
                assert is_password(url.password or "", stored)
        upgrade(server.url("dsplatform"))
        assert services_role(server.url("dsplatform", user="dsplatform_app")).fenced
        with psycopg.connect(server.url("dagster", "", user="dagster")) as connection:
            connection.execute("CREATE TABLE runs (id int)")


def is_password(password: str, stored: str) -> bool:
    """Whether the server stores this password as that (RFC 5803)."""
    _, rest = stored.split("$", 1)
    iterations, salt = rest.split("$")[0].split(":")
    salted = hashlib.pbkdf2_hmac("sha256", password.encode(), base64.b64decode(salt), int(iterations))
    key = hashlib.sha256(hmac.digest(salted, b"Client Key", "sha256")).digest()
    return base64.b64encode(key).decode() == rest.split("$")[1].split(":")[0]


def test_every_variable_of_the_containers_has_a_default_and_is_explained() -> None:
    text = (ROOT / "docker-compose.yml").read_text()
    head = text.partition("\nname:")[0]
    for name, default in VARIABLE.findall(text):
        assert default, f"{name} has no default"
        assert name in head, f"{name} is not explained at the top of docker-compose.yml"


def test_the_object_store_is_reached_as_the_comment_says() -> None:
    text = (ROOT / "docker-compose.yml").read_text()
    (url,) = re.findall(r"DSPLATFORM_STORAGE_URL='(s3:[^']+)'", text)
    assert url in (ROOT / "README.md").read_text()
    address = S3Address.parse(url)
    command = SERVICES["s3"]["command"]
    (port,) = [word.partition("=")[2] for word in command if word.startswith("-s3.port=")]
    assert address.endpoint == f"http://s3:{port}"
    (identity,) = json.loads(filled(COMPOSE["configs"]["s3"]["content"]))["identities"]
    keys = {"accessKey": "AWS_ACCESS_KEY_ID", "secretKey": "AWS_SECRET_ACCESS_KEY"}
    for name in OURS:
        environment = SERVICES[name]["environment"]
        assert [{key: filled(environment[variable]) for key, variable in keys.items()}] == identity["credentials"]
        assert Settings.from_env({"DSPLATFORM_STORAGE_URL": filled(environment["DSPLATFORM_STORAGE_URL"])}).storage_url.startswith("/var")


def test_configurations_and_volumes_that_containers_name_exist() -> None:
    for service in SERVICES.values():
        assert {config["source"] for config in service.get("configs", [])} <= set(COMPOSE["configs"])
        named = {volume.split(":")[0] for volume in service.get("volumes", []) if not volume.startswith(("$", ".", "/"))}
        assert named <= set(COMPOSE["volumes"])
    assert json.loads(filled(COMPOSE["configs"]["s3"]["content"]))["identities"]
    assert COMPOSE["configs"]["instance"]["file"] == "./dagster.yaml"


def test_the_containers_share_the_code_container() -> None:
    (entry,) = yaml.safe_load(COMPOSE["configs"]["workspace"]["content"])["load_from"]
    assert entry == {"grpc_server": {"host": "code", "port": 4000, "location_name": "dsplatform"}}
    command = [str(word) for word in SERVICES["code"]["command"]]
    assert command[command.index("-p") + 1] == "4000"
    assert command[command.index("--location-name") + 1] == "dsplatform"


def test_the_instance_is_valid_for_dagster() -> None:
    loaded, _ = dagster_instance_config(str(ROOT))
    assert loaded["event_log_storage"]["module"] == "dsplatform.defs.pooled_storage"


def test_the_workspace_names_the_location_of_the_project() -> None:
    (entry,) = yaml.safe_load((ROOT / "workspace.yaml").read_text())["load_from"]
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["dg"]["project"]
    assert entry["python_module"]["module_name"] == project["code_location_target_module"]
    assert entry["python_module"]["location_name"] == project["code_location_name"]
    assert "working_directory" not in entry["python_module"]


def test_every_dependency_is_pinned_within_its_range() -> None:
    extras = PROJECT["optional-dependencies"]
    pinned = pins()
    for line in [*PROJECT["dependencies"], *extras["dev"], *extras["s3"]]:
        wanted = Requirement(line)
        if wanted.name == PROJECT["name"]:
            continue  # an extra that takes in another one
        assert wanted.specifier.contains(pinned[canonicalize_name(wanted.name)]), line


def test_the_pins_name_no_place() -> None:
    assert all(re.fullmatch(r"[a-z0-9-]+==[\w.+!]+", f"{name}=={version}") for name, version in pins().items())


@pytest.mark.parametrize("target", ["help", "run", "test", "lint", "bench", "soak"])
def test_make_knows_the_target(target: str) -> None:
    done = subprocess.run(["make", "--dry-run", target, "ARGS=--given"], cwd=ROOT, capture_output=True, text=True, check=True)
    assert ("--given" in done.stdout) == (target in {"run", "test", "bench", "soak"})


def test_the_settings_of_ports_are_those_of_the_containers() -> None:
    defaults = {name: default for name, default, _ in documentation()}
    text = (ROOT / "docker-compose.yml").read_text()
    for name in ("DSPLATFORM_API_PORT", "DSPLATFORM_DAGSTER_PORT"):
        assert f"${{{name}:-{defaults[name]}}}" in text
