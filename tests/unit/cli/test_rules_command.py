"""``riskwire rules`` and what SIGHUP makes of rules files."""

from __future__ import annotations

import json
from datetime import timedelta
from pathlib import Path

import pytest
from cli_tools import invoke
from news import MONDAY, scored

from monitor.app import build_rules
from monitor.cli.run import _again
from monitor.config import load_settings
from monitor.core.codec import dumps, scored_to_dict, time_to_str
from monitor.core.errors import ConfigError, UsageError

RULES = """
[[rules]]
name = "default"
query = "(default* OR 违约) AND negative>=0.9"
severity = "critical"
open = "at once"

[[rules]]
name = "banks"
query = "bank*"
series = true
"""
TITLES = {
    0: "Developer defaults on its bonds",
    30: "UPDATE 1-Developer defaults on its bonds",
    60: "Banks fall",
    60 * 24 * 8: "某房企美元债違約",
}


@pytest.fixture
def rules(tmp_path: Path) -> Path:
    path = tmp_path / "rules.toml"
    path.write_text(RULES, encoding="utf-8")
    return path


@pytest.fixture
def archive(tmp_path: Path) -> tuple[Path, Path]:
    """An archive, and a cache of scores for it."""
    rows, scores = [], []
    for number, (minute, title) in enumerate(TITLES.items()):
        item = scored(number, MONDAY + timedelta(minutes=minute), title=title, negative=0.95)
        at = time_to_str(item.article.published_at)
        rows.append(json.dumps({"id": f"a{number}", "source": "wire", "title": title, "published_at": at}))
        scores.append(dumps(scored_to_dict(item.scored)))
    found = tmp_path / "archive.jsonl", tmp_path / "scores.jsonl"
    for path, lines in zip(found, (rows, scores), strict=True):
        path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    return found


def test_right_rules_are_said_to_be_right(rules: Path) -> None:
    result = invoke("rules", "check", str(rules))
    assert result.output == "2 rules are right: 1 open incidents at once, 1 make series.\n"


def test_a_wrong_rule_is_refused_with_its_place(rules: Path) -> None:
    rules.write_text(RULES + '[[rules]]\nname = "x"\nseries = true\nquery = "topic:makro"\n', encoding="utf-8")
    with pytest.raises(ConfigError, match=r"line 15, column 16: rule 'x': there is no topic 'makro'. Did you mean"):
        invoke("rules", "check", str(rules))


def test_a_file_without_rules_is_refused(rules: Path) -> None:
    rules.write_text("# nothing yet\n", encoding="utf-8")
    with pytest.raises(UsageError, match="holds no rules"):
        invoke("rules", "check", str(rules))


def test_what_rules_would_have_done(rules: Path, archive: tuple[Path, Path], tmp_path: Path) -> None:
    words = ["rules", "test", str(rules), str(archive[0]), "--scores", str(archive[1])]
    first = invoke(*words, "--out", str(tmp_path / "out.jsonl"))
    assert "2 rules over 4 articles from 2024-01-01 00:00 to 2024-01-09 00:00 UTC" in first.output
    assert "default (opens at once, critical)\n  2 stories, 3 articles, 2 incidents\n" in first.output
    assert "  weeks 2024-01-01: 1  2024-01-08: 1\n" in first.output
    assert "  incident 2024-01-01 00:00 to 01-01 02:00: critical, 1 story\n" in first.output
    assert "      Developer **defaults** on its bonds\n" in first.output
    assert "      某房企美元债**違約**\n" in first.output
    assert "banks (a series of its own)\n  1 story, 0 incidents\n" in first.output
    out = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text(encoding="utf-8").splitlines()]
    assert [(row["rule"], row["matched"]) for row in out] == [
        ("default", ["defaults"]), ("banks", ["Banks"]), ("default", ["違約"])
    ]  # fmt: skip
    assert invoke(*words).output == first.output


def test_a_daemon_does_not_start_with_a_wrong_rule(rules: Path, tmp_path: Path) -> None:
    rules.write_text('[[rules]]\nname = "x"\nseries = true\nquery = "bank run"\n', encoding="utf-8")
    config = tmp_path / "riskwire.toml"
    config.write_text('[detect]\nrules = ["rules.toml"]\n[[sources]]\nname = "p"\nkind = "push"\n', encoding="utf-8")
    with pytest.raises(ConfigError, match=r"rules\.toml, line 4, column 15: rule 'x'"):
        invoke("run", "-c", str(config))
    assert not (tmp_path / "riskwire-data").exists()


def test_on_sighup_a_wrong_rule_leaves_the_former_ones_in_force(
    rules: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = tmp_path / "riskwire.toml"
    config.write_text('[detect]\nrules = ["rules.toml"]\n', encoding="utf-8")
    present = load_settings(config)
    before = build_rules(present)
    rules.write_text(RULES.replace("OR 违约", "违约"), encoding="utf-8")
    assert _again(config, present, before) == (present, before)
    assert "rules.toml, line 4, column 20: rule" in " ".join(capsys.readouterr().out.split())
    rules.write_text(RULES.replace("default*", "insolven*"), encoding="utf-8")
    settings, after = _again(config, present, before)
    assert settings is not present
    assert after is not None
    assert str(after.rules[0].query) == "(insolven* OR 违约) AND negative>=0.9"
    assert _again(config, present, None)[1] is None
