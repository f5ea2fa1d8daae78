"""What every notifier must guarantee, over all that come with Riskwire; then what only Slack has."""

from __future__ import annotations

import io
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any

import doubles
import pytest
from doubles import START
from hook_servers import MailServer, hook_server, mail_server
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import SecretStr
from slack_server import CHANNEL, TOKEN, Script, SlackServer, slack_server, wrong_blocks

from alerts.notifiers import console, email, pagerduty, slack, teams, webhook
from alerts.registry import available, load_notifier, load_notifiers
from monitor.core.errors import ConfigError, NotifyError, PermanentNotifyError, RetryableNotifyError
from monitor.core.ports import Notifier
from monitor.core.types import (
    Incident,
    IncidentState,
    Receipt,
    Scope,
    SeriesKey,
    Severity,
    WordWeight,
)

KEY = "r0uting-secret"


def incident(**changes: Any) -> Incident:
    """One that has everything to show, and of all some that must be escaped."""
    shown: dict[str, Any] = {
        "key": SeriesKey(scope=Scope.TOPIC, value="financials"),
        "title": "Financials",
        "reason": "9.2 negative stories within 1 hour; 1.5 expected <b>&",
        "evidence": tuple(
            doubles.evidence(
                n,
                title=f"Bank {n} <fails> & falls",
                url=f"https://news.example/{n}?a=1&b=2",
                published_at=START - timedelta(minutes=n),
                heat=n + 1,
                words=(WordWeight(word="fails", weight=0.5, start=7, end=12),),
            )
            for n in range(3)
        ),
        "sources": ("wire0", "wire1"),
        "entities": ("Bank One",),
        "related": (SeriesKey(scope=Scope.ALL, value="*"),),
    }
    return doubles.incident(**(shown | changes))


@dataclass
class Subject:
    notifier: Notifier
    shown: Callable[[], str]
    """What people see, as one text."""


@pytest.fixture
async def server() -> AsyncIterator[SlackServer]:
    async with slack_server() as running:
        yield running


def slack_notifier(server: SlackServer, **options: Any) -> slack.SlackNotifier:
    return slack.build({"token": TOKEN, "channel": CHANNEL, "base_url": server.url, "timeout": 5} | options)


HOOKS = ("webhook", "alertmanager", "alertmanager-api", "pagerduty", "teams")


def hook_notifier(kind: str, url: str, **options: Any) -> Notifier:
    """One of those that post JSON."""
    if kind == "pagerduty":
        return pagerduty.build({"routing_key": KEY, "url": url, "timeout": 2, "min_severity": "info"} | options)
    if kind == "teams":
        return teams.build({"url": url, "timeout": 2} | options)
    form = "riskwire" if kind == "webhook" else kind
    return webhook.build({"url": url, "secret": KEY, "format": form, "timeout": 2} | options)


def mail_notifier(server: MailServer, **options: Any) -> Notifier:
    table = {"host": "127.0.0.1", "port": server.port, "security": "none", "from": "Desk <desk@bank.example>"}
    return email.build(table | {"to": ["risk@bank.example"], "timeout": 5} | options)


def mail_text(server: MailServer) -> str:
    texts = []
    for mail in server.mails:
        body = mail.get_body(("plain",))
        assert body is not None
        texts.append(f"{mail['Subject']}\n{body.get_content()}")
    return "\n".join(texts)


@pytest.fixture(params=["console", "slack", "email", *HOOKS])
async def subject(request: pytest.FixtureRequest) -> AsyncIterator[Subject]:
    async with AsyncExitStack() as stack:
        if request.param == "console":
            stream = io.StringIO()
            yield Subject(console.ConsoleNotifier(stream=stream), stream.getvalue)
        elif request.param == "email":
            mails = await stack.enter_async_context(mail_server())
            yield Subject(mail_notifier(mails), lambda: mail_text(mails))
        elif request.param in HOOKS:
            hooks = await stack.enter_async_context(hook_server())
            yield Subject(hook_notifier(request.param, hooks.url), lambda: str(hooks.bodies).replace("\\\\", ""))
        else:
            server = await stack.enter_async_context(slack_server())
            yield Subject(slack_notifier(server), lambda: str(list(server.messages.values())))


