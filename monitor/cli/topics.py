"""``riskwire topics``: the topics in Kafka, as they are and as they should be."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from monitor.core.errors import UsageError

if TYPE_CHECKING:
    from monitor.bus.kafka_config import KafkaConfig
    from monitor.bus.kafka_topics import TopicStep

app = typer.Typer(no_args_is_help=True)

_Config = Annotated[Path | None, typer.Option("-c", "--config", help="Configuration file; riskwire.toml when unset.")]
_Json = Annotated[bool, typer.Option("--json", help="One JSON document.")]


@app.callback()
def root() -> None:
    """Create and look at the topics in Kafka."""
    from monitor.obs.logging import configure_logging

    configure_logging("warning")  # to standard error: what a script reads is the answer alone


@app.command()
def apply(
    config: _Config = None,
    add_partitions: Annotated[
        bool,
        typer.Option(
            "--add-partitions",
            help="Add configured partitions to topics that exist; best while nothing waits, since keys then move.",
        ),
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would be done.")] = False,
    as_json: _Json = False,
) -> None:
    """Create missing topics and set what differs from [kafka]. Nothing is ever removed."""
    from monitor.bus.kafka_topics import TopicAction, apply_topics, plan_topics

    kafka = _kafka(config)
    if dry_run:
        plan = [step for step in plan_topics(kafka) if step.action is not TopicAction.NOTHING]
        if as_json:
            typer.echo(json.dumps({"plan": [_row(step) for step in plan]}, indent=2, ensure_ascii=False))
        else:
            _say("Would", plan)
        return
    report = apply_topics(kafka, add_partitions=add_partitions)
    if as_json:
        told = {"done": [_row(step) for step in report.done], "left": [_row(step) for step in report.left]}
        typer.echo(json.dumps(told, indent=2, ensure_ascii=False))
        return
    _say("Done:", report.done)
    for step in report.left:
        hint = " (--add-partitions adds them)" if step.action is TopicAction.GROW else ""
        typer.echo(f"Left as it is: {step.text}{hint}.", err=True)


@app.command()
def ls(config: _Config = None, as_json: _Json = False) -> None:
    """List the topics and how they differ from [kafka]. Exit code 1 when one is missing or cannot be used."""
    from monitor.bus.kafka_topics import TopicAction, describe_topics, plan_topics

    kafka = _kafka(config)
    infos = describe_topics(kafka)
    steps = plan_topics(kafka)
    rows: list[Mapping[str, Any]] = [
        {
            "topic": info.name,
            "partitions": info.partitions,
            "replication": info.replication,
            "leaderless": list(info.leaderless),
            "lagging": list(info.lagging),
            "error": info.error,
            "differences": [
                step.text for step in steps if step.spec.name == info.name and step.action is not TopicAction.NOTHING
            ],
        }
        for info in infos
    ]
    if as_json:
        typer.echo(json.dumps({"topics": rows}, indent=2, ensure_ascii=False))
    else:
        table = Table("topic", "partitions", "copies", "without leader", "not in sync", "differences")
        for row in rows:
            told = row["error"] or "; ".join(row["differences"])
            cells = [str(row["partitions"]), str(row["replication"]), _numbers(row["leaderless"])]
            table.add_row(Text(row["topic"]), *cells, _numbers(row["lagging"]), Text(told))
        Console().print(table)
    if any(row["error"] or row["leaderless"] for row in rows):
        raise typer.Exit(1)


def _numbers(numbers: list[int]) -> str:
    return ", ".join(map(str, numbers))


def _say(what: str, steps: list[TopicStep] | tuple[TopicStep, ...]) -> None:
    for step in steps:
        typer.echo(f"{what} {step.text}.")
    if not steps:
        typer.echo("The topics are as configured.")


def _row(step: TopicStep) -> dict[str, Any]:
    return {"topic": step.spec.name, "action": step.action.value, "text": step.text, "changes": dict(step.changes)}


def _kafka(config: Path | None) -> KafkaConfig:
    from monitor.config import load_settings

    settings = load_settings(config)
    if settings.bus.kind != "kafka":
        raise UsageError(
            "The bus is not Kafka: there are no topics.",
            hint="Set bus.kind = 'kafka' and kafka.bootstrap; the SQLite log needs no topics.",
        )
    from monitor.storage import kafka_config

    return kafka_config(settings)
