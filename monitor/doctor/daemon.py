"""The heartbeat of the daemon that runs here, asked as a load balancer would ask."""

from __future__ import annotations

from collections.abc import Sequence

import aiohttp

from monitor.doctor.verdict import Check, Verdict, fail, ok, warn

_START = "Start it with 'riskwire run'; its log says why it ended."
_ANYWHERE = {"0.0.0.0": "127.0.0.1", "::": "::1", "": "127.0.0.1"}  # noqa: S104 - where to ask one that listens there


def daemon_checks(listen: str) -> list[Check]:
    """Asks ``/healthz`` and ``/readyz`` at the address that the daemon listens at; '' means it has none."""

    async def look() -> Sequence[Verdict]:
        host, _, port = listen.rpartition(":")
        host = host.strip("[]")
        host = _ANYWHERE.get(host, host)
        shown = f"[{host}]" if ":" in host else host
        return [await _ask(f"http://{shown}:{port}")]

    if not listen:
        return []
    return [Check(part="daemon", look=look, remedy="It takes the connection but does not answer: restart it.")]


async def _ask(base: str) -> Verdict:
    try:
        async with aiohttp.ClientSession(trust_env=False) as session:
            async with session.get(f"{base}/healthz") as answer:
                health = await _json(answer)
            async with session.get(f"{base}/readyz") as answer:
                ready = await _json(answer)
    except aiohttp.InvalidURL:
        return fail("daemon", f"{base} is no address.", "Write observe.listen as 'host:port'.")
    except (aiohttp.ClientError, OSError) as error:
        return warn("daemon", f"Nothing answers at {base} ({type(error).__name__}): no daemon runs here.", _START)
    if health is None or ready is None or "status" not in health:
        return fail(
            "daemon", f"What answers at {base} is not Riskwire.", "Set observe.listen to an address that is free."
        )
    if health["status"] != "ok":
        parts = health.get("parts")
        stalled = ", ".join(map(str, parts)) if isinstance(parts, list) else "a part of it"
        return fail("daemon", f"It makes no progress: {stalled}.", "See its log for that part; restart it if need be.")
    if not ready.get("ready"):
        return warn("daemon", f"It runs at {base}, but takes no work (yet).", "Ask again in a minute; see its log.")
    return ok("daemon", f"It runs at {base} and makes progress.")


async def _json(answer: aiohttp.ClientResponse) -> dict[str, object] | None:
    try:
        body = await answer.json(content_type=None)
    except ValueError:
        return None
    return body if isinstance(body, dict) else None
