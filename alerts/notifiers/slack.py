"""Shows an incident in Slack: one Block Kit message per incident, edited in place (chat.postMessage, chat.update).

Slack has no idempotency key. The receipt (channel and ts) says which message to edit. When there is none although the
incident is not new to us, the channel's latest messages are searched for the incident id in their metadata, if the
token's scopes allow reading history; this narrows the window in which a crash could post twice.

Limits kept: 50 blocks, 3,000 characters per section, 150 per header; text is escaped (&, <, >).
"""

from __future__ import annotations

import asyncio
import os
import re
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlsplit

from alerts.notifiers.text import facts, headline, words_of
from monitor.core.errors import ConfigError, PermanentNotifyError, RetryableNotifyError
from monitor.core.types import Evidence, Incident, IncidentState, Receipt, Severity

if TYPE_CHECKING:
    from slack_sdk.web.async_client import AsyncWebClient

BLOCK_LIMIT = 50
SECTION_LIMIT = 3000
HEADER_LIMIT = 150
EVENT_TYPE = "riskwire_incident"

_EMOJI = {Severity.INFO: ":information_source:", Severity.WARNING: ":warning:", Severity.CRITICAL: ":rotating_light:"}
_RETRYABLE = frozenset({
    "ratelimited", "rate_limited", "message_limit_exceeded", "internal_error", "fatal_error", "service_unavailable",
    "request_timeout", "team_added_to_org", "accesslimited",
})  # fmt: skip
_GONE = frozenset({"message_not_found", "cant_update_message", "edit_window_closed"})
_HINTS = {
    "invalid_auth": "Check the bot token.",
    "not_authed": "Set the bot token.",
    "token_revoked": "Install the app again and set the new token.",
    "token_expired": "Set a fresh token.",
    "account_inactive": "The token's user or workspace is deactivated; install the app again.",
    "missing_scope": "Give the app the scope chat:write and install it again.",
    "channel_not_found": "Check the channel id, and invite the app to private channels.",
    "not_in_channel": "Invite the app to the channel.",
    "is_archived": "Choose a channel that is not archived.",
    "invalid_blocks": "This is a defect of Riskwire; please report it with the incident id.",
    "msg_too_long": "This is a defect of Riskwire; please report it with the incident id.",
}
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]+")


class Secret:
    """A token that does not show itself in logs, errors or ``repr``."""

    __slots__ = ("_value",)

    def __init__(self, value: str) -> None:
        self._value = value

    def reveal(self) -> str:
        """The token itself: only for the client that sends it."""
        return self._value

    def __repr__(self) -> str:
        return "Secret('***')"

    __str__ = __repr__


def escape(text: str) -> str:
    """Text as Slack's mrkdwn shows it literally: control characters removed, ``&``, ``<``, ``>`` escaped."""
    text = _CONTROL.sub(" ", text)
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def cut(text: str, limit: int) -> str:
    """Escaped text within ``limit`` characters, never cut inside an entity."""
    if len(text) <= limit:
        return text
    text = text[: limit - 1]
    ampersand = text.rfind("&")
    if ampersand >= 0 and ";" not in text[ampersand:]:
        text = text[:ampersand]
    return text + "…"


def _link(item: Evidence) -> str:
    title = cut(escape(item.title).replace("|", "¦").replace("\n", " ") or "(no title)", 300)
    parts = urlsplit(item.url) if item.url else None
    if parts is None or parts.scheme not in ("http", "https") or len(item.url) > 1500:
        return f"*{title}*"
    return f"<{quote(item.url, safe=':/?#[]@!$&()*+,;=%~-._').replace('&', '&amp;')}|{title}>"


def _section(text: str) -> dict[str, Any]:
    return {"type": "section", "text": {"type": "mrkdwn", "text": cut(text, SECTION_LIMIT)}}


def _context(text: str) -> dict[str, Any]:
    return {"type": "context", "elements": [{"type": "mrkdwn", "text": cut(text, SECTION_LIMIT)}]}


def blocks(incident: Incident) -> list[dict[str, Any]]:
    """The Block Kit blocks of an incident."""
    resolved = incident.state is IncidentState.RESOLVED
    emoji = ":white_check_mark:" if resolved else _EMOJI[incident.severity]
    title = _CONTROL.sub(" ", headline(incident))
    head = f"{emoji} {title}"
    result: list[dict[str, Any]] = [
        {"type": "header", "text": {"type": "plain_text", "text": head[:HEADER_LIMIT], "emoji": True}},
        _section(escape(incident.reason) or "No reason given."),
    ]
    if incident.related:
        result.append(_context(f"Also: {escape(', '.join(str(key) for key in incident.related))}"))
    if incident.entities:
        result.append(_context(f"Entities: {escape(', '.join(incident.entities))}"))
    for item in incident.evidence[: BLOCK_LIMIT - 6]:
        lines = [_link(item), escape(facts(item))]
        if words := words_of(item):
            lines.append(f"words: {escape(words)}")
        result.append(_section("\n".join(lines)))
    if incident.sources:
        shown = ", ".join(incident.sources[:20])
        result.append(_context(f"Sources: {escape(shown)}"))
    result.append(_context(f"incident {incident.id} · revision {incident.revision} · {incident.state.value}"))
    return result[:BLOCK_LIMIT]


