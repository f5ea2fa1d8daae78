"""Writes feeds in their formats: RSS 2.0, RSS 1.0 (RDF), Atom 1.0 and JSON Feed 1.1."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from datetime import datetime
from email.utils import format_datetime
from functools import lru_cache
from xml.sax.saxutils import escape, quoteattr

from monitor.demo.feeds import DemoFeed, Format
from monitor.demo.scenario import DemoArticle


def render(feed: DemoFeed, articles: Sequence[DemoArticle]) -> bytes:
    """The feed's document with ``articles`` (oldest first; the document shows the newest first)."""
    updated = articles[-1].published_at if articles else None
    return _WRITERS[feed.format](feed, articles[::-1], updated).encode(feed.encoding, "xmlcharrefreplace")


def _home(feed: DemoFeed) -> str:
    return f"https://{feed.domain}/"


@lru_cache(maxsize=8192)
def _rss_item(article: DemoArticle) -> str:
    summary = f"<description>{escape(article.summary)}</description>" if article.summary else ""
    return (
        f"<item><title>{escape(article.title)}</title><link>{escape(article.url)}</link>{summary}"
        f'<guid isPermaLink="false">{escape(article.guid)}</guid>'
        f"<pubDate>{format_datetime(article.published_at, usegmt=True)}</pubDate></item>\n"
    )


def _rss(feed: DemoFeed, articles: Sequence[DemoArticle], updated: datetime | None) -> str:
    built = f"<lastBuildDate>{format_datetime(updated, usegmt=True)}</lastBuildDate>" if updated else ""
    ttl = f"<ttl>{feed.ttl_minutes}</ttl>" if feed.ttl_minutes else ""
    return (
        f'<?xml version="1.0" encoding={quoteattr(feed.encoding)}?>\n<rss version="2.0"><channel>'
        f"<title>{escape(feed.title)}</title><link>{_home(feed)}</link><description>{escape(feed.title)}</description>"
        f"<language>{'zh-cn' if feed.lang == 'zh' else feed.lang}</language>{built}{ttl}\n"
        f"{''.join(map(_rss_item, articles))}</channel></rss>\n"
    )


@lru_cache(maxsize=8192)
def _rdf_item(article: DemoArticle) -> str:
    summary = f"<description>{escape(article.summary)}</description>" if article.summary else ""
    return (
        f"<item rdf:about={quoteattr(article.url)}><title>{escape(article.title)}</title>"
        f"<link>{escape(article.url)}</link>{summary}<dc:date>{article.published_at.isoformat()}</dc:date></item>\n"
    )


def _rdf(feed: DemoFeed, articles: Sequence[DemoArticle], updated: datetime | None) -> str:
    listed = "".join(f"<rdf:li rdf:resource={quoteattr(article.url)}/>" for article in articles)
    date = f"<dc:date>{updated.isoformat()}</dc:date>" if updated else ""
    return (
        '<?xml version="1.0" encoding="utf-8"?>\n'
        '<rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#" xmlns="http://purl.org/rss/1.0/" '
        'xmlns:dc="http://purl.org/dc/elements/1.1/" xmlns:sy="http://purl.org/rss/1.0/modules/syndication/">\n'
        f"<channel rdf:about={quoteattr(_home(feed))}><title>{escape(feed.title)}</title><link>{_home(feed)}</link>"
        f"<description>{escape(feed.title)}</description><dc:language>{feed.lang}</dc:language>{date}"
        "<sy:updatePeriod>hourly</sy:updatePeriod><sy:updateFrequency>2</sy:updateFrequency>"
        f"<items><rdf:Seq>{listed}</rdf:Seq></items></channel>\n{''.join(map(_rdf_item, articles))}</rdf:RDF>\n"
    )


@lru_cache(maxsize=8192)
def _atom_entry(article: DemoArticle) -> str:
    summary = f"<summary>{escape(article.summary)}</summary>" if article.summary else ""
    moment = article.published_at.isoformat()
    return (
        f"<entry><id>{escape(article.guid)}</id><title>{escape(article.title)}</title>"
        f"<link href={quoteattr(article.url)}/><published>{moment}</published><updated>{moment}</updated>"
        f"{summary}</entry>\n"
    )


def _atom(feed: DemoFeed, articles: Sequence[DemoArticle], updated: datetime | None) -> str:
    date = f"<updated>{updated.isoformat()}</updated>" if updated else ""
    return (
        f'<?xml version="1.0" encoding="utf-8"?>\n<feed xmlns="http://www.w3.org/2005/Atom" xml:lang="{feed.lang}">'
        f"<id>{_home(feed)}</id><title>{escape(feed.title)}</title><link href={quoteattr(_home(feed))}/>{date}"
        f"<author><name>{escape(feed.title)}</name></author>\n{''.join(map(_atom_entry, articles))}</feed>\n"
    )


@lru_cache(maxsize=8192)
def _json_item(article: DemoArticle) -> str:
    return json.dumps(
        {
            "id": article.guid,
            "url": article.url,
            "title": article.title,
            "content_text": article.summary or article.title,
            "date_published": article.published_at.isoformat(),
            "language": article.lang,
        },
        ensure_ascii=False,
    )


def _json(feed: DemoFeed, articles: Sequence[DemoArticle], updated: datetime | None) -> str:
    head = json.dumps(
        {
            "version": "https://jsonfeed.org/version/1.1",
            "title": feed.title,
            "home_page_url": _home(feed),
            "language": feed.lang,
        },
        ensure_ascii=False,
    )
    return f'{head[:-1]}, "items": [{", ".join(map(_json_item, articles))}]}}'


_WRITERS: dict[Format, Callable[[DemoFeed, Sequence[DemoArticle], datetime | None], str]] = {
    Format.RSS: _rss,
    Format.RDF: _rdf,
    Format.ATOM: _atom,
    Format.JSON: _json,
}
