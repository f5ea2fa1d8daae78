"""A third party's connector: a real distribution on sys.path, found by its entry point (see docs/connectors.md)."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from connectors.base import ConnectorContext, SourceSpec
from connectors.registry import load_connectors, make_source
from monitor.core.errors import ConfigError
from monitor.core.ports import Source

DOCUMENTED = Path(__file__).parents[3] / "docs" / "connectors.md"


def example() -> str:
    """The connector that the documentation shows."""
    text = DOCUMENTED.read_text(encoding="utf-8")
    return text.split("```python\n", 1)[1].split("```", 1)[0]


def install(folder: Path, module: str, *, code: str, kind: str) -> None:
    """Puts a distribution with one module and one entry point into ``folder``, as pip would."""
    (folder / f"{module}.py").write_text(code, encoding="utf-8")
    info = folder / f"{module}-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {module}\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(f"[riskwire.connectors]\n{kind} = {module}:build\n")


@pytest.fixture
def plugins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.syspath_prepend(str(tmp_path))
    return tmp_path


async def test_the_documented_connector_works(plugins: Path, context: ConnectorContext) -> None:
    install(plugins, "riskwire_ticker", code=example(), kind="ticker")
    try:
        assert {"feed", "archive", "push", "ticker"} <= set(load_connectors())
        spec = SourceSpec(name="my ticker", kind="ticker", options={"symbol": "ABC"})
        source = make_source(spec, context)
        assert isinstance(source, Source)
        page = await source.poll(None)
        assert page.articles[0].source == "my ticker"
        assert list((await source.poll(page.cursor)).articles) == []
        with pytest.raises(ConfigError, match=r"Did you mean 'symbol' where"):
            make_source(SourceSpec(name="my ticker", kind="ticker", options={"symbl": "ABC"}), context)
    finally:
        sys.modules.pop("riskwire_ticker", None)


def test_a_broken_plugin_stops_only_who_uses_it(plugins: Path, context: ConnectorContext) -> None:
    install(plugins, "broken_plugin", code="1/0", kind="broken")
    url = {"url": "http://news.example/feed"}
    assert make_source(SourceSpec(name="wire", kind="feed", options=url), context).name == "wire"
    with pytest.raises(ConfigError, match=r"connector 'broken' of broken.plugin cannot be loaded: ZeroDivisionError"):
        make_source(SourceSpec(name="x", kind="broken", options={}), context)


def test_two_plugins_of_one_name_are_an_error(plugins: Path) -> None:
    for name in ("one", "two"):
        install(plugins, f"plugin_{name}", code="", kind="same")
    with pytest.raises(ConfigError, match="Two connectors are called 'same'"):
        load_connectors()


def test_an_unknown_connector_is_named(context: ConnectorContext) -> None:
    with pytest.raises(ConfigError, match=r"no connector 'feeds'.*Did you mean 'feed'"):
        make_source(SourceSpec(name="x", kind="feeds", options={}), context)
