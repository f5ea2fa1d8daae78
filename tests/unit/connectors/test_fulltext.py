"""Full text of linked pages: robots.txt, the guard, and falling back to the feed's own text."""

from __future__ import annotations

import asyncio

import pytest
from aiohttp import web
from website import Site

from connectors.base import ConnectorContext, SourceSpec
from connectors.feed.source import build
from connectors.fulltext import FullText
from connectors.http.robots import Robots
from monitor.core.clock import ManualClock
from monitor.core.errors import SourceError

STORY = "".join(
    f"<p>The bank said on Monday that it would cut {number} hundred jobs after a loss in its trading arm widened, and "
    "that its chief executive would leave by the end of the year.</p>"
    for number in range(1, 6)
)
PAGE = (
    "<html><head><title>Bank cuts jobs</title></head><body><nav><a href='/'>Home</a></nav>"
    f"<article><h1>Bank cuts jobs</h1>{STORY}</article><footer>Imprint and cookies</footer></body></html>"
)


def feed(site: Site, *paths: str) -> str:
    items = "".join(
        f"<item><title>Cuts {path}</title><link>{site.url(path)}</link><description>Short.</description></item>"
        for path in paths
    )
    return site.put("/feed", f"<rss version='2.0'><channel>{items}</channel></rss>")


async def test_the_page_replaces_the_summary_and_failures_leave_it(site: Site, context: ConnectorContext) -> None:
    site.put("/good", PAGE, Content_Type="text/html")
    site.put("/private/1", PAGE, Content_Type="text/html")
    site.put("/pdf", b"%PDF", Content_Type="application/pdf")
    site.put("/robots.txt", "User-agent: *\nDisallow: /private/\n", Content_Type="text/plain")
    url = feed(site, "/good", "/private/1", "/pdf", "/missing")
    source = build(SourceSpec(name="wire", kind="feed", options={"url": url, "full_text": True}), context)
    page = await source.poll(None)
    bodies = {article.url.split("/", 3)[3]: article.body for article in page.articles}
    assert "cut 5 hundred jobs" in bodies["good"]
    assert "Imprint" not in bodies["good"]
    assert {bodies[name] for name in ("private/1", "pdf", "missing")} == {"Short."}
    assert {name: count for name, count in page.counts.items() if name.startswith("full_text")} == {
        "full_text_ok": 1, "full_text_robots": 1, "full_text_not_a_page": 1, "full_text_http_404": 1,
    }  # fmt: skip
    assert [seen.path for seen in site.requests].count("/robots.txt") == 1
    assert "/private/1" not in [seen.path for seen in site.requests]


async def test_only_so_many_pages_per_poll_and_only_for_so_long(site: Site, context: ConnectorContext) -> None:
    site.put("/a", PAGE, Content_Type="text/html")

    async def never(_: web.Request) -> web.Response:
        await asyncio.Event().wait()
        raise AssertionError

    site.on("/slow", never)
    url = feed(site, "/a", "/slow", "/b", "/c")
    options = {"url": url, "full_text": True, "full_text_limit": 2, "full_text_timeout": 1}
    page = await build(SourceSpec(name="wire", kind="feed", options=options), context).poll(None)
    assert len(page.articles) == 4
    assert page.counts["full_text_skipped"] == 2
    assert page.counts["full_text_timeout"] >= 1
    assert page.counts["full_text_timeout"] + page.counts.get("full_text_ok", 0) == 2


async def test_a_link_to_a_private_address_is_refused(site: Site, context: ConnectorContext) -> None:
    full_text = FullText(context.fetcher, context.workers, context.clock)
    for url in ("http://10.0.0.1/page", "http://169.254.169.254/latest/meta-data/"):
        with pytest.raises(SourceError) as caught:
            await full_text.text(url)
        assert caught.value.code == "blocked_address"
    assert site.requests == []


@pytest.mark.parametrize(
    ("status", "body", "allowed"),
    [
        (200, "", True),
        (200, "User-agent: *\nDisallow: /", False),
        (200, "User-agent: riskwire\nDisallow: /page\n\nUser-agent: *\nDisallow:", False),
        (200, "User-agent: other\nDisallow: /", True),
        (404, "", True),
        (403, "", True),
        (429, "", False),
        (500, "", False),
    ],
)
async def test_robots(status: int, body: str, allowed: bool, site: Site, context: ConnectorContext) -> None:
    site.put("/robots.txt", body, status=status)
    assert await Robots(context.fetcher, context.clock).allows(site.url("/page")) is allowed


async def test_robots_are_asked_again_after_an_hour(site: Site, context: ConnectorContext, clock: ManualClock) -> None:
    robots = Robots(context.fetcher, context.clock)
    site.put("/robots.txt", "User-agent: *\nDisallow: /")
    assert not await robots.allows(site.url("/page"))
    site.put("/robots.txt", "")
    assert not await robots.allows(site.url("/page"))
    clock.advance(3601)
    assert await robots.allows(site.url("/page"))


async def test_a_redirect_to_another_site_asks_its_robots(site: Site, context: ConnectorContext) -> None:
    site.put("/robots.txt", "")
    site.redirect("/page", site.url("/other", host="127.0.0.3").replace("127.0.0.3", "localhost"))
    site.put("/other", PAGE, Content_Type="text/html")
    full_text = FullText(context.fetcher, context.workers, context.clock)
    assert "hundred jobs" in await full_text.text(site.url("/page"))
    assert [seen.path for seen in site.requests].count("/robots.txt") == 2
