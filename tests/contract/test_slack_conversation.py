"""What happens around an incident's message in Slack: its thread, its chart, its channel, its buttons, an outage."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import doubles
import pytest
from doubles import START, DictState
from hypothesis import given, settings
from hypothesis import strategies as st
from slack_server import APP_TOKEN, CHANNEL, TOKEN, Script, SlackServer, slack_server, wrong_blocks

from alerts.commands import COMMAND, Command, Verb, act
from alerts.notifiers import slack
from alerts.notifiers.chart import chart
from alerts.notifiers.routes import Route, Routing
from alerts.notifiers.slack_blocks import Look, blocks
from alerts.notifiers.slack_listen import FEEDBACK_KIND
from alerts.outbox import OUTBOX, Outbox, outbox_rows
from monitor.core.clock import ManualClock
from monitor.core.errors import ConfigError, RetryableNotifyError, StorageError
from monitor.core.types import (
    Action,
    Change,
    Incident,
    IncidentState,
    Receipt,
    Scope,
    SeriesKey,
    Severity,
    TrendPoint,
)

MINUTE, HOUR = timedelta(minutes=1), timedelta(hours=1)
TREND = tuple(
    TrendPoint(start=START + n * HOUR, observed=float(n % 3), expected=1.0, low=0.0, high=2.5) for n in range(24)
)
CRITICAL = "C0CRITICAL"


@pytest.fixture
async def server() -> AsyncIterator[SlackServer]:
    async with slack_server() as running:
        running.channels.add(CRITICAL)
        yield running


def notifier(server: SlackServer, clock: ManualClock | None = None, **options: Any) -> slack.SlackNotifier:
    table = {"token": TOKEN, "channel": CHANNEL, "base_url": server.url, "timeout": 5}
    return slack.build(table | options, clock or ManualClock(START))


class Story:
    """A timeline: ``push`` an incident's next revision at a minute, let the outbox work, look at what Slack shows."""

    def __init__(self, server: SlackServer, **options: Any) -> None:
        self.server = server
        self.clock = ManualClock(START)
        self.state = DictState()
        self.notifier = notifier(server, self.clock, **options)
        self.outbox = Outbox(self.state, {"slack": self.notifier}, self.clock)
        self.incident = doubles.incident(stories=4)
        self.seen = 0

    async def at(self, minute: float) -> None:
        """The outbox works every half minute until then."""
        until = START + minute * MINUTE
        while self.clock.now() < until:
            self.clock.advance(30)
            await self.outbox.run_once()

    async def push(self, minute: float, **changes: Any) -> None:
        """The incident changes at that minute."""
        await self.at(minute)
        if self.seen:
            changes = {"revision": self.incident.revision + 1, "updated_at": self.clock.now(), **changes}
        self.incident = replace(self.incident, **changes)
        self.seen += 1
        await self.state.apply(outbox_rows(self.incident, ["slack"]))

    def expect(self, *texts: str) -> None:
        """The thread says exactly this, one reply each; a text may be a part."""
        shown = self.server.thread()
        assert len(shown) == len(texts), shown
        for text, said in zip(texts, shown, strict=True):
            assert text in said