class TestContract:
    async def test_shows_reason_headlines_sources_and_words(self, subject: Subject) -> None:
        await subject.notifier.send(incident(), None)
        shown = subject.shown()
        for part in ("Financials", "negative stories within 1 hour", "Bank 0", "Bank 2", "wire1", "3 copies", "fails"):
            assert part in shown

    async def test_a_receipt_names_its_notifier_and_is_plain_text(self, subject: Subject) -> None:
        receipt = await subject.notifier.send(incident(), None)
        assert receipt.notifier == subject.notifier.name
        assert all(isinstance(k, str) and isinstance(v, str) for k, v in receipt.data.items())

    async def test_an_update_takes_the_receipt_and_shows_the_new_state(self, subject: Subject) -> None:
        receipt = await subject.notifier.send(incident(), None)
        later = incident(state=IncidentState.RESOLVED, resolved_at=START, revision=2, reason="It is over now.")
        await subject.notifier.send(later, receipt)
        assert "RESOLVED" in subject.shown()
        assert "It is over now." in subject.shown()

    @pytest.mark.parametrize("severity", list(Severity))
    async def test_every_severity_can_be_shown(self, subject: Subject, severity: Severity) -> None:
        await subject.notifier.send(incident(severity=severity), None)
        assert severity.value.upper() in subject.shown()

    async def test_a_silence_needs_no_evidence(self, subject: Subject) -> None:
        quiet = incident(
            kind="silence", key=SeriesKey(scope=Scope.SOURCE, value="wire9"), title="wire9", evidence=(), related=()
        )
        await subject.notifier.send(quiet, None)
        assert "wire9 (source) is silent" in subject.shown()

    async def test_hostile_and_huge_text_is_taken(self, subject: Subject) -> None:
        nasty = "\x1b[2J\x00<!channel>\u202e" + "&" * 5000 + "某" * 5000
        item = replace(incident().evidence[0], title=nasty, url="javascript:alert(1)", source=nasty)
        many = tuple(replace(item, article_id=str(n)) for n in range(80))
        await subject.notifier.send(incident(title=nasty, reason=nasty, evidence=many, sources=(nasty,)), None)
        assert "\x1b[2J" not in subject.shown()
        assert "\\x1b[2J" not in subject.shown()


class TestConsole:
    async def test_a_closed_stream_is_a_permanent_error(self) -> None:
        stream = io.StringIO()
        stream.close()
        with pytest.raises(PermanentNotifyError, match="console"):
            await console.ConsoleNotifier(stream=stream).send(incident(), None)

    @pytest.mark.parametrize("options", [{"width": "wide"}, {"width": 3}, {"width": True}, {"colour": 1}])
    def test_wrong_options_are_named(self, options: dict[str, Any]) -> None:
        with pytest.raises(ConfigError, match=next(iter(options))):
            console.build(options)


