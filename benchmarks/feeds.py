"""Polls every file of a feed corpus through the ``feed`` connector, served over loopback HTTP.

    python benchmarks/feeds.py CORPUS [--out DIR] [--limit N]

CORPUS is a folder of feeds, or of ``*.tar.gz`` with feeds, with an optional ``manifest.csv`` (columns ``collection path
xml_well_formed_expat expect``; ``expect`` is an expression in the manner of feedparser's tests). Headers that a file
states in its first comment (``Header: Content-Type: …``) are served with it.

Reports articles, named errors, crashes and hangs (both must be 0), the slowest, and for well-formed feeds how far the
entries and their key fields agree with two independent readings: the manifest's expectation, and a plain ElementTree
reading. Every disagreement is a line of ``disagreements.jsonl`` with the reason why, where one is known.
"""

from __future__ import annotations

import argparse
import ast
import asyncio
import csv
import io
import json
import re
import sys
import tarfile
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from aiohttp import web
from lxml import html as lxml_html

from connectors.base import ConnectorContext, SourceSpec, open_context
from connectors.feed.parse import parse_for_worker
from connectors.feed.source import build
from connectors.http import HttpPolicy
from monitor.core.clock import SystemClock
from monitor.core.errors import SourceError
from monitor.core.types import Article

HANG = 60.0
CONCURRENCY = 4
_HEADER = re.compile(rb"^\s*Header:\s*([\w-]+)\s*:\s*([^\r\n]*?)\s*$", re.MULTILINE)
_TYPES = {".html": "text/html", ".json": "application/feed+json", ".html-result": "text/html"}


@dataclass(slots=True)
class CorpusFile:
    """One file of the corpus with what the manifest says of it."""

    name: str
    body: bytes
    expect: str = ""
    well_formed: bool = False

    def headers(self) -> dict[str, str]:
        """The response headers to serve it with."""
        found = {"Content-Type": _TYPES.get(Path(self.name).suffix, "application/xml")}
        for name, value in _HEADER.findall(self.body[:4096]):
            found[name.decode().title()] = value.decode("latin-1")
        return found


@dataclass(slots=True)
class Outcome:
    """What became of one file: ``articles``, ``empty_feed``, ``no_text``, an error code, ``crash`` or ``hang``."""

    file: CorpusFile
    kind: str
    seconds: float
    articles: list[Article] = field(default_factory=list)
    counts: dict[str, int] = field(default_factory=dict)
    message: str = ""


@dataclass(slots=True)
class Report:
    """The whole run. ``checks`` counts comparisons by (oracle, field, agree)."""

    outcomes: list[Outcome]
    seconds: float
    checks: Counter[tuple[str, str, bool]]
    disagreements: list[dict[str, str]]

    def unexplained(self) -> list[dict[str, str]]:
        """Disagreements without a known reason."""
        return [item for item in self.disagreements if not item["why"]]


def load_corpus(root: Path) -> list[CorpusFile]:
    """Every file under ``root``, from archives and folders, in order of name."""
    manifest: dict[str, dict[str, str]] = {}
    if (root / "manifest.csv").exists():
        with (root / "manifest.csv").open(newline="", encoding="utf-8") as handle:
            manifest = {f"{row['collection']}/{row['path']}": row for row in csv.DictReader(handle)}
    files = []
    for name, body in _bodies(root):
        row = manifest.get(name)
        if manifest and row is None:
            continue
        files.append(
            CorpusFile(
                name=name,
                body=body,
                expect=row["expect"] if row else "",
                well_formed=bool(row and row["xml_well_formed_expat"] == "yes"),
            )
        )
    return sorted(files, key=lambda file: file.name)


def _bodies(root: Path) -> Iterator[tuple[str, bytes]]:
    for path in sorted(root.rglob("*")):
        if path.name.endswith(".tar.gz"):
            with tarfile.open(path) as archive:
                for member in archive:
                    handle = archive.extractfile(member) if member.isfile() else None
                    if handle is not None:
                        yield member.name, handle.read()
        elif path.is_file() and path.suffix in (".xml", ".rss", ".atom", ".json", ".html"):
            yield str(path.relative_to(root)), path.read_bytes()


