"""The Helm chart: rendered by the real helm, every object checked strictly, every command and key known to Riskwire."""

from __future__ import annotations

import json
import shutil
import subprocess
import tomllib
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import typer
import yaml

from monitor.bus.kafka_config import KafkaConfig
from monitor.cli.main import app
from monitor.config import ROLES, load_settings
from monitor.services.topics import ARTICLES, SCORE_GROUP

ROOT = Path(__file__).parents[2]
CHART = ROOT / "deploy/helm/riskwire"
TOOLS = ROOT / "build/kubernetes"
FETCH = "python deploy/helm/tools.py"
VALUES = {"default": None} | {path.stem.removesuffix("-values"): path for path in (CHART / "ci").glob("*.yaml")}
OURS = ("keda.sh", "monitoring.coreos.com", "gateway.networking.k8s.io")

HELM = str(TOOLS / "bin/helm") if (TOOLS / "bin/helm").exists() else shutil.which("helm")
pytestmark = pytest.mark.skipif(HELM is None, reason=f"helm is not installed: run '{FETCH}'")

Objects = list[dict[str, Any]]


def helm(*arguments: str, values: dict[str, Any] | None = None) -> subprocess.CompletedProcess[str]:
    assert HELM is not None
    given = ["-f", "-"] if values is not None else []
    return subprocess.run(
        [HELM, *arguments, *given],
        input=json.dumps(values or {}),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def render(name: str, changed: dict[str, Any] | None = None) -> Objects:
    file = VALUES[name]
    done = helm("template", "rw", str(CHART), "-n", "news", *(["-f", str(file)] if file else []), values=changed or {})
    assert done.returncode == 0, done.stderr
    return [item for item in yaml.safe_load_all(done.stdout) if item]


def pick(objects: Objects, kind: str, name: str = "") -> dict[str, Any]:
    found = [x for x in objects if x["kind"] == kind and x["metadata"]["name"].endswith(name)]
    assert len(found) == 1, (kind, name, [x["metadata"]["name"] for x in found])
    return found[0]


def pods(objects: Objects) -> Iterator[tuple[str, dict[str, Any], dict[str, Any]]]:
    """Name, pod specification and labels of everything that makes pods."""
    for item in objects:
        if item["kind"] in ("Deployment", "Job"):
            template = item["spec"]["template"]
            yield item["metadata"]["name"], template["spec"], template["metadata"]["labels"]
        elif item["kind"] == "Pod":
            yield item["metadata"]["name"], item["spec"], item["metadata"]["labels"]


@pytest.fixture(scope="module", params=sorted(VALUES))
def objects(request: pytest.FixtureRequest) -> Objects:
    return render(request.param)


@pytest.mark.parametrize("name", sorted(VALUES))
def test_lint_finds_nothing(name: str) -> None:
    file = VALUES[name]
    done = helm("lint", "--strict", str(CHART), *(["-f", str(file)] if file else []))
    assert done.returncode == 0, done.stdout + done.stderr
    assert "[WARNING]" not in done.stdout
    assert "[ERROR]" not in done.stdout


@pytest.mark.parametrize("version", ["1.30.0", "1.37.0"])
def test_every_object_fits_the_api_strictly(objects: Objects, version: str) -> None:
    kubernetes_validate = pytest.importorskip("kubernetes_validate", reason="pip install kubernetes-validate")
    checked = [x for x in objects if not x["apiVersion"].startswith(OURS)]
    assert len(checked) > 4
    for item in checked:
        kubernetes_validate.validate(item, version, strict=True)


def check_custom(objects: Objects) -> str:
    node = shutil.which("node")
    if node is None or not (TOOLS / "types/node_modules/typescript").exists():
        pytest.skip(f"node or the types are missing: run '{FETCH}'")
    command = [node, str(ROOT / "deploy/helm/custom_kinds.mjs"), str(TOOLS / "types")]
    return subprocess.run(
        command, input=json.dumps(objects), capture_output=True, text=True, timeout=100, check=False
    ).stdout


def test_kinds_of_keda_prometheus_and_gateway_fit_their_types() -> None:
    found = [x for name in VALUES for x in render(name) if x["apiVersion"].startswith(OURS)]
    found += [pick(render("kafka", {"monitoring": {"rules": True}}), "PrometheusRule")]
    wanted = {"ScaledObject", "TriggerAuthentication", "ServiceMonitor", "PodMonitor", "PrometheusRule", "HTTPRoute"}
    assert {x["kind"] for x in found} == wanted
    assert check_custom(found) == ""
    scaled = pick(render("kafka"), "ScaledObject")
    scaled["spec"]["pollingIntervall"] = 3
    assert "pollingIntervall" in check_custom([scaled])


def test_every_pod_keeps_to_the_restricted_standard(objects: Objects) -> None:
    found = list(pods(objects))
    assert found
    for name, spec, _ in found:
        assert spec["securityContext"]["runAsNonRoot"] is True, name
        assert spec["securityContext"]["runAsUser"] > 0
        assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        assert not {"hostNetwork", "hostPID", "hostIPC"} & spec.keys()
        assert spec["automountServiceAccountToken"] is False
        assert spec["enableServiceLinks"] is False  # RISKWIRE_… of a Service would be refused as configuration
        for container in spec["containers"]:
            assert container["securityContext"] == {
                "allowPrivilegeEscalation": False,
                "readOnlyRootFilesystem": True,
                "capabilities": {"drop": ["ALL"]},
            }
            assert container["resources"]["requests"]
            assert container["resources"]["limits"]["memory"]
        for volume in spec.get("volumes", []):
            assert volume.keys() - {"name"} <= {"configMap", "emptyDir", "projected", "persistentVolumeClaim", "secret"}
    accounts = [x for x in objects if x["kind"] == "ServiceAccount"]
    assert accounts
    assert all(x["automountServiceAccountToken"] is False for x in accounts)


def test_configuration_is_one_that_riskwire_takes(
    objects: Objects, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number, item in enumerate(x for x in objects if x["kind"] == "ConfigMap"):
        file = tmp_path / str(number) / "riskwire.toml"
        file.parent.mkdir()
        text = item["data"]["riskwire.toml"]
        file.write_text(text, encoding="utf-8")
        settings = load_settings(file)
        assert settings.observe.listen == "0.0.0.0:9464"
        assert str(settings.data_dir) == "/var/lib/riskwire"
        assert settings.sources
    for _, spec, _ in pods(objects):
        for variable in spec["containers"][0].get("env", []):
            if variable["name"].startswith("RISKWIRE_"):
                monkeypatch.setenv(variable["name"], variable.get("value", "3"))
    load_settings(file)


def test_every_command_and_option_exists(objects: Objects) -> None:
    for name, spec, _ in pods(objects):
        container = spec["containers"][0]
        line = [*container["command"], *container.get("args", [])]
        if line[0] != "riskwire":
            assert line[:2] == ["python3", "-c"]
            compile(line[2], name, "exec")
            continue
        words = [word for word in line[1:] if not word.startswith("/")]
        command = words[: next(i for i, word in enumerate(words) if word.startswith("-"))]
        found: Any = typer.main.get_command(app)
        for word in command:
            assert word in found.commands, (name, word)
            found = found.commands[word]
        known = {option for parameter in found.params for option in parameter.opts}
        assert {word for word in words if word.startswith("-")} <= known, name
        asked = {b for a, b in pairwise(line) if a == "--role"}
        assert asked <= set(ROLES)


def test_probes_and_ends(objects: Objects) -> None:
    deployments = [x for x in objects if x["kind"] == "Deployment"]
    assert deployments
    for item in deployments:
        spec = item["spec"]["template"]["spec"]
        container = spec["containers"][0]
        assert spec["terminationGracePeriodSeconds"] >= 30
        assert container["startupProbe"]["httpGet"] == {"path": "/healthz", "port": "metrics"}
        assert container["startupProbe"]["periodSeconds"] * container["startupProbe"]["failureThreshold"] >= 300
        assert container["livenessProbe"]["httpGet"]["path"] == "/healthz"
        assert container["readinessProbe"]["httpGet"]["path"] == "/readyz"
        assert {"name": "metrics", "containerPort": 9464} in container["ports"]


def test_selectors_find_their_pods_and_no_others(objects: Objects) -> None:
    labels = {name: found for name, _, found in pods(objects)}
    for item in objects:
        if item["kind"] in ("PodDisruptionBudget", "Deployment"):
            wanted = item["spec"]["selector"]["matchLabels"]
            found = [name for name, has in labels.items() if wanted.items() <= has.items()]
            assert found == [item["metadata"]["name"]]
        if item["kind"] == "NetworkPolicy":
            wanted = item["spec"]["podSelector"]["matchLabels"]
            assert any(wanted.items() <= has.items() for has in labels.values()), item["metadata"]["name"]


def test_shapes() -> None:
    def roles(name: str) -> dict[str, list[str]]:
        return {
            x["metadata"]["name"].removeprefix("rw-riskwire-"): x["spec"]["template"]["spec"]["containers"][0]["args"][
                1::2
            ]
            for x in render(name)
            if x["kind"] == "Deployment"
        }

    assert roles("default") == {"all": ["ingest", "score", "detect", "notify"]}
    assert roles("core") == {"core": ["ingest", "detect", "notify"], "score": ["score"]}
    assert roles("kafka") == {role: [role] for role in ("ingest", "score", "detect", "notify")}
    one = pick(render("default"), "Deployment")
    assert one["spec"]["replicas"] == 1
    assert one["spec"]["strategy"] == {"type": "Recreate"}  # a data folder has one owner
    assert pick(render("default"), "PersistentVolumeClaim")["metadata"]["name"] == "rw-riskwire-data"


def test_scaling_follows_the_group_that_scores() -> None:
    found = render("kafka")
    trigger = pick(found, "ScaledObject")["spec"]["triggers"][0]
    names = KafkaConfig(bootstrap=("b:1",))
    assert trigger["metadata"]["topic"] == names.topic_prefix + ARTICLES
    assert trigger["metadata"]["consumerGroup"] == names.topic_prefix + SCORE_GROUP
    assert trigger["metadata"]["sasl"] == "scram_sha512"
    assert "replicas" not in pick(found, "Deployment", "-score")["spec"]  # else an upgrade undoes the scaling
    assert pick(render("core"), "HorizontalPodAutoscaler")["spec"]["maxReplicas"] == 8


def test_gpu_pool() -> None:
    found = render("gpu")
    spec = pick(found, "Deployment", "-score")["spec"]["template"]["spec"]
    container = spec["containers"][0]
    assert container["image"].endswith("-gpu")
    assert container["resources"]["limits"]["nvidia.com/gpu"] == 1
    assert spec["nodeSelector"] == {"cloud.google.com/gke-accelerator": "nvidia-l4"}
    assert spec["tolerations"][0]["key"] == "nvidia.com/gpu"
    assert {"name": "RISKWIRE_MODEL__ENGINE", "value": "torch"} in container["env"]
    other = pick(found, "Deployment", "-detect")["spec"]["template"]["spec"]
    assert "nvidia.com/gpu" not in other["containers"][0]["resources"]["limits"]
    assert "nodeSelector" not in other


def ports(policy: dict[str, Any]) -> set[int]:
    return {port["port"] for rule in policy["spec"]["egress"] for port in rule["ports"]}


def test_network_policies_allow_what_a_role_needs() -> None:
    found = render("kafka")
    deny = pick(found, "NetworkPolicy", "riskwire-deny")["spec"]
    assert deny["policyTypes"] == ["Ingress", "Egress"]
    assert "ingress" not in deny
    assert "egress" not in deny
    kafka, elastic, postgres, web = {9093}, {9200}, {6432, 6433}, {80, 443}
    for role, wanted in {
        "ingest": kafka | postgres | web,
        "score": kafka | elastic | postgres,
        "detect": kafka | elastic | postgres,
        "notify": postgres | web,
        "setup": kafka | elastic,
    }.items():
        assert ports(pick(found, "NetworkPolicy", f"riskwire-{role}")) == wanted | {53}, role
    blocks = [
        peer["ipBlock"]
        for rule in pick(found, "NetworkPolicy", "riskwire-ingest")["spec"]["egress"]
        for peer in rule.get("to", [])
        if "ipBlock" in peer
    ]
    assert "169.254.0.0/16" in blocks[0]["except"]  # where clouds answer with credentials


def test_a_changed_configuration_restarts_the_pods() -> None:
    def sums(changed: dict[str, Any]) -> set[str]:
        return {
            x["spec"]["template"]["metadata"]["annotations"]["checksum/config"]
            for x in render("kafka", changed)
            if x["kind"] == "Deployment"
        }

    first = sums({})
    assert len(first) == 1
    assert sums({"config": {"detect": {"tick": 20}}}) != first
    assert sums({"files": {"desk.csv": "id,name\nx,Y\n"}}) != first
    assert sums({"commonLabels": {"team": "risk"}}) == first


def test_setup_jobs_come_before_everything_else() -> None:
    found = render("kafka")
    for name, command in {"-topics": ["topics", "apply"], "-store": ["store", "apply"]}.items():
        job = pick(found, "Job", name)
        assert job["metadata"]["annotations"]["helm.sh/hook"] == "pre-install,pre-upgrade"
        assert job["spec"]["template"]["spec"]["containers"][0]["args"][:2] == command
    own = pick(found, "ConfigMap", "-setup")
    assert int(own["metadata"]["annotations"]["helm.sh/hook-weight"]) < -10
    login = tomllib.loads(own["data"]["riskwire.toml"])["kafka"]["username"]
    assert login == "riskwire-admin"
    assert (
        tomllib.loads(pick(found, "ConfigMap", "riskwire")["data"]["riskwire.toml"])["kafka"]["username"] == "riskwire"
    )
    assert not [x for x in render("default") if x["kind"] == "Job"]


def test_web_answers_for_its_names() -> None:
    found = render("web")
    web = tomllib.loads(pick(found, "ConfigMap")["data"]["riskwire.toml"])["web"]
    assert web["listen"] == "0.0.0.0:8080"
    assert {"news.bank.example", "rw-riskwire-web", "rw-riskwire-web.news.svc"} <= set(web["hosts"])
    assert pick(found, "Service", "-web")["spec"]["selector"]["app.kubernetes.io/component"] == "all"


def test_alert_rules_are_those_of_the_repository() -> None:
    original = ROOT / "deploy/prometheus/riskwire.rules.yml"
    ours = CHART / "files/riskwire.rules.yml"
    assert ours.read_text(encoding="utf-8") == original.read_text(encoding="utf-8"), f"cp {original} {ours}"
    rule = pick(render("default", {"monitoring": {"rules": True}}), "PrometheusRule")
    assert rule["spec"] == yaml.safe_load(original.read_text(encoding="utf-8"))


def test_awkward_text_survives_toml() -> None:
    awkward = {"name": 'a "b" \\ <c> & {{ .Values }}\n金融', "kind": "feed", "url": "https://x.example/?a=1&b=[2]"}
    awkward |= {"headers": {"X-Key": "'''", "Ünder": "1e3"}, "interval": 0.5, "max_interval": 20000000}
    found = render("default", {"config": {"sources": [awkward]}})
    assert tomllib.loads(pick(found, "ConfigMap")["data"]["riskwire.toml"])["sources"] == [awkward]
