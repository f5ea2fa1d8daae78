"""What the tests of the fault matrix share: a run with something happening in it, compared with an undisturbed one."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from rig import ROLES, Outcome, Rig, Servers
from steps import STEPS

Deed = Callable[[Rig], Awaitable[None]]

_undisturbed: list[Outcome] = []


async def undisturbed(folder: Path, servers: Servers) -> Outcome:
    """What a run leaves behind in which nothing happens; made once."""
    if not _undisturbed:
        async with Rig(folder / "undisturbed", servers) as rig:
            for role in ROLES:
                rig.start(role)
            await rig.drive()
            deaths = {name: worker.deaths for name, worker in rig.workers.items()}
            await rig.finish()
            assert deaths == {name: [] for name in deaths}
            _undisturbed.append(await rig.outcome())
    return _undisturbed[0]


async def disturbed(
    folder: Path,
    servers: Servers,
    deeds: Mapping[int, Deed],
    *,
    die: Mapping[str, tuple[str, int]] | None = None,
    workers: Mapping[str, Sequence[str]] | None = None,
    postgres: bool = False,
    rejects: bool = False,
    twice: bool = False,
    steps: int = STEPS,
) -> dict[str, list[int]]:
    """Runs the pipeline with a deed in the middle of some steps, and checks that what it leaves behind is what an
    undisturbed run does. Returns the exit codes of the processes that ended before their time."""
    expected = await undisturbed(folder, servers)
    began = time.monotonic()
    async with Rig(folder / "disturbed", servers, postgres=postgres, rejects=rejects, twice=twice) as rig:
        for name, roles in (workers or ROLES).items():
            rig.start(name, roles, die=(die or {}).get(name))

        def bound(deed: Deed) -> Callable[[], Awaitable[None]]:
            return lambda: deed(rig)

        await rig.drive(steps, at={step: bound(deed) for step, deed in deeds.items()})
        deaths = {name: list(worker.deaths) for name, worker in rig.workers.items()}
        await rig.finish()
        found = await rig.outcome()
        compare(found, expected)
        rig.report(found, deaths, time.monotonic() - began)
    return deaths


def compare(found: Outcome, expected: Outcome) -> None:
    """The same articles with the same scores, the same incidents to the last digit, each told by one message."""
    for one, other in ((found.stored, expected.stored), (found.incidents, expected.incidents)):
        changed = different(one, other)
        assert not changed, changed
    assert found.posts == expected.posts


def different(found: Mapping[str, Mapping[str, Any]], expected: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """What differs: by key, by field, (found, expected)."""
    result: dict[str, Any] = {}
    for key in found.keys() | expected.keys():
        one, other = found.get(key, {}), expected.get(key, {})
        fields = {
            name: (one.get(name), other.get(name))
            for name in one.keys() | other.keys()
            if one.get(name) != other.get(name)
        }
        if fields:
            result[key] = fields
    return result
