"""Shows an incident in Slack: one Block Kit message per incident, edited in place; its thread tells what changed.

Slack has no idempotency key. The receipt (channel and ts) says which message to edit. When there is none although the
incident is not new to us, the channel's latest messages are searched for the incident id in their metadata, if the
token's scopes allow reading history; this narrows the window in which a crash could post twice. Replies in the thread
carry the revision in their metadata and are looked for in the same way.

What the thread is told: a rise in severity, a new state, and, at most every ten minutes, how many stories came. What is
not told yet is kept in the receipt and told together. With the first message, a rise in severity and the end comes a
chart; one that Slack does not take (scope ``files:write``) is left out.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from alerts.digest import Plan, plan_of
from alerts.notifiers.chart import chart
from alerts.notifiers.options import (
    Secret,
    address_of,
    clock_of,
    flag_of,
    refuse_unknown,
    seconds_of,
    secret_keys,
    secret_of,
    text_of,
)
from alerts.notifiers.routes import RANK, Routing, routing_of
from alerts.notifiers.slack_api import GoneError, SlackApi
from alerts.notifiers.slack_blocks import (
    SECTION_LIMIT,
    Look,
    blocks,
    changes,
    cut,
    digest_blocks,
    escape,
)
from alerts.notifiers.slack_listen import SlackListener, Submit
from alerts.notifiers.telling import told_of
from alerts.notifiers.text import headline
from monitor.core.clock import Clock, SystemClock
from monitor.core.codec import time_from_str, time_to_str
from monitor.core.errors import ConfigError, NotifyError, PermanentNotifyError, RetryableNotifyError
from monitor.core.types import Incident, IncidentState, Receipt, Severity

__all__ = ["Secret", "SlackNotifier", "blocks", "build", "cut", "escape", "token_of"]

EVENT_TYPE = "riskwire_incident"
CHANGE_TYPE = "riskwire_change"
DIGEST_TYPE = "riskwire_digest"

_log = logging.getLogger(__name__)


class SlackNotifier:
    """Implements :class:`monitor.core.ports.Notifier` with Slack's Web API, and ``Interactive`` when it has an
    app-level token."""

    def __init__(
        self,
        *,
        token: Secret,
        channel: str,
        name: str = "slack",
        base_url: str = "https://slack.com/api/",
        timeout: timedelta = timedelta(seconds=15),
        look_back: int = 50,
        routing: Routing | None = None,
        links: Mapping[str, str] | None = None,
        charts: bool = True,
        thread_every: timedelta = timedelta(minutes=10),
        app_token: Secret | None = None,
        timezone: str = "UTC",
        digest: Plan | None = None,
        digest_channel: str = "",
        clock: Clock | None = None,
    ) -> None:
        self.name = name
        self._clock = clock or SystemClock()
        self._api = SlackApi(token=token, base_url=base_url, timeout=timeout, clock=self._clock)
        self._routing = routing or Routing(channel=channel)
        self._timeout = timeout
        self._look_back = look_back
        self._look = Look(buttons=app_token is not None, links=links)
        self.digest = digest
        self._digest_channel = digest_channel or channel
        self._charts = charts
        self._thread_every = thread_every
        self._listener = (
            SlackListener(self._api, app_token, clock=self._clock, timezone=timezone, name=name) if app_token else None
        )

    def __repr__(self) -> str:
        return f"SlackNotifier(name={self.name!r}, channel={self._routing.channel!r})"

    async def listen(self, submit: Submit) -> None:
        """Takes what people press, until cancelled; returns at once without an app-level token."""
        if self._listener is not None:
            await self._listener.run(submit)

    async def send(self, incident: Incident, previous: Receipt | None) -> Receipt:
        """Posts, or edits the message that ``previous`` names; a message that is gone is posted anew. An incident that
        is below the bar of every channel is not posted; its receipt is empty."""
        told = dict(previous.data) if previous is not None else {}
        try:
            async with asyncio.timeout(self._timeout.total_seconds()):
                channel, ts, posted = await self._show(incident, told, searched=previous is not None)
        except TimeoutError as error:
            raise RetryableNotifyError(f"Slack did not answer within {self._timeout.total_seconds():.0f} s.") from error
        if not ts:
            return Receipt(notifier=self.name)
        data = {**told, "channel": channel, "ts": ts}
        try:
            async with asyncio.timeout(self._timeout.total_seconds()):
                data |= await self._thread(incident, data, fresh=posted)
        except TimeoutError as error:
            if not posted:
                raise RetryableNotifyError("Slack did not take the thread's reply in time.") from error
        except (RetryableNotifyError, PermanentNotifyError):
            if not posted:
                raise  # the edit is repeated harmlessly; the reply is not lost
            _log.warning("slack: the first message of %s has no thread yet", incident.id)
        return Receipt(notifier=self.name, data=data)

    async def send_digest(self, begin: datetime, end: datetime, incidents: Sequence[Incident]) -> None:
        """One message of what was below the bar; none when one of the same end is there already."""
        channel, period = self._digest_channel, time_to_str(end)
        try:
            async with asyncio.timeout(self._timeout.total_seconds()):
                if await self._find(channel, period, event=DIGEST_TYPE):
                    return
                await self._api.call(
                    "chat.postMessage",
                    {
                        "channel": channel,
                        "text": f"{len(incidents)} incidents below the bar",
                        "blocks": digest_blocks(begin, end, incidents),
                        "metadata": {"event_type": DIGEST_TYPE, "event_payload": {"incident": period}},
                        "unfurl_links": False,
                        "unfurl_media": False,
                    },
                )
        except TimeoutError as error:
            raise RetryableNotifyError("Slack did not take the digest in time.") from error

    # -- the message -----------------------------------------------------------------------------------------------

    async def _show(self, incident: Incident, told: Mapping[str, str], *, searched: bool) -> tuple[str, str, bool]:
        """The message's channel and ts, and whether it is new."""
        message: dict[str, Any] = {
            "text": cut(escape(headline(incident)), SECTION_LIMIT),
            "blocks": blocks(incident, self._look),
            "metadata": {"event_type": EVENT_TYPE, "event_payload": {"incident": incident.id}},
        }
        wanted = self._routing.channel_of(incident)
        channel, ts = told.get("channel", ""), told.get("ts", "")
        if ts and wanted not in ("", channel) and self._worse(incident, told):
            moved = await self._first(wanted, message, incident.id, search=True)
            await self._leave(channel, ts, message, wanted)
            return wanted, moved, True
        if ts:
            try:
                await self._api.call("chat.update", {**message, "channel": channel, "ts": ts})
            except GoneError:
                channel = wanted or channel
                return channel, await self._first(channel, message, incident.id, search=False), True
            return channel, ts, False
        if not wanted:
            return "", "", False
        ts = await self._first(wanted, message, incident.id, search=searched or incident.revision > 1)
        return wanted, ts, True

    async def _first(self, channel: str, message: Mapping[str, Any], incident_id: str, *, search: bool) -> str:
        """Posts, unless the channel has the incident's message already: then that is edited."""
        if search and (ts := await self._find(channel, incident_id)):
            try:
                await self._api.call("chat.update", {**message, "channel": channel, "ts": ts})
            except GoneError:
                pass
            else:
                return ts
        quiet = {"unfurl_links": False, "unfurl_media": False}
        answer = await self._api.call("chat.postMessage", {**message, **quiet, "channel": channel})
        ts = answer.get("ts") or ""
        if not isinstance(ts, str) or not ts:
            raise RetryableNotifyError("Slack answered without the time stamp of the message.")
        return ts

    async def _leave(self, channel: str, ts: str, message: Mapping[str, Any], to: str) -> None:
        """The message goes on in another channel; the one that stays behind says where."""
        note = f"It got worse and goes on in <#{to}>."
        moved = [message["blocks"][0], {"type": "section", "text": {"type": "mrkdwn", "text": note}}]
        try:
            await self._api.call(
                "chat.update", {"channel": channel, "ts": ts, "text": f"{message['text']} {note}", "blocks": moved}
            )
        except (GoneError, PermanentNotifyError, RetryableNotifyError) as error:
            _log.warning("slack: the old message in %s could not be edited: %s", channel, error)

    @staticmethod
    def _worse(incident: Incident, told: Mapping[str, str]) -> bool:
        before = told.get("severity", "")
        return before in set(Severity) and RANK[incident.severity] > RANK[Severity(before)]

    async def _find(self, channel: str, incident_id: str, event: str = EVENT_TYPE) -> str:
        """The ts of an incident's message by its metadata; "" when it is not there or history may not be read."""
        query = {"channel": channel, "limit": self._look_back, "include_all_metadata": True}
        try:
            answer = await self._api.call("conversations.history", query)
        except (PermanentNotifyError, GoneError):
            return ""  # the scope is optional: without it the message is posted anew
        for message in answer.get("messages") or ():
            payload = _payload(message, event)
            if payload.get("incident") == incident_id and message.get("ts"):
                return str(message["ts"])
        return ""

    # -- the thread ------------------------------------------------------------------------------------------------

    async def _thread(self, incident: Incident, told: Mapping[str, str], *, fresh: bool) -> dict[str, str]:
        """Tells the thread what changed; returns what it knows then."""
        channel, ts, now = told["channel"], told["ts"], self._clock.now()
        known = {key: told[key] for key in ("severity", "state", "stories", "replied", "charted") if key in told}
        if fresh or "state" not in known:
            known = told_of(incident) | {"replied": time_to_str(now)}
        else:
            lines, more = changes(known, incident)
            if more and (lines or now - _time(known.get("replied"), now) >= self._thread_every):
                lines.append(f"+{more} new {'story' if more == 1 else 'stories'}, {incident.stories} in all")
            if lines:
                await self._reply(channel, ts, incident, lines)
                known |= told_of(incident) | {"replied": time_to_str(now)}
        mark = "resolved" if incident.state is IncidentState.RESOLVED else incident.severity.value
        if self._charts and incident.trend and known.get("charted") != mark:
            known["charted"] = mark if await self._chart(channel, ts, incident, mark) else known.get("charted", "")
        return known

    async def _reply(self, channel: str, ts: str, incident: Incident, lines: list[str]) -> None:
        replies = await self._replies(channel, ts)
        told = [int(payload.get("revision", 0)) for m in replies if (payload := _payload(m, CHANGE_TYPE))]
        if told and max(told) >= incident.revision:
            return  # an earlier attempt got through
        payload = {"incident": incident.id, "revision": incident.revision}
        await self._api.call(
            "chat.postMessage",
            {
                "channel": channel,
                "thread_ts": ts,
                "text": cut(" · ".join(lines), SECTION_LIMIT),
                "metadata": {"event_type": CHANGE_TYPE, "event_payload": payload},
                "unfurl_links": False,
                "unfurl_media": False,
            },
        )

    async def _replies(self, channel: str, ts: str) -> list[Mapping[str, Any]]:
        query = {"channel": channel, "ts": ts, "limit": 200, "include_all_metadata": True}
        try:
            answer = await self._api.call("conversations.replies", query)
        except (PermanentNotifyError, GoneError):
            return []  # the scope is optional
        return [message for message in answer.get("messages") or () if isinstance(message, Mapping)]

    async def _chart(self, channel: str, ts: str, incident: Incident, mark: str) -> bool:
        """Whether the thread has the chart. A chart is decoration: its failure does not hold up the incident."""
        name = f"riskwire-{incident.id[:16]}-{mark}.png"
        try:
            for reply in await self._replies(channel, ts):
                if any(isinstance(f, Mapping) and f.get("name") == name for f in reply.get("files") or ()):
                    return True
            title = cut(f"Negative stories per hour: {incident.title or incident.key.value}", 200)
            alt = f"{incident.observed:.1f} negative stories, {incident.expected:.1f} expected"
            content = await asyncio.to_thread(chart, incident.trend)
            await self._api.upload(channel, ts, name=name, title=title, alt=alt, content=content)
        except PermanentNotifyError as error:
            _log.warning("slack: no charts from now on: %s", error)
            self._charts = False
            return False
        except NotifyError as error:
            _log.warning("slack: %s has no chart: %s", incident.id, error)
            return False
        return True