class TestThread:
    async def test_it_tells_of_severity_stories_and_the_end(self, server: SlackServer) -> None:
        story = Story(server)
        await story.push(0)
        await story.push(2, severity=Severity.CRITICAL, stories=9)
        await story.push(60, state=IncidentState.RESOLVED, resolved_at=START + HOUR)
        await story.at(62)
        story.expect("Severity up: warning → *critical* · +5 new stories, 9 in all", "Now *resolved*")
        assert len(server.messages) == 1
        assert "RESOLVED" in str(server.messages)

    async def test_stories_are_told_at_most_every_ten_minutes_and_together(self, server: SlackServer) -> None:
        story = Story(server)
        await story.push(0)
        for minute in range(1, 12):
            await story.push(minute, stories=4 + minute)
        await story.at(13)
        story.expect("+10 new stories, 14 in all")
        await story.push(22, stories=30)
        await story.at(23)
        story.expect("+10 new stories", "+16 new stories, 30 in all")

    async def test_who_acknowledged_is_named(self, server: SlackServer) -> None:
        story = Story(server)
        await story.push(0)
        await story.at(1)
        command = Command(incident=story.incident.id, verb=Verb.ACKNOWLEDGE, by="<!here> ann", at=START)
        taken = act(story.incident, command)
        await story.push(2, state=taken.state, history=taken.history)
        await story.at(3)
        story.expect("Now *acknowledged* by &lt;!here&gt; ann")

    async def test_a_reply_whose_answer_was_lost_is_not_said_twice(self, server: SlackServer) -> None:
        story = Story(server)
        await story.push(0)
        await story.at(1)
        await story.push(2, severity=Severity.CRITICAL)
        server.script.extend([Script(), Script(), Script(lose_answer=True)])  # update, replies, postMessage
        await story.at(5)
        story.expect("Severity up")
        assert await story.state.list(OUTBOX) == []

    async def test_an_hour_of_outage_is_merged_not_replayed(self, server: SlackServer) -> None:
        story = Story(server)
        await story.push(0)
        await story.at(1)
        server.down = "service_unavailable"
        for minute in range(2, 62, 4):
            await story.push(minute, stories=4 + minute, reason=f"at minute {minute}")
        await story.push(61, severity=Severity.CRITICAL)
        await story.at(62)
        server.down = ""
        calls = len(server.calls)
        await story.at(70)
        methods = [method for method, _ in server.calls[calls:]]
        assert methods == ["chat.update", "conversations.replies", "chat.postMessage"]
        story.expect("Severity up: warning → *critical* · +58 new stories, 62 in all")
        assert "at minute 58" in str(server.messages)
        assert await story.state.list(OUTBOX) == []

    async def test_slack_down_at_the_first_message_posts_one(self, server: SlackServer) -> None:
        story = Story(server)
        server.down = "internal_error"
        await story.push(0)
        await story.push(30, stories=40)
        await story.at(59)
        server.down = ""
        await story.at(66)
        assert len(server.messages) == 1
        assert "40" in str(server.messages)


class TestChart:
    async def test_it_is_in_the_thread_once_and_again_when_worse_or_over(self, server: SlackServer) -> None:
        story = Story(server)
        await story.push(0, trend=TREND)
        await story.push(2, stories=5)
        await story.at(4)
        assert server.charts() == ["riskwire-one-warning.png"]
        await story.push(5, severity=Severity.CRITICAL)
        await story.push(30, state=IncidentState.RESOLVED)
        await story.at(32)
        assert server.charts() == [f"riskwire-one-{mark}.png" for mark in ("warning", "critical", "resolved")]
        assert all(content.startswith(b"\x89PNG") for content in server.uploads.values())

    async def test_without_the_scope_there_are_none_and_the_message_goes_out(self, server: SlackServer) -> None:
        server.scopes = ("chat:write", "channels:history")
        story = Story(server)
        await story.push(0, trend=TREND)
        await story.push(2, severity=Severity.CRITICAL)
        await story.at(4)
        assert not server.uploads
        assert len(server.messages) == 1
        story.expect("Severity up")
        asked = [method for method, _ in server.calls].count("files.getUploadURLExternal")
        assert asked == 1, "it is asked for once, then left"

    @given(
        st.lists(
            st.tuples(*[st.floats(0, 1e7, allow_nan=False)] * 2, st.floats(0, 1e7, allow_nan=False)),
            min_size=1,
            max_size=40,
        )
    )
    @settings(max_examples=40, deadline=None)
    def test_any_figures_can_be_drawn(self, rows: Sequence[tuple[float, float, float]]) -> None:
        points = [
            TrendPoint(start=START + n * HOUR, observed=x, expected=m, low=min(m, h), high=max(m, h))
            for n, (x, m, h) in enumerate(rows)
        ]
        assert chart(points).startswith(b"\x89PNG")


