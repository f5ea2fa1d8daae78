"""Spacing and turns per host."""

from __future__ import annotations

import asyncio
import time

import pytest
from website import loopback

from connectors.http.headers import freshness, http_date, retry_after
from connectors.http.limits import HostLimits
from connectors.http.urls import origin, redact_url
from monitor.core.errors import FetchError


async def _start(limits: HostLimits, host: str) -> float:
    async with limits.turn(host, 80):
        return time.monotonic()


async def test_requests_to_one_host_are_spaced_and_others_do_not_wait() -> None:
    limits = HostLimits(loopback(spacing=0.05, per_host=8))
    began = time.monotonic()
    starts = sorted(await asyncio.gather(*(_start(limits, "a.example") for _ in range(4))))
    assert all(start - began >= 0.05 * number - 0.005 for number, start in enumerate(starts))
    began = time.monotonic()
    await asyncio.gather(*(_start(limits, f"h{number}.example") for number in range(50)))
    await asyncio.gather(*(_start(limits, "127.0.0.1") for _ in range(50)))
    assert time.monotonic() - began < 0.05 * 99  # what it would take if all of them waited for one another


async def test_a_crawl_delay_widens_the_spacing_within_reason() -> None:
    limits = HostLimits(loopback(spacing=0.0, queue_timeout=0.1))
    limits.crawl_delay("slow.example", 80, 3600)
    await _start(limits, "slow.example")
    with pytest.raises(FetchError) as caught:
        await _start(limits, "slow.example")
    assert caught.value.code == "busy"
    await _start(limits, "other.example")


async def test_a_cancelled_wait_gives_its_turn_back() -> None:
    limits = HostLimits(loopback(per_host=1, spacing=0.0))
    async with limits.turn("a.example", 80):
        waiting = asyncio.create_task(_start(limits, "a.example"))
        await asyncio.sleep(0)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
    await asyncio.wait_for(_start(limits, "a.example"), 1)


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"cache-control": "public, max-age=300"}, 300),
        ({"cache-control": "max-age=300", "age": "100"}, 200),
        ({"cache-control": "s-max-age=9, no-cache, max-age=300"}, 0),
        ({"cache-control": "max-age=99999999"}, 86400),
        ({"expires": "Mon, 02 Mar 2026 09:05:00 GMT", "date": "Mon, 02 Mar 2026 09:00:00 GMT"}, 300),
        ({"expires": "0"}, 0),
        ({}, 0),
    ],
)
def test_freshness(headers: dict[str, str], seconds: float) -> None:
    now = http_date("Mon, 02 Mar 2026 09:00:00 GMT")
    assert now is not None
    assert freshness(headers, now) == seconds
    assert retry_after(headers, now) is None


def test_urls_are_shown_without_secrets() -> None:
    assert redact_url("https://u:p@example.org:8443/a?apikey=1&q=x#f") == "https://example.org:8443/a?apikey=***&q=x"
    assert redact_url("http://[::1]:99999/") == "(an unreadable URL)"
    assert origin("https://example.org/a") == ("https", "example.org", 443)
    with pytest.raises(ValueError, match="http"):
        origin("javascript:alert(1)")
