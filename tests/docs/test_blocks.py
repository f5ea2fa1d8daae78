"""Every command in the documentation is carried out, or there is a reason why not; then it is held against the program.

Every TOML block is taken for what it is: a configuration, rules, or a recipe.
"""

from __future__ import annotations

import ast
import json
import re
import tomllib
from pathlib import Path

import click
import pytest
import typer
from docs_pages import PAGES, ROOT, Block, Session, blocks, commands, words
from e2e_tools import needs_model

from monitor.cli.main import app

_NETWORK = "needs the internet"
_SERVERS = "needs Kafka, Elasticsearch, Kibana or PostgreSQL; tests/contract runs the same against theirs"
_DAEMON = "goes on until it is ended; tests/e2e and the tutorials run it"
NOT_RUN: dict[str, str] = {
    r"^(\S*pip|python3 -m venv|export PATH|hf) ?": _NETWORK,
    r"^riskwire (topics|store|kibana import|state copy)": _SERVERS,
    r"^(create(user|db)|kcat) ": _SERVERS,
    r"^riskwire run\b": _DAEMON,
    r"^curl .*localhost:8080": "asks a running daemon; tests/unit/web asks the same",
    r"^curl .*\$TOKEN": "asks a running daemon; the first tutorial does the same",
    r"^riskwire doctor( -c riskwire.toml)?$": "asks sources on the internet, or servers; with --offline it is run",
    r"^(docker|cd deploy|install -d|for name in|chmod 0444)": "needs a Docker engine",
    r"^(helm|kubectl) ": "needs a cluster; tests/deploy renders and checks the same",
    r"^(sudo|echo RISKWIRE_)": "needs root",
    r"^make ": "sets up a machine; .ci/run runs it",
    r"^(RISKWIRE_TEST_\w+=\S+ )?pytest ": "is run with the other tests",
    r"^promtool ": "tests/deploy runs it",
    r"^python deploy/helm/tools.py": "downloads helm",
    r"^riskwire (train|retrain) .*DIR": "needs the data sets and an encoder; the tutorial on labels trains",
    r"^riskwire model rollback": "needs a model set before; tests/unit/lifecycle goes back",
    r"^riskwire label export": "needs scored news worth labelling; tests/unit/lifecycle exports it",
    r"^riskwire label import": "needs a file that people filled in; the tutorial on labels imports one",
    r"^riskwire evaluate .*(--compare|--suite|--report)": "minutes of work; tests/unit/train does it with a tiny model",
    r"^riskwire backtest ": "needs weeks of news; tests/e2e/test_archives.py runs it",
    r"^riskwire rules test .*(archive.csv.gz|ARCHIVE)": "needs the archive; tests/unit/rules runs it",
}  # fmt: skip
"""What of unmarked blocks is only looked at, and why. The rest of them is run."""

_ELASTIC = '[store]\nkind = "elastic"\n[elastic]\nurls = ["http://127.0.0.1:9"]\n'
_NEWS = "".join(
    json.dumps({"id": f"n{n}", "source": "wire", "title": title, "published_at": "2026-03-02T09:00:00Z"}) + "\n"
    for n, title in enumerate(["Shares of Acme plunge after profit warning", "Acme holds its annual meeting"])
)
FILES: dict[str, dict[str, str]] = {
    "docs/explain.md": {"news.jsonl": _NEWS},
    "docs/kibana.md": {"riskwire.toml": _ELASTIC},
    "docs/lifecycle.md": {"news.jsonl": _NEWS},
    "docs/rules.md": {
        "rules.toml": '[[rules]]\nname = "run"\ntitle = "Run"\nquery = \'"bank run*"\'\nopen = "at once"\n'
    },
}
"""What lies in the folder before a page's unmarked commands are run."""

BEFORE = {"docs/lifecycle.md": "riskwire replay news.jsonl --data riskwire-data"}
"""And what is run before them."""

SHELL = [block for page in PAGES for block in blocks(page) if block.is_shell]
_RUN = [page for page in PAGES if any(block.marker in ("run", "background") for block in blocks(page))]
_SLOW = [page for page in _RUN if any(block.detail == "slow" for block in blocks(page))]


def _name(item: Path | Block) -> str:
    return item.where if isinstance(item, Block) else str(item.relative_to(ROOT))