def _payload(message: Mapping[str, Any], event: str) -> Mapping[str, Any]:
    metadata = message.get("metadata") or {}
    payload = metadata.get("event_payload") or {}
    return payload if metadata.get("event_type") == event else {}


def _time(text: str | None, default: datetime) -> datetime:
    return time_from_str(text) if text else default


# -- building --------------------------------------------------------------------------------------------------------

_WHERE = "notifiers.slack"
_KEYS = (
    *secret_keys("token"), *secret_keys("app_token"), "channel", "timeout", "base_url", "routes", "min_severity",
    "digest", "digest_channel", "runbook", "dashboard", "charts", "thread_minutes", "timezone",
)  # fmt: skip


def token_of(options: Mapping[str, Any], key: str = "token") -> Secret:
    """The bot token (or the one of ``key``) from ``token``, ``token_file`` or ``token_env``. Raises ConfigError."""
    begins, what = ("xoxb-", "bot token") if key == "token" else ("xapp-", "app-level token")
    hint = f"Set the {what} (it begins with {begins}), best by {key}_file or {key}_env."
    secret = secret_of(options, key, _WHERE, what=what, hint=hint)
    if not secret.reveal().isascii() or any(char.isspace() for char in secret.reveal()):
        raise ConfigError(f"{_WHERE}: '{key}' holds characters that no token has.", hint="Copy it again.")
    return secret


