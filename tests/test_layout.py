"""Where things stand on the page: on every screen, what is spoken of is in sight."""

import pytest
from playwright.sync_api import Page
from screenshots import tabs
from test_accessibility import open_tab
from ui import app, browser, page

__all__ = ["app", "browser", "page"]
PROJECTORS = ((1280, 720), (1366, 768), (1920, 1080))
# the lower edge of whatever a tab shows at the playhead, and of the button that plays it
LOWEST = """root => Object.fromEntries([...document.querySelectorAll(
    `${root} .md-screen :is(.md-picture, canvas, .md-play, .md-range)`
  )].filter((e) => e.offsetParent).map((e, i) => [
    `${i} ${e.className}`, e.getBoundingClientRect().bottom,
  ]))"""
SMALLEST = """root => Math.min(...[...document.querySelectorAll(
  `${root} .md-screen canvas`)].filter((e) => e.offsetParent).map((e) => e.clientHeight))"""


def resize(page: Page, size: tuple[int, int]) -> None:
    """To another screen, laid out."""
    page.set_viewport_size({"width": size[0], "height": size[1]})
    page.wait_for_timeout(250)


@pytest.mark.parametrize("query", ["present=1", ""])
def test_pictures_playhead_and_play_fit_a_projector(app: str, page: Page, query: str) -> None:
    """On every tab, without scrolling, and large enough to be seen."""
    resize(page, PROJECTORS[0])
    page.goto(f"{app}/?{query}")
    for ident in tabs(page):
        if ident == "learn":
            continue
        open_tab(page, ident)
        root = f"#tab-{ident} .md-player"
        for size in PROJECTORS:
            resize(page, size)
            below = {k: v for k, v in page.evaluate(LOWEST, root).items() if v > size[1]}
            assert not below, (ident, size, below)
            assert page.evaluate(SMALLEST, root) >= 44, (ident, size)
