from __future__ import annotations

import contextlib
import csv
import os
from collections import defaultdict
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from monitor.core.errors import ConfigError
from monitor.core.text import has_han
from monitor.entities.folding import fold
from monitor.entities.matcher import EntityMatcher
from monitor.entities.watchlist import Watchlist, load_watchlist


def test_the_packaged_watchlist_is_what_risk_teams_watch(watchlist: Watchlist) -> None:
    assert len(watchlist) >= 150
    kinds = defaultdict(int)
    for entity in watchlist.entities:
        kinds[entity.kind] += 1
        assert entity.name_zh, entity.id
        assert has_han(entity.name_zh) or entity.kind in ("crypto", "payments", "company"), entity.id
    for kind in ("bank", "broker", "insurer", "exchange", "clearing", "central_bank", "regulator", "crypto", "company"):
        assert kinds[kind] >= 2, kind
    assert {"US", "GB", "DE", "FR", "CH", "JP", "KR", "CN", "HK", "IN", "AU"} <= {e.country for e in watchlist.entities}


def test_no_alias_and_no_ticker_is_given_twice(watchlist: Watchlist) -> None:
    owners: dict[object, set[str]] = defaultdict(set)
    for entity in watchlist.entities:
        for alias in entity.all_aliases:
            owners[fold(alias).text].add(entity.id)
        for ticker in entity.tickers:
            owners[ticker].add(entity.id)
    assert {key: ids for key, ids in owners.items() if len(ids) > 1} == {}


def test_every_alias_without_a_rule_is_found(watchlist: Watchlist, matcher: EntityMatcher) -> None:
    for entity in watchlist.entities:
        for alias in entity.all_aliases:
            if fold(alias).text not in entity.rules:
                assert entity.id in matcher.entities(f"… {alias} …"), alias


def test_a_users_row_replaces_the_packaged_one_and_adds_new(tmp_path: Path) -> None:
    path = tmp_path / "mine.csv"
    path.write_text(
        "\ufeffid,name,aliases,context\n# our own\nubs,Our UBS,Ubsy,\n\n"
        "acme-bank,Acme Bank,Acme,Acme {strict; not: acme corp}\n",
        encoding="utf-8",
    )
    watchlist = load_watchlist([path])
    assert len(watchlist) == len(load_watchlist()) + 1
    ubs = watchlist.get("ubs")
    assert ubs is not None
    assert ubs.all_aliases == ("Our UBS", "Ubsy")
    matcher = EntityMatcher(watchlist)
    assert matcher.entities("UBS rises") == ()
    assert matcher.entities("Acme Bank rises; Acme") == ("acme-bank",)
    assert matcher.entities("An Acme anvil") == ()


_HEAD = "id,name,name_zh,kind,country,tickers,aliases,aliases_zh,context\n"


