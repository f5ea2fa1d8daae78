"""On Kafka and Elasticsearch, a process per role: SIGKILL between every two delivery steps."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest
from matrix import disturbed
from rig import ROLES, Rig, Servers

POINTS = [
    # ingest: publish, then save the cursor
    ("ingest", "before bus.publish", 12),
    ("ingest", "after bus.publish", 12),
    ("ingest", "before state.apply", 40),
    ("ingest", "after state.apply", 40),
    # score: fetch → predict → store → dead letters → commit
    ("score", "after subscription.fetch", 9),
    ("score", "before store.put", 6),
    ("score", "after store.put", 6),
    ("score", "before bus.publish", 2),
    ("score", "after bus.publish", 2),
    ("score", "before subscription.commit", 6),
    ("score", "after subscription.commit", 6),
    # detect: lag → tail → one transaction
    ("detect", "after bus.lag", 10),
    ("detect", "after store.tail", 15),
    ("detect", "before state.apply", 6),
    ("detect", "after state.apply", 6),
    ("detect", "before state.apply of an incident", 1),
    ("detect", "after state.apply of an incident", 1),
    # notify: mark the attempt → send → record the receipt
    ("detect", "before state.apply of an attempt", 1),
    ("detect", "after state.apply of an attempt", 1),
    ("detect", "before notifier.send", 1),
    ("detect", "after notifier.send", 1),  # told, receipt not recorded
    ("detect", "before state.apply of a receipt", 1),
    ("detect", "after state.apply of a receipt", 1),
]

pytestmark = pytest.mark.timeout(600)


async def nothing(_: Rig) -> None:
    """The death is in the plan."""


@pytest.mark.matrix
@pytest.mark.parametrize("postgres", [False, True], ids=["sqlite", "postgres"])
@pytest.mark.parametrize(
    ("role", "point", "count"), [pytest.param(*p, id=f"{p[0]}-{p[1].replace(' ', '-')}") for p in POINTS]
)
async def test_killed_between_two_steps(
    servers: Servers, tmp_path: Path, role: str, point: str, count: int, postgres: bool
) -> None:
    deaths = await disturbed(tmp_path, servers, {}, die={role: (point, count)}, postgres=postgres)
    assert deaths == {name: [-signal.SIGKILL] if name == role else [] for name in ROLES}, "the point was not reached"


@pytest.mark.parametrize("postgres", [pytest.param(False, marks=pytest.mark.matrix), True], ids=["sqlite", "postgres"])
async def test_every_role_killed_once(servers: Servers, tmp_path: Path, postgres: bool) -> None:
    die = {
        "ingest": ("after bus.publish", 12),
        "score": ("after store.put", 6),
        "detect": ("after notifier.send", 1),
    }
    deaths = await disturbed(tmp_path, servers, {4: Rig.publish_garbage}, die=die, postgres=postgres)
    assert deaths == {name: [-signal.SIGKILL] for name in ROLES}, "a point was not reached"
