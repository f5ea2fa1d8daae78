"""Makes the articles of the scenario: three weeks and more of ordinary news, the planned events, and the traps."""

from __future__ import annotations

import math
import random
import re
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from monitor.core.types import Scope, SeriesKey
from monitor.demo.feeds import FEEDS, SILENT_FEED, DemoFeed
from monitor.demo.scenario import DemoArticle, PlannedIncident, Trap
from monitor.demo.writer import TONES, Writer, read_data

# The ordinary news: a little more good than bad, and nothing grave.
TONE_WEIGHTS = (0.36, 0.43, 0.21)
WEEKEND = 0.2
DAY_JITTER = 0.10
"""Standard deviation of the logarithm of a day's volume."""
REPRINTED = 0.07
"""Share of the agency's articles that other papers print as well."""
SILENCE_BEGINS = timedelta(days=2, hours=8)
"""How long before the end the silent feed falls silent."""
SUMMARY_SHARE = 0.75

# Articles per hour of the local day, relative.
_DAY = (2, 1, 1, 1, 2, 5, 10, 18, 24, 25, 24, 22, 18, 20, 23, 24, 23, 19, 14, 10, 8, 6, 4, 3)

_EDITS: Mapping[str, tuple[str, ...]] = {
    "en": ("{title} - {outlet}", "UPDATE 1-{title}", "{title}", "{title} | {outlet}", "RPT-{title}", "UPDATE 2-{title}",
           "Breaking: {title}"),
    "zh": ("快讯：{title}", "{title} - {outlet}", "{title}", "更新：{title}", "{title}|{outlet}"),
}  # fmt: skip
_SLUG = re.compile(r"[^a-z0-9]+")


@dataclass(frozen=True, slots=True)
class World:
    """What was made."""

    articles: tuple[DemoArticle, ...]
    truth: tuple[PlannedIncident, ...]
    traps: tuple[Trap, ...]


def build(start: datetime, end: datetime, seed: int) -> World:
    """The whole world between ``start`` and ``end``; equal arguments give equal worlds."""
    return _Builder(start, end, seed).world()