async def run(files: list[CorpusFile]) -> Report:
    """Serves and polls all files."""
    by_path = {f"/{index}/{file.name}": file for index, file in enumerate(files)}

    async def serve(request: web.Request) -> web.Response:
        file = by_path[request.path]
        return web.Response(body=file.body, headers=file.headers())

    app = web.Application()
    app.router.add_get("/{tail:.*}", serve)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    port = runner.addresses[0][1]
    policy = HttpPolicy(allow_networks=("127.0.0.0/8",), per_host=CONCURRENCY)
    began = time.perf_counter()
    try:
        async with open_context(SystemClock(), policy) as context:
            gate = asyncio.Semaphore(CONCURRENCY)

            async def one(path: str, file: CorpusFile) -> Outcome:
                async with gate:
                    return await _poll(f"http://127.0.0.1:{port}{path}", file, context)

            outcomes = await asyncio.gather(*(one(path, file) for path, file in by_path.items()))
    finally:
        await runner.cleanup()
    seconds = time.perf_counter() - began
    checks: Counter[tuple[str, str, bool]] = Counter()
    disagreements: list[dict[str, str]] = []
    for outcome in outcomes:
        _compare(outcome, checks, disagreements)
    return Report(outcomes=outcomes, seconds=seconds, checks=checks, disagreements=disagreements)


async def _poll(url: str, file: CorpusFile, context: ConnectorContext) -> Outcome:
    source = build(SourceSpec(name=file.name, kind="feed", options={"url": url}), context)
    began = time.perf_counter()
    try:
        async with asyncio.timeout(HANG):
            page = await source.poll(None)
    except SourceError as error:
        return Outcome(file, error.code, time.perf_counter() - began, message=str(error))
    except TimeoutError:
        return Outcome(file, "hang", HANG, message="no end within the time cap")
    except Exception as error:  # noqa: BLE001 - crashes are what this looks for
        return Outcome(file, "crash", time.perf_counter() - began, message=repr(error))
    articles, counts = list(page.articles), dict(page.counts)
    kind = "articles" if articles else ("empty_feed" if counts.get("empty_feed") else "entry_without_text")
    if not articles and not counts.get(kind):
        kind = "crash"  # neither an article nor a counted reason
    return Outcome(file, kind, time.perf_counter() - began, articles, counts)


# --- agreement -------------------------------------------------------------------------------------------------------

_TITLE = {"title"}
_BODY = {"description", "summary"}
_DATES = {"published_parsed", "updated_parsed", "created_parsed", "published", "updated", "created"}
_ATOM = ("http://www.w3.org/2005/Atom", "http://purl.org/atom/ns#")
_RSS = (
    "",
    "http://purl.org/rss/1.0/",
    "http://my.netscape.com/rdf/simple/0.9/",
    "http://backend.userland.com/rss2",
    "http://purl.org/net/rss1.1#",
)


def plain(markup: str) -> str:
    """Markup to text by lxml, independently of the connector's own converter."""
    if "<" in markup or "&" in markup:
        try:
            tree = lxml_html.fromstring(f"<div>{markup}</div>")
        except (ValueError, lxml_html.etree.ParserError):
            return " ".join(markup.split())
        for skipped in tree.xpath(".//script|.//style|.//iframe|.//object|.//applet|.//template"):
            skipped.drop_tree()
        markup = " ".join(tree.itertext())
    return "".join(markup.split())


def _squeeze(text: str) -> str:
    return "".join(text.split())


def _compare(outcome: Outcome, checks: Counter[tuple[str, str, bool]], out: list[dict[str, str]]) -> None:
    file = outcome.file
    if not file.well_formed and not file.expect:
        return
    url = "http://127.0.0.1/"
    try:
        parsed = parse_for_worker(file.body, {"url": url, "headers": {k.lower(): v for k, v in file.headers().items()}})
    except SourceError:
        parsed = {"entries": []}
    entries: list[dict[str, Any]] = parsed["entries"]

    def note(oracle: str, name: str, agree: bool, ours: object, theirs: object) -> None:
        checks[oracle, name, agree] += 1
        if not agree:
            why = explain(outcome, oracle, name, theirs)
            out.append(
                {"file": file.name, "oracle": oracle, "field": name, "ours": str(ours)[:300],
                 "theirs": str(theirs)[:300], "outcome": outcome.kind, "why": why}
            )  # fmt: skip

    if "not bozo" in file.expect:
        readable = outcome.kind in ("articles", "empty_feed", "entry_without_text")
        note("manifest", "readable", readable, outcome.message or outcome.kind, "not bozo")
    if file.well_formed:
        items = xml_items(file.body)
        note("xml", "entries", len(entries) == len(items), len(entries), len(items))
        if len(entries) == len(items):
            for ours, theirs in zip(entries, items, strict=True):
                for name, value in theirs.items():
                    note("xml", name, *_agree(ours, name, value))
    with_text = [item for item in entries if item["title"] or item["body"]]
    given = len(outcome.articles) + outcome.counts.get("duplicates", 0)
    note("self", "articles", given == len(with_text), given, len(with_text))
    for index, name, value in expectations(file.expect):
        if name == "len":
            note("manifest", "entries", len(entries) == value, len(entries), value)
        elif name == "feed_title":
            title = str(parsed.get("title", ""))
            note("manifest", name, _squeeze(title) == plain(value), title, value)
        elif index < len(entries):
            note("manifest", name, *_agree(entries[index], name, value))
        else:
            note("manifest", name, False, "no such entry", value)


