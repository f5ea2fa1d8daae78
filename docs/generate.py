"""Writes docs/reference/*.md from the code: ``python docs/generate.py``. A test holds the files against the code."""

from __future__ import annotations

from pathlib import Path
from typing import Any, get_origin

import click
import typer
from pydantic import BaseModel

from monitor.cli.main import app
from monitor.config import NotifierEntry, Settings, SourceEntry
from monitor.obs.families import Label
from monitor.obs.metrics import CATALOGUE
from monitor.train import sections
from monitor.train.config import TrainConfig
from monitor.web_section import TokenEntry

FOLDER = Path(__file__).parent / "reference"
_TABLE = ("| key | meaning | default |", "|---|---|---|")


def commands() -> str:
    """Every command with its arguments and options."""
    root = typer.main.get_command(app)
    lines = ["# Commands", "", "Exit codes: 0 done, 1 failed, 2 usage or configuration.", ""]
    for name, command in _walk("riskwire", root):
        lines += [f"## `{name}`", "", (command.help or "").strip(), ""]
        rows = [_parameter(parameter) for parameter in command.params if parameter.name != "help"]
        if rows:
            lines += ["| argument or option | meaning | default |", "|---|---|---|", *rows, ""]
    return "\n".join(lines).rstrip() + "\n"


def _walk(name: str, command: click.Command) -> list[tuple[str, click.Command]]:
    # Typer's command classes are told apart by what they have, since it may bring its own copy of click.
    children: dict[str, click.Command] | None = getattr(command, "commands", None)
    if children is None:
        return [(name, command)]
    found = [] if name != "riskwire" else [(name, command)]
    for child_name, child in children.items():
        found += _walk(f"{name} {child_name}", child)
    return found


def _parameter(parameter: Any) -> str:
    if parameter.param_type_name == "argument":
        label = f"`{(parameter.metavar or parameter.name).upper()}`"
    else:
        label = ", ".join(f"`{option}`" for option in [*parameter.opts, *parameter.secondary_opts])
    default = parameter.default
    shown = "" if default is None or default is False or callable(default) else f"`{default}`"
    if parameter.required:
        shown = "required"
    return f"| {label} | {(parameter.help or '').replace('|', chr(92) + '|')} | {shown} |"


def configuration() -> str:
    """Every key of the configuration file."""
    lines = [
        "# Configuration",
        "",
        "One TOML file, `riskwire.toml` by default; `riskwire init` writes a commented one. The environment variable",
        "`RISKWIRE_<SECTION>__<KEY>` overrides a key. Relative paths count from the file's folder.",
        "",
        "## Top level",
        "",
        "| key | meaning | default |",
        "|---|---|---|",
    ]
    sections: list[tuple[str, type[BaseModel]]] = []
    for name, field in Settings.model_fields.items():
        annotation = field.annotation
        if isinstance(annotation, type) and issubclass(annotation, BaseModel):
            sections.append((name, annotation))
        elif get_origin(annotation) is None:
            lines.append(f"| `{name}` | {field.description} | `{field.default}` |")
    for name, model in [
        *sections,
        ("[sources]", SourceEntry),
        ("[notifiers]", NotifierEntry),
        ("[web.tokens]", TokenEntry),
    ]:
        lines += ["", f"## `[{name}]`", "", (model.__doc__ or "").strip(), "", *_TABLE]
        for key, field in model.model_fields.items():
            default = "required" if field.is_required() else f"`{_shown(field.default)}`"
            lines.append(f"| `{key}` | {(field.description or '').replace('|', chr(92) + '|')} | {default} |")
    return "\n".join(lines) + "\n"


def _shown(value: object) -> str:
    if isinstance(value, tuple):
        return "[]"
    return "unset" if value is None else str(value).lower() if isinstance(value, bool) else str(value)


def metrics() -> str:
    """Every metric."""
    lines = [
        "# Metrics",
        "",
        "Served at `/metrics` of `[observe] listen`, with what the Prometheus client tells of the process",
        "(`process_*`).",
        "Whatever happens, no label has more values than listed or told here: any further one becomes `other`.",
        "[Metrics and alerts](../metrics.md) tells what to make of them.",
        "",
        "| metric | type | unit | labels | role | meaning |",
        "|---|---|---|---|---|---|",
    ]
    for spec in CATALOGUE:
        labels = ", ".join(_label(label) for label in spec.labels)
        lines.append(f"| `{spec.name}` | {spec.kind} | {spec.unit} | {labels} | {spec.role} | {spec.help} |")
    return "\n".join(lines) + "\n"


def _label(label: Label) -> str:
    values = ", ".join(label.values) if label.values else f"at most {label.limit}"
    return f"`{label.name}` ({values})"


def recipe() -> str:
    """Every key of a training recipe."""
    lines = ["# Recipe", "", "The TOML file of `riskwire train`. See [Train your own](../model.md#train-your-own).", ""]
    tables: list[tuple[str, type[BaseModel]]] = [
        ("[tasks.NAME]", sections.Task), ("[[data]]", sections.DataSet), ("[[labels]]", sections.Overlay),
        ("[preprocessing]", sections.Preparation), ("[split]", sections.Split), ("[augment]", sections.Augment),
        ("[fit]", sections.Fit), ("[early_stopping]", sections.EarlyStopping), ("[adapter]", sections.Adapter),
        ("[distill]", sections.Distill), ("[pretrain]", sections.Pretrain), ("[tracking]", sections.Tracking),
    ]  # fmt: skip
    for title, model in [("Top level", TrainConfig), *tables]:
        name = title if model is TrainConfig else f"`{title}`"
        said = "" if model is TrainConfig else " ".join((model.__doc__ or "").split()).replace("``", "`")
        lines += [f"## {name}", "", *([said, ""] if said else []), *_TABLE]
        for key, field in model.model_fields.items():
            if field.description == "Section.":
                continue
            meaning = " ".join((field.description or "").split()).replace("``", "`").replace("|", "\\|")
            value = field.get_default(call_default_factory=True)
            default = "required" if field.is_required() else f"`{_shown(value) or 'empty'}`"
            lines.append(f"| `{key}` | {meaning} | {default} |")
        lines.append("")
    return "\n".join(lines)


PAGES = {"commands.md": commands, "configuration.md": configuration, "metrics.md": metrics, "recipe.md": recipe}

if __name__ == "__main__":
    FOLDER.mkdir(exist_ok=True)
    for page, make in PAGES.items():
        (FOLDER / page).write_text(make(), encoding="utf-8")