class TestSlackMessages:
    async def test_one_message_is_edited_in_place(self, server: SlackServer) -> None:
        notifier = slack_notifier(server)
        receipt = await notifier.send(incident(), None)
        again = await notifier.send(incident(revision=2, reason="worse"), receipt)
        assert again == receipt
        assert len(server.messages) == 1
        assert [method for method, _ in server.calls] == ["chat.postMessage", "chat.update"]
        assert "worse" in str(server.messages)

    async def test_text_is_escaped_and_links_stay_links(self, server: SlackServer) -> None:
        await slack_notifier(server).send(incident(), None)
        shown = str(server.messages)
        assert "<https://news.example/0?a=1&amp;b=2|Bank 0 &lt;fails&gt; &amp; falls>" in shown
        assert "&lt;b&gt;&amp;" in shown

    async def test_no_mention_can_be_smuggled_in(self, server: SlackServer) -> None:
        item = replace(incident().evidence[0], title="<!channel> <@U1>", url="https://x.example/>|<!here>")
        await slack_notifier(server).send(incident(evidence=(item,), reason="<!everyone>"), None)
        shown = str(server.messages)
        for mention in ("<!channel>", "<@U1>", "<!here>", "<!everyone>"):
            assert mention not in shown

    async def test_a_receipt_from_before_a_restart_still_edits(self, server: SlackServer) -> None:
        receipt = await slack_notifier(server).send(incident(), None)
        stored = Receipt(notifier="slack", data=dict(receipt.data))
        await slack_notifier(server).send(incident(revision=2, reason="after the restart"), stored)
        assert len(server.messages) == 1
        assert "after the restart" in str(server.messages)

    async def test_a_deleted_message_is_posted_anew(self, server: SlackServer) -> None:
        notifier = slack_notifier(server)
        receipt = await notifier.send(incident(), None)
        server.messages.clear()
        again = await notifier.send(incident(revision=2), receipt)
        assert again.data["ts"] != receipt.data["ts"]
        assert len(server.messages) == 1

    async def test_a_lost_answer_does_not_make_a_second_message(self, server: SlackServer) -> None:
        notifier = slack_notifier(server)
        server.script.append(Script(lose_answer=True))
        with pytest.raises(RetryableNotifyError):
            await notifier.send(incident(), None)
        receipt = await notifier.send(incident(revision=2), None)
        assert len(server.messages) == 1
        assert receipt.data["ts"] == next(iter(server.messages))[1]

    async def test_an_empty_receipt_makes_it_look_for_its_first_message(self, server: SlackServer) -> None:
        notifier = slack_notifier(server)
        sent = await notifier.send(incident(), None)
        again = await notifier.send(incident(), Receipt(notifier=sent.notifier))
        assert (again.data["channel"], again.data["ts"]) == (sent.data["channel"], sent.data["ts"])
        assert len(server.messages) == 1

    async def test_without_the_history_scope_it_posts_anew(self, server: SlackServer) -> None:
        server.history_allowed = False
        await slack_notifier(server).send(incident(revision=2), None)
        assert len(server.messages) == 1

    @given(
        title=st.text(max_size=400),
        reason=st.text(max_size=4000),
        url=st.text(max_size=100).map(lambda tail: f"https://e.example/{tail}"),
        count=st.integers(0, 70),
    )
    @settings(max_examples=60, deadline=None)
    def test_blocks_keep_the_limits(self, title: str, reason: str, url: str, count: int) -> None:
        item = replace(incident().evidence[0], title=title, url=url)
        made = slack.blocks(incident(title=title, reason=reason, evidence=(item,) * count))
        assert wrong_blocks(made) == ""

    @given(st.text(alphabet="&<>a;", max_size=80), st.integers(2, 60))
    def test_cutting_never_breaks_an_entity(self, raw: str, limit: int) -> None:
        short = slack.cut(slack.escape(raw), limit)
        assert len(short) <= limit
        bare = short.replace("&amp;", "").replace("&lt;", "").replace("&gt;", "")
        assert not set(bare) & set("&<>")


RETRYABLE = [
    Script(status=429, error="ratelimited", headers={"Retry-After": "30"}),
    Script(error="ratelimited"),
    Script(status=500, error="internal_error"),
    Script(status=503, body="<html>busy</html>"),
    Script(status=502, body=""),
    Script(error="service_unavailable"),
    Script(body="not json at all"),
    Script(lose_answer=True),
]
PERMANENT = [
    "invalid_auth", "token_revoked", "channel_not_found", "not_in_channel", "is_archived", "missing_scope",
    "invalid_blocks", "msg_too_long", "restricted_action", "account_inactive",
]  # fmt: skip