class SlackNotifier:
    """Implements :class:`monitor.core.ports.Notifier` with Slack's Web API."""

    def __init__(
        self,
        *,
        token: Secret,
        channel: str,
        name: str = "slack",
        base_url: str = "https://slack.com/api/",
        timeout: timedelta = timedelta(seconds=15),
        look_back: int = 50,
    ) -> None:
        self.name = name
        self._token = token
        self._channel = channel
        self._base_url = base_url if base_url.endswith("/") else f"{base_url}/"
        self._timeout = timeout
        self._look_back = look_back

    def __repr__(self) -> str:
        return f"SlackNotifier(name={self.name!r}, channel={self._channel!r})"

    async def send(self, incident: Incident, previous: Receipt | None) -> Receipt:
        """Posts, or edits the message that ``previous`` names; a message that is gone is posted anew."""
        try:
            async with asyncio.timeout(self._timeout.total_seconds()):
                return await self._send(incident, previous)
        except TimeoutError as error:
            raise RetryableNotifyError(f"Slack did not answer within {self._timeout.total_seconds():.0f} s.") from error

    async def _send(self, incident: Incident, previous: Receipt | None) -> Receipt:
        from slack_sdk.web.async_client import AsyncWebClient

        client = AsyncWebClient(
            token=self._token.reveal(),
            base_url=self._base_url,
            timeout=int(self._timeout.total_seconds()) or 1,
            retry_handlers=[],
        )
        message: dict[str, Any] = {
            "text": cut(escape(headline(incident)), SECTION_LIMIT),
            "blocks": blocks(incident),
            "metadata": {"event_type": EVENT_TYPE, "event_payload": {"incident": incident.id}},
        }
        known = dict(previous.data) if previous is not None else None
        if not known and (previous is not None or incident.revision > 1):
            known = await self._find(client, incident.id)
        if known is not None and known.get("ts"):
            try:
                answer = await self._call(
                    client, "chat.update", {**message, "channel": known["channel"], "ts": known["ts"]}
                )
                return self._receipt(answer, known["channel"])
            except _GoneError:
                pass
        message |= {"channel": self._channel, "unfurl_links": False, "unfurl_media": False}
        answer = await self._call(client, "chat.postMessage", message)
        return self._receipt(answer, self._channel)

    def _receipt(self, answer: Mapping[str, Any], channel: str) -> Receipt:
        ts = answer.get("ts")
        if not isinstance(ts, str) or not ts:
            raise RetryableNotifyError("Slack answered without the time stamp of the message.")
        return Receipt(notifier=self.name, data={"channel": str(answer.get("channel") or channel), "ts": ts})

    async def _find(self, client: AsyncWebClient, incident_id: str) -> dict[str, str] | None:
        """The message of an incident by its metadata; None when it is not there or history may not be read."""
        query = {"channel": self._channel, "limit": self._look_back, "include_all_metadata": True}
        try:
            answer = await self._call(client, "conversations.history", query)
        except (PermanentNotifyError, _GoneError):
            return None  # the scope is optional: without it the message is posted anew
        for message in answer.get("messages") or ():
            metadata = message.get("metadata") or {}
            payload = metadata.get("event_payload") or {}
            if (
                metadata.get("event_type") == EVENT_TYPE
                and payload.get("incident") == incident_id
                and message.get("ts")
            ):
                return {"channel": self._channel, "ts": str(message["ts"])}
        return None

    async def _call(self, client: AsyncWebClient, method: str, body: Mapping[str, Any]) -> Mapping[str, Any]:
        """One API call; every failure becomes one of our errors, without the token."""
        import aiohttp
        from slack_sdk.errors import SlackApiError, SlackClientError

        try:
            if method == "conversations.history":
                response = await client.api_call(method, http_verb="GET", params=dict(body))
            else:
                response = await client.api_call(method, json=dict(body))
        except SlackApiError as error:
            raise self._mapped(method, error) from None
        except (aiohttp.ClientError, SlackClientError, OSError) as error:
            raise RetryableNotifyError(f"Slack cannot be reached ({type(error).__name__}).") from None
        except (ValueError, AttributeError):
            # slack-sdk 3.x takes any JSON-less answer for a mapping and stumbles over it.
            raise RetryableNotifyError("Slack answered with something that is not JSON.") from None
        data = response.data
        if not isinstance(data, Mapping):
            raise RetryableNotifyError("Slack answered with something that is not JSON.")
        return data

    def _mapped(self, method: str, error: Any) -> Exception:
        response = error.response
        data = response.data if isinstance(response.data, Mapping) else {}
        code = str(data.get("error") or "")
        status = int(getattr(response, "status_code", 0) or 0)
        after = _retry_after(getattr(response, "headers", None) or {})
        if status == 429 or code in _RETRYABLE or status >= 500 or not code:
            what = code or f"HTTP status {status}"
            return RetryableNotifyError(f"Slack's {method} asks to come back later ({what}).", after=after)
        if method == "chat.update" and code in _GONE:
            return _GoneError(code)
        return PermanentNotifyError(
            f"Slack's {method} refused the message for channel {self._channel}: {code}.",
            hint=_HINTS.get(code, "See the error in Slack's documentation of the method."),
        )


