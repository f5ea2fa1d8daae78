"""Posts JSON to a web hook; what can go wrong becomes our errors, without the address: it may hold a secret."""

from __future__ import annotations

import asyncio
import io
from collections.abc import Mapping
from datetime import timedelta

from alerts.notifiers.slack_api import retry_after
from monitor.core.errors import PermanentNotifyError, RetryableNotifyError

_READ_LIMIT = 2000
_BUSY = frozenset({408, 409, 423, 425, 429})


async def post(
    what: str, url: str, body: bytes, *, headers: Mapping[str, str] | None = None, timeout: timedelta, hint: str = ""
) -> str:
    """The beginning of the answer. ``what`` names the receiver in messages. Redirects are not followed. Raises
    RetryableNotifyError (no answer, 408, 409, 423, 425, 429, 5xx) or PermanentNotifyError (any other refusal)."""
    import aiohttp

    seconds = timeout.total_seconds()
    try:
        async with (
            aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=seconds)) as session,
            session.post(
                url,
                data=io.BytesIO(body),
                headers={"Content-Type": "application/json", "User-Agent": "Riskwire", **(headers or {})},
                allow_redirects=False,
            ) as answer,
        ):
            text = (await answer.content.read(_READ_LIMIT)).decode("utf-8", "replace")
            status, after = answer.status, retry_after(answer.headers)
    except TimeoutError as error:
        raise RetryableNotifyError(f"{what} did not answer within {seconds:g} s.") from error
    except (aiohttp.ClientError, OSError, ValueError, asyncio.IncompleteReadError) as error:
        raise RetryableNotifyError(f"{what} cannot be reached ({type(error).__name__}).") from None
    if 200 <= status < 300:
        return text
    if status in _BUSY or status >= 500:
        raise RetryableNotifyError(f"{what} asks to come back later (HTTP status {status}).", after=after)
    raise PermanentNotifyError(f"{what} refuses the message (HTTP status {status}).", hint=hint or "Check its address.")