class TestRouting:
    def routing(self) -> dict[str, Any]:
        return {"routes": [{"channel": CRITICAL, "severity": "critical"}], "min_severity": "warning"}

    async def test_below_the_bar_nothing_is_posted_until_it_is_worse(self, server: SlackServer) -> None:
        story = Story(server, **self.routing())
        await story.push(0, severity=Severity.INFO)
        await story.at(2)
        assert not server.messages
        assert await story.state.list(OUTBOX) == []
        await story.push(3, severity=Severity.WARNING)
        await story.at(4)
        assert [channel for channel, _ in server.messages] == [CHANNEL]

    async def test_worse_goes_on_in_the_channel_for_it(self, server: SlackServer) -> None:
        story = Story(server, **self.routing())
        await story.push(0)
        await story.push(5, severity=Severity.CRITICAL)
        await story.push(9, reason="much worse")
        await story.at(10)
        assert [channel for channel, _ in server.messages] == [CHANNEL, CRITICAL]
        old, new = server.messages.values()
        assert f"goes on in <#{CRITICAL}>" in str(old)
        assert "much worse" in str(new)

    async def test_a_limited_channel_does_not_hold_up_the_others(self, server: SlackServer) -> None:
        story = Story(server, **self.routing())
        server.limited[CHANNEL] = 120.0
        await story.push(0)
        worse = doubles.incident("two", severity=Severity.CRITICAL)
        await story.state.apply(outbox_rows(worse, ["slack"]))
        await story.at(1)
        assert [channel for channel, _ in server.messages] == [CRITICAL]
        asked = [body.get("channel") for method, body in server.calls if method == "chat.postMessage"]
        assert asked.count(CHANNEL) == 1, "Retry-After is obeyed"
        server.limited.clear()
        await story.at(4)
        assert len(server.messages) == 2

    def test_by_series_and_the_first_rule_that_fits(self) -> None:
        routing = Routing(
            channel="C",
            bar=Severity.CRITICAL,
            routes=(Route(channel="E", match="entity:*"), Route(channel="T", match="topic:e*")),
        )
        bank = SeriesKey(scope=Scope.ENTITY, value="bank")
        energy = SeriesKey(scope=Scope.TOPIC, value="energy")
        assert routing.channel_of(doubles.incident(key=energy, related=(bank,))) == "E"
        assert routing.channel_of(doubles.incident(key=energy)) == "T"
        assert routing.channel_of(doubles.incident()) == ""

    @pytest.mark.parametrize(
        ("options", "named"),
        [
            ({"routes": "C1"}, "routes"),
            ({"routes": [{"match": "*"}]}, "channel"),
            ({"routes": [{"channel": "C", "severity": "loud"}]}, "severity"),
            ({"routes": [{"channel": "C", "sverity": "info"}]}, "severity"),
            ({"min_severity": 3}, "min_severity"),
            ({"runbook": "wiki"}, "runbook"),
            ({"timezone": "Mars"}, "time zone"),
            ({"charts": "yes"}, "charts"),
        ],
    )
    def test_wrong_options_are_named(self, options: dict[str, Any], named: str) -> None:
        with pytest.raises(ConfigError, match=named):
            slack.build({"token": TOKEN, "channel": CHANNEL} | options)


@asynccontextmanager
async def listening(server: SlackServer, state: Any, **options: Any) -> AsyncIterator[slack.SlackNotifier]:
    made = notifier(server, app_token=APP_TOKEN, **options)
    task = asyncio.create_task(made.listen(state.apply))
    try:
        async with asyncio.timeout(20):
            await server.connected.wait()
        yield made
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def acknowledged(server: SlackServer) -> str:
    async with asyncio.timeout(10):
        return await server.acknowledged.get()


