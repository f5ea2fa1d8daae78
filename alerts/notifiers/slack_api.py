"""Calls Slack's Web API: foreign errors become ours, rate limits are obeyed per channel, tokens show nowhere."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from alerts.notifiers.options import Secret
from monitor.core.clock import Clock
from monitor.core.errors import NotifyError, PermanentNotifyError, RetryableNotifyError

if TYPE_CHECKING:
    from slack_sdk.web.async_client import AsyncWebClient

_RETRYABLE = frozenset({
    "ratelimited", "rate_limited", "message_limit_exceeded", "internal_error", "fatal_error", "service_unavailable",
    "request_timeout", "team_added_to_org", "accesslimited",
})  # fmt: skip
_GONE = frozenset({"message_not_found", "cant_update_message", "edit_window_closed"})
_READING = frozenset({"conversations.history", "conversations.replies"})
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


class GoneError(NotifyError):
    """The message to edit is not there any more."""


def retry_after(headers: Mapping[str, str]) -> float:
    """Seconds of a Retry-After header, at most an hour; 0 without one."""
    for name, value in headers.items():
        if name.lower() == "retry-after":
            try:
                return min(3600.0, max(0.0, float(value)))
            except ValueError:
                return 30.0
    return 0.0


class SlackApi:
    """One workspace, seen with one token."""

    def __init__(self, *, token: Secret, base_url: str, timeout: timedelta, clock: Clock) -> None:
        self._token = token
        self.base_url = base_url if base_url.endswith("/") else f"{base_url}/"
        self._timeout = timeout
        self._clock = clock
        self._held: dict[str, datetime] = {}

    def client(self) -> AsyncWebClient:
        """A client of slack-sdk that neither retries nor logs."""
        from slack_sdk.web.async_client import AsyncWebClient

        return AsyncWebClient(
            token=self._token.reveal(),
            base_url=self.base_url,
            timeout=int(self._timeout.total_seconds()) or 1,
            retry_handlers=[],
        )

    def check(self, channel: str) -> None:
        """Raises RetryableNotifyError while Slack has asked to leave the channel alone: no call is made then."""
        held = self._held.get(channel)
        if held is None:
            return
        left = (held - self._clock.now()).total_seconds()
        if left > 0:
            raise RetryableNotifyError(f"Slack asks to leave {channel} alone for now.", after=left, whole=False)
        del self._held[channel]

    async def call(self, method: str, body: Mapping[str, Any]) -> Mapping[str, Any]:
        """One call; every failure becomes one of our errors, without the token. Raises GoneError when a message to edit
        is not there."""
        import aiohttp
        from slack_sdk.errors import SlackApiError, SlackClientError

        channel = str(body.get("channel", ""))
        self.check(channel)
        client = self.client()
        try:
            if method in _READING:
                response = await client.api_call(method, http_verb="GET", params=dict(body))
            else:
                response = await client.api_call(method, json=dict(body))
        except SlackApiError as error:
            raise self._mapped(method, channel, error) from None
        except (aiohttp.ClientError, SlackClientError, OSError) as error:
            raise RetryableNotifyError(f"Slack cannot be reached ({type(error).__name__}).") from None
        except (ValueError, AttributeError):
            # slack-sdk 3.x takes any JSON-less answer for a mapping and stumbles over it.
            raise RetryableNotifyError("Slack answered with something that is not JSON.") from None
        data = response.data
        if not isinstance(data, Mapping):
            raise RetryableNotifyError("Slack answered with something that is not JSON.")
        return data

    async def upload(self, channel: str, thread: str, *, name: str, title: str, alt: str, content: bytes) -> None:
        """Puts a file into a thread (files_upload_v2: get an address, send, complete). Raises NotifyError."""
        import aiohttp
        from slack_sdk.errors import SlackApiError, SlackClientError

        self.check(channel)
        try:
            await self.client().files_upload_v2(
                channel=channel, thread_ts=thread, filename=name, title=title, alt_txt=alt, content=content
            )
        except SlackApiError as error:
            raise self._mapped("files.upload", channel, error) from None
        except (aiohttp.ClientError, SlackClientError, OSError, ValueError, AttributeError) as error:
            raise RetryableNotifyError(f"Slack did not take a file ({type(error).__name__}).") from None

    def _mapped(self, method: str, channel: str, error: Any) -> NotifyError:
        response = error.response
        data = response.data if isinstance(response.data, Mapping) else {}
        code = str(data.get("error") or "")
        status = int(getattr(response, "status_code", 0) or 0)
        after = retry_after(getattr(response, "headers", None) or {})
        if status == 429 or code in _RETRYABLE or status >= 500 or not code:
            what = code or f"HTTP status {status}"
            if after > 0 and channel:
                # Slack limits messages per channel: the others go on.
                self._held[channel] = self._clock.now() + timedelta(seconds=after)
            return RetryableNotifyError(
                f"Slack's {method} asks to come back later ({what}).", after=after, whole=not channel
            )
        if method == "chat.update" and code in _GONE:
            return GoneError(code)
        return PermanentNotifyError(
            f"Slack refuses {method}: {code}.", hint=_HINTS.get(code, "See Slack's API errors.")
        )
