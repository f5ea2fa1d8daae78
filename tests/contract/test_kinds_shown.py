"""What notifiers say of incidents of each kind: no figure that it does not have, and none left out that it has."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from doubles import evidence, incident

from alerts.notifiers import pagerduty, teams, webhook
from alerts.notifiers.console import render
from alerts.notifiers.email import message
from alerts.notifiers.figures import chance
from alerts.notifiers.slack_blocks import blocks
from monitor.core.types import Incident, Scope, SeriesKey

SURGE = incident(title="Apple", key=SeriesKey(scope=Scope.ENTITY, value="apple"), stories=14, reason="9 seen; 1 usual.")
RULE = replace(
    SURGE, kind="rule", key=SeriesKey(scope=Scope.RULE, value="run"), title="Run on a bank", observed=3.0, expected=0.0,
    low=0.0, high=0.0, p_value=1.0, q_value=1.0, stories=3, sources=("a", "b"), evidence=(evidence(1),),
    reason="Rule run matched “bank run” (title).",
)  # fmt: skip
SILENCE = replace(
    SURGE, kind="silence", key=SeriesKey(scope=Scope.SOURCE, value="wire"), title="wire", observed=0.0, expected=41.2,
    stories=0, reason="Nothing has come since 2026-03-02 03:00 UTC (6.0 hours).",
)  # fmt: skip


def texts(item: Incident) -> dict[str, str]:
    mail = message(item, sender="a@b.example", to=["c@b.example"], domain="b.example")
    html = mail.get_body(("html",))
    plain = mail.get_body(("plain",))
    assert html is not None
    assert plain is not None
    return {
        "slack": json.dumps(blocks(item), ensure_ascii=False),
        "teams": json.dumps(teams.card(item, 6), ensure_ascii=False),
        "pagerduty": json.dumps(pagerduty.event(item, action="trigger")),
        "alertmanager": json.dumps(webhook.alertmanager(item, "x")),
        "console": render(item),
        "mail": plain.get_content(),
        "page": html.get_content(),
    }


@pytest.mark.parametrize("name", list(texts(SURGE)))
def test_a_rule_has_neither_expectation_nor_probability(name: str) -> None:
    said = texts(RULE)[name].lower()
    for word in ("expected", "q-value", "q_value", "false alarm", "usual", "interval", "bad news surges"):
        assert word not in said, word
    assert "run on a bank" in said


def test_a_rule_s_figures_are_empty_for_machines() -> None:
    doc = webhook.own(RULE)["incident"]
    assert {doc[key] for key in ("observed", "expected", "low", "high", "p_value", "q_value")} == {None}
    assert webhook.own(SURGE)["incident"]["q_value"] == SURGE.q_value


@pytest.mark.parametrize("name", ["slack", "teams", "page"])
def test_a_silence_is_told_in_its_own_unit(name: str) -> None:
    said = texts(SILENCE)[name]
    assert "negative stories" not in said
    assert "41 active five-minute periods" in said
    assert "is silent" in said


@pytest.mark.parametrize("name", ["slack", "teams", "page"])
def test_a_surge_is_told_against_what_is_usual(name: str) -> None:
    said = texts(SURGE)[name]
    for part in ("9.2 negative stories", "1.5 (95 % of the time 0 to 4)", "6.1 times the usual", "about 1 in 100,000"):
        assert part in said, part


def test_news_cannot_write_into_the_page() -> None:
    item = replace(SURGE, evidence=(evidence(1, title="<script>x</script>", url='https://e.example/"onload=1'),))
    said = texts(item)["page"]
    assert "<script" not in said
    assert '"onload' not in said


@pytest.mark.parametrize(
    ("q", "said"),
    [(0.018, "about 1 in 56"), (1e-4, "about 1 in 10,000"), (7.4e-5, "about 1 in 14,000"), (1e-300, "less than 1 in")],
)
def test_chances_as_people_say_them(q: float, said: str) -> None:
    assert chance(q).startswith(said)
