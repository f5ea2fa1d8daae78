"""What the API gives to read."""

from __future__ import annotations

from datetime import timedelta

import pytest
from doubles import START, evidence, incident
from hypothesis import given
from hypothesis import strategies as st
from store_tools import scored

from monitor.core.types import Action, IncidentState, Put, Scope, SeriesKey
from monitor.web.problems import encoded
from monitor.web.views import safe_url

MINUTE = timedelta(minutes=1)


def news(number: int, title: str = "", **fields: object):
    """Published ``number`` minutes before the present."""
    at = START - number * MINUTE
    return scored(number, title, **({"published_at": at, "fetched_at": at} | fields))


async def test_articles_come_newest_first_page_by_page_while_new_ones_arrive(world):
    await world.put(*(news(number) for number in range(7)))
    first = await world.get("/api/v1/articles?limit=3")
    assert [item["id"] for item in first["items"]] == ["a0", "a1", "a2"]
    assert first["total"] == 7
    await world.put(news(-5, "Newest"))
    second = await world.get("/api/v1/articles", params={"limit": 3, "cursor": first["next"]})
    third = await world.get("/api/v1/articles", params={"limit": 3, "cursor": second["next"]})
    assert [item["id"] for item in second["items"] + third["items"]] == ["a3", "a4", "a5", "a6"]
    assert (second["total"], third["next"]) == (7, None)


async def test_articles_of_one_moment_are_paged_through_without_loss(world):
    await world.put(*(news(number, published_at=START - MINUTE) for number in range(7)))
    seen, cursor = [], ""
    while cursor is not None:
        page = await world.get("/api/v1/articles", params={"limit": 2, "cursor": cursor})
        seen += [item["id"] for item in page["items"]]
        cursor = page["next"]
    assert sorted(seen) == [f"a{n}" for n in range(7)]


@pytest.mark.parametrize("cursor", ["x", "1", "1.2", "1.2.x", "1.-1.0", "9" * 40 + ".0.0", "1.999999999.1"])
async def test_a_cursor_of_somebody_else_is_refused(world, cursor):
    problem = await world.get("/api/v1/articles", 422, params={"cursor": cursor})
    assert "cursor" in problem["detail"]


async def test_search_filters_and_facets_agree(world):
    await world.put(
        news(1, "Bank fails", topic="banks", negative=0.9, entities=("acme",)),
        news(2, "Bank thrives", topic="banks", negative=0.1),
        news(3, "银行破产", topic="macro", negative=0.8, lang="zh"),
    )
    found = await world.get("/api/v1/articles?q=bank&sentiment=negative")
    assert [item["title"] for item in found["items"]] == ["Bank fails"]
    assert found["items"][0]["entities"] == [{"id": "acme", "name": "Acme", "start": 0, "end": 4}]
    facets = await world.get("/api/v1/facets?q=bank")
    assert facets["total"] == 2
    assert facets["entities"] == [{"value": "acme", "count": 1, "name": "Acme Bank"}]
    assert {row["value"]: row["count"] for row in facets["sentiments"]} == {"negative": 1, "neutral": 1}
    chinese = await world.get("/api/v1/articles", params={"q": "银行"})
    assert [item["lang"] for item in chinese["items"]] == ["zh"]
    within = await world.get("/api/v1/articles?from=2026-03-02T08:57:30Z&to=2026-03-02T08:58:30Z")
    assert [item["title"] for item in within["items"]] == ["Bank thrives"]


async def test_one_article_whatever_its_id_looks_like(world):
    strange = "urn:x/a b?c#d%2F…"
    await world.put(news(1, "Bank fails", id=strange, body="Body.", url="javascript:alert(1)"))
    from urllib.parse import quote

    path = f"/api/v1/articles/{quote(strange, safe='')}"
    article = await world.get(path)
    assert (article["id"], article["body"], article["url"]) == (strange, "Body.", None)
    assert sum(article["sentiments"].values()) == pytest.approx(1, abs=1e-5)
    why = await world.get(f"{path}/explanation?task=topic")
    assert (why["label"], why["text"]) == ("macro", "Bank fails\nBody.")
    assert why["words"] == [{"word": "Bank", "start": 0, "end": 4, "weight": 0.25}]
    assert (await world.get("/api/v1/articles/none", 404))["title"] == "Not Found"


async def test_what_somebody_else_scored_is_not_explained(world):
    item = news(1, "Bank fails")
    await world.put(news(1, "Bank fails", scores=item.scored.scores))
    assert "somebody else" in (await world.get("/api/v1/articles/a1/explanation", 409))["detail"]


async def test_the_overview_counts_topics_by_hour_with_their_incidents(world):
    await world.put(
        news(10, topic="markets", negative=0.9, entities=("acme",)),
        news(20, topic="markets", negative=0.3),
        news(200, topic="made_up", negative=0.5),
        news(60 * 30, topic="markets", negative=0.5),
    )
    key = SeriesKey(scope=Scope.TOPIC, value="markets")
    await world.raise_incident(
        incident("one", key=key), incident("old", state=IncidentState.RESOLVED, resolved_at=START - MINUTE)
    )
    seen = await world.get("/api/v1/overview?hours=24")
    assert (seen["step"], len(seen["starts"]), seen["until"]) == (3600, 24, "2026-03-02T09:00:00Z")
    rows = {row["id"]: row for row in seen["topics"]}
    assert rows["markets"]["articles"] == 2
    assert rows["markets"]["cells"][-1] == [2, 1.2, 0.6]
    assert rows["markets"]["incident"] == {"id": "one", "severity": "warning", "state": "open"}
    assert rows["made_up"]["cells"][-4][0] == 1
    assert [view["id"] for view in seen["incidents"]] == ["one"]
    assert [view["id"] for view in seen["recent"]] == ["old"]
    assert seen["entities"][0] == {"id": "acme", "name": "Acme Bank", "articles": 1, "negatives": 0.9}
    assert (seen["totals"]["articles"], seen["totals"]["previous"]["articles"]) == (3, 1)
    assert len((await world.get("/api/v1/overview?hours=720"))["starts"]) == 60


