"""Every format, many encodings, and everything that may be wrong with a feed, read in this process."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from connectors.feed.parse import parse_feed
from monitor.core.errors import MalformedError

URL = "https://news.example/feed"

RSS_091 = """<?xml version="1.0"?>
<!DOCTYPE rss PUBLIC "-//Netscape Communications//DTD RSS 0.91//EN" "http://my.netscape.com/publish/formats/rss-0.91.dtd">
<rss version="0.91"><channel><title>Wire</title><link>http://news.example/</link><language>en-us</language>
<item><title>Bank fails</title><link>http://news.example/1</link><description>It was small.</description></item>
</channel></rss>"""
RSS_20 = """<rss version="2.0" xmlns:content="http://purl.org/rss/1.0/modules/content/"
 xmlns:sy="http://purl.org/rss/1.0/modules/syndication/"><channel><title>Wire</title><ttl>30</ttl>
<sy:updatePeriod>hourly</sy:updatePeriod><sy:updateFrequency>4</sy:updateFrequency>
<skipHours><hour>3</hour><hour>24</hour></skipHours><skipDays><day>Sunday</day></skipDays>
<item><guid isPermaLink="false">tag-1</guid><title>Fed &amp;amp; ECB cut &lt;b&gt;rates&lt;/b&gt;</title>
<link>/1?utm_source=rss</link><pubDate>Mon, 02 Mar 2026 08:59:00 +0100</pubDate><description>Short.</description>
<content:encoded><![CDATA[<p>Long <a href="x">text</a>.</p><script>alert(1)</script><p>Second.</p>]]></content:encoded>
</item></channel></rss>"""
RDF = """<rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#" xmlns="http://purl.org/rss/1.0/"
 xmlns:dc="http://purl.org/dc/elements/1.1/"><channel rdf:about="http://news.example/"><title>Wire</title></channel>