def _agree(ours: dict[str, Any], name: str, value: Any) -> tuple[bool, object, object]:
    if name in _TITLE:
        return _squeeze(ours["title"]) == plain(value), ours["title"], value
    if name in _BODY or name == "content":
        found = ours["body"] or ours["title"]
        return _squeeze(found) == plain(value) or not plain(value), found, value
    if name == "link":
        return ours["url"] == value.strip(), ours["url"], value
    if name in ("id", "guid"):
        return ours["guid"] == value.strip(), ours["guid"], value
    if name in _DATES:
        moment = datetime.fromtimestamp(ours["at"], UTC) if ours["at"] is not None else None
        return moment == _moment(value), moment, value
    raise AssertionError(name)


def _moment(value: Any) -> datetime | None:
    if isinstance(value, tuple):
        year, month, day, hour, minute, second = value[:6]
        return datetime(year, month, day, hour, minute, second, tzinfo=UTC)
    try:
        moment = datetime.fromisoformat(value.strip())
    except ValueError:
        try:
            moment = parsedate_to_datetime(value.strip())
        except ValueError:
            return None
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)


def xml_items(body: bytes) -> list[dict[str, str]]:
    """Items and entries with the key fields that stand there in the plainest way: one element, no markup inside."""
    try:
        tree = ElementTree.parse(io.BytesIO(body))  # its own corpus, already known to be well formed
    except ElementTree.ParseError:
        return []
    found: list[dict[str, str]] = []
    cdf = tree.getroot().tag == "CHANNEL"
    for element in tree.iter():
        space, name = _split(element.tag)
        if cdf and name.lower() == "item":
            found.append({})
        if name not in ("item", "entry") or (space not in _RSS and space not in _ATOM):
            continue
        item: dict[str, str] = {}
        for target, wanted in (
            ("title", ("title",)),
            ("guid", ("guid", "id")),
            ("published", ("pubDate", "published")),
        ):
            matches = [c for c in element if _split(c.tag)[0] == space and _split(c.tag)[1] in wanted]
            if len(matches) != 1 or len(matches[0]) or not (matches[0].text or "").strip():
                continue
            if matches[0].get("mode") is None and "/" not in matches[0].get("type", ""):
                item[target] = (matches[0].text or "").strip()
        links = [c for c in element if _split(c.tag) == (space, "link")]
        if len(links) == 1 and links[0].get("rel", "alternate") == "alternate":
            href = (links[0].get("href") or links[0].text or "").strip()
            if href.startswith(("http://", "https://")):
                item["link"] = href
        found.append(item)
    return found


def _split(tag: object) -> tuple[str, str]:
    if not isinstance(tag, str):
        return "?", "?"
    space, _, name = tag.rpartition("}")
    return space.lstrip("{"), name


def expectations(text: str) -> Iterator[tuple[int, str, Any]]:
    """(entry index, field, value) for each comparison of an entry's key field with a constant; ``len`` for counts."""
    try:
        tree = ast.parse(text, mode="eval")
    except SyntaxError:
        return
    parts = tree.body.values if isinstance(tree.body, ast.BoolOp) and isinstance(tree.body.op, ast.And) else [tree.body]
    for part in parts:
        if not (isinstance(part, ast.Compare) and len(part.ops) == 1 and isinstance(part.ops[0], ast.Eq)):
            continue
        try:
            value = ast.literal_eval(part.comparators[0])
        except ValueError:
            continue
        left = ast.unparse(part.left)
        if left == "len(entries)":
            yield 0, "len", value
        elif left in ("feed['title']", "feed.title") and isinstance(value, str):
            yield 0, "feed_title", value
        elif match := re.fullmatch(r"entries\[(\d+)\](?:\['(\w+)'\]|\.(\w+))", left):
            name = match[2] or match[3]
            if name in _TITLE | _BODY | _DATES | {"link", "id", "guid"} and isinstance(value, str | tuple):
                yield int(match[1]), name, value
        elif match := re.fullmatch(r"entries\[(\d+)\]\['(title|summary)_detail'\]\['value'\]", left):
            yield int(match[1]), match[2], value
        elif match := re.fullmatch(r"entries\[(\d+)\]\['content'\]\[0\]\['value'\]", left):
            yield int(match[1]), "content", value


def explain(outcome: Outcome, oracle: str, name: str, theirs: object) -> str:
    """Why a disagreement is meant, or "" when it is not known to be."""
    if outcome.kind == "entity_declaration":
        return "entity declarations are refused by policy"
    if isinstance(theirs, str) and "127.0.0.1:8097" in theirs and name == "link":
        return "the expectation holds the port of another test server"
    return next(
        (why for end, field_name, why in _KNOWN if (outcome.file.name.endswith(end) and name == field_name)), ""
    )