@pytest.mark.parametrize(
    ("content", "parts"),
    [
        (b"", ["line 1", "empty"]),
        (b"name\nx\n", ["line 1", "'id'", "missing"]),
        (b"id,name,ticker\n", ["line 1", "'ticker'", "unknown column"]),
        (b"id,name,id\n", ["'id'", "twice"]),
        (_HEAD.encode() + b"Bad Id,x\n", ["line 2", "'id'", "slug"]),
        (_HEAD.encode() + b"\na-b,\n", ["line 3", "'name'", "empty"]),
        (_HEAD.encode() + b"a,Anton\na,Berta\n", ["line 3", "'id'", "line 2"]),
        (_HEAD.encode() + b"a,Anton,,Big Bank\n", ["line 2", "'kind'"]),
        (_HEAD.encode() + b"a,Anton,,,Germany\n", ["line 2", "'country'", "Germany"]),
        (_HEAD.encode() + b"a,Anton,,,,MOON:X\n", ["line 2", "'tickers'", "MOON"]),
        (_HEAD.encode() + b"a,Anton,,,,JPM\n", ["line 2", "'tickers'", "NYSE:JPM"]),
        (_HEAD.encode() + b"a,Anton,,,,,X\n", ["line 2", "'aliases'", "too short"]),
        (_HEAD.encode() + b"a,Anton,,,,,,,Anton {need\n", ["line 2", "'context'", "Anton {need"]),
        (_HEAD.encode() + b"a,Anton,,,,,,,Anton {maybe}\n", ["'context'", "maybe"]),
        (_HEAD.encode() + b"a,Anton,,,,,,,Berta {need}\n", ["'context'", "Berta"]),
        (_HEAD.encode() + b"a,Anton,,,,,,,Anton {not:}\n", ["'context'", "no phrases"]),
        (_HEAD.encode() + b"a,Anton,,,,,,,Anton {keep: berta}\n", ["'context'", "keep"]),
        (_HEAD.encode() + b"a,b,c,d,e,f,g,h,i,j\n", ["line 2", "10 cells"]),
        (_HEAD.encode() + b'a,"Anton"x\n', ["line 2", "CSV"]),
        (_HEAD.encode() + b"a,An\0ton\n", ["line 2", "NUL"]),
        (_HEAD.encode() + b"a,An\xffton\n", ["UTF-8"]),
    ],
)
def test_a_bad_file_is_named_with_line_and_column(tmp_path: Path, content: bytes, parts: list[str]) -> None:
    path = tmp_path / "bad.csv"
    path.write_bytes(content)
    with pytest.raises(ConfigError) as caught:
        load_watchlist([path])
    for part in (str(path), *parts):
        assert part in caught.value.message
    assert caught.value.hint


def test_a_missing_file_and_a_folder_are_config_errors(tmp_path: Path) -> None:
    for path in (tmp_path / "none.csv", tmp_path):
        with pytest.raises(ConfigError, match="cannot be read"):
            load_watchlist([path])


@given(content=st.one_of(st.text(max_size=200), st.text("id,name\n|{};:\"' aA0-", max_size=200)))
def test_any_text_is_read_or_refused_with_a_config_error(
    tmp_path_factory: pytest.TempPathFactory, content: str
) -> None:
    path = tmp_path_factory.mktemp("any") / "list.csv"
    path.write_bytes((_HEAD + content).encode("utf-8", "replace"))
    with contextlib.suppress(ConfigError):
        EntityMatcher(load_watchlist([path], packaged=False)).find(content)


def _gazetteer(name: str) -> list[dict[str, str]]:
    folder = os.environ.get("RISKWIRE_SHARED")
    path = Path(folder, "data", "gazetteers", name) if folder else None
    if path is None or not path.is_file():
        pytest.skip("RISKWIRE_SHARED does not point to the gazetteers")
    with path.open(encoding="utf-8-sig", newline="") as file:
        return list(csv.DictReader(file))


def test_us_tickers_agree_with_the_register(watchlist: Watchlist) -> None:
    listed = {
        (row["ticker"].replace("-", "."), row["exchange"].upper())
        for row in _gazetteer("sec_company_tickers_exchange.csv")
    }
    wrong = [
        (entity.id, ticker.symbol)
        for entity in watchlist.entities
        for ticker in entity.tickers
        if ticker.exchange in ("NYSE", "NASDAQ") and not {(ticker.symbol, e) for e in ("NYSE", "NASDAQ")} & listed
    ]
    assert wrong == []


def test_mainland_codes_agree_with_the_index_list(watchlist: Watchlist) -> None:
    names = {row["secucode"]: row["name_zh"] for row in _gazetteer("csi300_constituents_zh.csv")}
    suffix = {"SSE": "SH", "SZSE": "SZ"}
    checked = 0
    for entity in watchlist.entities:
        for ticker in entity.tickers:
            if ticker.exchange in suffix:
                name = names.get(f"{ticker.symbol.zfill(6)}.{suffix[ticker.exchange]}")
                if name is not None:
                    checked += 1
                    joined = "".join(entity.all_aliases)
                    assert name[:2] in joined or name[-2:] in joined, (entity.id, name)
    assert checked >= 15
