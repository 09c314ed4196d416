"""Lessons on every screen: guess, task, pictures and answer are in sight at once."""

import json
from typing import Any

import pytest
from playwright.sync_api import Page
from test_layout import LOWEST, NARROW, PROJECTORS, SMALLEST, lowest, resize
from ui import app, browser, page

from mldemo.ui.tab import UI

__all__ = ["app", "browser", "page"]
LESSONS = json.loads((UI / "static" / "lessons.json").read_text("utf-8"))["steps"]


@pytest.mark.parametrize("query", ["present=1", ""])
@pytest.mark.parametrize("lesson", LESSONS, ids=[step["id"] for step in LESSONS])
def test_a_lesson_fits_the_screen(
    app: str, page: Page, lesson: dict[str, Any], query: str
) -> None:
    """Guess, task, pictures, playhead and answer are in sight at once, and Learn's question.

    As large type for a class on a projector; as it opens there, on a phone and enlarged twice too.
    """
    sizes = PROJECTORS if query else PROJECTORS + NARROW
    resize(page, PROJECTORS[0])
    ident, tab = lesson["id"], lesson["tab"]
    page.goto(f"{app}/?lesson={ident}&{query}")
    learn = "#tab-learn .md-player"
    page.wait_for_selector(f"{learn}[data-lesson={ident}]")
    assert page.get_attribute(f"{learn} .md-lesson-nav", "open") is None
    for size in sizes:
        resize(page, size)
        assert lowest(page, f"{learn} .md-commit") <= size[1], size
    page.locator(f"{learn} .md-lesson-options input").first.check()
    page.click(f"{learn} .md-commit")
    if tab == "learn":  # sliders, chart and task beside one another
        page.wait_for_selector(f"{learn}[data-state=finished]")
        for size in PROJECTORS:
            resize(page, size)
            for part in (".md-growth", ".md-verdict", ".md-lesson-task"):
                assert lowest(page, f"{learn} {part}") <= size[1], (part, size)
            sliders = page.locator("#learn-a").bounding_box()
            chart = page.locator(f"{learn} .md-growth").bounding_box()
            assert sliders is not None
            assert chart is not None
            assert sliders["x"] >= chart["x"] + chart["width"]
            assert sliders["y"] < chart["y"] + chart["height"]
        return
    page.click(f"{learn} .md-lesson-open")
    root = f"#tab-{tab} .md-player"
    page.wait_for_selector(f"{root}[data-state=finished]")
    for state in ("task", "answer"):
        if state == "answer":
            page.click(".md-guide .md-reveal")
        for size in sizes:
            resize(page, size)
            assert lowest(page, ".md-guide") <= size[1], (state, size)
            assert page.locator(".md-guide-task").is_visible() == (state == "task"), size
            answer = page.locator(".md-guide .md-lesson-result").bounding_box()
            assert (answer is not None) == (state == "answer"), size
            covers = [page.locator(".md-guide").bounding_box()]
            if size in NARROW:
                covers.append(page.locator(f"#tab-{tab} .md-controls").bounding_box())
            foot = min(box["y"] for box in covers if box)
            below = {k: v for k, v in page.evaluate(LOWEST, root).items() if v > foot}
            assert not below, (state, size, foot, below)
            assert page.evaluate(SMALLEST, root) >= (26 if size[1] < 500 else 32), (state, size)
            largest = page.evaluate(SMALLEST.replace("min", "max"), root)
            least = 64 if size[1] < 500 else 50 if size in NARROW else 74
            assert largest >= least, (state, size, largest)
            shown = page.locator(f"#tab-{tab} .md-controls [data-testid=block-info]:visible")
            fields = page.evaluate("id => document.querySelectorAll(`[id^=${id}-]`).length", tab)
            assert shown.count() <= 2 < fields
            assert page.evaluate("document.documentElement.scrollWidth") <= size[0]
    assert page.evaluate("document.activeElement.className") == "md-lesson-result"
    assert f"tab={tab}" in page.url
