"""The alert rules: promtool takes them, each alert fires when it should and is quiet when it should be."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml

from monitor.obs.metrics import CATALOGUE, PROCESS

FOLDER = Path(__file__).parents[2] / "deploy" / "prometheus"
RULES = FOLDER / "riskwire.rules.yml"
GROUPS = yaml.safe_load(RULES.read_text(encoding="utf-8"))["groups"]
ALL = [rule for group in GROUPS for rule in group["rules"]]
ALERTS = [rule for rule in ALL if "alert" in rule]
NAMES = {series for spec in CATALOGUE for series in spec.series} | set(PROCESS)
LABELS = {label.name for spec in CATALOGUE for label in spec.labels} | {"job", "instance", "le"}

needs_promtool = pytest.mark.skipif(
    shutil.which("promtool") is None, reason="needs promtool (Debian package prometheus)"
)
JOB = 'job="riskwire",instance="a:1"'


def ways(slow: str) -> dict[str, str]:
    """600 articles a minute, of which ``slow`` a minute take more than two minutes."""
    fast = 600 - int(slow)
    labels = f'{JOB},way="fetched_to_stored"'
    return {
        f'riskwire_latency_seconds_bucket{{{labels},le="120.0"}}': f"0+{fast}x90",
        f'riskwire_latency_seconds_bucket{{{labels},le="+Inf"}}': "0+600x90",
        f"riskwire_latency_seconds_count{{{labels}}}": "0+600x90",
    }


def histogram(name: str, fast: int, slow: int, bound: str) -> dict[str, str]:
    """``fast`` a minute up to ``bound``, ``slow`` a minute in the next bucket, which ends at 60."""
    return {
        f'{name}_bucket{{{JOB},le="{bound}"}}': f"0+{fast}x90",
        f'{name}_bucket{{{JOB},le="60.0"}}': f"0+{fast + slow}x90",
        f'{name}_bucket{{{JOB},le="+Inf"}}': f"0+{fast + slow}x90",
    }


def attempts(sent: int, failed: int, outcome: str = "retry") -> dict[str, str]:
    """Attempts a minute of one notifier."""
    name = f'riskwire_notify_attempts_total{{{JOB},notifier="slack"'
    return {f'{name},outcome="sent"}}': f"0+{sent}x90", f'{name},outcome="{outcome}"}}': f"0+{failed}x90"}


def roles(*names: str) -> dict[str, str]:
    return {f'riskwire_role_info{{{JOB},role="{name}"}}': "1x90" for name in names}


def pings(ok: int, withheld: int) -> dict[str, str]:
    name = f"riskwire_heartbeat_pings_total{{{JOB},outcome="
    return {f'{name}"ok"}}': f"0+{ok}x90", f'{name}"withheld"}}': f"0+{withheld}x90"}


def gauge(name: str, value: float, more: str = "") -> dict[str, str]:
    return {f"{name}{{{JOB}{',' + more if more else ''}}}": f"{value}x90"}


def leaders(first: int, second: int) -> dict[str, str]:
    name = "riskwire_leader"
    return {
        f'{name}{{job="riskwire",instance="{i}",lease="detect"}}': f"{v}x90" for i, v in (("a", first), ("b", second))
    }


def http(good: int, bad: int) -> dict[str, str]:
    name = f'riskwire_http_requests_total{{{JOB},method="GET",route="/",status='
    return {f'{name}"2xx"}}': f"0+{good}x90", f'{name}"5xx"}}': f"0+{bad}x90"}


def sources(*failures: int) -> dict[str, str]:
    return {f'riskwire_source_failures{{{JOB},source="s{i}"}}': f"{n}x90" for i, n in enumerate(failures)}


def counter(name: str, step: int, more: str = "") -> dict[str, str]:
    return {f"{name}{{{JOB}{',' + more if more else ''}}}": f"0+{step}x200"}


AGE, ALLOWED = "riskwire_heartbeat_age_seconds", "riskwire_heartbeat_allowed_seconds"
PART = 'part="score"'


@dataclass(frozen=True)
class Case:
    """What an alert fires on after ``at``, and what it is quiet on, close to the bound."""

    fires: dict[str, str]
    quiet: dict[str, str]
    at: str = "80m"


CASES = {
    "RiskwireDown": Case(gauge("up", 0), gauge("up", 1)),
    "RiskwireRoleMissing": Case(
        roles("ingest", "score", "notify", "web"), roles("ingest", "score", "detect", "notify")
    ),
    "RiskwireNotReady": Case(gauge("riskwire_ready", 0), gauge("riskwire_ready", 1)),
    "RiskwireStalled": Case(
        gauge(AGE, 301, PART) | gauge(ALLOWED, 300, PART), gauge(AGE, 299, PART) | gauge(ALLOWED, 300, PART)
    ),
    "RiskwireHeartbeatWithheld": Case(pings(0, 1), pings(1, 1)),
    "RiskwireNoLeader": Case(leaders(0, 0), leaders(1, 0)),
    "RiskwireTwoLeaders": Case(leaders(1, 1), leaders(0, 1)),
    "RiskwireSourceFailing": Case(sources(6, 0), sources(5, 5)),
    "RiskwireManySourcesFailing": Case(sources(3, 3, 0), sources(3, 2, 0)),
    "RiskwireNoArticles": Case(
        counter("riskwire_articles_total", 0, 'source="s"'), counter("riskwire_articles_total", 1, 'source="s"'), "180m"
    ),
    "RiskwirePollsLate": Case(
        gauge("riskwire_ingest_overdue_seconds", 301), gauge("riskwire_ingest_overdue_seconds", 300)
    ),
    "RiskwireScoringBehind": Case(gauge("riskwire_bus_lag_seconds", 301), gauge("riskwire_bus_lag_seconds", 300)),
    "RiskwireScoringStuck": Case(
        gauge("riskwire_bus_lag", 5) | counter("riskwire_scored_total", 0),
        gauge("riskwire_bus_lag", 5) | counter("riskwire_scored_total", 1),
    ),
    "RiskwireSlow": Case(ways("90"), ways("80")),
    "RiskwireStoreRefusing": Case(gauge("riskwire_store_waiting", 1), gauge("riskwire_store_waiting", 0)),
    "RiskwireStoreRejects": Case(
        counter("riskwire_store_results_total", 1, 'outcome="reject"'),
        counter("riskwire_store_results_total", 1, 'outcome="ok"'),
    ),
    "RiskwireDeadLetters": Case(
        counter("riskwire_dead_letters_total", 1, 'stage="score"'),
        counter("riskwire_dead_letters_total", 0, 'stage="score"'),
    ),
    "RiskwireLoopBlocked": Case(
        histogram("riskwire_event_loop_delay_seconds", 58, 2, "1.0"),
        histogram("riskwire_event_loop_delay_seconds", 60, 0, "1.0"),
    ),
    "RiskwireDetectorBehind": Case(
        gauge("riskwire_watermark_lag_seconds", 601), gauge("riskwire_watermark_lag_seconds", 600)
    ),
    "RiskwireTicksSlow": Case(
        histogram("riskwire_detect_seconds", 3, 1, "10.0"), histogram("riskwire_detect_seconds", 4, 0, "10.0")
    ),
    "RiskwireDrift": Case(
        gauge("riskwire_drifting", 1, 'check="mix"'), gauge("riskwire_drifting", 0, 'check="mix"'), "90m"
    ),
    "RiskwireNotifierFailing": Case(attempts(4, 6), attempts(6, 4)),
    "RiskwireUndelivered": Case(attempts(1, 1, "failed"), attempts(1, 1)),
    "RiskwireOutboxStuck": Case(
        gauge("riskwire_outbox_stuck_seconds", 601), gauge("riskwire_outbox_stuck_seconds", 599)
    ),
    "RiskwireWebErrors": Case(http(90, 10), http(96, 4)),
}


def names_in(query: str) -> set[str]:
    """Metric names of a query, label names and functions left out."""
    bare = re.sub(r'"[^"]*"', '""', query)
    return set(re.findall(r"\b(?:riskwire|process|up)[a-z_]*(?::[a-z0-9_:]+)?\b", bare)) - LABELS


@pytest.mark.parametrize("rule", ALL, ids=lambda rule: rule.get("alert") or rule["record"])
def test_every_metric_of_a_rule_is_in_the_catalogue(rule: dict[str, str]) -> None:
    recorded = {rule["record"] for rule in ALL if "record" in rule}
    found = names_in(rule["expr"])
    assert found
    assert found - NAMES - recorded - {"up"} == set()


@pytest.mark.parametrize("rule", ALERTS, ids=lambda rule: rule["alert"])
def test_every_alert_says_what_to_do(rule: dict[str, dict[str, str]]) -> None:
    assert rule["labels"]["severity"] in {"info", "warning", "critical"}
    assert set(rule["annotations"]) == {"summary", "description", "runbook_url"}
    assert rule["annotations"]["runbook_url"] == f"docs/runbook.md#{str(rule['alert']).lower()}"


def test_every_alert_has_its_cases() -> None:
    assert {rule["alert"] for rule in ALERTS} == set(CASES)


@needs_promtool
def test_promtool_takes_rules_and_configuration() -> None:
    for arguments in (["rules", "riskwire.rules.yml"], ["config", "prometheus.yml"]):
        done = subprocess.run(
            ["promtool", "check", *arguments], cwd=FOLDER, capture_output=True, text=True, timeout=60, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr


@needs_promtool
def test_each_alert_fires_and_is_quiet_as_it_should(tmp_path: Path) -> None:
    tests = []
    for name, case in CASES.items():
        for what, series, firing in (("fires", case.fires, 1), ("is quiet", case.quiet, 0)):
            expression = f'(count(ALERTS{{alertname="{name}",alertstate="firing"}}) > bool 0) or vector(0)'
            tests.append({
                "interval": "1m",
                "name": f"{name} {what}",
                "input_series": [{"series": one, "values": values} for one, values in series.items()],
                "promql_expr_test": [
                    {"expr": expression, "eval_time": case.at, "exp_samples": [{"labels": "{}", "value": firing}]}
                ],
            })  # fmt: skip
    file = tmp_path / "tests.json"  # every JSON document is a YAML one
    file.write_text(
        json.dumps({"rule_files": [str(RULES)], "evaluation_interval": "1m", "tests": tests}), encoding="utf-8"
    )
    done = subprocess.run(
        ["promtool", "test", "rules", str(file)], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
