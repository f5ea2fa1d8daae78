"""Headlines that attack: nothing of them runs, nothing of them leaves its place."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest
from dashboard_served import Served, piece, scored, surge
from doubles import evidence

from monitor.core.types import Action

if TYPE_CHECKING:
    from playwright.sync_api import Page

pytest.importorskip("playwright.sync_api", reason="playwright is not installed (pip install playwright)")
from playwright.sync_api import expect

Open = Callable[..., "Page"]
HOSTILE = {
    "script": "<script>window.pwned=1</script> shares fall",
    "image": "<img src=x onerror=window.pwned=1> bank fined",
    "svg": "<svg/onload=window.pwned=1><a href=javascript:window.pwned=1>click</a>",
    "attribute": '"\' onmouseover=\'window.pwned=1\' autofocus onfocus="window.pwned=1" x="',
    "template": "${window.pwned=1} {{constructor.constructor('window.pwned=1')()}} </title></script>",
    "bidi": "Profit \u202e%001 nwod\u202c \u2066isolated\u2069 \u200f right \u061c",
    "control": "bell\u0007 escape\u001b[31m nul-like\u0085 zero\u200bwidth\ufeff",
    "long": "Verylongword" * 834,
}
NAMES = '"><img src=x onerror=window.pwned=1>'


@pytest.fixture(scope="module")
def attacked(tmp_path_factory: pytest.TempPathFactory) -> object:
    """A store that holds nothing else."""
    now = datetime.now(UTC)
    with Served(tmp_path_factory.mktemp("hostile") / "data") as running:
        running.put(
            *(
                scored(
                    piece(
                        name,
                        title,
                        at=now - timedelta(minutes=number),
                        source=NAMES,
                        body=title,
                        url="https://x.example/",
                    ),
                    entity=NAMES,
                )
                for number, (name, title) in enumerate(HOSTILE.items())
            )
        )
        running.incident(
            surge(
                "hostile", now, title=HOSTILE["image"], reason=HOSTILE["script"] + HOSTILE["bidi"], sources=(NAMES,),
                entities=(NAMES,), history=(Action(at=now, by=NAMES, what=HOSTILE["svg"], note=HOSTILE["attribute"]),),
                evidence=tuple(
                    evidence(number, title=title, source=NAMES, url="javascript:window.pwned=1", published_at=now)
                    for number, title in enumerate(HOSTILE.values())
                ),
            )
        )  # fmt: skip
        yield running


PATHS = (
    "/", "/topic/markets", "/incidents", "/incidents/hostile", "/live", "/search?q=x", "/sources",
    "/search?q=%3Cscript%3E&source=%22%3E%3Cimg", "/topic/%3Cimg%20src%3Dx%20onerror%3Dwindow.pwned%3D1%3E",
    *(f"/article/{name}" for name in HOSTILE),
)  # fmt: skip
UNSEEN = set("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069\u200e\u200f\u061c\u200b\ufeff\u0007\u001b")


@pytest.mark.parametrize("width", [1360, 375])
def test_nothing_of_a_headline_runs(attacked: Served, open_page: Open, width: int) -> None:
    page = open_page(width=width)
    for path in PATHS:
        page.goto(attacked.url + path)
        expect(page.locator("#main h1").first).to_be_visible()
        expect(page.locator("[aria-busy]")).to_have_count(0)
        page.mouse.move(width / 2, 400)
        page.keyboard.press("Tab")
        assert page.evaluate("window.pwned") is None, path
        made = "main img, main script, main iframe, [onerror], [onload], [onmouseover], [onfocus]"
        assert page.locator(made).count() == 0, path
        assert page.locator("a[href^='javascript:']").count() == 0, path
        assert page.evaluate("document.documentElement.scrollWidth") <= width, path
        assert not set(page.locator("#main").inner_text()) & UNSEEN, path
        assert page.evaluate("window.violations") == [], path


def test_a_headline_is_shown_as_it_was_written_and_isolated(attacked: Served, open_page: Open) -> None:
    page = open_page()
    page.goto(f"{attacked.url}/live")
    title = page.locator("li[data-article='script'] .story-title bdi")
    expect(title).to_have_text(HOSTILE["script"])
    long = page.locator("li[data-article='long'] .story-title")
    box = long.bounding_box()
    assert box is not None
    assert box["height"] < 80
    assert len(long.inner_text()) < 700


def test_the_policy_is_strict_and_enforced(attacked: Served, open_page: Open) -> None:
    page = open_page(
        expected=("Content Security Policy", "TrustedHTML", "TrustedScript", "trusted-types", "script-src")
    )
    answer = page.goto(attacked.url)
    assert answer is not None
    policy = answer.headers["content-security-policy"]
    assert "unsafe" not in policy
    assert "default-src 'none'" in policy
    for attempt in (
        "document.body.innerHTML = '<b>x</b>'",
        "const a = document.createElement('a'); a.setAttribute('onclick', 'window.pwned=1'); a.click()",
        "const s = document.createElement('script'); s.textContent = 'window.pwned=1'; document.body.append(s)",
    ):
        assert page.evaluate(f"() => {{ try {{ {attempt}; return false }} catch {{ return true }} }}"), attempt
    assert page.evaluate("window.pwned") is None