class TestSlackErrors:
    @pytest.mark.parametrize("trouble", RETRYABLE, ids=lambda s: f"{s.status}-{s.error or s.body or 'lost'}"[:30])
    async def test_may_be_retried(self, server: SlackServer, trouble: Script) -> None:
        server.script.append(replace(trouble))
        with pytest.raises(RetryableNotifyError) as caught:
            await slack_notifier(server).send(incident(), None)
        assert caught.value.after == (30.0 if trouble.headers else 0.0)
        assert TOKEN not in str(caught.value)

    @pytest.mark.parametrize("error", PERMANENT)
    async def test_may_not_be_retried(self, server: SlackServer, error: str) -> None:
        server.script.append(Script(error=error))
        with pytest.raises(PermanentNotifyError, match=error) as caught:
            await slack_notifier(server).send(incident(), None)
        assert caught.value.hint
        assert TOKEN not in str(caught.value)

    async def test_a_rate_limited_edit_keeps_its_wait(self, server: SlackServer) -> None:
        notifier = slack_notifier(server)
        receipt = await notifier.send(incident(), None)
        server.script.append(Script(status=429, error="ratelimited", headers={"Retry-After": "7"}))
        with pytest.raises(RetryableNotifyError) as caught:
            await notifier.send(incident(revision=2), receipt)
        assert caught.value.after == 7.0

    async def test_a_rate_limited_search_is_not_taken_for_no_message(self, server: SlackServer) -> None:
        server.script.append(Script(status=429, error="ratelimited", headers={"Retry-After": "7"}))
        with pytest.raises(RetryableNotifyError):
            await slack_notifier(server).send(incident(revision=2), None)
        assert not server.messages

    async def test_a_slow_server_is_given_up(self, server: SlackServer) -> None:
        server.script.append(Script(delay=3.0))
        with pytest.raises(RetryableNotifyError):
            await slack_notifier(server, timeout=1).send(incident(), None)

    async def test_nobody_listening(self) -> None:
        notifier = slack.build({"token": TOKEN, "channel": CHANNEL, "base_url": "http://127.0.0.1:9/api/"})
        with pytest.raises(RetryableNotifyError, match="cannot be reached"):
            await notifier.send(incident(), None)

    async def test_the_wrong_token_and_channel_of_the_server(self, server: SlackServer) -> None:
        with pytest.raises(PermanentNotifyError, match="invalid_auth"):
            await slack_notifier(server, token="xoxb-other").send(incident(), None)
        with pytest.raises(PermanentNotifyError, match="channel_not_found"):
            await slack_notifier(server, channel="C404").send(incident(), None)

    async def test_the_token_shows_nowhere(self, server: SlackServer, caplog: pytest.LogCaptureFixture) -> None:
        caplog.set_level(logging.DEBUG)
        notifier = slack_notifier(server)
        server.script.append(Script(error="invalid_auth"))
        with pytest.raises(NotifyError) as caught:
            await notifier.send(incident(), None)
        chain = [caught.value, caught.value.__cause__, *caught.value.args, notifier, slack.Secret(TOKEN)]
        assert not any(TOKEN in text for thing in chain for text in (repr(thing), str(thing)))
        assert TOKEN not in caplog.text


class TestBuilding:
    def test_both_are_installed_entry_points(self) -> None:
        assert {"console", "slack"} <= set(available())
        assert load_notifier("console") is console.build

    def test_tables_become_notifiers(self) -> None:
        made = load_notifiers({
            "console": {},
            "desk": {"type": "slack", "token": SecretStr(TOKEN), "channel": CHANNEL},
            "off": {"type": "slack", "enabled": False},
        })  # fmt: skip
        assert {name: notifier.name for name, notifier in made.items()} == {"console": "console", "desk": "desk"}
        assert TOKEN not in repr(made)

    def test_an_unknown_type_names_those_that_exist(self) -> None:
        with pytest.raises(ConfigError, match="console"):
            load_notifiers({"pigeon": {}})

    @pytest.mark.parametrize(
        ("options", "named"),
        [
            ({"channel": "C"}, "token"),
            ({"token": "", "channel": "C"}, "token"),
            ({"token": "xoxb ü", "channel": "C"}, "token"),
            ({"token": TOKEN}, "channel"),
            ({"token": TOKEN, "channel": "C", "timeout": 0}, "timeout"),
            ({"token": TOKEN, "channel": "C", "base_url": "ftp://x"}, "base_url"),
            ({"token": TOKEN, "channel": "C", "chanel": "C"}, "chanel"),
        ],
    )
    def test_wrong_slack_options_are_named(self, options: dict[str, Any], named: str) -> None:
        with pytest.raises(ConfigError, match=named) as caught:
            slack.build(options)
        assert TOKEN not in str(caught.value)

    def test_missing_slack_sdk_says_what_to_install(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setitem(__import__("sys").modules, "slack_sdk.web.async_client", None)
        with pytest.raises(ConfigError, match=r"riskwire\[slack\]"):
            slack.build({"token": TOKEN, "channel": CHANNEL})
