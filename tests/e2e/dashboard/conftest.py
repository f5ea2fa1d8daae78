"""A browser, and pages on which everything that went wrong is told."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from dashboard_served import Served, day, surge

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

CHROMIUM = os.environ.get("RISKWIRE_CHROMIUM") or shutil.which("chromium")
ARGUMENTS = [
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync",
]  # fmt: skip
WATCH = """
window.violations = [];
document.addEventListener("securitypolicyviolation", e => violations.push(`${e.violatedDirective} ${e.blockedURI}`));
"""


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Debian's Chromium, headless. Not for the whole session: while it is there an event loop runs in this thread, and
    no test after these could start its own."""
    playwright = pytest.importorskip(
        "playwright.sync_api", reason="playwright is not installed (pip install playwright)"
    )
    if CHROMIUM is None:
        pytest.skip("chromium is not installed (apt-get install chromium)")
    with playwright.sync_playwright() as running:
        opened = running.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        yield opened
        opened.close()


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """The application with a day of news and one open incident."""
    with Served(tmp_path_factory.mktemp("dashboard") / "data") as running:
        now = datetime.now(UTC)
        running.put(*day(now))
        running.incident(surge("first", now))
        yield running


class Wrongs(list[str]):
    """What a page complained of: console errors, exceptions, violations of the policy."""


@pytest.fixture
def open_page(browser: Browser) -> Iterator[Callable[..., Page]]:
    """Opens pages (``width``, ``dark``, …); at the end none of them may have complained of anything."""
    opened: list[tuple[Any, Page, Wrongs, tuple[str, ...]]] = []

    def make(
        *, width: int = 1360, height: int = 900, dark: bool = False, expected: tuple[str, ...] = (), **more: Any
    ) -> Page:
        context = browser.new_context(
            viewport={"width": width, "height": height}, color_scheme="dark" if dark else "light", locale="en-GB",
            timezone_id="Europe/London", reduced_motion="reduce", **more,
        )  # fmt: skip
        context.add_init_script(WATCH)
        page, wrongs = context.new_page(), Wrongs()
        page.set_default_timeout(20_000)
        page.on("console", lambda m: wrongs.append(m.text) if m.type in ("error", "warning") else None)
        page.on("pageerror", lambda error: wrongs.append(str(error)))
        opened.append((context, page, wrongs, expected))
        return page

    yield make
    try:
        for _, page, wrongs, expected in opened:
            wrongs += page.evaluate("window.violations || []")
            assert [wrong for wrong in wrongs if not any(text in wrong for text in expected)] == []
    finally:
        for context, *_ in opened:
            context.close()


@pytest.fixture
def shots() -> Path | None:
    """Where screenshots go; None when nobody wants them."""
    folder = os.environ.get("RISKWIRE_SHOTS")
    return Path(folder) if folder else None
