"""The documentation is held against the code, both ways."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path
from types import ModuleType

import pytest
import typer

from monitor.cli.main import app
from monitor.config import Settings

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted(ROOT.glob("docs/**/*.md"))]


def _generator() -> ModuleType:
    spec = importlib.util.spec_from_file_location("docs_generate", ROOT / "docs" / "generate.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("page", sorted(_generator().PAGES))
def test_the_reference_is_what_the_code_says(page: str) -> None:
    generator = _generator()
    written = (ROOT / "docs" / "reference" / page).read_text(encoding="utf-8")
    assert written == generator.PAGES[page](), "run: python docs/generate.py"


def _commands() -> dict[str, set[str]]:
    found: dict[str, set[str]] = {}
    for name, command in _generator()._walk("riskwire", typer.main.get_command(app)):
        options = {option for parameter in command.params for option in [*parameter.opts, *parameter.secondary_opts]}
        found[name] = {option for option in options if option.startswith("-")} | {"--help", "-h"}
    return found


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_command_and_option_named_exists(page: Path) -> None:
    known = _commands()
    wrong = []
    for line in page.read_text(encoding="utf-8").splitlines():
        for match in re.finditer(r"(?:^|[`$|] ?|bin/)riskwire((?: [^`|#]+)?)", line):
            words = match.group(1).split()
            for depth in (2, 1, 0):
                name = " ".join(["riskwire", *words[:depth]])
                if name in known:
                    break
            else:
                continue
            if name == "riskwire" and words and re.fullmatch(r"[a-z]+", words[0]) and "`riskwire" in line:
                wrong.append(f"no such command: riskwire {words[0]}")
            options = {word.split("=")[0] for word in words if re.fullmatch(r"--?[a-z][a-z-]*(=.*)?", word)}
            wrong += [f"{name} has no option {option}" for option in options - known[name] if name != "riskwire"]
    assert wrong == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_metric_named_exists(page: Path) -> None:
    known = set(re.findall(r"`(riskwire_[a-z_]+)`", _generator().metrics()))
    named = set(re.findall(r"`(riskwire_[a-z_]+)[`{]", page.read_text(encoding="utf-8")))
    assert named - known == set()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_configuration_key_named_exists(page: Path) -> None:
    """Keys are written as `section.key` in running text."""
    sections = {
        name: set(field.annotation.model_fields)  # type: ignore[union-attr]
        for name, field in Settings.model_fields.items()
        if hasattr(field.annotation, "model_fields")
    }
    for section, key in re.findall(r"`([a-z]+)\.([a-z_]+)`", page.read_text(encoding="utf-8")):
        if section in sections:
            assert key in sections[section], f"{section}.{key}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_relative_link_leads_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\((?!https?:|#)([^)#]+)", page.read_text(encoding="utf-8")):
        assert (page.parent / target).exists(), target
