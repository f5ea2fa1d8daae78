"""Wrong values are refused before anything reaches a cluster, and the message names the place."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[2]
CHART = ROOT / "deploy/helm/riskwire"
LOCAL = ROOT / "build/kubernetes/bin/helm"
HELM = str(LOCAL) if LOCAL.exists() else shutil.which("helm")
needs_helm = pytest.mark.skipif(HELM is None, reason="helm is not installed: run 'python deploy/helm/tools.py'")

KAFKA: dict[str, Any] = yaml.safe_load((CHART / "ci/kafka-values.yaml").read_text(encoding="utf-8"))


def test_schema_is_in_step_with_the_configuration() -> None:
    done = subprocess.run([sys.executable, ROOT / "deploy/helm/schema.py", "--check"], timeout=60, check=False)
    assert done.returncode == 0, "run 'python deploy/helm/schema.py'"


def test_every_object_of_the_schema_is_closed() -> None:
    schema = json.loads((CHART / "values.schema.json").read_text(encoding="utf-8"))

    def walk(node: Any, path: str) -> None:
        if isinstance(node, dict):
            if node.get("type") == "object" and "properties" in node and "propertyNames" not in node:
                assert node.get("additionalProperties") is False, path
            for key, value in node.items():
                walk(value, f"{path}.{key}")

    walk(schema, "")


def changed(base: dict[str, Any], path: str, value: Any) -> dict[str, Any]:
    result: dict[str, Any] = json.loads(json.dumps(base))
    node = result
    *parents, last = path.split("/")
    for part in parents:
        node = node.setdefault(part, {})
    node[last] = value
    return result


MUTATIONS: list[tuple[str, Any, str]] = [
    # The schema's.
    ("replicas", 2, "replicas"),
    ("roles/score/replica", 2, "replica"),
    ("roles/scorer", {}, "scorer"),
    ("roles/score/replicas", 0, "replicas"),
    ("roles/score/replicas", "two", "replicas"),
    ("config/kafca", {}, "kafca"),
    ("config/kafka/bootstraps", [], "bootstraps"),
    ("config/kafka/password", "hunter2", "password"),
    ("config/elastic/api_key", "x", "api_key"),
    ("config/kafka/security", "tls", "security"),
    ("config/kafka/partitions", 0, "partitions"),
    ("config/state/url", "postgresql://riskwire:hunter2@db/riskwire", "url"),
    ("config/data_dir", "/data", "data_dir"),
    ("config/observe/listen", "127.0.0.1:1", "listen"),
    ("config/observe/log_level", "loud", "log_level"),
    ("config/detect/bucket_minutes", 45, "bucket_minutes"),
    ("config/sources", [{"url": "https://x.example"}], "name"),
    ("config/sources", [{"name": "x", "kind": "push", "token": "hunter2"}], "token"),
    ("config/notifiers", [{"kind": "pagerduty", "routing_key": "hunter2"}], "routing_key"),
    ("config/notifiers", [{"name": "x"}], "kind"),
    ("config/web/tokens", [{"name": "x", "role": "viewer", "token": "hunter2"}], "token"),
    ("image/digest", "latest", "digest"),
    ("user", 0, "user"),
    ("terminationGracePeriodSeconds", 10, "terminationGracePeriodSeconds"),
    ("secretFiles", [{"name": "../x", "secret": "s", "key": "k"}], "name"),
    ("secretFiles", [{"name": "x", "secret": "s"}], "key"),
    ("files", {"riskwire.toml": "x"}, "riskwire.toml"),
    ("files", {"a/b.csv": "x"}, "a/b.csv"),
    ("autoscaling/kind", "vpa", "kind"),
    ("autoscaling/keda/lagThreshold", 0, "lagThreshold"),
    ("autoscaling/keda/secrets", [{"parameter": "passwort", "secret": "s", "key": "k"}], "parameter"),
    ("persistence/accessModes", ["ReadWriteMany"], "accessModes"),
    ("monitoring/kind", "Datadog", "kind"),
    ("web/port", 0, "port"),
    ("networkPolicy/kafka", {"to": [], "port": [1]}, "port"),
    ("setup/config/kafka/user", "x", "user"),
    ("gpu/count", 0, "count"),
    ("roles/score/resources/limits/memory", "2 GB", "memory"),
    # The templates'.
    ("autoscaling/maxReplicas", 25, "more workers than partitions"),
    ("autoscaling/minReplicas", 30, "minReplicas is greater"),
    ("autoscaling/keda/secrets", [], "existingAuthentication"),
    ("config/sources", [], "at least one source"),
    ("config/entities/watchlists", ["other.csv"], "other.csv"),
    ("config/kafka/password_file", "/run/secrets/riskwire/typo", "no entry of secretFiles"),
    ("roles/web/enabled", True, "web.tokens"),
    ("web/ingress/enabled", True, "web.ingress.host is missing"),
    ("config/bus/kind", "sqlite", "files have one owner"),
]


@needs_helm
@pytest.mark.parametrize(("path", "value", "named"), MUTATIONS, ids=[f"{p}={v!r}"[:60] for p, v, _ in MUTATIONS])
def test_a_wrong_value_is_refused_by_name(path: str, value: Any, named: str) -> None:
    assert HELM is not None
    command = [HELM, "template", "rw", str(CHART), "-f", "-"]
    given = json.dumps(changed(KAFKA, path, value))
    done = subprocess.run(command, input=given, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode != 0, "was taken"
    assert named in done.stderr
    assert "hunter2" not in done.stderr or "pattern" in done.stderr


@needs_helm
def test_the_values_that_are_mutated_are_right_themselves() -> None:
    assert HELM is not None
    command = [HELM, "template", "rw", str(CHART), "-f", "-"]
    subprocess.run(command, input=json.dumps(KAFKA), capture_output=True, text=True, timeout=60, check=True)
