"""Navigation, live update, acting on an incident, search: as a reader does it."""

from __future__ import annotations

import re
import uuid
from collections.abc import Callable
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pytest
from dashboard_served import Served, piece, scored, surge

if TYPE_CHECKING:
    from playwright.sync_api import Page

pytest.importorskip("playwright.sync_api", reason="playwright is not installed (pip install playwright)")
from playwright.sync_api import expect

Open = Callable[..., "Page"]


def test_the_reader_goes_from_the_overview_to_a_topic_and_back(served: Served, open_page: Open) -> None:
    page = open_page()
    page.goto(served.url)
    expect(page.get_by_role("heading", name="Overview", level=1)).to_be_visible()
    expect(page.locator("td.cell[data-surge]")).to_have_count(1)
    page.get_by_role("rowheader", name="Markets").get_by_role("link").click()
    expect(page).to_have_url(f"{served.url}/topic/markets")
    expect(page.get_by_role("heading", name="Markets", level=1)).to_be_visible()
    expect(page.locator(".stories .story-title").first).to_be_visible()
    expect(page.locator("figure canvas").first).to_be_visible()
    expect(page.locator(".stories mark").first).to_be_visible()
    page.go_back()
    expect(page.get_by_role("heading", name="Overview", level=1)).to_be_visible()


@pytest.mark.parametrize(
    ("key", "heading"),
    [
        ("i", "Incidents"),
        ("l", "Live feed"),
        ("s", "Search"),
        ("h", "Sources' health"),
        ("m", "Model"),
        ("o", "Overview"),
    ],
)
def test_letters_go_to_pages(served: Served, open_page: Open, key: str, heading: str) -> None:
    page = open_page()
    page.goto(f"{served.url}/article/n1")
    expect(page.locator(".article-title")).to_be_visible()
    page.keyboard.press("g")
    page.keyboard.press(key)
    expect(page.get_by_role("heading", name=heading, level=1)).to_be_visible()


def test_the_heat_map_is_walked_by_arrow_keys_and_help_closes_by_escape(served: Served, open_page: Open) -> None:
    page = open_page()
    page.goto(served.url)
    first = page.locator("td.cell").first
    first.focus()
    page.keyboard.press("ArrowDown")
    page.keyboard.press("ArrowRight")
    assert page.evaluate(
        "[document.activeElement.cellIndex, document.activeElement.parentElement.sectionRowIndex]"
    ) == [2, 1]
    expect(page.locator(".heat-foot .readout")).to_have_text(str(page.evaluate("document.activeElement.dataset.says")))
    page.keyboard.press("?")
    expect(page.get_by_role("dialog", name="Keyboard")).to_be_visible()
    page.keyboard.press("Escape")
    expect(page.get_by_role("dialog")).to_have_count(0)


def test_the_first_tab_stop_skips_to_the_content(served: Served, open_page: Open) -> None:
    page = open_page()
    page.goto(served.url)
    expect(page.get_by_role("heading", name="Overview", level=1)).to_be_visible()
    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="Skip to content")).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.locator("#main")).to_be_focused()


def test_articles_and_incidents_arrive_without_a_reload(served: Served, open_page: Open) -> None:
    page = open_page()
    page.goto(f"{served.url}/live")
    expect(page.locator(".pulse[data-state='live']")).to_be_visible()
    title = f"Dam breaks at Garrow Mining {uuid.uuid4()}"
    served.put(scored(piece(f"live-{uuid.uuid4()}", title)))
    expect(page.locator(".stories li").first).to_contain_text(title)
    served.incident(surge("second", datetime.now(UTC), title="Energy and oil"))
    expect(page.locator(".incidents")).to_contain_text("Energy and oil")
    page.get_by_role("button", name="Pause").click()
    held = f"Held back {uuid.uuid4()}"
    served.put(scored(piece(f"live-{uuid.uuid4()}", held)))
    expect(page.get_by_text("Paused; 1 waiting")).to_be_visible()
    expect(page.get_by_text(held)).to_have_count(0)
    page.get_by_role("button", name="Go on").click()
    expect(page.locator(".stories li").first).to_contain_text(held)


def test_a_live_connection_that_breaks_comes_back(served: Served, open_page: Open) -> None:
    page = open_page(expected=("net::ERR_", "Failed to load resource"))
    page.goto(f"{served.url}/live")
    expect(page.locator(".pulse[data-state='live']")).to_be_visible()
    page.route("**/api/v1/live", lambda route: route.fulfill(status=503, body="away"))
    page.evaluate("import('/static/js/stream.js').then(m => { m.disconnect(); m.connect(); })")
    expect(page.locator(".pulse[data-state='retry']")).to_be_visible()
    page.unroute("**/api/v1/live")
    expect(page.locator(".pulse[data-state='live']")).to_be_visible()


