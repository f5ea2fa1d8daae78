"""Takes what people press in Slack, over Socket Mode: no address of ours has to be reachable from outside.

Acknowledge and Snooze become the same command documents that the command line writes; feedback on a headline becomes a
``feedback`` document for ``riskwire label export``. An envelope is acknowledged after its document is durable. Slack
delivers one again when the acknowledgement is lost: documents are named by the press, so that it counts once.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from alerts.commands import Command, Verb, until_monday
from alerts.notifiers.options import Secret
from alerts.notifiers.slack_api import SlackApi
from alerts.notifiers.slack_blocks import ACKNOWLEDGE, FEEDBACK, FEEDBACKS, SNOOZE, SNOOZES
from monitor.core.clock import Clock
from monitor.core.codec import time_to_str
from monitor.core.errors import RiskwireError
from monitor.core.types import Change, Put

FEEDBACK_KIND = "feedback"
_SPANS = {"1h": timedelta(hours=1), "8h": timedelta(hours=8)}
_FIRST_WAIT, _LONGEST_WAIT = 1.0, 300.0

_log = logging.getLogger(__name__)

Submit = Callable[[Sequence[Change]], Awaitable[None]]
"""Writes documents to the state store, durable on return. Raises StorageError."""


def documents(payload: Mapping[str, Any], *, timezone: str = "UTC") -> tuple[list[Change], str]:
    """What a ``block_actions`` payload asks for, and what to answer whoever pressed. Nothing for what is not ours."""
    found: list[Change] = []
    answer = ""
    user = payload.get("user") or {}
    by = str(user.get("username") or user.get("name") or user.get("id") or "somebody")
    for action in payload.get("actions") or ():
        at = _pressed(action)
        kind, block = str(action.get("action_id", "")), str(action.get("block_id", ""))
        if kind == ACKNOWLEDGE and action.get("value"):
            found.append(Command(incident=str(action["value"]), verb=Verb.ACKNOWLEDGE, by=by, at=at).to_put())
            answer = "Acknowledged; the message follows within a minute."
        elif kind == SNOOZE and block.startswith("act|"):
            chosen = str((action.get("selected_option") or {}).get("value", ""))
            if chosen not in SNOOZES:
                continue
            until = at + _SPANS[chosen] if chosen in _SPANS else until_monday(at, timezone)
            command = Command(incident=block.partition("|")[2], verb=Verb.SNOOZE, by=by, at=at, until=until)
            found.append(command.to_put())
            answer = f"Snoozed until {until:%Y-%m-%d %H:%M} UTC; the message follows within a minute."
        elif kind == FEEDBACK and block.startswith("headline|"):
            what, _, article = str((action.get("selected_option") or {}).get("value", "")).partition("|")
            if what not in FEEDBACKS or not article:
                continue
            incident = block.split("|")[1]
            value = {"article": article, "incident": incident, "what": what, "by": by, "at": time_to_str(at)}
            found.append(Put(kind=FEEDBACK_KIND, key=f"{article}/{by}", value=value))
            answer = f"Noted: {FEEDBACKS[what].lower()}. It is offered for labelling."
    return found, answer


def _pressed(action: Mapping[str, Any]) -> datetime:
    return datetime.fromtimestamp(float(action["action_ts"]), UTC)


class SlackListener:
    """Keeps a Socket Mode connection; whatever breaks it is logged and tried again, ever more slowly."""

    def __init__(
        self, api: SlackApi, app_token: Secret, *, clock: Clock, timezone: str = "UTC", name: str = "slack"
    ) -> None:
        self._api = api
        self._app_token = app_token
        self._clock = clock
        self._timezone = timezone
        self._name = name
        self._submit: Submit | None = None
        self.connected = asyncio.Event()

    async def run(self, submit: Submit) -> None:
        """Listens until cancelled."""
        self._submit = submit
        wait = _FIRST_WAIT
        while True:
            try:
                await self._session()
                wait = _FIRST_WAIT
            except Exception as error:  # noqa: BLE001
                # The library raises whatever its parts raise; the daemon must not end over a button.
                _log.warning("slack %s: not listening (%s); again in %.0f s", self._name, _plain(error), wait)
            self.connected.clear()
            await asyncio.sleep(wait)
            wait = min(_LONGEST_WAIT, 2 * wait)

    async def _session(self) -> None:
        from slack_sdk.socket_mode.aiohttp import SocketModeClient

        client = SocketModeClient(app_token=self._app_token.reveal(), web_client=self._api.client())
        client.logger = logging.getLogger("slack_sdk.socket_mode.quiet")  # its debug lines hold the socket's ticket
        client.logger.setLevel(logging.ERROR)
        client.socket_mode_request_listeners.append(self._take)
        try:
            await client.connect()  # type: ignore[no-untyped-call]
            self.connected.set()
            _log.info("slack %s: listening", self._name)
            while not client.closed:  # it connects again by itself
                await asyncio.sleep(5)
        finally:
            with contextlib.suppress(Exception):
                await client.close()  # type: ignore[no-untyped-call]

    async def _take(self, client: Any, request: Any) -> None:
        from slack_sdk.socket_mode.response import SocketModeResponse

        if request.type == "interactive" and request.payload.get("type") == "block_actions":
            try:
                found, answer = documents(request.payload, timezone=self._timezone)
                if found:
                    assert self._submit is not None
                    await self._submit(found)
            except RiskwireError as error:
                # Without an acknowledgement Slack tells whoever pressed that it did not work.
                _log.warning("slack %s: what was pressed is not stored: %s", self._name, error)
                return
            except (KeyError, TypeError, ValueError, IndexError) as error:
                _log.warning("slack %s: a payload is not understood (%s)", self._name, type(error).__name__)
                found, answer = [], ""
            await client.send_socket_mode_response(SocketModeResponse(envelope_id=request.envelope_id))
            if found:
                _log.info("slack %s: %s", self._name, ", ".join(change.key for change in found))
                await self._say(request.payload, answer)
            return
        await client.send_socket_mode_response(SocketModeResponse(envelope_id=request.envelope_id))

    async def _say(self, payload: Mapping[str, Any], answer: str) -> None:
        """Tells whoever pressed, and nobody else, that it is on its way."""
        channel = str((payload.get("channel") or {}).get("id", ""))
        user = str((payload.get("user") or {}).get("id", ""))
        if not (channel and user and answer):
            return
        try:
            await self._api.call("chat.postEphemeral", {"channel": channel, "user": user, "text": answer})
        except RiskwireError as error:
            _log.info("slack %s: no answer given: %s", self._name, error)


def _plain(error: Exception) -> str:
    """The kind of an error, with Slack's code when there is one: its words may hold a token."""
    response = getattr(error, "response", None)
    data = getattr(response, "data", None)
    code = data.get("error") if isinstance(data, Mapping) else None
    return f"{type(error).__name__}: {code}" if code else type(error).__name__