async def test_a_series_counts_and_says_what_it_cannot(world):
    await world.put(news(10, negative=0.5), news(20, negative=0.25), news(70))
    seen = await world.get("/api/v1/series?from=2026-03-02T06:00:00Z&to=2026-03-02T09:00:00Z")
    assert [point["articles"] for point in seen["points"]] == [0, 1, 2]
    assert seen["points"][2]["negatives"] == 0.75
    assert (seen["scope"], seen["from"], seen["band"]) == ("all", "2026-03-02T06:00:00Z", None)
    problem = await world.get("/api/v1/series?step=60&from=2026-01-01T00:00:00Z", 422)
    assert "2000 steps" in problem["detail"]


async def test_the_band_is_the_detectors_own(world):
    from alerts.detector import DetectorConfig, SurgeDetector

    detector = SurgeDetector(DetectorConfig())
    last = detector.index_of(START) - 1
    state = detector.begin(last - 12 * 50)
    for index in range(last - 12 * 50, last + 1, 6):
        state = detector.advance(state, index, 1, 0.5)
    quick, slow = detector.to_docs(state)
    await world.context.state.apply([
        Put(kind="detect.series", key="topic:markets", value=quick),
        Put(kind="detect.baseline", key="topic:markets", value=slow),
    ])  # fmt: skip
    seen = await world.get("/api/v1/series?scope=topic&value=markets")
    assert len(seen["band"]["points"]) == 24
    assert all(p["low"] <= p["expected"] <= p["high"] for p in seen["band"]["points"])
    inline = [point for point in seen["points"] if point["expected"] is not None]
    assert len(inline) >= 23
    assert inline[-1]["stories"] == pytest.approx(1.0)


async def test_incidents_are_listed_filtered_and_paged(world):
    await world.raise_incident(
        *(incident(f"i{n}", opened_at=START + n * MINUTE, title=f"T{n}") for n in range(5)),
        incident("done", state=IncidentState.RESOLVED, resolved_at=START),
        incident("acked", state=IncidentState.ACKNOWLEDGED, key=SeriesKey(scope=Scope.TOPIC, value="markets")),
    )
    first = await world.get("/api/v1/incidents?limit=4")
    second = await world.get("/api/v1/incidents", params={"limit": 4, "cursor": first["next"]})
    ids = [view["id"] for view in first["items"] + second["items"]]
    assert ids[:4] == ["i4", "i3", "i2", "i1"]
    assert (sorted(ids[4:]), second["next"], first["total"]) == (["acked", "i0"], None, 6)
    assert [v["id"] for v in (await world.get("/api/v1/incidents?state=resolved"))["items"]] == ["done"]
    assert (await world.get("/api/v1/incidents?state=all"))["total"] == 7
    only = await world.get("/api/v1/incidents?scope=topic&value=markets")
    assert [v["state"] for v in only["items"]] == ["acknowledged"]
    assert (await world.get("/api/v1/incidents?state=new"))["total"] == 5


async def test_an_incident_shows_its_evidence_and_what_people_did(world):
    await world.raise_incident(
        incident(
            "one",
            evidence=(evidence(1, title="<script>x</script>"), evidence(2, url="data:text/html,x")),
            entities=("acme",),
            history=(Action(at=START, by="otto", what="acknowledged"),),
        )
    )
    seen = await world.get("/api/v1/incidents/one")
    assert [item["url"] for item in seen["evidence"]] == ["https://news.example/1", None]
    assert seen["headline"] == "<script>x</script>"
    assert (seen["entity_names"], seen["history"][0]["by"]) == ({"acme": "Acme Bank"}, "otto")
    assert (await world.get("/api/v1/incidents/none", 404))["detail"] == "There is no incident 'none'."


async def test_sources_say_how_they_do(world):
    status = {
        "failures": 2,
        "articles": 7,
        "ok_at": None,
        "error_at": "2026-03-02T08:00:00Z",
        "error": "404",
        "next_at": None,
    }
    await world.context.state.apply([Put(kind="source_health", key="wire", value=status)])
    await world.put(news(5, source="hook"))
    rows = {row["name"]: row for row in (await world.get("/api/v1/sources"))["sources"]}
    assert (rows["wire"]["state"], rows["wire"]["failures"], rows["wire"]["error"]) == ("failing", 2, "404")
    assert (rows["hook"]["articles_24h"], rows["hook"]["last_published_at"]) == (1, "2026-03-02T08:55:00Z")
    assert (await world.get("/api/v1/overview"))["sources"] == {"total": 2, "failing": 1, "silent": 0}


async def test_the_watchlist_and_the_model_are_shown(world):
    assert (await world.get("/api/v1/watchlist", params={"q": "阿克"}))["total"] == 1
    assert (await world.get("/api/v1/watchlist?q=zzz"))["entities"] == []
    model = await world.get("/api/v1/model")
    assert model["tasks"]["sentiment"]["metrics"]["accuracy"] > 0.5
    assert "name_zh" in (await world.get("/api/v1/topics"))["topics"][0]


@given(st.text())
def test_only_web_addresses_become_links(text):
    found = safe_url(text)
    assert found is None or found.lower().startswith(("http://", "https://"))


@given(st.text(alphabet=st.characters()))
def test_json_is_always_valid_utf_8(text):
    import json

    assert json.loads(encoded({"x": text}).decode()) == {"x": text}