class _Builder:
    def __init__(self, start: datetime, end: datetime, seed: int) -> None:
        self.start = start
        self.end = end
        self.rng = random.Random(seed)
        self.writers = {lang: Writer(lang, random.Random(f"{seed} {lang}")) for lang in ("en", "zh")}
        self.events: dict[str, list[dict[str, Any]]] = read_data("incidents.toml")
        self.lines: Mapping[str, Mapping[str, list[str]]] = read_data("summaries.toml")["incident"]
        self.silent_from = end - SILENCE_BEGINS
        self.articles: list[DemoArticle] = []
        self.stories = 0
        self.truth: list[PlannedIncident] = []
        self.traps: list[Trap] = []

    def world(self) -> World:
        for feed in FEEDS:
            self._baseline(feed)
        self._reprints()
        for event in self.events["incident"]:
            self._incident(event)
        for event in self.events["trap"]:
            self._trap(event)
        self.truth.append(
            PlannedIncident(
                name="Pacific Tape falls silent",
                key=SeriesKey(scope=Scope.SOURCE, value=SILENT_FEED),
                kind="a feed that answers but says nothing new",
                start=self.silent_from,
                end=self.end,
                stories=0,
            )
        )
        kept = [article for article in self.articles if self.start <= article.published_at <= self.end]
        kept.sort(key=lambda article: (article.published_at, article.guid))
        return World(tuple(kept), tuple(self.truth), tuple(self.traps))

    # Ordinary news

    def _baseline(self, feed: DemoFeed) -> None:
        topics, weights = list(feed.topics), list(feed.topics.values())
        hours = [sum(_DAY[(hour + zone) % 24] for zone in feed.zones) for hour in range(24)]
        days = (self.end - self.start).days + 1
        for number in range(days):
            day = self.start + timedelta(days=number)
            volume = feed.weekday_articles * math.exp(self.rng.gauss(0, DAY_JITTER))
            if day.weekday() >= 5:
                volume *= WEEKEND
            whole = int(volume)
            for _ in range(whole + (self.rng.random() < volume - whole)):
                hour = self.rng.choices(range(24), hours)[0]
                moment = day + timedelta(hours=hour, seconds=self.rng.randrange(3600))
                if feed.name != SILENT_FEED or moment < self.silent_from:
                    self._ordinary(feed, moment, self.rng.choices(topics, weights)[0])

    def _ordinary(self, feed: DemoFeed, moment: datetime, topic: str) -> None:
        writer = self.writers[feed.lang]
        if topic == "energy_oil" and any(
            event["topic"] == topic and moment >= event["start"] for event in self.events["incident"]
        ):
            topic = "company_product_news"  # nobody prints calm news about oil on that day
        tone = self.rng.choices(TONES, TONE_WEIGHTS)[0]
        if topic == "stock":
            once = writer.one_off()
            if once is not None:
                self._print(feed, moment, once[1], "general_news_opinion", once[0])
                return
            topic = "general_news_opinion"
        harmed = min(event["start"] for event in self.events["incident"]) - timedelta(hours=36)
        avoid = frozenset({"house"}) if moment >= harmed else frozenset()
        title = writer.headline(topic, tone, avoid=avoid)
        while title is None:
            topic, tone = self.rng.choice(writer.topics), self.rng.choices(TONES, TONE_WEIGHTS)[0]
            title = writer.headline(topic, tone, avoid=avoid)
        self._print(feed, moment, title, topic, tone)

    def _reprints(self) -> None:
        """Other papers print some of the agency's articles again, within two hours, under edited titles."""
        agencies = {"en": "harbour-wire", "zh": "huihai-kuaixun"}
        for article in list(self.articles):
            if article.feed == agencies[article.lang] and self.rng.random() < REPRINTED:
                self._copy(article, self.rng.randint(1, 4 if article.lang == "en" else 2), timedelta(hours=2))

    # Planned events

    def _incident(self, event: Mapping[str, Any]) -> None:
        key = SeriesKey.parse(event["key"])
        start, end = event["start"], event["end"]
        printed: list[DemoArticle] = []
        for lang in ("en", "zh"):
            headlines: list[str] = event[lang]
            feeds = self._feeds(lang, start)
            details = self.lines[event["key"]][lang]
            for number, title in enumerate(headlines):
                share = (number + self.rng.uniform(0.1, 0.9)) / len(headlines)
                printed.append(
                    self._print(
                        feeds[number % len(feeds)],
                        start + (end - start) * share,
                        title,
                        event["topic"],
                        "negative",
                        incident=str(key),
                        summary=details[number % len(details)],
                    )
                )
        stories = len(printed)
        if event["copied"]:
            stories += 1
            first = self._print(
                self._feeds("en", start)[0], start, event["syndicated"], event["topic"], "negative",
                incident=str(key), summary=self.lines[event["key"]]["en"][0],
            )  # fmt: skip
            self._copy(first, event["copied"] - 1, (end - start) * 0.6)
        for _ in range(event["copies"]):
            self._copy(self.rng.choice(printed), 1, timedelta(minutes=50))
        self.truth.append(
            PlannedIncident(name=event["name"], key=key, kind=event["kind"], start=start, end=end, stories=stories)
        )

    def _trap(self, event: Mapping[str, Any]) -> None:
        start, end, topic = event["start"], event["end"], event["topic"]
        self.traps.append(Trap(name=event["name"], kind=event["kind"], topic=topic, start=start, end=end))
        for number in range(event.get("stories", 0)):
            lang = "zh" if number % 3 == 2 else "en"
            tone = "positive" if number % 5 < 3 else "neutral"
            title = self.writers[lang].headline(topic, tone, avoid=frozenset({"house"}))
            if title is not None:
                moment = start + (end - start) * self.rng.random()
                self._print(self.rng.choice(self._feeds(lang, start)), moment, title, topic, tone, trap=event["name"])
        if event.get("copied"):
            feed = self._feeds("en", start)[0]
            first = self._print(feed, start, event["syndicated"], topic, "negative", trap=event["name"])
            self._copy(first, event["copied"] - 1, end - start)

    def _feeds(self, lang: str, moment: datetime) -> Sequence[DemoFeed]:
        """The feeds that print in ``lang`` at ``moment``, the agency first."""
        return [f for f in FEEDS if f.lang == lang and (f.name != SILENT_FEED or moment < self.silent_from)]

    # Printing

    def _copy(self, original: DemoArticle, copies: int, within: timedelta) -> None:
        """Prints ``copies`` edited copies of one story in the feeds of its language, its own included."""
        edits = _EDITS[original.lang]
        turn = self.rng.randrange(len(edits) * 12)
        for number in range(copies):
            moment = original.published_at + within * self.rng.uniform(0.04, 1)
            feeds = self._feeds(original.lang, moment)
            feed = feeds[(number + turn) % len(feeds)]
            title = edits[(number + turn) % len(edits)].format(title=original.title, outlet=feed.title)
            self._print(
                feed, moment, title, original.topic, original.tone, story=original.story, incident=original.incident,
                trap=original.trap, summary=original.summary,
            )  # fmt: skip

    def _print(
        self, feed: DemoFeed, moment: datetime, title: str, topic: str, tone: str, *,
        story: str = "", incident: str = "", trap: str = "", summary: str | None = None,
    ) -> DemoArticle:  # fmt: skip
        number = len(self.articles) + 1
        if not story:
            self.stories += 1
            story = f"s{self.stories:04}"
        if summary is None:
            summary = self.writers[feed.lang].summary(topic, moment) if self.rng.random() < SUMMARY_SHARE else ""
        moment = moment.replace(microsecond=0)
        ascii_title = unicodedata.normalize("NFKD", title).encode("ascii", "ignore").decode().lower()
        slug = _SLUG.sub("-", ascii_title).strip("-")[:60].strip("-") or "news"
        url = f"https://{feed.domain}/{moment:%Y/%m/%d}/{slug}-{number:05}"
        article = DemoArticle(
            guid=f"tag:{feed.domain},2026:{number:05}",
            feed=feed.name,
            title=title,
            summary=summary if feed.summaries else "",
            url=url,
            published_at=moment,
            lang=feed.lang,
            topic=topic,
            tone=tone,
            story=story,
            incident=incident,
            trap=trap,
        )
        self.articles.append(article)
        return article
