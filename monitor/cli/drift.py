"""``riskwire drift``: has the news, or what the model makes of it, changed?"""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from monitor.core.errors import UsageError

if TYPE_CHECKING:
    from monitor.model.artefact import Artefact
    from monitor.model.drift.checks import Check

TRAINING = "training"
_SPAN = re.compile(r"(\d+(?:\.\d+)?)([hdw])")
_HOURS = {"h": 1, "d": 24, "w": 168}
_STYLES = {"quiet": "green", "small": "yellow", "drift": "red", "unknown": "dim"}


def drift(
    since: Annotated[str, typer.Option("--since", help="How far back to look: 12h, 7d, 4w.")] = "7d",
    before: Annotated[
        str, typer.Option("--before", help="How much of the time before that is the reference: 28d.")
    ] = "28d",
    reference: Annotated[
        str | None,
        typer.Option(
            "--reference",
            help="In place of the time before: a file that --save wrote, or 'training', the model's labelled texts.",
        ),
    ] = None,
    save: Annotated[Path | None, typer.Option("--save", help="Keep the recent window as a reference.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    report: Annotated[Path | None, typer.Option("--report", help="Also write the JSON report here.")] = None,
    fail: Annotated[bool, typer.Option("--fail", help="Exit code 1 when a check says drift.")] = False,
    config: Annotated[
        Path | None, typer.Option("-c", "--config", help="Configuration file; riskwire.toml when unset.")
    ] = None,
) -> None:
    """Report drift of labels, confidence, the model's space, languages, sources, length and wording."""
    recent, earlier = _span("--since", since), _span("--before", before)
    data, checks = asyncio.run(_look(config, recent, earlier, reference, save))
    text = json.dumps(data, ensure_ascii=False, indent=1)
    if report is not None:
        try:
            report.parent.mkdir(parents=True, exist_ok=True)
            report.write_text(text + "\n", "utf-8")
        except OSError as error:
            raise UsageError(f"{report}: cannot be written ({error.strerror}).", hint="Choose another file.") from error
    if as_json:
        typer.echo(text)
    else:
        _print(data, checks)
    if fail and data["drifting"]:
        raise typer.Exit(1)


def _span(option: str, text: str) -> timedelta:
    match = _SPAN.fullmatch(text.strip())
    hours = float(match[1]) * _HOURS[match[2]] if match else 0.0
    if not 1 <= hours <= 24 * 3650:
        raise UsageError(f"{option} must be a time like 12h, 7d or 4w, from an hour up, not '{text}'.")
    return timedelta(hours=hours)


async def _look(
    config: Path | None, recent: timedelta, earlier: timedelta, reference: str | None, save: Path | None
) -> tuple[dict[str, Any], list[Check]]:
    from monitor.app import load_artefact, model_path, open_storage
    from monitor.config import load_settings
    from monitor.core.clock import SystemClock
    from monitor.core.codec import time_to_str
    from monitor.model.drift import blocks as kept
    from monitor.model.drift.checks import compare, compare_with_shares, drifting
    from monitor.services.drift import Windows, collect

    settings, clock = load_settings(config), SystemClock()
    artefact = load_artefact(model_path(settings))
    observer = kept.Observer(artefact)
    windows = Windows.ending(clock.now(), recent=recent, reference=earlier)
    notes: list[str] = []
    old: Sequence[kept.Block] = ()
    if reference not in (None, TRAINING):
        old, model = kept.load(Path(str(reference)))
        if model != artefact.id:
            notes.append(f"The reference was scored by {model}, not by {artefact.id}: shifts may be the models'.")
    async with open_storage(settings, clock, guest=True) as storage:
        new = await collect(
            storage.store, observer.block, since=windows.since, until=windows.until, width=windows.width
        )  # fmt: skip
        if reference is None:
            old = await collect(
                storage.store, observer.block, since=windows.before, until=windows.since, width=windows.width
            )
    if sum(block.n for block in new) > 2 * sum(block.outputs for block in new):
        notes.append(
            f"Most articles of the window were not scored by {artefact.id}; the checks of its verdicts lack them."
        )
    if reference == TRAINING:
        notes.append(
            "The reference is the labels of the model's test part, from other sources: some shift is to be expected."
        )
        checks = compare_with_shares(training_shares(artefact), new)
    else:
        checks = compare(old, new)
    if save is not None:
        kept.save(save, new, model=artefact.id, made_at=clock.now())
    return {
        "model": artefact.id,
        "since": time_to_str(windows.since),
        "until": time_to_str(windows.until),
        "block_hours": windows.width.total_seconds() / 3600,
        "reference": reference or f"{time_to_str(windows.before)} to {time_to_str(windows.since)}",
        "texts": {"reference": sum(block.n for block in old), "recent": sum(block.n for block in new)},
        "drifting": drifting(checks),
        "checks": [asdict(check) for check in checks],
        "notes": notes,
    }, checks


def training_shares(artefact: Artefact) -> Mapping[str, Mapping[str, int]]:
    """Task → label → texts of the model's test part, over all its data sets; what its metrics lack is left out."""
    found: dict[str, dict[str, int]] = {}
    for task, sources in artefact.metrics().get("test", {}).items():
        for row in sources.values():
            for label, figures in row.get("per_class", {}).items():
                counts = found.setdefault(task, {})
                counts[label] = counts.get(label, 0) + int(figures.get("support", 0))
    return found


def _print(data: Mapping[str, Any], checks: Sequence[Check]) -> None:
    console = Console()
    console.print(
        f"{data['model']}: {data['texts']['recent']} texts since {data['since'][:16]}, against {data['reference']}"
        + (f" ({data['texts']['reference']} texts)" if data["texts"]["reference"] else ""),
        markup=False, highlight=False, soft_wrap=True,
    )  # fmt: skip
    table = Table("check", "state", "effect", "by chance", "matters from", "p (Holm)", "measured by")
    for check in checks:
        state = f"[{_STYLES[check.state]}]{check.state}[/]"
        if check.value is None or check.floor is None or check.p_holm is None:
            table.add_row(check.name, state, "", "", "", "", check.reason)
        else:
            table.add_row(
                check.name, state, f"{check.value:.4f}", f"{check.floor:.4f}", f"{check.threshold:g}",
                f"{check.p_holm:.3f}", check.statistic,
            )  # fmt: skip
    console.print(table)
    for check in checks:
        moved = check.details.get("moved_most")
        if check.state in ("drift", "small") and isinstance(moved, Mapping):
            parts = ", ".join(f"{name} {old:.1%} > {new:.1%}" for name, (old, new) in list(moved.items())[:3])
            console.print(f"  {check.name}: {parts}", markup=False, highlight=False, soft_wrap=True)
    for note in data["notes"]:
        console.print(note, markup=False, highlight=False, soft_wrap=True)
