"""Leader election between real processes over a real PostgreSQL: stopped, woken, killed and ended in order."""

from __future__ import annotations

import queue
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from servers.postgres import Place

CHILD = Path(__file__).parents[1] / "leader_child.py"
LEASE = 2.0


class Child:
    """A process and what it has said, with the time at which it was heard."""

    def __init__(self, place: Place, name: str) -> None:
        command = [sys.executable, str(CHILD), place.url, place.password or "", place.schema, name, str(LEASE)]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        self.said: queue.Queue[list[str]] = queue.Queue()
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.said.put(line.split())

    def until(self, word: str, timeout: float = 40) -> list[str]:
        limit = time.monotonic() + timeout
        while True:
            said = self.said.get(timeout=max(0.01, limit - time.monotonic()))
            if said and said[0] == word:
                return said

    def drain(self) -> list[list[str]]:
        found = []
        while not self.said.empty():
            found.append(self.said.get())
        return found

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGCONT)
            self.process.kill()
        self.process.wait()
        self._reader.join()
        assert self.process.stdout is not None
        self.process.stdout.close()


@pytest.fixture
def pair(postgres_place: Place) -> Iterator[tuple[Child, Child]]:
    one = Child(postgres_place, "one")
    two = None
    try:
        one.until("leads")
        two = Child(postgres_place, "two")
        two.until("ready")
        yield one, two
    finally:
        one.close()
        if two is not None:
            two.close()


def test_a_stopped_leader_is_replaced_and_writes_nothing_when_it_wakes(
    pair: tuple[Child, Child], postgres_place: Place
) -> None:
    old, new = pair
    old.until("wrote")
    old.process.send_signal(signal.SIGSTOP)
    stopped = time.monotonic()
    token, led_at = new.until("leads")[1:]
    assert int(token) == 2
    assert float(led_at) - stopped < 1.2 * LEASE + 4  # a crowded machine is slow
    new.until("wrote")
    old.drain()
    old.process.send_signal(signal.SIGCONT)
    for _ in range(60):
        assert int(new.until("wrote")[1]) > 0
    assert old.process.poll() is None  # it stands by
    # What it had in hand was written before it was stopped, or refused.
    assert [said for said in old.drain() if said[0] == "leads"] == []
    with postgres_place.connect() as connection:
        row = connection.execute(
            f"SELECT value FROM {postgres_place.schema}.documents WHERE kind = 'work' AND key = 'log'"
        ).fetchone()
    assert row is not None
    assert '"two"' in row[0]
    new.process.kill()
    assert int(old.until("leads")[1]) == 3


def test_a_leader_that_ends_in_order_is_replaced_at_once(pair: tuple[Child, Child]) -> None:
    old, new = pair
    last = int(old.until("wrote")[1])
    old.process.send_signal(signal.SIGTERM)
    began = time.monotonic()
    old.until("ended")
    token, led_at = new.until("leads")[1:]
    assert int(token) == 2
    assert float(led_at) - began < LEASE + 2
    assert int(new.until("wrote")[1]) > last
    assert old.process.wait(timeout=20) == 0
