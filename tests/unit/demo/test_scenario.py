from __future__ import annotations

import re
from collections import Counter, defaultdict
from datetime import timedelta

import pytest

from monitor.core.errors import UsageError
from monitor.core.text import guess_language, has_han
from monitor.core.types import Scope
from monitor.demo.feeds import SILENT_FEED, Format
from monitor.demo.scenario import Scenario
from monitor.entities.matcher import EntityMatcher
from monitor.entities.watchlist import load_watchlist


def test_it_spans_three_weeks_and_the_incident_days(scenario: Scenario) -> None:
    first = min(planned.start for planned in scenario.truth)
    assert scenario.end - scenario.start >= timedelta(days=23)
    assert first - scenario.start >= timedelta(days=21)
    assert all(scenario.start <= a.published_at <= scenario.end for a in scenario.articles)
    assert all(planned.end <= scenario.end for planned in scenario.truth)


def test_the_same_world_every_time(scenario: Scenario) -> None:
    assert Scenario.load() == scenario


def test_size_languages_and_formats(scenario: Scenario) -> None:
    assert 2500 <= len(scenario.articles) <= 3500
    languages = Counter(article.lang for article in scenario.articles)
    assert languages["zh"] > 600
    assert languages["en"] > 1800
    assert {feed.format for feed in scenario.feeds} == set(Format)
    assert sum(feed.lang == "zh" for feed in scenario.feeds) == 2
    assert len({article.topic for article in scenario.articles}) == 20


def test_ids_and_urls_are_unique(scenario: Scenario) -> None:
    assert len({article.guid for article in scenario.articles}) == len(scenario.articles)
    assert len({article.url for article in scenario.articles}) == len(scenario.articles)


def test_headlines_are_varied_and_complete(scenario: Scenario) -> None:
    titles_by_story = defaultdict(set)
    for article in scenario.articles:
        assert not re.search(r"[{}]", article.title + article.summary)
        assert guess_language(article.title) == article.lang, article.title
        titles_by_story[article.story].add(article.title)
    originals = Counter(next(iter(sorted(titles, key=len))) for titles in titles_by_story.values())
    assert max(originals.values()) == 1, "no headline is used for two stories"
    assert len(titles_by_story) > 2500


def test_nights_and_weekends_are_quiet(scenario: Scenario) -> None:
    calm = [a for a in scenario.articles if a.published_at < scenario.start + timedelta(days=21)]
    per_day = Counter(article.published_at.date() for article in calm)
    weekdays = [count for day, count in per_day.items() if day.weekday() < 5]
    weekends = [count for day, count in per_day.items() if day.weekday() >= 5]
    assert min(weekdays) > 3 * max(weekends)
    zh = Counter(a.published_at.hour for a in calm if a.lang == "zh")
    assert sum(zh[hour] for hour in (16, 17, 18, 19)) * 4 < sum(zh[hour] for hour in (1, 2, 3, 6))  # night in China
    us = Counter(a.published_at.hour for a in calm if a.feed == "ledger-street")
    assert sum(us[hour] for hour in (5, 6, 7, 8)) * 4 < sum(us[hour] for hour in (12, 13, 14, 18))


def test_ordinary_news_is_mostly_calm(scenario: Scenario) -> None:
    tones = Counter(article.tone for article in scenario.articles if not article.incident and not article.trap)
    assert tones["negative"] < 0.25 * sum(tones.values())


def test_every_planned_surge_has_enough_distinct_negative_headlines(scenario: Scenario) -> None:
    surges = [planned for planned in scenario.truth if planned.key.scope is not Scope.SOURCE]
    assert len(surges) == 3
    assert len({planned.kind for planned in scenario.truth}) == 4
    for planned in surges:
        own = [article for article in scenario.articles if article.incident == str(planned.key)]
        assert len({article.story for article in own}) == planned.stories >= 15
        assert all(article.tone == "negative" for article in own)
        assert len({article.feed for article in own}) >= 5
        assert any(has_han(article.title) for article in own)
        assert all(planned.start <= a.published_at <= planned.end + timedelta(hours=1) for a in own)
    energy = [a for a in scenario.articles if a.incident == "topic:energy_oil"]
    assert sum(article.lang == "zh" for article in energy) >= 15


def test_the_harmed_institutions_are_invented_and_found_by_the_matcher(scenario: Scenario) -> None:
    invented = EntityMatcher(load_watchlist([scenario.watchlist], packaged=False))
    packaged = EntityMatcher(load_watchlist())
    for article in scenario.articles:
        if article.incident.startswith("entity:"):
            assert invented.entities(article.title) == (article.incident.removeprefix("entity:"),), article.title
        if article.incident:
            assert packaged.find(f"{article.title}\n{article.summary}") == (), article.title


def test_most_company_news_names_a_watch_listed_company(scenario: Scenario) -> None:
    matcher = EntityMatcher(load_watchlist([scenario.watchlist]))
    news = [a for a in scenario.articles if a.topic in ("earnings", "analyst_update", "stock_movement")]
    assert sum(bool(matcher.find(article.title)) for article in news) > 0.9 * len(news)


def test_syndication(scenario: Scenario) -> None:
    stories = defaultdict(list)
    for article in scenario.articles:
        stories[article.story].append(article)
    probe = max((own for own in stories.values() if own[0].incident == "entity:quillhaven"), key=len)
    assert len(probe) == 40
    assert len({article.feed for article in probe}) >= 5
    assert len({article.title for article in probe}) >= 5, "titles are edited"
    assert any(article.title.startswith("UPDATE 1-") for article in probe)
    assert any(article.title.endswith(" - Harbour Wire") for article in probe)
    reprints = [own for own in stories.values() if len(own) > 1 and not own[0].incident and not own[0].trap]
    assert len(reprints) > 30, "ordinary news is reprinted, too"


def test_traps(scenario: Scenario) -> None:
    results, flood = scenario.traps
    own = [article for article in scenario.articles if article.trap == results.name]
    assert len({article.story for article in own}) >= 45
    assert all(article.tone != "negative" and article.topic == "earnings" for article in own)
    copies = [article for article in scenario.articles if article.trap == flood.name]
    assert len(copies) == 40
    assert len({article.story for article in copies}) == 1


def test_the_silent_feed_is_silent_and_was_lively_before(scenario: Scenario) -> None:
    silence = next(planned for planned in scenario.truth if planned.key.scope is Scope.SOURCE)
    assert silence.key.value == SILENT_FEED
    assert scenario.end - silence.start >= timedelta(days=2)
    articles = scenario.articles_until(SILENT_FEED, scenario.end)
    assert articles[-1].published_at < silence.start
    assert silence.start - articles[-1].published_at < timedelta(hours=12)
    assert len(articles) > 200
    for feed in scenario.feeds:
        if feed.name != SILENT_FEED:
            last = scenario.articles_until(feed.name, scenario.end)[-1]
            assert scenario.end - last.published_at < timedelta(hours=12), feed.name


def test_articles_until_grows_with_time(scenario: Scenario) -> None:
    assert len(scenario.articles_until("harbour-wire", scenario.start)) <= 1
    middle = scenario.articles_until("harbour-wire", scenario.start + timedelta(days=10))
    every = scenario.articles_until("harbour-wire", scenario.end)
    assert list(every[: len(middle)]) == list(middle)
    assert len(middle) < len(every)
    with pytest.raises(UsageError, match="no feed 'nothing'"):
        scenario.articles_until("nothing", scenario.end)