class _GoneError(Exception):
    """The message to edit is not there any more."""


def _retry_after(headers: Mapping[str, str]) -> float:
    for name, value in headers.items():
        if name.lower() == "retry-after":
            try:
                return min(3600.0, max(0.0, float(value)))
            except ValueError:
                return 30.0
    return 0.0


_TOKEN_OPTIONS = ("token", "token_file", "token_env")


def token_of(options: Mapping[str, Any]) -> Secret:
    """The bot token: ``token`` (text or a pydantic SecretStr), the content of ``token_file``, or the environment
    variable that ``token_env`` names. Raises ConfigError."""
    given = [name for name in _TOKEN_OPTIONS if options.get(name)]
    if len(given) > 1:
        raise ConfigError(f"notifiers.slack: both '{given[0]}' and '{given[1]}' are set.", hint="Keep one of them.")
    token: Any = options.get("token")
    if hasattr(token, "get_secret_value"):
        token = token.get_secret_value()
    if given == ["token_file"]:
        try:
            token = Path(str(options["token_file"])).read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            reason = error.strerror if isinstance(error, OSError) else "not UTF-8 text"
            raise ConfigError(f"notifiers.slack: 'token_file': it cannot be read: {reason}.") from None
    elif given == ["token_env"]:
        variable = str(options["token_env"])
        token = os.environ.get(variable, "")
        if not token.strip():
            raise ConfigError(
                f"notifiers.slack: 'token_env': the variable {variable} is not set.", hint="Export the bot token in it."
            )
    if not isinstance(token, str) or not token.strip():
        raise ConfigError(
            "notifiers.slack: 'token' is missing.",
            hint="Set the bot token (it begins with xoxb-), best by token_file or token_env.",
        )
    if not token.isascii() or any(char.isspace() for char in token.strip()):
        raise ConfigError("notifiers.slack: 'token' holds characters that no token has.", hint="Copy it again.")
    return Secret(token.strip())


def build(options: Mapping[str, Any], context: Any = None) -> SlackNotifier:
    """Entry point ``riskwire.notifiers``. Options: those of :func:`token_of`, ``channel``, ``name``, ``timeout`` in
    seconds, ``base_url``. Raises ConfigError."""
    try:
        import slack_sdk.web.async_client  # noqa: F401
    except ImportError as error:
        raise ConfigError(
            "The Slack notifier needs the package slack-sdk.", hint="Install it: pip install 'riskwire[slack]'."
        ) from error
    unknown = set(options) - {"name", "type", "enabled", *_TOKEN_OPTIONS, "channel", "timeout", "base_url"}
    if unknown:
        raise ConfigError(
            f"notifiers.slack: unknown option {sorted(unknown)[0]!r}.",
            hint="It takes 'token' (or 'token_file' or 'token_env'), 'channel', 'timeout' and 'base_url'.",
        )
    token = token_of(options)
    channel = options.get("channel")
    if not isinstance(channel, str) or not channel.strip():
        raise ConfigError("notifiers.slack: 'channel' is missing.", hint="Set a channel id such as C0123456789.")
    timeout = options.get("timeout", 15)
    if isinstance(timeout, bool) or not isinstance(timeout, int | float) or not 1 <= timeout <= 120:
        raise ConfigError(f"notifiers.slack: 'timeout' must be 1 to 120 seconds, got {timeout!r}.")
    base_url = options.get("base_url", "https://slack.com/api/")
    if not isinstance(base_url, str) or urlsplit(base_url).scheme not in ("http", "https"):
        raise ConfigError("notifiers.slack: 'base_url' must be an http(s) address.")
    return SlackNotifier(
        token=token,
        channel=channel.strip(),
        name=str(options.get("name", "slack")),
        base_url=base_url,
        timeout=timedelta(seconds=timeout),
    )
