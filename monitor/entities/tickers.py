"""Ticker symbols: how exchanges are called in the news, and the forms in which a ticker counts as a mention.

A bare ``T`` or ``ALL`` is never a mention. These forms are: ``$AAPL``; ``NYSE: JPM`` and ``(HKEX: 0700)``; Reuters
codes ``JPM.N``, ``600519.SH``; a mainland or Hong Kong code in brackets, ``(600519)``, ``(00700)``.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

# Our name of the exchange: its names in the news, and its suffixes (Reuters, and the Chinese vendors' forms).
_EXCHANGES: dict[str, tuple[str, str]] = {
    "NYSE": ("NYSE|NYSE AMERICAN|NYSE ARCA|纽交所|紐交所", "N|A|K"),
    "NASDAQ": ("NASDAQ|NASDAQGS|NASDAQGM|NASDAQCM|纳斯达克|納斯達克", "O|OQ|K"),
    "CBOE": ("CBOE|BATS", "Z"),
    "LSE": ("LSE|LON", "L"),
    "XETRA": ("XETRA|ETR|FRA|FWB|GER", "DE|F"),
    "EURONEXT": ("EURONEXT|EPA|PAR|EURONEXT PARIS|AMS|EURONEXT AMSTERDAM", "PA|AS"),
    "SIX": ("SIX|SWX", "S|SW"),
    "BORSA": ("BIT|BORSA ITALIANA|BORSA", "MI"),
    "BME": ("BME", "MC"),
    "HELSINKI": ("HEL|HELSINKI|OMXH", "HE"),
    "CPH": ("CPH|OMXC", "CO"),
    "STO": ("STO|OMXS", "ST"),
    "ATHENS": ("ATH|ATHENS|ATHEX", "AT"),
    "TADAWUL": ("TADAWUL", "SE"),
    "TSX": ("TSX", "TO"),
    "TYO": ("TYO|TSE|JPX", "T"),
    "KRX": ("KRX|KOSPI", "KS"),
    "SSE": ("SSE|SHA|SHSE|上交所", "SS|SH"),
    "SZSE": ("SZSE|SHE|深交所", "SZ"),
    "HKEX": ("HKEX|HKG|SEHK|HKSE|港交所|HK", "HK"),
    "SGX": ("SGX", "SI"),
    "TWSE": ("TWSE|TPE", "TW"),
    "NSE": ("NSE", "NS"),
    "BSE": ("BSE|BOM", "BO"),
    "ASX": ("ASX", "AX"),
}
_BY_NAME = {name: key for key, (names, _) in _EXCHANGES.items() for name in names.split("|")}
_BY_SUFFIX: dict[str, tuple[str, ...]] = {}
for _key, (_, _suffixes) in _EXCHANGES.items():
    for _suffix in _suffixes.split("|"):
        _BY_SUFFIX[_suffix] = (*_BY_SUFFIX.get(_suffix, ()), _key)
_CASHTAG_EXCHANGES = ("NYSE", "NASDAQ", "CBOE")
_SYMBOL = re.compile(r"[A-Z0-9]{1,12}(?:[.\-][A-Z0-9]{1,2})?")

# Each form is searched by its rare character first ($ : . bracket) and read backwards from there over a bounded
# stretch, so that the time is linear in the text with a small factor.
_NAMES = "|".join(sorted((re.escape(name) for name in _BY_NAME), key=len, reverse=True))
_SUFFIXES = "|".join(sorted(_BY_SUFFIX, key=len, reverse=True))
_CASH = re.compile(r"\$(?P<symbol>[A-Z]{1,6}(?:[.\-][A-Z]{1,2})?)(?![A-Z0-9])")
_AFTER_COLON = re.compile(r": {0,2}(?P<symbol>[A-Z0-9]{1,12}(?:[.\-][A-Z]{1,2})?)(?![A-Z0-9])")
_BEFORE_COLON = re.compile(rf"(?:^|[^A-Z0-9])(?P<exchange>{_NAMES}) {{0,2}}$")
_SUFFIX = re.compile(rf"\.(?P<suffix>{_SUFFIXES})(?![A-Z0-9])")
_CODE = re.compile(r"(?:^|[^A-Z0-9.$])(?P<code>[A-Z0-9]{1,12})$")
_BARE = re.compile(r"\((?P<code>[0-9]{5,6})\)")
_BACK = 24


@dataclass(frozen=True, slots=True)
class Ticker:
    """A symbol on an exchange, e.g. (``NYSE``, ``JPM``). Hong Kong and mainland codes keep no leading zeros."""

    exchange: str
    symbol: str


@dataclass(frozen=True, slots=True)
class TickerForm:
    """A ticker form found at [start, end): the tickers it may mean; for a cashtag any US exchange."""

    start: int
    end: int
    tickers: tuple[Ticker, ...]


def _symbol(text: str) -> str:
    text = text.upper().replace("-", ".")
    return text.lstrip("0") or "0" if text.isdigit() else text


def parse_ticker(text: str) -> Ticker:
    """Parses ``EXCHANGE:SYMBOL``. Raises ValueError with a plain message."""
    exchange, colon, symbol = text.partition(":")
    key = _BY_NAME.get(exchange.strip().upper()) or (exchange.strip().upper() if exchange in _EXCHANGES else None)
    symbol = symbol.strip().upper()
    if not colon or not _SYMBOL.fullmatch(symbol):
        raise ValueError(f"expected a ticker such as 'NYSE:JPM', got '{text}'")
    if key is None:
        raise ValueError(f"unknown exchange in '{text}'; known are {', '.join(_EXCHANGES)}")
    return Ticker(key, _symbol(symbol))


def find_forms(folded_upper: str) -> list[TickerForm]:
    """Ticker forms in folded text that was put into upper case character by character."""
    text = folded_upper
    found: list[TickerForm] = []
    for match in _CASH.finditer(text):
        start = match.start()
        if not start or not (text[start - 1].isalnum() or text[start - 1] == "$"):
            symbol = _symbol(match["symbol"])
            found.append(TickerForm(start, match.end(), tuple(Ticker(name, symbol) for name in _CASHTAG_EXCHANGES)))
    for match in _AFTER_COLON.finditer(text):
        base = max(0, match.start() - _BACK)
        before = _BEFORE_COLON.search(text[base : match.start()])
        if before is not None:
            ticker = Ticker(_BY_NAME[before["exchange"]], _symbol(match["symbol"]))
            found.append(TickerForm(base + before.start("exchange"), match.end(), (ticker,)))
    for match in _SUFFIX.finditer(text):
        base = max(0, match.start() - _BACK)
        before = _CODE.search(text[base : match.start()])
        if before is not None:
            symbol = _symbol(before["code"])
            tickers = tuple(Ticker(name, symbol) for name in _BY_SUFFIX[match["suffix"]])
            found.append(TickerForm(base + before.start("code"), match.end(), tickers))
    for match in _BARE.finditer(text):
        exchanges = ("SSE", "SZSE") if len(match["code"]) == 6 else ("HKEX",)
        tickers = tuple(Ticker(name, _symbol(match["code"])) for name in exchanges)
        found.append(TickerForm(match.start(), match.end(), tickers))
    return found
