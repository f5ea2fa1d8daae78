"""Live events: what is new, what was missed, and clients that are slow."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace
from datetime import timedelta

from doubles import START, incident
from store_tools import scored

from monitor.core.types import Put
from monitor.web.live import KEPT, QUEUE


def fresh(number: int, title: str = "Bank fails", **fields):
    item = scored(number, title, **fields)
    return replace(item, scored=replace(item.scored, scored_at=START))


async def read(stream, count: int) -> list[tuple[str, str, dict]]:
    """The next events: kind, id, data."""
    found = []
    while len(found) < count:
        async with asyncio.timeout(20):
            lines = (await anext(stream)).decode().splitlines()
        fields = dict(line.split(": ", 1) for line in lines if line and not line.startswith(":"))
        found.append((fields["event"], fields.get("id", ""), json.loads(fields["data"])))
    return found


def everything(_event) -> bool:
    return True


async def test_new_articles_and_changed_incidents_reach_everybody(world):
    live = world.context.live
    await world.put(fresh(1, "Old"))
    await world.context.state.apply([Put(kind="detect", key="position", value={"position": ""})])
    await live.look()
    stream = live.stream(everything, "", {"role": "viewer"})
    assert (await read(stream, 1))[0] == ("hello", "", {"role": "viewer", "resumed": False})
    await world.put(fresh(2, "New\nline </script>"))
    await world.raise_incident(incident("one"))
    await live.look()
    first, second = await read(stream, 2)
    assert (first[0], first[2]["id"], first[2]["title"]) == ("article", "a2", "New\nline </script>")
    assert (second[0], second[2]["id"], second[2]["revision"]) == ("incident", "one", 1)
    await world.raise_incident(incident("one", revision=2))
    await live.look()
    assert (await read(stream, 1))[0][2]["revision"] == 2
    await live.look()
    live.stop()
    assert [event async for event in stream] == []


async def test_a_client_that_comes_back_is_given_what_it_missed(world):
    live = world.context.live
    await live.look()
    await world.put(*(fresh(number) for number in range(5)))
    await live.look()
    stream = live.stream(everything, "", {})
    await read(stream, 1)
    await stream.aclose()
    last = live._kept[1].id
    again = live.stream(everything, last, {})
    seen = await read(again, 4)
    assert seen[0][2]["resumed"] is True
    assert [event[2]["id"] for event in seen[1:]] == ["a2", "a3", "a4"]
    await again.aclose()
    other = live.stream(everything, "00000000-3", {})
    assert (await read(other, 1))[0][2]["resumed"] is False
    await other.aclose()


async def test_a_slow_client_holds_nobody_up_and_hears_what_it_missed(world):
    live = world.context.live
    await live.look()
    slow = live.stream(everything, "", {})
    await read(slow, 1)
    await world.put(*(fresh(number) for number in range(QUEUE + 50)))
    await live.look()
    events = await read(slow, QUEUE + 1)
    assert events[-1] == ("dropped", "", {"count": 50})
    assert len(live._kept) <= KEPT
    await slow.aclose()
    assert world.context.metrics.sse_clients is not None
    assert b"riskwire_sse_clients 0.0" in world.context.metrics.render()


async def test_what_was_scored_long_ago_is_no_news(world):
    live = world.context.live
    await live.look()
    item = fresh(1)
    await world.put(replace(item, scored=replace(item.scored, scored_at=START - timedelta(hours=1))))
    await live.look()
    assert not live._kept


async def test_too_many_streams_are_refused(make):
    world = await make(max_streams=0)
    answer = await world.client.get("/api/v1/live")
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "5")
