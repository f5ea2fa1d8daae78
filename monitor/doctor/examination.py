"""Runs the checks side by side, each within its own time."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

from monitor.core.errors import RiskwireError
from monitor.doctor.verdict import Check, Verdict, fail, failed

_GRACE_SECONDS = 1.0
"""What a check that was cancelled gets to close its connections."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Examination:
    """The verdicts in the order of the checks. ``hung`` names the parts whose check did not end in time."""

    verdicts: Sequence[Verdict]
    hung: Sequence[str] = ()


async def examine(checks: Sequence[Check], *, at_once: int = 32) -> Examination:
    """Runs ``checks`` concurrently, at most ``at_once`` of them; the time of one begins when it starts.

    Raises nothing of the checks: an error of ours is a failure of that part, one that is not ours is reported as a
    defect of the check, and a check that hangs is reported and left behind.
    """
    slots = asyncio.Semaphore(at_once)
    hung: list[str] = []

    async def run(check: Check) -> Sequence[Verdict]:
        async with slots:
            task = asyncio.ensure_future(_guarded(check))
            done, _ = await asyncio.wait({task}, timeout=check.limit)
            if done:
                return task.result()
            hung.append(check.part)
            task.cancel()
            # Not awaited without bound: what closes badly may hang as well.
            await asyncio.wait({task}, timeout=_GRACE_SECONDS)
            return [fail(check.part, f"No answer within {check.limit:g} seconds.", check.remedy)]

    found = await asyncio.gather(*(run(check) for check in checks))
    return Examination(verdicts=[verdict for group in found for verdict in group], hung=tuple(hung))


async def _guarded(check: Check) -> Sequence[Verdict]:
    try:
        return await check.look()
    except RiskwireError as error:
        return [failed(check.part, error)]
    except Exception as error:  # noqa: BLE001 - one broken check must not hide what the others found
        # Only the kind: the text of a foreign error may carry an address with a password in it.
        what = f"The check itself broke ({type(error).__name__})."
        return [fail(check.part, what, "This is a defect of Riskwire; please report it with the version.")]
