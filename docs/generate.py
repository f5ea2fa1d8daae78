"""Writes docs/reference/*.md from the code: ``python docs/generate.py``. A test holds the files against the code."""

from __future__ import annotations

import ast
import inspect
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, cast, get_origin

import click
import typer
from pydantic import BaseModel

from monitor.cli.main import app
from monitor.config import NotifierEntry, Settings, SourceEntry
from monitor.core import ports as core_ports
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


def api() -> str:
    """Every request of the REST API, as its OpenAPI document describes it."""
    schema = _openapi()
    lines = [
        "# REST API", "",
        "From the OpenAPI document that the daemon serves at `/api/openapi.json`. [The REST API](../api.md) tells who",
        "may do what, and the limits. Every answer but 2xx is a `Problem`.", "",
    ]  # fmt: skip
    for path, methods in sorted(schema["paths"].items()):
        for method, operation in sorted(methods.items()):
            said = _plain(operation.get("description") or operation.get("summary", ""))
            lines += [f"## `{method.upper()} {path}`", "", said, ""]
            rows = [
                f"| `{item['name']}` | {item['in']} | {_type(item['schema'])} | {_default(item)} |"
                for item in operation.get("parameters", [])
            ]
            if rows:
                lines += ["| parameter | in | type | default |", "|---|---|---|---|", *rows, ""]
            lines += [*_bodies(operation), ""]
    lines += ["## Objects", ""]
    for name, item in sorted(schema["components"]["schemas"].items()):
        if "properties" not in item:
            continue
        needed = item.get("required", [])
        lines += [f"### {name}", "", *([_plain(item["description"]), ""] if item.get("description") else [])]
        lines += ["| field | type | |", "|---|---|---|"]
        for field, value in item["properties"].items():
            meaning = _plain(value.get("description", "")).replace("|", "\\|")
            optional = "" if field in needed else "optional"
            lines.append(f"| `{field}` | {_type(value)} | {'; '.join(filter(None, (optional, meaning)))} |")
        lines.append("")
    return "\n".join(lines).rstrip() + "\n"


def _openapi() -> dict[str, Any]:
    from monitor.web.app import create_app
    from monitor.web.context import WebContext, WebOptions

    # The description is made of the routes alone; nothing of what they work with is touched.
    nothing = cast(Any, None)
    context = WebContext(
        options=WebOptions(), access=nothing, clock=nothing, store=nothing, state=nothing, bus=None, metrics=nothing,
        health=nothing, model=nothing, facts=nothing, watchlist=nothing,
    )  # fmt: skip
    application = cast(Any, create_app(context))
    return cast(dict[str, Any], application._app.openapi())


def _bodies(operation: Mapping[str, Any]) -> Iterator[str]:
    for content in operation.get("requestBody", {}).get("content", {}).values():
        yield f"Body: {_type(content['schema'])}."
    for code, answer in sorted(operation["responses"].items()):
        shown = [
            f"{kind}: {_type(part['schema'])}" for kind, part in answer.get("content", {}).items() if "schema" in part
        ]
        if code != "default":
            yield f"Answer: {code}{', ' if shown else ''}{'; '.join(shown)}."


def _type(schema: Mapping[str, Any]) -> str:
    if "$ref" in schema:
        name = schema["$ref"].rsplit("/", 1)[-1]
        return f"[{name}](#{name.lower()})"
    if "enum" in schema:
        return ", ".join(f"`{value}`" if value != "" else "empty" for value in schema["enum"])
    if "const" in schema:
        return f"`{schema['const']}`"
    for key in ("anyOf", "oneOf"):
        if key in schema:
            return " or ".join(_type(part) for part in schema[key])
    if schema.get("type") == "array":
        return f"list of {_type(schema.get('items', {}))}"
    if schema.get("type") == "object" and "properties" in schema:
        return ", ".join(f"`{name}`: {_type(part)}" for name, part in schema["properties"].items())
    if isinstance(schema.get("additionalProperties"), Mapping):
        return f"object of {_type(schema['additionalProperties'])}"
    if schema.get("type") == "string" and schema.get("format") == "date-time":
        return "time"
    limits = [f"{word} {schema[key]}" for key, word in (("minimum", "from"), ("maximum", "to")) if key in schema]
    return " ".join([str(schema.get("type", "any")), *limits])


def _default(parameter: Mapping[str, Any]) -> str:
    if parameter.get("required"):
        return "required"
    value = parameter["schema"].get("default")
    return "" if value in (None, "") else f"`{value}`"


def ports() -> str:
    """Every port with what an implementer must guarantee."""
    lines = [
        "# Ports", "",
        "What Riskwire is built of, from `monitor/core/ports.py`. Each has an embedded implementation and, where it",
        "helps, one for scale; the same contract suite (`tests/contract`) runs over all of them. The texts say what an",
        "implementer must guarantee.", "",
    ]  # fmt: skip
    for node in ast.parse(inspect.getsource(core_ports)).body:
        if not isinstance(node, ast.ClassDef):
            continue
        lines += [f"## {node.name}", "", _plain(ast.get_docstring(node) or ""), ""]
        for method in node.body:
            if isinstance(method, ast.AsyncFunctionDef | ast.FunctionDef):
                asynchronous = "async " if isinstance(method, ast.AsyncFunctionDef) else ""
                arguments = ast.unparse(method.args).removeprefix("self").removeprefix(", ")
                answer = f" -> {ast.unparse(method.returns)}" if method.returns else ""
                lines += [
                    f"`{asynchronous}{method.name}({arguments}){answer}`", "",
                    _plain(ast.get_docstring(method) or ""), "",
                ]  # fmt: skip
    return "\n".join(lines).rstrip() + "\n"


def _plain(text: str) -> str:
    """A docstring as Markdown: roles and literals become code; paragraphs stay."""
    text = re.sub(r":\w+:`~?([^`]+)`", lambda match: f"`{match[1].rsplit('.', 1)[-1]}`", text).replace("``", "`")
    return "\n\n".join(" ".join(part.split()) for part in text.split("\n\n"))


PAGES = {
    "api.md": api,
    "commands.md": commands,
    "configuration.md": configuration,
    "metrics.md": metrics,
    "ports.md": ports,
    "recipe.md": recipe,
}

if __name__ == "__main__":
    FOLDER.mkdir(exist_ok=True)
    for page, make in PAGES.items():
        (FOLDER / page).write_text(make(), encoding="utf-8")
