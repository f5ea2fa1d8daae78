"""The dashboard is what the code builds, asks only for metrics that exist, and is laid out without overlaps."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from typer.testing import CliRunner

from monitor.cli.main import app
from monitor.obs.grafana import ROWS, build, queries, render
from monitor.obs.metrics import CATALOGUE, PROCESS

FILE = Path(__file__).parents[2] / "deploy" / "grafana" / "riskwire.json"
LABELS = {spec_series: {label.name for label in spec.labels} for spec in CATALOGUE for spec_series in spec.series}
COMMON = {"job", "instance", "le"}


def test_the_file_is_what_the_code_builds() -> None:
    assert FILE.read_text(encoding="utf-8") == render(), (
        "run: riskwire grafana build --out deploy/grafana/riskwire.json"
    )


def test_the_command_writes_it(tmp_path: Path) -> None:
    out = tmp_path / "board.json"
    assert CliRunner().invoke(app, ["grafana", "build", "--out", str(out)]).exit_code == 0
    assert json.loads(out.read_text(encoding="utf-8")) == build()


@pytest.mark.parametrize("query", queries())
def test_every_metric_and_label_of_a_query_exists(query: str) -> None:
    bare = re.sub(r'"[^"]*"', '""', query)
    found = set(re.findall(r"\b(?:riskwire|process)_[a-z_]+", bare))
    assert found
    assert found - set(LABELS) - set(PROCESS) == set()
    known = COMMON.union(*(LABELS.get(name, set()) for name in found))
    grouped = {name for group in re.findall(r"by \(([^)]*)\)", bare) for name in group.replace(" ", "").split(",")}
    selected = {name for group in re.findall(r"\{([^}]*)\}", bare) for name in re.findall(r"(\w+)\s*[=!]", group)}
    assert (grouped | selected) - known == set()
    for label, value in re.findall(r'(\w+)="([a-z_]+)"', query):
        closed = [one for spec in CATALOGUE for one in spec.labels if one.name == label and set(spec.series) & found]
        assert all(value in one.values for one in closed if one.values), f"{label}={value}"


def test_panels_do_not_overlap_and_stay_on_the_grid() -> None:
    taken: dict[tuple[int, int], str] = {}
    panels = build()["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    for panel in panels:
        place = panel["gridPos"]
        assert place["x"] + place["w"] <= 24
        for x in range(place["x"], place["x"] + place["w"]):
            for y in range(place["y"], place["y"] + place["h"]):
                assert (x, y) not in taken, f"{panel['title']} lies on {taken[x, y]}"
                taken[x, y] = panel["title"]


def test_every_metric_is_shown_or_said_why_not() -> None:
    asked = " ".join(queries())
    left = {spec.attribute for spec in CATALOGUE if not any(re.search(rf"\b{s}\b", asked) for s in spec.series)}
    assert left == {
        "role_info",  # alert RiskwireRoleMissing
        "heartbeat_pings", "heartbeat_ping_timestamp_seconds",  # alert RiskwireHeartbeatWithheld
        "lease_renewals_failed", "members", "sources_owned",  # only where several share the work
        "source_notes", "source_success_timestamp_seconds",  # detail of single sources: the dashboard's health page
        "texts", "model_info",  # asked for when a question comes up
        "drift_effect", "drift_checked", "shadow_articles", "shadow_agreement",  # 'riskwire drift', 'riskwire model'
        "notifications",  # the sum of notify_attempts
        "sse_events", "sse_dropped",  # streams that are open tell enough
    }  # fmt: skip


def test_panels_are_explained() -> None:
    assert all(panel.help and panel.queries for _, row in ROWS for panel in row)


@pytest.mark.skipif(shutil.which("promtool") is None, reason="needs promtool (Debian package prometheus)")
def test_prometheus_can_parse_every_query(tmp_path: Path) -> None:
    rules = [
        {"record": f"board:{number}", "expr": query.replace("$__rate_interval", "5m").replace("$__range", "1h")}
        for number, query in enumerate(queries())
    ]
    file = tmp_path / "rules.json"
    file.write_text(json.dumps({"groups": [{"name": "board", "rules": rules}]}), encoding="utf-8")
    done = subprocess.run(
        ["promtool", "check", "rules", str(file)], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