class TestButtons:
    async def test_what_is_pressed_becomes_the_command_of_the_command_line(self, server: SlackServer) -> None:
        state = DictState()
        async with listening(server, state) as made:
            await made.send(doubles.incident("i1"), None)
            message = next(iter(server.messages.values()))
            actions = next(block for block in message["blocks"] if block["type"] == "actions")
            button, menu = actions["elements"]
            await server.press({**button, "block_id": actions["block_id"]}, envelope="e1", at=1.0e9)
            assert await acknowledged(server) == "e1"
            chosen = menu["options"][1]
            await server.press(
                {"action_id": menu["action_id"], "block_id": actions["block_id"], "selected_option": chosen},
                envelope="e2", user="bob", at=1.0e9 + 5,
            )  # fmt: skip
            assert await acknowledged(server) == "e2"
            found = [Command.from_doc(doc) for _, doc in await state.list(COMMAND)]
        at = datetime.fromtimestamp(1.0e9, UTC)
        assert [(c.incident, c.verb, c.by, c.at) for c in found] == [
            ("i1", Verb.ACKNOWLEDGE, "ann", at),
            ("i1", Verb.SNOOZE, "bob", at + timedelta(seconds=5)),
        ]
        assert found[1].until == at + timedelta(seconds=5, hours=8)

    async def test_an_envelope_delivered_again_counts_once(self, server: SlackServer) -> None:
        state = DictState()
        async with listening(server, state):
            press = {"action_id": "riskwire_acknowledge", "block_id": "act|i1", "value": "i1"}
            for envelope in ("e1", "e1"):
                await server.press(press, envelope=envelope)
                await acknowledged(server)
            assert len(await state.list(COMMAND)) == 1

    async def test_what_cannot_be_stored_is_not_acknowledged(self, server: SlackServer) -> None:
        class Away(DictState):
            async def apply(self, changes: Sequence[Change], **_: Any) -> None:
                if self.away:
                    self.refused.set()
                    raise StorageError("The state store is away.")
                await super().apply(changes)

            away = True
            refused = asyncio.Event()

        state = Away()
        async with listening(server, state):
            press = {"action_id": "riskwire_acknowledge", "block_id": "act|i1", "value": "i1"}
            await server.press(press, envelope="lost")
            async with asyncio.timeout(10):
                await state.refused.wait()
            state.away = False
            await server.press(press, envelope="kept")
            assert await acknowledged(server) == "kept"
            assert server.acknowledged.empty()
            assert len(await state.list(COMMAND)) == 1

    async def test_feedback_on_a_headline_is_stored(self, server: SlackServer) -> None:
        state = DictState()
        async with listening(server, state) as made:
            await made.send(doubles.incident("i1", evidence=(doubles.evidence(7),)), None)
            message = next(iter(server.messages.values()))
            block = next(b for b in message["blocks"] if "accessory" in b)
            option = block["accessory"]["options"][1]
            await server.press(
                {"action_id": block["accessory"]["action_id"], "block_id": block["block_id"], "selected_option": option}
            )
            await acknowledged(server)
            ((key, doc),) = await state.list(FEEDBACK_KIND)
        assert key == "a7/ann"
        assert (doc["article"], doc["incident"], doc["what"], doc["by"]) == ("a7", "i1", "not_relevant", "ann")

    async def test_foreign_and_broken_payloads_are_passed_over(self, server: SlackServer) -> None:
        state = DictState()
        async with listening(server, state):
            for action in (
                {"action_id": "another_app", "value": "x"},
                {"action_id": "riskwire_snooze", "block_id": "act|i1", "selected_option": {"value": "1y"}},
                {"action_id": "riskwire_acknowledge", "value": "i1", "action_ts": "soon"},
            ):
                await server.press(action)
                assert await acknowledged(server) == "e1"
            assert await state.list(COMMAND) == []

    async def test_a_lost_connection_is_made_again(self, server: SlackServer) -> None:
        state = DictState()
        async with listening(server, state):
            server.connected.clear()
            await server.sockets[0].close()
            async with asyncio.timeout(40):
                await server.connected.wait()
            await server.press({"action_id": "riskwire_acknowledge", "block_id": "act|i1", "value": "i1"})
            await acknowledged(server)
            assert len(await state.list(COMMAND)) == 1

    async def test_without_an_app_level_token_there_are_no_buttons(self, server: SlackServer) -> None:
        made = notifier(server)
        await made.listen(DictState().apply)
        await made.send(doubles.incident("i1"), None)
        assert "riskwire_acknowledge" not in str(server.messages)


