"""The command ``riskwire``: puts the sub-commands together and turns errors into messages and exit codes."""

from __future__ import annotations

import sys
from typing import Annotated

import typer
from rich.console import Console

from monitor.cli import config as config_commands
from monitor.cli import dlq as dlq_commands
from monitor.cli import grafana as grafana_commands
from monitor.cli import incidents as incident_commands
from monitor.cli import kibana as kibana_commands
from monitor.cli import label as label_commands
from monitor.cli import notify as notify_commands
from monitor.cli import outbox as outbox_commands
from monitor.cli import rules as rules_commands
from monitor.cli import state as state_commands
from monitor.cli import store as store_commands
from monitor.cli import topics as topics_commands
from monitor.cli.backtest import backtest
from monitor.cli.demo import demo
from monitor.cli.doctor import doctor
from monitor.cli.drift import drift
from monitor.cli.evaluate import evaluate
from monitor.cli.health import health
from monitor.cli.init import init
from monitor.cli.model import model
from monitor.cli.replay import replay
from monitor.cli.retrain import retrain
from monitor.cli.run import run
from monitor.cli.score import score
from monitor.cli.train import train
from monitor.core.errors import ConfigError, RiskwireError, UsageError

EXIT_DONE, EXIT_FAILED, EXIT_USAGE = 0, 1, 2

app = typer.Typer(
    name="riskwire",
    help="Watches financial news and raises explained incidents when bad news surges.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(value: bool) -> None:
    if value:
        from importlib.metadata import version

        Console().print(f"riskwire {version('riskwire')}", highlight=False)
        raise typer.Exit


@app.callback()
def root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """Watches financial news and raises explained incidents when bad news surges."""


for command in (init, run, demo, score, replay, backtest, train, evaluate, retrain, drift, doctor, health):
    app.command()(command)
app.add_typer(config_commands.app, name="config", help="Look at the configuration.")
app.add_typer(dlq_commands.app, name="dlq", help="Look at dead letters and retry them.")
app.add_typer(topics_commands.app, name="topics", help="Create and look at the topics in Kafka.")
app.add_typer(store_commands.app, name="store", help="Set up and look at the article store in Elasticsearch.")
app.add_typer(grafana_commands.app, name="grafana")
app.add_typer(kibana_commands.app, name="kibana", help="Make and import dashboards for Kibana.")
app.add_typer(incident_commands.app, name="incidents")
app.add_typer(label_commands.app, name="label")
app.add_typer(notify_commands.app, name="notify")
app.add_typer(outbox_commands.app, name="outbox")
app.add_typer(rules_commands.app, name="rules")
app.add_typer(model, name="model")
app.add_typer(state_commands.app, name="state")


def main() -> None:
    """Runs the command line. Exit codes: 0 done, 1 failed, 2 usage or configuration."""
    try:
        app()
    except (ConfigError, UsageError) as error:
        _complain(error)
        sys.exit(EXIT_USAGE)
    except RiskwireError as error:
        _complain(error)
        sys.exit(EXIT_FAILED)
    except BrokenPipeError:
        # The reader of our output went away (``| head``): not an error of ours.
        sys.stderr.close()
        sys.exit(EXIT_FAILED)


def _complain(error: RiskwireError) -> None:
    console = Console(stderr=True)
    console.print(f"riskwire: {error.message}", style="red", markup=False, highlight=False, soft_wrap=True)
    if error.hint:
        console.print(error.hint, markup=False, highlight=False, soft_wrap=True)