<item rdf:about="http://news.example/1"><title>Default looms</title><link>http://news.example/1</link>
<dc:date>2026-03-02T08:00:00Z</dc:date></item></rdf:RDF>"""
ATOM_03 = """<feed version="0.3" xmlns="http://purl.org/atom/ns#" xml:lang="de"><title>Draht</title>
<entry><title>Bank pleite</title><id>tag:news.example,2026:1</id><link rel="alternate" href="http://news.example/1"/>
<issued>2026-03-02T08:00:00+01:00</issued>
<content type="text/html" mode="escaped">&lt;p&gt;Sehr&lt;/p&gt;</content></entry></feed>"""
ATOM_10 = """<feed xmlns="http://www.w3.org/2005/Atom"><title type="html">A &amp;lt; B</title>
<entry><title type="text">Profit &lt; loss at &lt;AAPL.O&gt;</title><id>urn:x:1</id>
<link rel="self" href="http://news.example/s"/>
<link href="http://news.example/1"/><updated>2026-03-02T08:00:00Z</updated>
<content type="xhtml"><div xmlns="http://www.w3.org/1999/xhtml">Deep <b>cuts</b><br/>ahead</div></content>
</entry></feed>"""
CDF = """<CHANNEL HREF="http://news.example/"><TITLE>Wire</TITLE><ITEM HREF="http://news.example/1">
<TITLE>Merger off</TITLE><ABSTRACT>No deal.</ABSTRACT></ITEM></CHANNEL>"""
JSON_FEED = json.dumps({
    "version": "https://jsonfeed.org/version/1.1", "title": "Wire", "language": "zh-CN",
    "items": [{"id": 7, "title": "央行降息", "url": "/1", "date_published": "2026-03-02T08:00:00+08:00",
               "content_html": "<p>正文</p>"}, {"id": "8", "content_text": "No title"}, "nonsense"],
})  # fmt: skip


def read(body: str | bytes, **headers: str) -> dict[str, Any]:
    raw = body.encode() if isinstance(body, str) else body
    return parse_feed(raw, url=URL, headers={name.replace("_", "-"): value for name, value in headers.items()})


def code_of(body: str | bytes, **headers: str) -> str:
    with pytest.raises(MalformedError) as caught:
        read(body, **headers)
    return caught.value.code


@pytest.mark.parametrize(
    ("body", "version", "title", "text", "url", "guid"),
    [
        (RSS_091, "rss091n", "Bank fails", "It was small.", "http://news.example/1", ""),
        (
            RSS_20,
            "rss20",
            "Fed & ECB cut rates",
            "Long text. Second.",
            "https://news.example/1?utm_source=rss",
            "tag-1",
        ),
        (RDF, "rss10", "Default looms", "", "http://news.example/1", "http://news.example/1"),
        (ATOM_03, "atom03", "Bank pleite", "Sehr", "http://news.example/1", "tag:news.example,2026:1"),
        (ATOM_10, "atom10", "Profit < loss at <AAPL.O>", "Deep cuts ahead", "http://news.example/1", "urn:x:1"),
        (CDF, "cdf", "Merger off", "No deal.", "http://news.example/1", ""),
        (JSON_FEED, "json11", "央行降息", "正文", "https://news.example/1", "7"),
    ],
)
def test_formats(body: str, version: str, title: str, text: str, url: str, guid: str) -> None:
    result = read(body)
    item = result["entries"][0]
    assert result["version"] == version
    assert (item["title"], item["body"], item["url"], item["guid"]) == (title, text, url, guid)


def test_what_a_feed_says_of_itself() -> None:
    result = read(RSS_20)
    assert (result["title"], result["ttl"], result["skip_hours"], result["skip_days"]) == ("Wire", 1800.0, [0, 3], [6])
    assert read(ATOM_10)["title"] == "A < B"
    assert read(ATOM_03)["entries"][0]["lang"] == "de"
    assert read(JSON_FEED)["lang"] == "zh-CN"
    assert read(JSON_FEED)["counts"] == {"entry_malformed": 1}


def test_dates_are_read_with_their_zone() -> None:
    assert read(RSS_20)["entries"][0]["at"] == 1772438340.0  # 07:59 UTC
    assert read(ATOM_03)["entries"][0]["at"] == 1772434800.0
    assert read(JSON_FEED)["entries"][0]["at"] == 1772409600.0


@pytest.mark.parametrize(
    ("encoding", "text"),
    [("utf-8", "Zürich 央行 🚀"), ("iso-8859-1", "Zürich"), ("windows-1252", "Zürich – “ja”"),
     ("windows-1251", "Банк России"), ("koi8-r", "Банк России"), ("gb2312", "中国人民银行"),
     ("gb18030", "中国人民银行"),
     ("big5", "臺灣銀行"), ("shift_jis", "日本銀行"), ("euc-jp", "日本銀行"), ("euc-kr", "한국은행"),
     ("utf-16", "央行 Zürich"),
     ("utf-32", "央行 Zürich")],
)  # fmt: skip
def test_encodings(encoding: str, text: str) -> None:
    body = f"<?xml version='1.0' encoding='{encoding}'?>" + RSS_091[RSS_091.index("<rss") :].replace("Bank fails", text)
    assert read(body.encode(encoding))["entries"][0]["title"] == text


@pytest.mark.parametrize("kind", ["", "text/plain", "text/html", "text/xml", "application/octet-stream"])
@pytest.mark.parametrize(
    "encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-32-le", "utf-32-be"]
)
def test_undeclared_unicode_is_recognised_under_any_content_type(kind: str, encoding: str) -> None:
    body = "<?xml version='1.0'?><rss version='2.0'><channel><item><title>Zürich 央行</title></item></channel></rss>"
    assert read(body.encode(encoding), content_type=kind)["entries"][0]["title"] == "Zürich 央行"


def test_the_charset_of_the_header_is_honoured() -> None:
    body = "<rss version='2.0'><channel><item><title>Банк</title></item></channel></rss>".encode("windows-1251")
    result = read(body, content_type="application/rss+xml; charset=windows-1251")
    assert result["entries"][0]["title"] == "Банк"


LAUGHS = "<!DOCTYPE rss [<!ENTITY a 'ha'><!ENTITY b '&a;&a;&a;&a;&a;&a;&a;&a;'><!ENTITY c '&b;&b;&b;&b;&b;&b;&b;&b;'>]>"
ITEM = "<rss version='2.0'><channel><item><title>&c;</title></item></channel></rss>"


@pytest.mark.parametrize(
    "body",
    [
        f"<?xml version='1.0'?>{LAUGHS}{ITEM}",
        f"<?xml version='1.0'?>{LAUGHS}{ITEM}".encode("utf-16"),
        f"<?xml version='1.0' encoding='utf-32'?>{LAUGHS}{ITEM}".encode("utf-32"),
        f"<!-- <rss> -->{LAUGHS}{ITEM}",
        f"<!DOCTYPE rss [<!ENTITY x SYSTEM 'file:///etc/passwd'>]>{ITEM}",
        f"<!DOCTYPE rss [<!ENTITY % p SYSTEM 'http://127.0.0.1/evil.dtd'> %p;]>{ITEM}",
        f"<!DOCTYPE rss [<!-- x --><!entity a 'ha'>]>{ITEM}",
        f"<!DOCTYPE rss [<!ENTITY a '<b>'>]>{ITEM}",
        f"<!DOCTYPE rss [<!ELEMENT rss ANY><!ENTITY a 'x'>]>{ITEM}",
        f"  \n junk {LAUGHS}{ITEM}",
    ],
)
def test_entity_declarations_are_refused(body: str | bytes) -> None:
    assert code_of(body) == "entity_declaration"


@pytest.mark.parametrize(
    "body",
    [
        RSS_091,
        "<!DOCTYPE rss>" + RSS_20,
        "<!DOCTYPE rss [<!ELEMENT rss ANY>]>" + RSS_20,
        RSS_20.replace("Short.", "Use &lt;!ENTITY x 'y'&gt; in a DTD"),
        RSS_20.replace("<p>Long", "<pre><!ENTITY x 'y'></pre><p>Long"),
    ],
)
def test_a_doctype_or_talk_of_entities_is_no_offence(body: str) -> None:
    assert read(body)["entries"]


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ("", "empty"),
        (" \n\t\0", "empty"),
        ("<!DOCTYPE html><html><head><title>x</title></head><body>Hi</body></html>", "not_a_feed"),
        ("just text", "not_a_feed"),
        ("\x89PNG\r\n\x1a\n\0\0\0\rIHDR", "not_a_feed"),
        ("<note><to>you</to></note>", "not_a_feed"),
        ("<note><to>you</note>", "malformed"),
        ("{}", "not_a_feed"),
        ('{"items": 3}', "not_a_feed"),
        ('{"items": [', "malformed"),
        ("[" * 100_000, "not_a_feed"),
        ('{"items":' + "[" * 100_000, "malformed"),
        ("<rss version='2.0'><channel><", "malformed"),
    ],
)
def test_what_is_no_feed_is_named(body: str, code: str) -> None:
    assert code_of(body) == code


def test_a_web_page_points_to_its_feed() -> None:
    page = '<html><head><link rel="alternate" type="application/rss+xml" href="/rss?a=1&amp;b=2"></head></html>'
    with pytest.raises(MalformedError) as caught:
        read(page)
    assert "https://news.example/rss?a=1&b=2" in caught.value.hint


def test_a_damaged_feed_gives_what_can_be_read() -> None:
    result = read(RSS_20.replace("</channel></rss>", "<item><title>Cut o"))
    assert result["entries"][0]["title"] == "Fed & ECB cut rates"
    assert result["counts"]["feed_not_well_formed"] == 1


def test_an_empty_feed_is_a_feed() -> None:
    assert read("<rss version='2.0'><channel><title>Quiet</title></channel></rss>")["entries"] == []
    assert read("<CHANNEL><TITLE>Quiet</TITLE></CHANNEL>")["title"] == "Quiet"


def test_odd_texts() -> None:
    def title_of(text: str) -> str:
        item = f"<rss version='2.0'><channel><item><title>{text}</title></item></channel></rss>"
        found: str = read(item)["entries"][0]["title"]
        return found

    assert len(title_of("x" * 1_000_000)) == 2_000
    assert title_of("Bank\0 of\0 X") == "Bank of X"
    assert title_of("Банк 银行 بنك bank") == "Банк 银行 بنك bank"
    assert title_of("a\n\t  b") == "a b"
    assert title_of("&lt;script&gt;alert(1)&lt;/script&gt;Up") == "Up"
    assert title_of("AT&amp;amp;T rises 5% &lt; 6%") == "AT&T rises 5% < 6%"


@pytest.mark.parametrize("link", ["javascript:alert(1)", "file:///etc/passwd", "http://", "x" * 5000])
def test_unusable_links_are_dropped(link: str) -> None:
    result = read(f"<rss version='2.0'><channel><item><title>t</title><link>{link}</link></item></channel></rss>")
    item = result["entries"][0]
    assert item["url"] == "" or item["url"].startswith("https://news.example/")
    if not link.startswith("x"):
        assert (item["url"], result["counts"].get("link_unusable")) == ("", 1)


def test_ids_are_kept_as_written() -> None:
    body = "<rss version='2.0'><channel><item><title>t</title><guid>4711</guid></item></channel></rss>"
    item = read(body)["entries"][0]
    assert (item["guid"], item["url"]) == ("4711", "")
    permalink = body.replace("4711", "http://news.example/4711")
    assert read(permalink)["entries"][0]["url"] == "http://news.example/4711"


@settings(max_examples=150, deadline=None)
@given(st.binary(max_size=300) | st.text(max_size=300).map(lambda text: text.encode("utf-8", "surrogatepass")))
def test_no_bytes_crash_the_parser(noise: bytes) -> None:
    middle = len(RSS_20) // 2
    for body in (noise, RSS_20[:middle].encode() + noise + RSS_20[middle:].encode(), b'{"items":[' + noise):
        try:
            result = parse_feed(body, url=URL, headers={})
        except MalformedError:
            continue
        json.dumps(result)
