"""Files that cannot be started here are held against the code: every command, key and variable of them exists."""

import re
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import pytest
import typer
import yaml
from typer.testing import CliRunner

from forewarn.cli import app
from forewarn.config.config import Part, load
from forewarn.errors import ConfigError
from tests.analytics.test_grants import grants_of

ROOT = Path(__file__).parents[1]
COMPOSE = ROOT / "docker-compose.yml"


@pytest.fixture(scope="module")
def compose() -> dict[str, Any]:
    """The compose file as a YAML 1.1 parser with merge keys reads it."""
    document: dict[str, Any] = yaml.safe_load(COMPOSE.read_text())
    return document


def parts(compose: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """The services that run our own image."""
    return {name: service for name, service in compose["services"].items() if "build" in service}


def test_every_part_of_the_flow_has_a_container(compose: dict[str, Any]) -> None:
    """Two locations, detect twice, and one of each other worker."""
    commands = sorted(" ".join(service["command"][:3]) for service in parts(compose).values())
    assert commands == [
        "migrate --config /etc/forewarn/forewarn.yaml",
        "producer --location ams",
        "producer --location fra",
        "worker alerts --config",
        "worker detect --config",
        "worker detect --config",
        "worker incidents --config",
        "worker sink --config",
    ]


def test_every_command_is_one_of_ours_with_options_that_it_has(compose: dict[str, Any]) -> None:
    """Each command is parsed by our own command line, `--help` added: an unknown word or option would exit with 2."""
    for name, service in parts(compose).items():
        words = service["command"]
        result = CliRunner().invoke(app, [*words, "--help"])
        assert result.exit_code == 0, name
        for option in (word for word in words if word.startswith("--")):
            assert option in result.output, f"{name}: {option}"
        check = service.get("healthcheck", {})
        if not check.get("disable"):
            assert check["test"][:3] == ["CMD", "forewarn", "healthcheck"], name
            assert CliRunner().invoke(app, [*check["test"][2:], "--help"]).exit_code == 0


def test_containers_have_the_least_rights_and_are_restarted(compose: dict[str, Any]) -> None:
    """Read-only, no capabilities, no new privileges; restarted; state in named volumes only."""
    for name, service in parts(compose).items():
        assert service["read_only"] is True, name
        assert service["cap_drop"] == ["ALL"], name
        assert service["security_opt"] == ["no-new-privileges:true"], name
        assert service["restart"] == ("no" if name == "migrate" else "unless-stopped"), name
        named = {volume.split(":")[0] for volume in service["volumes"] if not volume.startswith("./")}
        assert named <= set(compose["volumes"]), name
        if name != "migrate":
            assert len(named) == 1, f"{name} keeps its spool, outbox or snapshots in a volume of its own"


def test_images_are_pinned_and_only_loopback_is_published(compose: dict[str, Any]) -> None:
    """No `latest`, a full version in each tag, and no port that the network can reach."""
    for name, service in compose["services"].items():
        assert re.search(r":\d+\.\d+\.\d+", service["image"]), name
        for port in service.get("ports", []):
            assert port.startswith("127.0.0.1:"), name
    for line in (ROOT / "Dockerfile").read_text().splitlines():
        if line.startswith("FROM"):
            assert re.search(r":\d+\.\d+\.\d+", line), line


NEEDS: dict[str, tuple[Part, ...]] = {
    "migrate": ("log", "store"),
    "producer": ("log", "probes"),
    "worker detect": ("log", "store"),
    "worker incidents": ("log", "store"),
    "worker sink": ("log", "store"),
    "worker alerts": ("log", "store", "alerts"),
}
"""What of the config each part reads the secrets of."""


def test_every_part_is_given_the_variables_that_it_needs_and_no_others(compose: dict[str, Any]) -> None:
    """The config is valid for it with just these; without any one of them it is refused."""
    path = ROOT / "deploy" / "forewarn.yaml"
    example = (ROOT / "deploy" / "env.example").read_text()
    for name, service in parts(compose).items():
        words = service["command"]
        needs = NEEDS[" ".join(words[:2]) if words[0] == "worker" else words[0]]
        given = {key: "json://127.0.0.1:1/" if key == "ALERTS_URL" else "x" for key in service.get("environment", {})}
        assert load(path, env=given, parts=needs).location_names() == ("ams", "fra"), name
        for variable in given:
            with pytest.raises(ConfigError, match=variable):
                load(path, env={key: value for key, value in given.items() if key != variable}, parts=needs)
    for variable in re.findall(r"\$\{(\w+):\?", COMPOSE.read_text()):
        assert f"{variable}=" in example, variable


def test_the_stores_users_have_the_grants_of_their_roles(compose: dict[str, Any]) -> None:
    """The same grants that are tried on the engine, a password from a variable that the container is given."""
    users = ET.parse(ROOT / "deploy" / "clickhouse-users.xml").find("users")  # noqa: S314 - our own file
    assert users is not None
    store = compose["services"]["clickhouse"]
    assert "./deploy/clickhouse-users.xml:/etc/clickhouse-server/users.d/forewarn.xml:ro" in store["volumes"]
    for role in ("forewarn_migrator", "forewarn_writer", "forewarn_analyst"):
        user = users.find(role)
        assert user is not None
        assert [query.text for query in user.findall("grants/query")] == grants_of(role)
        password = user.find("password")
        assert password is not None
        assert password.text is None
        assert password.attrib["from_env"] in store["environment"]
    assert [ip.text for ip in users.findall("default/networks/ip")] == ["127.0.0.1", "::1"]
    names = {service.get("environment", {}).get("CLICKHOUSE_USER") for service in parts(compose).values()}
    assert names == {None, "forewarn_migrator", "forewarn_writer"}


def test_the_image_contains_every_package_and_file_that_it_needs() -> None:
    """Each package of the wheel is copied, and .dockerignore lets every copied path through."""
    dockerfile = (ROOT / "Dockerfile").read_text()
    ignore = (ROOT / ".dockerignore").read_text()
    for package in ("producers", "streams", "analytics", "forewarn"):
        assert f"COPY {package} {package}" in dockerfile
    for copied in re.findall(r"^COPY (?!--from)(.+) \S+$", dockerfile, re.MULTILINE):
        for path in copied.split():
            assert f"!{path}" in ignore, path
            assert (ROOT / path).exists(), path


def test_the_application_is_a_typer_application() -> None:
    """What the tests above parse commands with is what the console script runs."""
    assert isinstance(app, typer.Typer)
