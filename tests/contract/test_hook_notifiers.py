"""Web hooks, PagerDuty, Teams and e-mail: what goes over the wire, and what each refusal means."""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta
from typing import Any

import doubles
import pytest
from doubles import START
from hook_servers import Answer, HookServer, MailServer, hook_server, mail_server
from hypothesis import given, settings
from hypothesis import strategies as st

from alerts.notifiers import email, pagerduty, teams, webhook
from alerts.registry import available
from monitor.core.clock import ManualClock
from monitor.core.errors import ConfigError, NotifyError, PermanentNotifyError, RetryableNotifyError
from monitor.core.ports import Notifier
from monitor.core.types import Incident, IncidentState, Receipt, Severity, TrendPoint

KEY = "shared-secret-1"
KINDS = ("webhook", "pagerduty", "teams")


@pytest.fixture
async def server() -> AsyncIterator[HookServer]:
    async with hook_server() as running:
        yield running


@pytest.fixture
async def mails() -> AsyncIterator[MailServer]:
    async with mail_server() as running:
        yield running


def hook(kind: str, server: HookServer, **options: Any) -> Notifier:
    if kind == "pagerduty":
        return pagerduty.build({"routing_key": KEY, "url": server.url, "timeout": 1, "min_severity": "info"} | options)
    if kind == "teams":
        return teams.build({"url": server.url, "timeout": 1} | options)
    return webhook.build({"url": server.url, "secret": KEY, "timeout": 1} | options, ManualClock(START))


def mailer(server: MailServer, **options: Any) -> email.EmailNotifier:
    table = {"host": "127.0.0.1", "port": server.port, "security": "none", "from": "Desk <desk@bank.example>"}
    return email.build(table | {"to": ["risk@bank.example", "duty@bank.example"], "timeout": 3} | options)


async def life(notifier: Notifier, *steps: Incident) -> list[Receipt]:
    receipt: Receipt | None = None
    receipts = []
    for step in steps:
        receipt = await notifier.send(step, receipt)
        receipts.append(receipt)
    return receipts


OPEN = doubles.incident("i1", evidence=(doubles.evidence(1),), stories=4)
MORE = replace(OPEN, revision=2, stories=9)
WORSE = replace(MORE, revision=3, severity=Severity.CRITICAL)
TAKEN = replace(WORSE, revision=4, state=IncidentState.ACKNOWLEDGED)
OVER = replace(TAKEN, revision=5, state=IncidentState.RESOLVED, resolved_at=START + timedelta(hours=1))


class TestErrors:
    @pytest.mark.parametrize("kind", KINDS)
    @pytest.mark.parametrize(
        ("answer", "after"),
        [
            (Answer(status=429, headers={"Retry-After": "17"}), 17.0),
            (Answer(status=500), 0.0),
            (Answer(status=503, headers={"Retry-After": "x"}), 30.0),
            (Answer(status=408), 0.0),
            (Answer(lose=True), 0.0),
            (Answer(delay=1.6), 0.0),
        ],
        ids=["limited", "500", "503", "408", "lost", "slow"],
    )
    async def test_may_be_retried(self, server: HookServer, kind: str, answer: Answer, after: float) -> None:
        server.script.append(replace(answer))
        with pytest.raises(RetryableNotifyError) as caught:
            await hook(kind, server).send(OPEN, None)
        assert caught.value.after == after

    @pytest.mark.parametrize("kind", KINDS)
    @pytest.mark.parametrize("status", [400, 401, 403, 404, 410, 302])
    async def test_may_not_be_retried(self, server: HookServer, kind: str, status: int) -> None:
        server.script.append(Answer(status=status, headers={"Location": "http://127.0.0.1:9/"}))
        with pytest.raises(PermanentNotifyError, match=str(status)) as caught:
            await hook(kind, server).send(OPEN, None)
        assert caught.value.hint

    @pytest.mark.parametrize("kind", KINDS)
    async def test_secrets_and_addresses_show_nowhere(self, server: HookServer, kind: str) -> None:
        server.script.append(Answer(status=403))
        notifier = hook(kind, server)
        with pytest.raises(NotifyError) as caught:
            await notifier.send(OPEN, None)
        shown = repr(notifier) + str(caught.value) + caught.value.hint + repr(vars(notifier))
        assert KEY not in shown
        assert "secret-path" not in shown or kind == "pagerduty"

    async def test_nobody_listening(self) -> None:
        notifier = webhook.build({"url": "http://127.0.0.1:9/x"})
        with pytest.raises(RetryableNotifyError, match="cannot be reached"):
            await notifier.send(OPEN, None)


