"""The site builds without a warning and asks nobody else for anything; the runbook is complete."""

from __future__ import annotations

import inspect
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import pytest

from monitor.core import errors

ROOT = Path(__file__).parents[2]
RUNBOOK = (ROOT / "docs" / "runbook.md").read_text(encoding="utf-8")
_LOADS = {"script": "src", "link": "href", "img": "src", "iframe": "src", "source": "src"}


class _Loaded(HTMLParser):
    """Addresses that a browser asks for by itself."""

    def __init__(self) -> None:
        super().__init__()
        self.found: set[str] = set()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        if tag in _LOADS and given.get("rel") not in ("canonical", "prev", "next"):
            self.found.add(given.get(_LOADS[tag]) or "")


def test_the_site_builds_and_loads_nothing_from_elsewhere(tmp_path: Path) -> None:
    pytest.importorskip("material", reason="mkdocs-material is not installed")
    built = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(tmp_path)], cwd=ROOT, check=False,
        capture_output=True, text=True, timeout=110,
    )  # fmt: skip
    assert built.returncode == 0, built.stderr
    pages = list(tmp_path.rglob("*.html"))
    assert len(pages) > len(list((ROOT / "docs").rglob("*.md")))  # and the page for what is not there
    loaded = _Loaded()
    for page in pages:
        loaded.feed(page.read_text(encoding="utf-8"))
    assert [address for address in loaded.found if re.match(r"(https?:)?//", address)] == []
    styles = "".join(style.read_text(encoding="utf-8") for style in tmp_path.rglob("*.css"))
    assert re.findall(r"url\(['\"]?(?:https?:)?//|@import", styles) == []


def _sections(text: str) -> dict[str, str]:
    parts = re.split(r"(?m)^### (\w+)\n", text)
    return {name: body.split("\n## ")[0].strip() for name, body in zip(parts[1::2], parts[2::2], strict=True)}


def test_every_alert_has_its_section_and_every_section_its_alert() -> None:
    rules = (ROOT / "deploy" / "prometheus" / "riskwire.rules.yml").read_text(encoding="utf-8")
    alerts = dict(re.findall(r"- alert: (\w+)[\s\S]*?severity: (\w+)", rules))
    sections = _sections(RUNBOOK.split("\n## Errors\n")[0])
    assert set(sections) == set(alerts)
    for name, body in sections.items():
        assert body.startswith(f"*{alerts[name]}.* "), name
        assert "\n**Next:** " in body, name
    links = re.findall(r"runbook_url: docs/runbook\.md#(\w+)", rules)
    assert sorted(links) == sorted(name.lower() for name in sections)


def test_every_error_is_explained_with_a_next_step() -> None:
    classes = inspect.getmembers(errors, inspect.isclass)
    known = {name: kind for name, kind in classes if issubclass(kind, errors.RiskwireError)}
    del known["RiskwireError"]
    sections = _sections(RUNBOOK.split("\n## Errors\n")[1])
    families = {name for name, kind in known.items() if kind.__base__ is errors.RiskwireError}
    assert set(sections) == families
    for name, body in sections.items():
        assert "**Next:** " in body or "| next step |" in body, name
        rows = re.findall(r"(?m)^\| `(\w+)` \| .+ \| .+ \|$", body)
        assert set(rows) == {child for child, kind in known.items() if issubclass(kind, known[name]) and child != name}
