"""Writes riskwire/values.schema.json: the chart's own keys from here, those of ``config`` from the program's settings.

So a key that Riskwire does not know, a value out of range, or a secret in plain text is refused by ``helm install``.
``python deploy/helm/schema.py`` writes the file; ``--check`` ends with 1 when it is not up to date.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from schema_parts import CHART, ENTRY_SECRETS

from monitor.config import Settings

FILE = Path(__file__).parent / "riskwire" / "values.schema.json"
OWN = {"data_dir", "base", "sources", "notifiers"}
"""Top-level keys that the chart sets itself, or describes itself."""
SET_BY_CHART = {("observe", "listen"), ("scale", "instance"), ("web", "listen")}
STATE_URL = r"^$|^postgresql://([^:@/?]*@)?[^@]+$"
"""A libpq address without a password: that comes from a file."""


def _plain(node: Any) -> Any:
    """Without what validates nothing (titles, defaults), without secrets in plain text (their sister …_file stays), and
    with the formats that JSON Schema knows."""
    if isinstance(node, dict):
        if isinstance(node.get("properties"), dict):
            shown = {k: v for k, v in node["properties"].items() if not v.get("writeOnly")}
            node = {**node, "properties": shown}
        kept = {k: _plain(v) for k, v in node.items() if not (k in ("title", "default") and not isinstance(v, dict))}
        if kept.get("format") in ("path", "password"):
            del kept["format"]
        return kept
    return [_plain(item) for item in node] if isinstance(node, list) else node


def _section(name: str, schema: dict[str, Any]) -> dict[str, Any]:
    keys: dict[str, Any] = {}
    for key, value in schema.get("properties", {}).items():
        if (name, key) in SET_BY_CHART:
            continue
        if (name, key) == ("state", "url"):
            keys[key] = {"type": "string", "pattern": STATE_URL, "description": value.get("description", "")}
        elif not value.get("writeOnly"):  # a secret in plain text; its sister key_file stays
            keys[key] = _plain(value)
    return {"type": "object", "additionalProperties": False, "properties": keys}


def _entries(required: list[str]) -> dict[str, Any]:
    """Sources or notifiers: their other keys are the connector's own; bare secrets are not among them."""
    return {
        "type": "array",
        "items": {
            "type": "object",
            "required": required,
            "properties": {
                "name": {"type": "string", "minLength": 1, "maxLength": 100},
                "kind": {"type": "string", "minLength": 1},
            },
            "propertyNames": {"pattern": "^[a-z][a-z0-9_]*$", "not": {"enum": ENTRY_SECRETS}},
        },
    }


def build() -> dict[str, Any]:
    """The whole schema."""
    settings = Settings.model_json_schema()
    definitions: dict[str, Any] = settings["$defs"]
    config: dict[str, Any] = {}
    for name, value in settings["properties"].items():
        if name in OWN:
            continue
        reference = value.get("$ref") or value.get("allOf", [{}])[0].get("$ref", "")
        target = reference.rpartition("/")[2]
        if target in definitions and "properties" in definitions[target]:
            config[name] = _section(name, definitions[target])
        else:
            config[name] = _plain(value)
    config["sources"] = _entries(["name"])
    config["notifiers"] = _entries(["kind"])
    schema = json.loads(json.dumps(CHART))
    text = json.dumps(config)
    used = {name: _plain(value) for name, value in definitions.items() if f'#/$defs/{name}"' in text}
    schema["$defs"]["config"] = {"type": "object", "additionalProperties": False, "properties": config}
    schema["$defs"] |= used
    return dict(schema)


def main() -> int:
    """Writes or checks."""
    text = json.dumps(build(), indent=2, ensure_ascii=False) + "\n"
    if "--check" in sys.argv:
        return int(not FILE.exists() or FILE.read_text(encoding="utf-8") != text)
    FILE.write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
