"""Whether the API may start as it is configured, and whether it answers."""

from __future__ import annotations

from collections.abc import Sequence

import aiohttp

from monitor.config import Settings
from monitor.core.errors import RiskwireError
from monitor.doctor.verdict import Check, Verdict, fail, failed, ok, warn
from monitor.serving import address_of, read_tokens

_ANYWHERE = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - where to ask one that listens there


def web_checks(settings: Settings) -> list[Check]:
    """Reads the tokens, then asks ``/healthz``; none when the API is switched off."""

    async def look() -> Sequence[Verdict]:
        try:
            address = address_of(settings.web)
            tokens = read_tokens(settings)
        except RiskwireError as error:
            return [failed("web", error)]
        assert address is not None
        host = _ANYWHERE.get(address[0], address[0])
        base = f"http://{f'[{host}]' if ':' in host else host}:{address[1]}"
        who = f"{len(tokens)} tokens" if tokens else "no login, this machine only"
        try:
            async with aiohttp.ClientSession(trust_env=False) as session, session.get(f"{base}/healthz") as answer:
                status = answer.status
        except (aiohttp.ClientError, OSError) as error:
            return [warn("web", f"Nothing answers at {base} ({type(error).__name__}); {who}.", "Start 'riskwire run'.")]
        if status not in (200, 503):
            return [
                fail("web", f"What answers at {base} is not Riskwire.", "Set web.listen to an address that is free.")
            ]
        return [ok("web", f"API and dashboard answer at {base}; {who}.")]

    if settings.web.listen in ("", "off"):
        return []
    return [Check(part="web", look=look, remedy="It takes the connection but does not answer: restart it.")]