class TestWebhook:
    async def test_the_signature_can_be_verified_by_what_is_documented(self, server: HookServer) -> None:
        await hook("webhook", server, bearer="tok").send(OPEN, None)
        headers, body, doc = server.taken[0]
        timestamp = headers["Riskwire-Timestamp"]
        mac = hmac.new(KEY.encode(), f"{timestamp}.".encode() + body, hashlib.sha256).hexdigest()
        assert headers["Riskwire-Signature"] == f"v1={mac}"
        assert int(timestamp) == int(START.timestamp())
        assert headers["Idempotency-Key"] == "i1/1"
        assert headers["Authorization"] == "Bearer tok"
        assert doc["incident"]["id"] == "i1"

    async def test_without_a_secret_nothing_is_signed(self, server: HookServer) -> None:
        await webhook.build({"url": server.url}).send(OPEN, None)
        assert "Riskwire-Signature" not in server.taken[0][0]

    async def test_every_revision_is_posted_once_above_the_bar(self, server: HookServer) -> None:
        calm = replace(OPEN, severity=Severity.INFO)
        fallen = replace(OVER, severity=Severity.INFO)
        await life(hook("webhook", server, min_severity="warning"), calm, MORE, WORSE, fallen)
        assert [doc["incident"]["revision"] for doc in server.bodies] == [2, 3, 5]

    async def test_alertmanagers_own_payload(self, server: HookServer) -> None:
        await life(hook("webhook", server, format="alertmanager"), OPEN, OVER)
        first, last = server.bodies
        assert (first["version"], first["status"], last["status"]) == ("4", "firing", "resolved")
        assert first["groupKey"] == last["groupKey"]
        alert = last["alerts"][0]
        assert alert["endsAt"] == "2026-03-02T10:00:00Z"
        assert set(alert) == {
            "status", "labels", "annotations", "startsAt", "endsAt", "generatorURL", "fingerprint",
        }  # fmt: skip
        assert all(isinstance(v, str) for v in (*alert["labels"].values(), *alert["annotations"].values()))

    async def test_what_prometheus_would_send_ends_what_got_worse(self, server: HookServer) -> None:
        await life(hook("webhook", server, format="alertmanager-api"), OPEN, WORSE, OVER)
        _, worse, over = server.bodies
        ends = {alert["labels"]["severity"]: alert["endsAt"] for alert in worse}
        assert ends["warning"] <= "2026-03-02T09:00:00Z" < ends["critical"]
        assert {a["labels"]["severity"]: a["endsAt"] for a in over}["critical"] == "2026-03-02T10:00:00Z"


class TestPagerDuty:
    async def test_one_incident_is_one_there(self, server: HookServer) -> None:
        await life(hook("pagerduty", server), OPEN, MORE, WORSE, TAKEN, OVER)
        assert [doc["event_action"] for doc in server.bodies] == [
            "trigger", "trigger", "trigger", "acknowledge", "resolve",
        ]  # fmt: skip
        assert {doc["dedup_key"] for doc in server.bodies} == {"riskwire/i1"}
        assert {doc["routing_key"] for doc in server.bodies} == {KEY}
        assert [doc["payload"]["severity"] for doc in server.bodies][:3] == ["warning", "warning", "critical"]

    async def test_nobody_is_woken_below_the_bar(self, server: HookServer) -> None:
        quiet = replace(OPEN, severity=Severity.INFO)
        notifier = hook("pagerduty", server, min_severity="warning")
        await life(notifier, quiet, replace(quiet, revision=2, state=IncidentState.RESOLVED))
        assert not server.taken

    async def test_what_was_merged_into_acknowledged_is_triggered_first(self, server: HookServer) -> None:
        await life(hook("pagerduty", server), TAKEN)
        assert [doc["event_action"] for doc in server.bodies] == ["trigger", "acknowledge"]

    async def test_limits(self, server: HookServer) -> None:
        await hook("pagerduty", server).send(replace(OPEN, title="x" * 5000, reason="y" * 90_000), None)
        assert len(server.bodies[0]["payload"]["summary"]) <= 1024
        assert len(server.taken[0][1]) <= 512_000


class TestTeams:
    async def test_cards_come_only_with_news(self, server: HookServer) -> None:
        await life(hook("teams", server), OPEN, MORE, WORSE, replace(WORSE, revision=4, stories=90), OVER)
        heads = [doc["attachments"][0]["content"]["body"][0]["text"] for doc in server.bodies]
        assert [head.partition(":")[0] for head in heads] == ["WARNING", "CRITICAL", "RESOLVED"]

    @given(st.text(max_size=9000), st.text(max_size=9000), st.integers(0, 6))
    @settings(max_examples=40, deadline=None)
    def test_cards_keep_the_limit_and_are_no_markdown(self, reason: str, title: str, stories: int) -> None:
        item = replace(doubles.evidence(1), title=title)
        made = teams.card(replace(OPEN, reason=reason, evidence=(item,) * 6), 0)
        assert len(json.dumps(made, ensure_ascii=False).encode()) <= teams.LIMIT + 2 * len(reason.encode())
        assert "[x](http" not in teams.escaped("[x](http://bad.example)")

    async def test_a_flood_of_text_is_cut_to_what_teams_takes(self, server: HookServer) -> None:
        item = replace(doubles.evidence(1), title="某" * 900, source="源" * 900)
        await hook("teams", server).send(replace(OPEN, reason="理" * 3000, evidence=(item,) * 6), None)
        assert len(server.taken[0][1]) <= teams.LIMIT


