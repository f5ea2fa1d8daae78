"""Digests: once a day or week, of what was below the bar; a missed one is made up for, once."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import pytest
from doubles import DictState, incident

from alerts.digest import Digests, Plan, plan_of
from alerts.notifiers.slack_blocks import digest_blocks
from alerts.outbox import RECEIPT, receipt_key
from monitor.core.clock import ManualClock
from monitor.core.codec import incident_to_dict
from monitor.core.errors import ConfigError, RetryableNotifyError
from monitor.core.types import Incident, Put, Receipt

MONDAY = datetime(2026, 3, 2, 6, tzinfo=UTC)
HOUR, DAY = timedelta(hours=1), timedelta(days=1)


class Desk:
    """A notifier that keeps its digests."""

    name = "desk"

    def __init__(self, plan: Plan | None) -> None:
        self.digest = plan
        self.sent: list[tuple[datetime, datetime, list[str]]] = []
        self.down = 0

    async def send(self, incident: Incident, previous: Receipt | None) -> Receipt:
        return Receipt(notifier=self.name)

    async def send_digest(self, begin: datetime, end: datetime, incidents: Sequence[Incident]) -> None:
        if self.down:
            self.down -= 1
            raise RetryableNotifyError("away", after=600.0)
        self.sent.append((begin, end, [i.id for i in incidents]))


class World:
    def __init__(self, plan: Plan | None) -> None:
        self.state, self.clock, self.desk = DictState(), ManualClock(MONDAY), Desk(plan)
        self.digests = self.start()

    def start(self) -> Digests:
        self.digests = Digests(self.state, {"desk": self.desk}, self.clock)
        return self.digests

    async def at(self, when: datetime, *, every: timedelta = HOUR) -> None:
        while self.clock.now() < when:
            await self.digests.run_once()
            self.clock.set(min(when, self.clock.now() + every))
        await self.digests.run_once()

    async def happened(self, name: str, *, shown: bool = False, q: float = 0.01) -> None:
        item = incident(name, updated_at=self.clock.now(), q_value=q)
        data = {"ts": "1"} if shown else {}
        await self.state.apply(
            [
                Put(kind="incident", key=name, value=incident_to_dict(item)),
                Put(kind=RECEIPT, key=receipt_key(name, "desk"), value={"notifier": "desk", "data": data}),
            ]
        )


async def test_daily_with_what_was_not_shown_the_most_unlikely_first() -> None:
    world = World(Plan(cron="0 8 * * *"))
    await world.at(MONDAY + HOUR)
    await world.happened("a", q=0.02)
    await world.happened("b", q=0.001)
    await world.happened("c", shown=True)
    await world.at(MONDAY + 3 * DAY)
    assert [names for _, _, names in world.desk.sent] == [["b", "a"]]
    assert world.desk.sent[0][1] == MONDAY + 2 * HOUR


async def test_what_a_stopped_daemon_missed_is_one_digest() -> None:
    world = World(Plan(cron="0 8 * * *"))
    await world.at(MONDAY + HOUR)
    await world.happened("a")
    world.clock.set(MONDAY + 4 * DAY)
    world.start()
    await world.at(MONDAY + 4 * DAY + 3 * HOUR)
    (begin, end, names), *rest = world.desk.sent
    assert (begin, end, names) == (MONDAY, MONDAY + 3 * DAY + 2 * HOUR, ["a"])
    assert rest == []


async def test_an_outage_delays_it_and_is_not_hammered() -> None:
    world = World(Plan(cron="0 8 * * *"))
    await world.at(MONDAY + HOUR)
    await world.happened("a")
    world.desk.down = 3
    await world.at(MONDAY + 4 * HOUR, every=timedelta(minutes=1))
    assert world.desk.down == 0
    assert [names for _, _, names in world.desk.sent] == [["a"]]
    assert world.desk.sent[0][1] == MONDAY + 2 * HOUR


async def test_without_a_plan_there_is_none() -> None:
    world = World(None)
    await world.happened("a")
    await world.at(MONDAY + 2 * DAY)
    assert world.desk.sent == []
    assert await world.state.get("digest", "desk") is None


def test_plans_follow_the_time_zone() -> None:
    plan = plan_of("weekly", "Europe/London", "here")
    assert plan is not None
    assert plan.due(MONDAY, MONDAY + HOUR) is None
    assert plan.due(MONDAY, MONDAY + 3 * HOUR) == MONDAY + 2 * HOUR
    summer = datetime(2026, 6, 1, 6, tzinfo=UTC)
    assert plan.due(summer, summer + 2 * HOUR) == summer + HOUR
    assert plan_of("", "UTC", "here") is None
    with pytest.raises(ConfigError, match="cron"):
        plan_of("every now and then", "UTC", "here")


def test_a_digest_of_many_keeps_the_limit() -> None:
    made = digest_blocks(
        MONDAY, MONDAY + DAY, [incident(f"i{n}", title="&" * 500, reason="<" * 4000) for n in range(90)]
    )
    assert len(made) == 50
    assert "43 more" in str(made[-1])
    assert all(len(block["text"]["text"]) <= 3000 for block in made if block["type"] == "section")
