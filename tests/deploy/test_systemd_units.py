"""The units: what systemd itself says of them, and what must agree with the code."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from monitor.cli.main import EXIT_USAGE
from monitor.config import ROLES

DEPLOY = Path(__file__).parents[2] / "deploy"
UNITS = [DEPLOY / "systemd" / name for name in ("riskwire.service", "riskwire@.service")]
needs_systemd = pytest.mark.skipif(
    shutil.which("systemd-analyze") is None, reason="systemd-analyze is missing (Debian: systemd)"
)


def _values(unit: Path, key: str) -> list[str]:
    return re.findall(rf"^{key}=(.*)$", unit.read_text(encoding="utf-8"), re.M)


@needs_systemd
@pytest.mark.parametrize("name", ["riskwire.service", *(f"riskwire@{role}.service" for role in ROLES)])
def test_systemd_finds_nothing_wrong(name: str, tmp_path: Path) -> None:
    units = tmp_path / "etc/systemd/system"
    shutil.copytree(DEPLOY / "systemd", units)
    for program in ("opt/riskwire/venv/bin/riskwire", "bin/kill"):
        path = tmp_path / program
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("#!/bin/sh\n", encoding="utf-8")
        path.chmod(0o755)
    if "@" in name:  # an instance of the template
        shutil.copy(units / "riskwire@.service", units / name)
    found = subprocess.run(
        ["systemd-analyze", "verify", "--recursive-errors=no", f"--root={tmp_path}", name],
        capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    ours = [line for line in found.stderr.splitlines() if "riskwire" in line]
    assert (found.returncode, ours) == (0, []), found.stderr


@needs_systemd
@pytest.mark.parametrize("unit", UNITS, ids=lambda path: path.name)
def test_systemd_rates_the_exposure_as_low(unit: Path) -> None:
    found = subprocess.run(
        ["systemd-analyze", "security", "--offline=yes", "--threshold=15", unit],
        capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    assert found.returncode == 0, found.stdout[-500:] + found.stderr
    assert "exposure level" in found.stdout


@pytest.mark.parametrize("unit", UNITS, ids=lambda path: path.name)
def test_the_times_and_codes_fit_the_daemon(unit: Path) -> None:
    assert _values(unit, "Type") == ["notify"]
    assert int(_values(unit, "TimeoutStopSec")[0]) > 25
    assert int(_values(unit, "WatchdogSec")[0]) >= 30
    assert _values(unit, "RestartPreventExitStatus") == [str(EXIT_USAGE)]
    assert _values(unit, "ExecReload") == ["/bin/kill -HUP $MAINPID"]


def test_the_template_differs_in_what_is_the_roles_own_only() -> None:
    def hardening(unit: Path) -> str:
        text = unit.read_text(encoding="utf-8")
        return text[text.index("NoNewPrivileges") : text.index("[Install]")]

    assert hardening(UNITS[0]) == hardening(UNITS[1])
    assert "--role %i" in _values(UNITS[1], "ExecStart")[0]
    assert _values(UNITS[1], "StateDirectory") == ["riskwire/%i"]


@pytest.mark.skipif(shutil.which("shellcheck") is None, reason="shellcheck is missing (Debian: shellcheck)")
def test_shellcheck_finds_nothing_in_the_install_script() -> None:
    found = subprocess.run(["shellcheck", DEPLOY / "install.sh"], capture_output=True, text=True, check=False)
    assert found.returncode == 0, found.stdout


@pytest.mark.parametrize(
    ("words", "code", "says"),
    [(["--help"], 0, "--uninstall"), (["--frobnicate"], 2, "unknown option"), (["--purge"], 2, "goes with --uninstall"),
     (["--root"], 2, "needs a value"), (["a", "b"], 2, "one WHAT only")],
)  # fmt: skip
def test_the_install_script_refuses_what_it_does_not_know(words: list[str], code: int, says: str) -> None:
    found = subprocess.run(["sh", DEPLOY / "install.sh", *words], capture_output=True, text=True, check=False)
    assert found.returncode == code
    assert says in found.stdout + found.stderr
