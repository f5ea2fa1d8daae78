"""The kustomize overlays: built by the real kustomize (of kubectl), checked strictly, with configurations that load."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from monitor.config import load_settings

ROOT = Path(__file__).parents[2]
LOCAL = ROOT / "build/kubernetes/bin/kubectl"
KUBECTL = str(LOCAL) if LOCAL.exists() else shutil.which("kubectl")
OVERLAYS = ("single-node", "kafka")

pytestmark = pytest.mark.skipif(KUBECTL is None, reason="kubectl is missing: run 'python deploy/helm/tools.py'")


@pytest.fixture(scope="module", params=OVERLAYS)
def built(request: pytest.FixtureRequest) -> tuple[str, list[dict[str, Any]]]:
    assert KUBECTL is not None
    command = [KUBECTL, "kustomize", str(ROOT / "deploy/kustomize/overlays" / request.param)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    return request.param, [item for item in yaml.safe_load_all(done.stdout) if item]


def test_every_object_fits_the_api_strictly(built: tuple[str, list[dict[str, Any]]]) -> None:
    kubernetes_validate = pytest.importorskip("kubernetes_validate", reason="pip install kubernetes-validate")
    for item in built[1]:
        kubernetes_validate.validate(item, "1.37.0", strict=True)


def test_roles_and_their_security(built: tuple[str, list[dict[str, Any]]]) -> None:
    name, objects = built
    wanted = {"single-node": [[]], "kafka": [["--role", role] for role in ("detect", "ingest", "notify", "score")]}
    deployments = [x for x in objects if x["kind"] == "Deployment"]
    assert sorted(x["spec"]["template"]["spec"]["containers"][0].get("args", []) for x in deployments) == wanted[name]
    maps = {x["metadata"]["name"] for x in objects if x["kind"] == "ConfigMap"}
    for item in (x for x in objects if x["kind"] in ("Deployment", "Job")):
        spec = item["spec"]["template"]["spec"]
        assert spec["securityContext"]["runAsNonRoot"] is True
        assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        assert spec["automountServiceAccountToken"] is False
        assert spec["enableServiceLinks"] is False
        assert spec["containers"][0]["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }
        assert {volume["configMap"]["name"] for volume in spec["volumes"] if "configMap" in volume} == maps
        assert spec["containers"][0]["image"] == "riskwire:0.1.0-cpu"
    if name == "single-node":
        assert deployments[0]["spec"]["strategy"] == {"type": "Recreate"}
        assert {"name": "data", "persistentVolumeClaim": {"claimName": "riskwire-data"}} in (
            deployments[0]["spec"]["template"]["spec"]["volumes"]
        )


def test_budgets_and_policies_find_their_pods(built: tuple[str, list[dict[str, Any]]]) -> None:
    labels = [x["spec"]["template"]["metadata"]["labels"] for x in built[1] if x["kind"] == "Deployment"]
    for item in built[1]:
        selector = item["spec"].get("podSelector" if item["kind"] == "NetworkPolicy" else "selector", {}) if (
            item["kind"] in ("NetworkPolicy", "PodDisruptionBudget")
        ) else None  # fmt: skip
        if selector is not None:
            assert any(selector["matchLabels"].items() <= found.items() for found in labels), item["metadata"]["name"]


def test_configuration_is_one_that_riskwire_takes(built: tuple[str, list[dict[str, Any]]], tmp_path: Path) -> None:
    file = tmp_path / "riskwire.toml"
    file.write_text(next(x for x in built[1] if x["kind"] == "ConfigMap")["data"]["riskwire.toml"], encoding="utf-8")
    settings = load_settings(file)
    assert settings.observe.listen == "0.0.0.0:9464"
    assert str(settings.data_dir) == "/var/lib/riskwire"
