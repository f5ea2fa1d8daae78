"""The feeds of the demonstration: invented publishers with their formats, rhythms and interests."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum


class Format(StrEnum):
    """How a feed is written."""

    RSS = "rss"
    RDF = "rdf"
    ATOM = "atom"
    JSON = "json"


@dataclass(frozen=True, slots=True, kw_only=True)
class DemoFeed:
    """One feed. ``weekday_articles`` is its usual volume; ``zones`` are the hours from UTC in which its desks work."""

    name: str
    title: str
    path: str
    format: Format
    lang: str
    domain: str
    content_type: str
    zones: tuple[int, ...]
    weekday_articles: float
    topics: Mapping[str, float]
    summaries: bool = True
    encoding: str = "utf-8"
    moved_to: str = ""
    """When set, ``path`` answers with a permanent redirect to this path."""
    validators: bool = True
    """Sends ETag and Last-Modified, and answers 304."""
    cache_seconds: int = 0
    ttl_minutes: int = 0
    suffix: str = field(default="")


_GENERAL = {
    "earnings": 7.0,
    "analyst_update": 6,
    "company_product_news": 14,
    "stock_commentary": 7,
    "stock_movement": 8,
    "markets": 7,
    "macro": 8,
    "fed_central_banks": 6,
    "treasuries_corporate_debt": 4,
    "financials": 7,
    "m_a_investments": 6,
    "energy_oil": 5,
    "gold_metals_materials": 3,
    "currencies": 3,
    "dividend": 3,
    "ipo": 2,
    "legal_regulation": 5,
    "personnel_change": 5,
    "politics": 4,
    "general_news_opinion": 4,
    "stock": 2,
}


def _mix(**more: float) -> dict[str, float]:
    return {**_GENERAL, **more}


FEEDS: tuple[DemoFeed, ...] = (
    DemoFeed(
        name="harbour-wire", title="Harbour Wire", path="/harbour/rss.xml", format=Format.RSS, lang="en",
        domain="harbourwire.example", content_type="application/rss+xml; charset=utf-8", zones=(-4, 1, 8),
        weekday_articles=27, topics=_GENERAL,
    ),
    DemoFeed(
        name="ledger-street", title="Ledger & Street", path="/ledger-street/atom.xml", format=Format.ATOM, lang="en",
        domain="ledgerandstreet.example", content_type="application/atom+xml", zones=(-4,), weekday_articles=20,
        topics=_mix(stock_movement=14, analyst_update=12, earnings=10, energy_oil=2),
    ),
    DemoFeed(
        name="continental-brief", title="The Continental Brief", path="/feed", format=Format.RSS, lang="en",
        domain="continentalbrief.example", content_type="text/xml; charset=utf-8", zones=(1,), weekday_articles=14,
        topics=_mix(politics=8, legal_regulation=9, financials=10), moved_to="/continental/rss.xml", ttl_minutes=20,
    ),
    DemoFeed(
        name="treasury-desk", title="Treasury Desk", path="/treasury-desk/index.rdf", format=Format.RDF, lang="en",
        domain="treasurydesk.example", content_type="application/rdf+xml", zones=(-4, 1), weekday_articles=10,
        topics={"fed_central_banks": 10, "treasuries_corporate_debt": 9, "macro": 10, "currencies": 6, "markets": 3},
        cache_seconds=900, summaries=False,
    ),
    DemoFeed(
        name="barrel-grid", title="Barrel & Grid", path="/barrel-grid/feed.json", format=Format.JSON, lang="en",
        domain="barrelandgrid.example", content_type="application/feed+json", zones=(-4, 1, 8), weekday_articles=9,
        topics={"energy_oil": 10, "gold_metals_materials": 7, "company_product_news": 4, "m_a_investments": 2,
                "personnel_change": 2, "dividend": 1},
    ),
    DemoFeed(
        name="deal-gazette", title="The Deal Gazette", path="/deal-gazette/atom", format=Format.ATOM, lang="en",
        domain="dealgazette.example", content_type="application/atom+xml; charset=utf-8", zones=(-4, 1),
        weekday_articles=9,
        topics={"m_a_investments": 10, "ipo": 5, "personnel_change": 7, "financials": 6, "dividend": 4,
                "legal_regulation": 5, "general_news_opinion": 2},
    ),
    DemoFeed(
        name="pacific-tape", title="Pacific Tape", path="/pacific-tape/rss", format=Format.RSS, lang="en",
        domain="pacifictape.example", content_type="application/xml", zones=(8,), weekday_articles=13,
        topics=_mix(markets=12, currencies=6, company_product_news=16), validators=False,
    ),
    DemoFeed(
        name="dongan-caijing", title="东岸财经", path="/dongan/rss.xml", format=Format.RSS, lang="zh",
        domain="dongan.example", content_type="application/rss+xml", zones=(8,), weekday_articles=19,
        topics=_GENERAL, encoding="gb18030",
    ),
    DemoFeed(
        name="huihai-kuaixun", title="汇海快讯", path="/huihai/feed.json", format=Format.JSON, lang="zh",
        domain="huihai.example", content_type="application/json; charset=utf-8", zones=(8,), weekday_articles=20,
        topics=_mix(markets=12, stock_movement=12, macro=10), summaries=False,
    ),
)  # fmt: skip

SILENT_FEED = "pacific-tape"