def _reason(line: str) -> str | None:
    return next((reason for pattern, reason in NOT_RUN.items() if re.search(pattern, line)), None)


@needs_model()
@pytest.mark.parametrize("page", _RUN, ids=_name)
def test_what_a_page_says_to_run_works(page: Path, tmp_path: Path) -> None:
    with Session(tmp_path) as session:
        for block in blocks(page):
            if block.detail != "slow":
                session.do(block)


@needs_model()
@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("page", _SLOW, ids=_name)
def test_what_takes_long_works(page: Path, tmp_path: Path) -> None:
    prepare(page, tmp_path)
    with Session(tmp_path) as session:
        for block in blocks(page):
            session.do(block, timeout=900)


def prepare(page: Path, folder: Path) -> None:
    """What a page asks to download: an encoder, here a tiny one of random weights."""
    if page.name == "own-labels.md":
        import tiny_model

        tiny_model.write_encoder(folder / "encoder")


def _unmarked() -> list[Path]:
    found = []
    for page in PAGES:
        lines = [line for block in blocks(page) if block.is_shell and not block.marker for line in commands(block)]
        if any(_reason(line) is None for line in lines):
            found.append(page)
    return found


@needs_model()
@pytest.mark.parametrize("page", _unmarked(), ids=_name)
def test_commands_without_a_reason_are_run(page: Path, tmp_path: Path) -> None:
    for name, text in FILES.get(_name(page), {}).items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text, encoding="utf-8")
    with Session(tmp_path) as session:
        here = [block for block in blocks(page) if block.is_shell and not block.marker]
        if _name(page) in BEFORE:
            session.run(here[0], BEFORE[_name(page)])
        for block in here:
            for line in commands(block):
                if _reason(line) is None:
                    session.run(block, line)


def test_reasons_are_needed() -> None:
    lines = [line for block in SHELL for line in commands(block)]
    assert [pattern for pattern in NOT_RUN if not any(re.search(pattern, line) for line in lines)] == []
    assert [block.where for block in SHELL if block.marker == "not run" and not block.detail] == []


def _parse(line: list[str]) -> None:
    """Takes the words as the program would, up to where it would begin its work. Raises click's errors."""
    command: click.Command = typer.main.get_command(app)  # type: ignore[assignment]
    rest, name = line[1:], "riskwire"
    while (children := getattr(command, "commands", None)) is not None:
        if not rest or rest[0].startswith("-"):
            return  # 'riskwire --version'
        assert rest[0] in children, f"{name} has no command {rest[0]}"
        name, command, rest = f"{name} {rest[0]}", children[rest[0]], rest[1:]
    if "--help" not in rest:
        command.make_context(name, [word for word in rest if word != "…"]).close()


@pytest.mark.parametrize("block", SHELL, ids=_name)
def test_every_command_line_is_one_of_the_program(block: Block) -> None:
    seen = commands(block)
    assert seen
    for line in seen:
        for simple in words(line):
            if simple and Path(simple[0]).name == "riskwire":
                try:
                    _parse(simple)
                except Exception as error:
                    raise AssertionError(f"{block.where}: {line}: {error}") from error


TOML = [block for page in PAGES for block in blocks(page) if block.language == "toml"]


@pytest.mark.parametrize("block", TOML, ids=_name)
def test_every_toml_block_is_right(block: Block, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from alerts.rules.load import load_rules
    from monitor.config import Settings, load_settings
    from monitor.train.config import TrainConfig

    raw = tomllib.loads(block.text)
    file = tmp_path / "block.toml"
    file.write_text(block.text, encoding="utf-8")
    if set(raw) <= set(Settings.model_fields):
        monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
        load_settings(file)
    elif set(raw) == {"rules"}:
        load_rules([file])
    elif set(raw) == {"project"}:
        pass  # of somebody's own package
    elif "name" in raw:
        TrainConfig.model_validate(raw)
    else:
        # Part of a recipe: on the ground of the packaged one.
        whole = tomllib.loads((ROOT / "monitor/train/recipes/packaged.toml").read_text(encoding="utf-8"))
        TrainConfig.model_validate(whole | raw)


@pytest.mark.parametrize("block", [b for page in PAGES for b in blocks(page) if b.language == "python"], ids=_name)
def test_every_python_block_is_python(block: Block) -> None:
    ast.parse(block.text)