_KNOWN = (
    ("/base/http_entry_id_base_content_location.xml", "id", "ids are kept as written, so that they outlive a move"),
    ("/base/http_entry_id_base_docuri.xml", "id", "ids are kept as written, so that they outlive a move"),
    ("/atom10/entry_content_and_summary.xml", "summary", "the content, longer than the summary, is taken as the body"),
    ("/rss/item_description_and_summary.xml", "description", "of two texts the content is taken as the body"),
    ("/rss/item_summary_and_description.xml", "summary", "of two texts the content is taken as the body"),
    ("/atom10/entry_content_base64.xml", "content", "application/octet-stream is not text"),
    ("/atom10/entry_content_base64_2.xml", "content", "application/octet-stream is not text"),
    ("/rss/item_description_not_a_doctype.xml", "description", "markup without any word"),
    (
        "/sanitize/item_content_encoded_script_nested_cdata.xml",
        "content",
        "a literal CDATA mark; no script is ever run",
    ),
    ("/entities/lang.xml", "feed_title", "text is normalised to NFC, which has another sign for this bracket"),
    ("/entities/rang.xml", "feed_title", "text is normalised to NFC, which has another sign for this bracket"),
    ("/encoding/bozo_linenoise.xml", "summary", "noise: control characters are dropped, empty brackets are kept"),
    ("/sanitize/xml_malicious_comment.xml", "feed_title", "a comment without end; its words are kept as text"),
    ("/encoding/testdata/utf8-incorrect-prolog.xml", "title", "the XML prolog lies; the bytes are UTF-8 and read so"),
)


# --- report ----------------------------------------------------------------------------------------------------------


def table(report: Report) -> str:
    """The figures as text."""
    kinds = Counter(outcome.kind for outcome in report.outcomes)
    articles = sum(len(outcome.articles) for outcome in report.outcomes)
    lines = [
        f"{len(report.outcomes)} feeds in {report.seconds:.1f} s, {articles} articles",
        "",
        "outcome                feeds",
    ]
    lines += [f"{kind:<22} {count:>5}" for kind, count in kinds.most_common()]
    lines += [f"{kind:<22} {0:>5}" for kind in ("crash", "hang") if kind not in kinds]
    tally: Counter[str] = Counter()
    for outcome in report.outcomes:
        tally.update(outcome.counts)
    lines += ["", "counts over all pages: " + ", ".join(f"{name} {count}" for name, count in sorted(tally.items()))]
    lines += ["", "slowest"]
    for outcome in sorted(report.outcomes, key=lambda item: -item.seconds)[:5]:
        lines.append(f"{outcome.seconds:8.3f} s  {outcome.file.name}")
    lines += ["", "agreement               checks  agree  explained  unexplained"]
    why = Counter((item["oracle"], item["field"], bool(item["why"])) for item in report.disagreements)
    for oracle, name in sorted({(key[0], key[1]) for key in report.checks}):
        agree, differ = report.checks[oracle, name, True], report.checks[oracle, name, False]
        known, unknown = why[oracle, name, True], why[oracle, name, False]
        lines.append(f"{oracle + ' ' + name:<24} {agree + differ:>5}  {agree:>5}  {known:>9}  {unknown:>11}")
    return "\n".join(lines)


def main() -> int:
    """The command."""
    parser = argparse.ArgumentParser(description="Polls a feed corpus through the feed connector.")
    parser.add_argument("corpus", type=Path)
    parser.add_argument("--out", type=Path, help="folder for disagreements.jsonl and outcomes.csv")
    parser.add_argument("--limit", type=int, default=0)
    options = parser.parse_args()
    files = load_corpus(options.corpus)
    if not files:
        print(f"There are no feeds in {options.corpus}.", file=sys.stderr)
        return 2
    report = asyncio.run(run(files[: options.limit or None]))
    print(table(report))
    if options.out:
        options.out.mkdir(parents=True, exist_ok=True)
        with (options.out / "disagreements.jsonl").open("w", encoding="utf-8") as handle:
            for item in report.disagreements:
                handle.write(json.dumps(item, ensure_ascii=False) + "\n")
        with (options.out / "outcomes.csv").open("w", encoding="utf-8", newline="") as handle:
            writer = csv.writer(handle)
            writer.writerow(["file", "outcome", "articles", "seconds", "message"])
            for outcome in report.outcomes:
                writer.writerow(
                    [outcome.file.name, outcome.kind, len(outcome.articles), f"{outcome.seconds:.4f}", outcome.message]
                )
    bad = sum(outcome.kind in ("crash", "hang") for outcome in report.outcomes)
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
