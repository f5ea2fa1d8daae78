"""Rules files: what is read, and where an error is said to be."""

from __future__ import annotations

import tomllib
from datetime import timedelta
from importlib import resources
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from alerts.rules.load import load_rules, parse_rules
from alerts.rules.parser import Vocabulary
from alerts.rules.places import Places
from monitor.core.errors import ConfigError
from monitor.core.types import Severity
from monitor.entities.watchlist import load_watchlist

KNOWN = Vocabulary(topics=("energy_oil",), entities={"deutsche-bank": "Deutsche Bank"})


def wrong(text: str) -> str:
    with pytest.raises(ConfigError) as caught:
        parse_rules(text, "my.toml", KNOWN)
    return caught.value.message


def test_everything_that_a_rule_can_say() -> None:
    first, second = parse_rules(
        '''
        [[rules]]
        name = "default-1"   # a comment with "quotes"
        title = "Default 违约"
        query = """default* NEAR/5
          entity:deutsche-bank"""
        severity = "critical"
        open = "at once"
        cool_down = "90m"
        quiet = "2 d"
        within = "title"

        [[rules]]
        name = "oil"
        query = 'topic:energy_oil'
        series = true
        ''',
        "my.toml",
        KNOWN,
    )
    assert (first.name, first.title, first.severity, first.at_once) == (
        "default-1",
        "Default 违约",
        Severity.CRITICAL,
        True,
    )
    assert (first.cool_down, first.quiet, first.title_only) == (timedelta(minutes=90), timedelta(days=2), True)
    assert str(first.query) == "default* NEAR/5 entity:deutsche-bank"
    assert (first.line, second.line, second.at_once, second.shown) == (2, 13, False, "oil")
    assert str(second.key) == "rule:oil"


HEAD = '[[rules]]\nname = "r"\nopen = "at once"\n'


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (HEAD + 'query = "bank run"', "my.toml, line 4, column 15: rule 'r': expected AND, OR, NEAR/n or the end"),
        (HEAD + 'query = """\nbank\n  AND (run"""', "my.toml, line 6, column 7: rule 'r': this ( is not closed"),
        (HEAD + "query = '''bank\nAND topic:enregy_oil'''", "line 5, column 11: rule 'r': there is no topic "
         "'enregy_oil'. Did you mean 'energy_oil'?"),
        (HEAD + r'query = "\u8fdd\u7ea6 run"', "line 4, column 23: rule 'r': expected AND"),
        (HEAD + r'query = "\"bank run\" x"', "line 4, column 23: rule 'r': expected AND"),
        (HEAD + 'query = """bank \\\n   AND"""', "line 5, column 7: rule 'r': expected a word"),
        (HEAD + "query = ''", "line 4: rule 'r': query must be a text"),
        (HEAD + "query = 3", "line 4: rule 'r': query must be a text, not 3"),
        (HEAD, "line 1: rule 'r': the key 'query' is missing"),
        (HEAD + 'query = "a"\nseverty = "info"', "line 5: rule 'r': unknown key 'severty'. Did you mean 'severity'?"),
        (HEAD + 'query = "a"\nseverity = "high"', 'must be info, warning or critical, not "high"'),
        (HEAD + 'query = "a"\nquiet = "0m"', 'line 5: rule \'r\': quiet must be a time from "1m" to "30d"'),
        (HEAD + 'query = "a"\ncool_down = 5', "line 5: rule 'r': cool_down must be a time"),
        (HEAD + 'query = "a"\nwithin = "body"', 'line 5: rule \'r\': within must be "text" or "title"'),
        (HEAD + 'query = "a"\nseries = true', 'expected one of open = "at once" and series = true'),
        (HEAD + 'query = "NOT a"', "line 4: rule 'r': it is true of a story that says nothing"),
        (HEAD + 'query = "uncertain:no OR a"', "it is true of a story that says nothing"),
        ('[[rules]]\nname = "r"\nquery = "a"', 'line 1: rule \'r\': expected one of open = "at once" and'),
        ('[[rules]]\nname = "r"\nquery = "a"\nopen = "later"', 'line 4: rule \'r\': open must be "at once"'),
        ('[[rules]]\nname = "r"\nquery = "a"\nseries = false', "line 4: rule 'r': series must be true, not false"),
        ('[[rules]]\nname = "r"\nquery = "a"\nseries = true\nquiet = "1h"', "line 5: rule 'r': quiet goes with open"),
        ('[[rules]]\nname = "R x"\nquery = "a"\nseries = true', "line 2: rule 'R x': a name holds small letters"),
        ('[[rules]]\nquery = "a"\nseries = true', "line 1: a rule without a name: the key 'name' is missing"),
        ('[other]\nx = 1', "my.toml, line 1: unknown key 'other'. Expected [[rules]]."),
        ('rules = [{ name = "r" }]', "each rule is written as a table of its own, under [[rules]]"),
        ("rules = 3", "each rule is written as a table of its own, under [[rules]]"),
        ("[[rules]\n", "my.toml: not valid TOML"),
    ],
)  # fmt: skip
def test_what_is_wrong_and_where(text: str, message: str) -> None:
    assert message in wrong(text)


