"""Time in steps, for a pipeline of several processes.

The test owns the time: all processes read it from one file. Within a step it creeps (one second a second); the next
step begins when everything of the step before has gone all the way. So how long a fault lasts, and how slow a machine
is, decides nothing about what the detector sees: its incidents must be those of an undisturbed run, to the last digit.
"""

from __future__ import annotations

import asyncio
import mmap
import struct
import time
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random

import world
from world import FEEDS, Item, World

STEP = timedelta(hours=12)
STEPS = 12
GRACE = 4 * STEP
"""Buckets stay open for four steps: what belongs to a step is with the detector two steps later at the latest (see
``rig.SLACK``), well before its buckets close."""
START = world.START
SURGE = START + timedelta(days=3, hours=1)
END = START + (STEPS - 1) * STEP
"""The beginning of the last step, in which the last news is read."""
PRINTING = timedelta(hours=1)
RATE = 600.0
"""Clock seconds to a real second, for plans (polls, ticks). The steps themselves take as long as they take."""

_FORM = struct.Struct("<Qddd")

_WHO = ("Lender", "Insurer", "Carmaker", "Miner", "Retailer", "Airline", "Utility", "Builder", "Broker", "Shipper")
_WHERE = ("Leeds", "Osaka", "Lyon", "Lima", "Perth", "Oslo", "Turin", "Quito", "Accra", "Hanoi", "Tampa", "Delhi")


def words(number: int, count: int) -> str:
    """Made-up words, so that no two titles are near-duplicates: which of two came first must not matter."""
    letters = "abcdefghijklmnopqrstuvwxyz"
    dice = Random(number)
    return " ".join("".join(dice.choice(letters) for _ in range(7)) for _ in range(count))


def stepped_items(*, rejects: bool = False) -> dict[str, list[Item]]:
    """Each feed's items by time, the same in every run: quiet news, on the fourth day a burst of bad news about one
    bank, a poison item a feed. ``rejects`` adds items that a mapping refuses."""
    dice = Random(11)
    found: dict[str, list[Item]] = {}
    number = 0
    for feed in FEEDS:
        items: list[Item] = []
        at = START
        while (at := at + timedelta(minutes=dice.expovariate(1 / 100))) < END - PRINTING:
            number += 1
            title = f"{dice.choice(_WHO)} {words(number, 4)} {dice.choice(_WHERE)}"
            items.append(Item(guid=f"{feed}-{number}", title=title, at=at))
        for _ in range(10):
            number += 1
            at = SURGE + timedelta(minutes=dice.uniform(0, 100))
            title = f"HSBC {words(number, 5)} collapse {dice.choice(_WHERE)}"
            items.append(Item(guid=f"{feed}-{number}", title=title, at=at))
        items.append(
            Item(guid=f"{feed}-p", title=f"poison for {feed}", at=START + timedelta(hours=20 * (1 + len(found))))
        )
        if rejects:
            at = START + timedelta(hours=18 * (1 + len(found)))
            items.append(Item(guid=f"{feed}-r", title=f"unmappable {feed}", at=at))
        found[feed] = sorted(items, key=lambda item: item.at)
    return found


class StepWorld(World):
    """Serves what has been printed up to the step's beginning."""

    def __init__(self, *, rejects: bool = False) -> None:
        super().__init__(seconds=1)
        self.items = stepped_items(rejects=rejects)
        self.moment = START

    def now(self) -> datetime:
        """The beginning of the step, and the two hours that the feeds lag by."""
        return self.moment - PRINTING + world.PRINTING

    def printed(self, moment: datetime) -> dict[str, str]:
        """Title by guid of what was to be read at ``moment`` and can be stored."""
        return {
            item.guid: item.title
            for items in self.items.values()
            for item in items
            if item.at <= moment - PRINTING and not item.title.startswith(("poison", "unmappable"))
        }

    def unstorable(self) -> dict[str, str]:
        """Title by guid of what must become a dead letter."""
        return {
            item.guid: item.title
            for items in self.items.values()
            for item in items
            if item.title.startswith(("poison", "unmappable"))
        }


class ClockFile:
    """The time of one process, written by the test. ``offset`` is by how many seconds its clock is wrong."""

    def __init__(self, path: Path) -> None:
        if not path.exists():
            path.write_bytes(bytes(_FORM.size))
        with path.open("r+b") as file:
            self._map = mmap.mmap(file.fileno(), _FORM.size)
        self.path = path

    def write(self, base: datetime, offset: float, *, since: float | None = None) -> None:
        """Sets the time; it creeps on from there (from monotonic time ``since``)."""
        (number, *_) = _FORM.unpack(self._map[:])
        # An odd number says that the rest is being written.
        self._map[:8] = struct.pack("<Q", number + 1)
        self._map[8:] = struct.pack("<ddd", base.timestamp(), time.monotonic() if since is None else since, offset)
        self._map[:8] = struct.pack("<Q", number + 2)

    def read(self) -> tuple[float, float, float]:
        """(the step's beginning, monotonic time of its writing, offset)."""
        while True:
            (number, base, since, offset) = _FORM.unpack(self._map[:])
            if number % 2 == 0 and struct.unpack("<Q", self._map[:8])[0] == number:
                return base, since, offset

    def close(self) -> None:
        """Lets go of the file."""
        self._map.close()


class StepClock:
    """The steps' time, wrong by the file's offset."""

    rate = RATE

    def __init__(self, file: ClockFile) -> None:
        self._file = file

    def step(self) -> datetime:
        """The beginning of the step as this clock saw it."""
        base, _, offset = self._file.read()
        return datetime.fromtimestamp(base + offset, UTC)

    def now(self) -> datetime:
        """The present, aware, UTC."""
        base, since, offset = self._file.read()
        return datetime.fromtimestamp(base + offset + time.monotonic() - since, UTC)

    async def sleep(self, seconds: float) -> None:
        """Waits ``seconds / rate`` real seconds."""
        await asyncio.sleep(max(0.0, seconds) / self.rate)


class WrongClock:
    """The machine's time, wrong by the file's offset: what a storage sees on a machine whose clock is wrong."""

    rate = 1.0

    def __init__(self, file: ClockFile) -> None:
        self._file = file

    def now(self) -> datetime:
        """The present, aware, UTC."""
        return datetime.now(UTC) + timedelta(seconds=self._file.read()[2])

    async def sleep(self, seconds: float) -> None:
        """Waits ``seconds``."""
        await asyncio.sleep(max(0.0, seconds))


def sources(base: str, names: Sequence[str] = FEEDS) -> list[dict[str, object]]:
    """The feeds as sources of a configuration; each is polled about every 0.3 real seconds."""
    interval = 0.3 * RATE
    return [
        {
            "name": name, "url": f"{base}/feed/{name}", "interval": interval, "min_interval": interval / 2,
            "max_interval": interval,
        }
        for name in names
    ]  # fmt: skip