class TestDigest:
    async def test_one_message_a_period_in_its_channel(self, server: SlackServer) -> None:
        made = notifier(server, digest="daily", digest_channel=CRITICAL)
        assert made.digest is not None
        for _ in range(2):  # the second time, as after a crash
            await made.send_digest(START, START + 24 * HOUR, [doubles.incident("i1"), doubles.incident("i2")])
        ((channel, _), message) = next(iter(server.messages.items()))
        assert (channel, len(server.messages)) == (CRITICAL, 1)
        assert "2 incidents below the bar" in str(message)

    async def test_a_refusal_is_told(self, server: SlackServer) -> None:
        made = notifier(server, digest="weekly")
        server.limited[CHANNEL] = 60.0
        with pytest.raises(RetryableNotifyError) as caught:
            await made.send_digest(START, START + 24 * HOUR, [doubles.incident("i1")])
        assert caught.value.after == 60.0


class TestBlocks:
    @given(
        title=st.text(max_size=400),
        reason=st.text(max_size=4000),
        note=st.text(max_size=500),
        count=st.integers(0, 70),
        state=st.sampled_from(list(IncidentState)),
        article=st.text(min_size=1, max_size=150),
    )
    @settings(max_examples=60, deadline=None)
    def test_everything_shown_keeps_the_limits(
        self, title: str, reason: str, note: str, count: int, state: IncidentState, article: str
    ) -> None:
        item = replace(doubles.evidence(1), title=title, article_id=article)
        history = (Action(at=START, by=title, what="acknowledged", note=note),)
        shown: Incident = doubles.incident(
            title=title, reason=reason, evidence=(item,) * count, history=history, state=state,
            sources=(note,) * 30, entities=(title,) * 12,
        )  # fmt: skip
        look = Look(buttons=True, links={"Runbook": "https://wiki.example/{scope}/{value}?i={id}"})
        made = blocks(shown, look)
        assert wrong_blocks(made) == ""
        assert made[-1]["type"] == "context"

    async def test_links_are_filled_in(self, server: SlackServer) -> None:
        made = notifier(server, runbook="https://wiki.example/{scope}/{value}?sev={severity}&i={id}")
        key = SeriesKey(scope=Scope.ENTITY, value="a b|c")
        await made.send(doubles.incident("i1", key=key), None)
        assert "<https://wiki.example/entity/a%20b%7Cc?sev=warning&amp;i=i1|Runbook>" in str(server.messages)

    async def test_a_receipt_of_an_earlier_version_still_edits(self, server: SlackServer) -> None:
        made = notifier(server)
        sent = await made.send(doubles.incident(), None)
        old = Receipt(notifier="slack", data={key: sent.data[key] for key in ("channel", "ts")})
        again = await made.send(doubles.incident(revision=2, severity=Severity.CRITICAL), old)
        assert again.data["ts"] == sent.data["ts"]
        assert server.thread() == []
        assert again.data["severity"] == "critical"

    async def test_held_channels_are_not_even_asked(self, server: SlackServer) -> None:
        clock = ManualClock(START)
        made = notifier(server, clock)
        server.limited[CHANNEL] = 30.0
        for _ in range(3):
            with pytest.raises(RetryableNotifyError) as caught:
                await made.send(doubles.incident(), None)
            assert 0 < caught.value.after <= 30
        assert len(server.calls) == 1