def test_all_wrong_rules_are_named_at_once() -> None:
    text = "".join(f'[[rules]]\nname = "r{n}"\nopen = "at once"\nquery = "a b"\n' for n in range(30))
    lines = wrong(text).splitlines()
    assert lines[1].startswith("my.toml, line 8, column 12: rule 'r1'")
    assert lines[-1] == "… and 10 more."


def test_a_name_is_there_once_in_all_files(tmp_path: Path) -> None:
    for name in ("a.toml", "b.toml"):
        (tmp_path / name).write_text(HEAD + 'query = "bank"', encoding="utf-8")
    with pytest.raises(ConfigError, match=r"b\.toml, line 1: there is a rule 'r' in .*a\.toml, line 1 already"):
        load_rules([tmp_path / "a.toml", tmp_path / "b.toml"])


def test_a_file_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="No such file"):
        load_rules([tmp_path / "none.toml"])
    (tmp_path / "latin.toml").write_bytes(b"# \xe9")
    with pytest.raises(ConfigError, match="not UTF-8"):
        load_rules([tmp_path / "latin.toml"])


def test_the_example_is_right_and_speaks_of_both_languages() -> None:
    text = resources.files("monitor").joinpath("rules-example.toml").read_text(encoding="utf-8")
    entities = {entity.id: entity.name for entity in load_watchlist().entities}
    rules = parse_rules(text, "rules-example.toml", Vocabulary(entities=entities, topics=("legal_regulation",)))
    assert len(rules) >= 12
    assert {rule.at_once for rule in rules} == {True, False}


strings = st.text(
    st.characters(codec="utf-8", exclude_categories=["Cs", "Cc"]) | st.sampled_from("\"\\'\n\t#[]="), max_size=20
)


def _quoted(text: str, style: int) -> str:
    if style == 0 or "\r" in text:
        escaped = "".join(f"\\U{ord(char):08x}" if char in '"\\' or ord(char) < 32 else char for char in text)
        return f'"{escaped}"'
    if style == 1 and "'" not in text and "\n" not in text and "\t" not in text:
        return f"'{text}'"
    if style == 2 and "'''" not in text and not text.endswith("'"):
        return f"'''\n{text}'''"
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"""\n{escaped}"""'


@given(st.lists(st.tuples(strings, st.integers(0, 3)), min_size=1, max_size=4))
def test_every_character_of_a_string_is_found_where_it_stands(values: list[tuple[str, int]]) -> None:
    text = "# [[rules]]\n"
    for value, style in values:
        text += f'[[rules]] # "x\nn = [1, "]", {{ a = 2 }}]\nquery = {_quoted(value, style)} # x\n'
    data = tomllib.loads(text)
    tables = Places(text).arrays("rules")
    assert len(tables) == len(data["rules"]) == len(values)
    for row, table in zip(data["rules"], tables, strict=True):
        offsets = table.keys["query"][1].offsets
        assert len(offsets) == len(row["query"]) + 1
        for char, offset in zip(row["query"], offsets, strict=False):
            assert text[offset] == char or text[offset] == "\\"
