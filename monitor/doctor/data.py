"""The data folder: its disk, its owner, its databases."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

from monitor.db.check import LOW_SPACE_BYTES, NO_SPACE_BYTES, check
from monitor.db.schema import SCHEMAS
from monitor.doctor.threads import in_thread
from monitor.doctor.verdict import Check, Verdict, fail, ok, warn

_READING_SECONDS = 300.0
"""Every page of the databases is read; that may take minutes on a slow disk, and says nothing bad."""


def data_checks(folder: Path, *, unused: frozenset[str]) -> list[Check]:
    """Checks of ``folder``; ``unused`` names the database files that this configuration keeps elsewhere."""

    async def disk() -> Sequence[Verdict]:
        return [await in_thread(lambda: _disk(folder))]

    async def files() -> Sequence[Verdict]:
        return await in_thread(lambda: _files(folder, unused))

    remedy = f"The disk of {folder} does not answer: see 'dmesg' and 'mount'; the folder must be on a local disk."
    slow = f"The databases in {folder} could not be read in this time: see 'dmesg' for errors of the disk."
    return [
        Check(part="data: disk", look=disk, remedy=remedy),
        Check(part="data: files", look=files, limit=_READING_SECONDS, remedy=slow),
    ]


def _files(folder: Path, unused: frozenset[str]) -> list[Verdict]:
    if unused >= {schema.file for schema in SCHEMAS} and not folder.exists():
        return [ok("data: folder", f"{folder} is not there, and nothing has to lie in it.")]
    return [
        Verdict(part=f"data: {item.part}", status=item.status, finding=item.finding, advice=item.advice)
        for item in check(folder)
        if item.part not in unused and item.part != "disk"  # the disk has a check of its own
    ]


def _disk(folder: Path) -> Verdict:
    """Free space where the folder is, or will be."""
    place = folder.expanduser().absolute()
    while not place.exists() and place != place.parent:
        place = place.parent
    usage = shutil.disk_usage(place)
    finding = f"{usage.free / 1e9:.1f} GB of {usage.total / 1e9:.1f} GB are free at {place}."
    advice = "Free some space, or shorten [retention]."
    if usage.free < NO_SPACE_BYTES:
        return fail("data: disk", finding, advice)
    return warn("data: disk", finding, advice) if usage.free < LOW_SPACE_BYTES else ok("data: disk", finding)