def build(options: Mapping[str, Any], context: Any = None) -> SlackNotifier:
    """Entry point ``riskwire.notifiers``; docs/notifiers.md describes the options. Raises ConfigError."""
    try:
        import slack_sdk.web.async_client  # noqa: F401
    except ImportError as error:
        raise ConfigError(
            "The Slack notifier needs the package slack-sdk.", hint="Install it: pip install 'riskwire[slack]'."
        ) from error
    refuse_unknown(options, _KEYS, _WHERE)
    token = token_of(options)
    app_token = token_of(options, "app_token") if any(options.get(key) for key in secret_keys("app_token")) else None
    channel = options.get("channel")
    if not isinstance(channel, str) or not channel.strip():
        raise ConfigError(f"{_WHERE}: 'channel' is missing.", hint="Set a channel id such as C0123456789.")
    links = {
        label: address_of(options[key], key, _WHERE)
        for key, label in (("runbook", "Runbook"), ("dashboard", "Dashboard"))
        if options.get(key)
    }
    zone = _zone(options.get("timezone", "UTC"))
    return SlackNotifier(
        token=token,
        channel=channel.strip(),
        name=str(options.get("name", "slack")),
        base_url=address_of(options.get("base_url", "https://slack.com/api/"), "base_url", _WHERE),
        timeout=timedelta(seconds=seconds_of(options, "timeout", _WHERE, default=15, least=1, most=120)),
        routing=routing_of(options, channel.strip(), _WHERE),
        links=links,
        charts=flag_of(options, "charts", _WHERE, default=True),
        thread_every=timedelta(minutes=seconds_of(options, "thread_minutes", _WHERE, default=10, least=0, most=1440)),
        app_token=app_token,
        timezone=zone,
        digest=plan_of(options.get("digest"), zone, _WHERE),
        digest_channel=text_of(options, "digest_channel", _WHERE, default=""),
        clock=clock_of(context),
    )


def _zone(name: object) -> str:
    from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

    try:
        return ZoneInfo(str(name)).key
    except (ZoneInfoNotFoundError, ValueError):
        raise ConfigError(f"{_WHERE}: there is no time zone {name!r}.", hint="E.g. 'Europe/London'.") from None