class TestEmail:
    async def test_one_conversation_with_the_chart(self, mails: MailServer) -> None:
        trend = tuple(
            TrendPoint(start=START + timedelta(hours=n), observed=n, expected=1, low=0, high=3) for n in range(24)
        )
        await life(mailer(mails), replace(OPEN, trend=trend), MORE, WORSE, OVER)
        assert [mail["Message-ID"] for mail in mails.mails] == [
            "<i1.1@bank.example>", "<i1.3@bank.example>", "<i1.5@bank.example>",
        ]  # fmt: skip
        assert [mail["In-Reply-To"] for mail in mails.mails] == [None, "<i1.1@bank.example>", "<i1.1@bank.example>"]
        kinds = [part.get_content_type() for part in mails.mails[0].walk() if not part.is_multipart()]
        assert kinds == ["text/plain", "text/html", "image/png"]
        html = mails.mails[0].get_body(("html",))
        picture = next(part for part in mails.mails[0].walk() if part.get_content_type() == "image/png")
        assert html is not None
        assert f"cid:{picture['Content-ID'][1:-1]}" in html.get_content()
        assert mails.mails[0]["To"] == "risk@bank.example, duty@bank.example"

    async def test_a_title_cannot_add_headers(self, mails: MailServer) -> None:
        await mailer(mails).send(replace(OPEN, title="x\r\nBcc: all@bank.example\r\n\r\nhello"), None)
        assert mails.mails[0]["Bcc"] is None
        assert "x Bcc: all@bank.example hello" in mails.mails[0]["Subject"]

    @pytest.mark.parametrize(
        ("verb", "reply", "error"),
        [
            ("CONNECT", "421 too busy", RetryableNotifyError),
            ("RCPT", "450 mailbox busy", RetryableNotifyError),
            ("RCPT", "550 no such user", PermanentNotifyError),
            ("MAIL", "553 not allowed", PermanentNotifyError),
            ("DATA", "452 out of space", RetryableNotifyError),
            ("DATA", "554 refused", PermanentNotifyError),
        ],
    )
    async def test_codes_say_whether_to_try_again(
        self, mails: MailServer, verb: str, reply: str, error: type[NotifyError]
    ) -> None:
        mails.replies[verb] = reply
        with pytest.raises(error):
            await mailer(mails).send(OPEN, None)
        assert not mails.mails

    async def test_a_server_that_says_nothing_is_given_up(self, mails: MailServer) -> None:
        mails.silent = True
        with pytest.raises(RetryableNotifyError):
            await mailer(mails).send(OPEN, None)

    async def test_without_starttls_nothing_is_sent_in_the_clear(self, mails: MailServer) -> None:
        with pytest.raises(PermanentNotifyError, match="cannot do"):
            await mailer(mails, security="starttls").send(OPEN, None)
        assert not mails.mails

    async def test_nobody_listening(self, mails: MailServer) -> None:
        with pytest.raises(RetryableNotifyError, match="cannot be reached"):
            await mailer(mails, port=9).send(OPEN, None)


class TestBuilding:
    def test_all_are_installed(self) -> None:
        assert {"console", "email", "pagerduty", "slack", "teams", "webhook"} <= set(available())

    @pytest.mark.parametrize(
        ("build", "options", "named"),
        [
            (webhook.build, {}, "url"),
            (webhook.build, {"url": "ftp://x"}, "url"),
            (webhook.build, {"url": "http://x", "format": "xml"}, "format"),
            (webhook.build, {"url": "http://x", "secrets": "y"}, "secrets"),
            (webhook.build, {"url": "http://x", "secret_env": "NOT_SET_ANYWHERE"}, "NOT_SET_ANYWHERE"),
            (pagerduty.build, {}, "routing_key"),
            (pagerduty.build, {"routing_key": "k", "min_severity": "high"}, "min_severity"),
            (teams.build, {"url": "not an address"}, "url"),
            (email.build, {"from": "a@b.example", "to": "c@d.example"}, "host"),
            (email.build, {"host": "h", "from": "a", "to": "c@d.example"}, "from"),
            (email.build, {"host": "h", "from": "a@b.example", "to": []}, "to"),
            (email.build, {"host": "h", "from": "a@b.example", "to": "c@d.example", "username": "u"}, "password"),
            (
                email.build,
                {
                    "host": "h", "from": "a@b.example", "to": "c@d.example", "username": "u", "password": "p",
                    "security": "none",
                },
                "security",
            ),
        ],
    )  # fmt: skip
    def test_wrong_options_are_named(self, build: Any, options: dict[str, Any], named: str) -> None:
        with pytest.raises(ConfigError, match=named):
            build(options)