def test_an_incident_is_acknowledged_snoozed_and_resolved(served: Served, open_page: Open) -> None:
    value = surge("acted", datetime.now(UTC))
    served.incident(value)
    page = open_page()
    page.goto(f"{served.url}/incidents/acted")
    expect(page.get_by_text("27 negative stories in 3 hours")).to_be_visible()
    expect(page.locator(".stories mark").first).to_be_visible()
    page.get_by_role("button", name="Acknowledge").click()
    box = page.get_by_role("dialog")
    box.get_by_role("textbox").fill("Calling the desk")
    box.get_by_role("button", name="Acknowledge").click()
    expect(page.locator(".pending")).to_contain_text("Acknowledge by local is on its way")
    value = served.take(value)
    expect(page.locator(".head .badge.acknowledged")).to_be_visible()
    expect(page.locator(".timeline")).to_contain_text("Calling the desk")
    page.keyboard.press("z")
    page.get_by_role("dialog").get_by_label("8 hours").check()
    page.get_by_role("dialog").get_by_role("button", name="Snooze").click()
    expect(page.locator(".pending")).to_contain_text("Snooze")
    given = served.commands()[0][1]
    assert given.until is not None
    assert round((given.until - given.at).total_seconds()) == 8 * 3600
    value = served.take(value)
    expect(page.locator(".head .badge.snoozed")).to_contain_text("Snoozed until")
    page.get_by_role("button", name="Resolve").click()
    page.get_by_role("dialog").get_by_role("button", name="Cancel").click()
    assert served.commands() == []
    page.get_by_role("button", name="Resolve").click()
    page.get_by_role("dialog").get_by_role("textbox").fill("False alarm")
    page.get_by_role("dialog").get_by_role("button", name="Resolve").click()
    expect(page.locator(".pending")).to_contain_text("Resolve")
    served.take(value)
    expect(page.locator(".head .badge.resolved")).to_be_visible()
    expect(page.get_by_role("button", name="Acknowledge")).to_have_count(0)


@pytest.mark.parametrize(
    ("words", "found"), [("regulator inquiry", "Regulator opens inquiry"), ("银行 罚款", "港湾银行因违规被罚款")]
)
def test_the_search_finds_both_languages_and_narrows_down(
    served: Served, open_page: Open, words: str, found: str
) -> None:
    page = open_page()
    page.goto(served.url)
    expect(page.get_by_role("heading", name="Overview", level=1)).to_be_visible()
    page.keyboard.press("/")
    page.keyboard.type(words)
    page.keyboard.press("Enter")
    expect(page).to_have_url(re.compile(r"/search\?q="))
    expect(page.locator(".stories li").first).to_contain_text(found)
    said = page.get_by_role("status").filter(has_text="newest first")
    all_of_them = said.inner_text()
    page.get_by_role("navigation", name="Narrow down").get_by_role("link", name=re.compile("^Negative")).click()
    expect(page).to_have_url(re.compile("sentiment=negative"))
    expect(said).not_to_have_text(all_of_them)
    expect(page.locator(".stories .tone:not(.negative)")).to_have_count(0)


def test_nothing_found_says_what_to_do(served: Served, open_page: Open) -> None:
    page = open_page()
    page.goto(f"{served.url}/search?q=xylophones")
    expect(page.get_by_text("Use fewer or other words")).to_be_visible()


def test_an_error_says_what_to_do(served: Served, open_page: Open) -> None:
    page = open_page(expected=("404",))
    page.goto(f"{served.url}/incidents/nobody")
    expect(page.get_by_role("alert")).to_contain_text("no incident")
    page.goto(f"{served.url}/nowhere/at/all")
    expect(page.get_by_role("heading", name="There is no such page")).to_be_visible()


def test_the_theme_is_toggled_and_kept(served: Served, open_page: Open) -> None:
    page = open_page()
    page.goto(served.url)
    expect(page.locator("html")).to_have_attribute("data-theme", "light")
    page.get_by_role("button", name="Light or dark").click()
    expect(page.locator("html")).to_have_attribute("data-theme", "dark")
    page.reload()
    expect(page.locator("html")).to_have_attribute("data-theme", "dark")


def test_times_are_the_readers_with_utc_on_hover(served: Served, open_page: Open) -> None:
    page = open_page()
    page.goto(f"{served.url}/incidents/first")
    moment = page.locator(".timeline time").first
    expect(moment).to_have_attribute("title", re.compile(r"^\d{4}-\d\d-\d\d \d\d:\d\d UTC$"))
