"""Slack: is the token valid, may it do what we need, can it reach the channel. Nothing is posted.

Methods and scopes as documented at https://docs.slack.dev/reference/methods (``auth.test`` needs no scope; every answer
names the token's scopes in the header ``x-oauth-scopes``).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import aiohttp

from monitor.core.clock import Clock
from monitor.core.errors import StorageError
from monitor.doctor.skew import from_http_date, judge
from monitor.doctor.verdict import Check, Verdict, fail, ok, warn

POST_SCOPE = "chat:write"
HISTORY_SCOPES = ("channels:history", "groups:history")
READ_SCOPES = ("channels:read", "groups:read")

_INSTALL = "install the app again and set the new bot token"
_TOKEN_ADVICE = {
    "invalid_auth": f"The token is wrong, or its app was removed: {_INSTALL}.",
    "not_authed": "Set the bot token.",
    "account_inactive": f"The token's user or workspace is deactivated: {_INSTALL}.",
    "token_revoked": f"The token was revoked: {_INSTALL}.",
    "token_expired": "The token has expired: set a fresh one, or switch token rotation off.",
    "access_denied": "The workspace does not let this app or address in: ask its administrator.",
    "org_login_required": "The workspace is being moved: try again later.",
    "team_added_to_org": "The workspace is being moved: try again later.",
}
_CHANNEL_ADVICE = {
    "channel_not_found": "Set the channel's id (C0123456789), and invite the app if the channel is private.",
    "not_in_channel": "Invite the app: '/invite @its-name' in the channel.",
    "is_archived": "Choose a channel that is not archived.",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class SlackAccess:
    """One configured Slack notifier. ``token`` is kept out of ``repr``."""

    name: str
    token: Any
    """Something with ``reveal()``, which gives the bot token."""
    channel: str
    base_url: str = "https://slack.com/api/"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Answer:
    body: Mapping[str, Any]
    headers: Mapping[str, str]

    @property
    def error(self) -> str:
        return "" if self.body.get("ok") is True else str(self.body.get("error") or "an answer without a reason")


def slack_checks(access: SlackAccess, clock: Clock) -> list[Check]:
    """Checks the token, its scopes, the channel, and the clock against Slack's."""
    part = f"notifier: {access.name}"

    async def look() -> Sequence[Verdict]:
        async with aiohttp.ClientSession(headers={"Authorization": f"Bearer {access.token.reveal()}"}) as session:
            asked = clock.now()
            who = await _call(session, access, "auth.test")
            skew = from_http_date(who.headers.get("Date", ""), asked, clock.now())
            told = [] if skew is None else [judge("clock: Slack", "Slack", skew)]
            if who.error:
                advice = _TOKEN_ADVICE.get(who.error, f"See Slack's documentation of auth.test for '{who.error}'.")
                return [fail(part, f"Slack refuses the token: {who.error}.", advice), *told]
            scopes = frozenset(s.strip() for s in who.headers.get("X-OAuth-Scopes", "").split(",") if s.strip())
            team, user = who.body.get("team", "?"), who.body.get("user", "?")
            return [
                ok(part, f"The token is valid: {user} in {team}."),
                *_judge_scopes(part, scopes),
                await _channel(session, access, part, scopes),
                *told,
            ]

    remedy = "Slack does not answer: see status.slack.com, and whether this machine may reach slack.com over HTTPS."
    return [Check(part=part, look=look, remedy=remedy)]


def _judge_scopes(part: str, scopes: frozenset[str]) -> list[Verdict]:
    if not scopes:
        return [warn(part, "Slack does not say which scopes the token has.", f"See that the app has {POST_SCOPE}.")]
    if POST_SCOPE not in scopes:
        return [
            fail(
                part,
                f"The token lacks the scope {POST_SCOPE}, without which nothing can be posted.",
                f"Add {POST_SCOPE} under 'OAuth & Permissions' of the app and {_INSTALL}.",
            )
        ]
    if scopes.isdisjoint(HISTORY_SCOPES):
        return [
            warn(
                part,
                f"The token has {POST_SCOPE}, but may not read the channel: a crash could post an incident twice.",
                f"Add {HISTORY_SCOPES[0]} (private channel: {HISTORY_SCOPES[1]}) to the app and {_INSTALL}.",
            )
        ]
    return [ok(part, f"The token has the scopes {', '.join(sorted(scopes))}.")]


async def _channel(session: aiohttp.ClientSession, access: SlackAccess, part: str, scopes: frozenset[str]) -> Verdict:
    """Whether the channel can be reached, by a call that changes nothing and that the scopes allow."""
    if not scopes.isdisjoint(HISTORY_SCOPES):
        answer = await _call(session, access, "conversations.history", channel=access.channel, limit="1")
    elif not scopes.isdisjoint(READ_SCOPES):
        answer = await _call(session, access, "conversations.info", channel=access.channel)
    else:
        return warn(
            part,
            f"Whether channel {access.channel} can be reached cannot be seen without posting to it.",
            f"Add {HISTORY_SCOPES[0]} to the app and {_INSTALL}.",
        )
    if not answer.error:
        found = answer.body.get("channel")
        if isinstance(found, Mapping):
            if found.get("is_archived"):
                return fail(part, f"Channel {access.channel} is archived.", _CHANNEL_ADVICE["is_archived"])
            if found.get("is_member") is False:
                return fail(part, f"The app is not in channel {access.channel}.", _CHANNEL_ADVICE["not_in_channel"])
        return ok(part, f"Channel {access.channel} can be reached.")
    if answer.error == "missing_scope":
        needed = answer.body.get("needed") or "another history scope"
        return warn(
            part,
            f"Channel {access.channel} is of a kind that the token may not look at (it would need {needed}).",
            f"Add {needed} to the app and {_INSTALL}.",
        )
    advice = _CHANNEL_ADVICE.get(answer.error, f"See Slack's documentation for '{answer.error}'.")
    return fail(part, f"Slack says of channel {access.channel}: {answer.error}.", advice)


async def _call(session: aiohttp.ClientSession, access: SlackAccess, method: str, **query: str) -> _Answer:
    """One GET, which Slack takes for reading methods. Raises StorageError without the token in it."""
    base = access.base_url if access.base_url.endswith("/") else f"{access.base_url}/"
    hint = "See status.slack.com, and whether this machine may reach slack.com over HTTPS."
    try:
        async with session.get(f"{base}{method}", params=query) as answer:
            if answer.status == 429:
                wait = answer.headers.get("Retry-After", "60")[:10]
                raise StorageError(
                    f"Slack asks to come back later (HTTP status 429 on {method}).", hint=f"Ask again in {wait} s."
                )
            body = await answer.json(content_type=None)
            headers = answer.headers.copy()
    except (aiohttp.ClientError, OSError) as error:
        raise StorageError(f"Slack cannot be reached ({type(error).__name__}).", hint=hint) from None
    except ValueError:
        raise StorageError("Slack answered with something that is not JSON.", hint=hint) from None
    if not isinstance(body, Mapping):
        raise StorageError("Slack answered with something that is not a JSON object.", hint=hint)
    return _Answer(body=body, headers=headers)
