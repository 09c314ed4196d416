"""Every control, name and axis of the page is explained."""

import re

from playwright.sync_api import Page
from screenshots import tabs
from test_accessibility import open_tab
from ui import app, browser, page

from mldemo.ui.tab import UI
from mldemo.ui.terms import TERMS

__all__ = ["app", "browser", "page"]


def test_a_word_on_every_control(app: str, page: Page) -> None:
    """By pointing, by the keyboard and by a touch; Escape takes it away."""
    page.goto(app)
    box = page.locator("#md-why-box")
    for ident in tabs(page):
        open_tab(page, ident)
        labels = page.locator(f"#tab-{ident} .md-controls [data-testid=block-info]")
        marks = page.locator(f"#tab-{ident} .md-controls [data-testid=block-info] .md-why")
        assert labels.count() == marks.count() > 1
        words = marks.evaluate_all("es => es.map((e) => e.dataset.why)")
        assert all(len(w) > 30 for w in words), ident
        assert len(set(words)) == len(words)
    open_tab(page, "watch")
    mark = page.locator("#watch-prior .md-why")
    mark.hover()
    assert "noise" in box.inner_text()
    page.mouse.move(5, 5)
    box.wait_for(state="hidden")
    page.focus("#watch-stop")
    page.keyboard.press("Tab")
    box.wait_for()
    assert page.evaluate("document.activeElement.getAttribute('aria-describedby')") == "md-why-box"
    page.keyboard.press("Escape")
    box.wait_for(state="hidden")
    mark.dispatch_event("click")  # as after a touch, which hovers over nothing
    box.wait_for()
    page.locator("#watch-n .md-why").dispatch_event("click")
    assert "grid" in box.inner_text()
    page.locator("#tab-watch .md-hint").click()
    box.wait_for(state="hidden")


# whatever has a name on a tab and says nothing of what it means; the axes of charts without a word
UNEXPLAINED = """root => [...root.querySelectorAll(
  "figcaption, dt, th, label, .md-badge, .md-what, .md-pin, .md-row-title, .md-formula"
)].filter((e) => e.offsetParent && isNaN(e.textContent))
.filter((e) => !e.closest(".md-lessons"))
.filter((e) => !(e.closest("[data-term], .md-controls .block")?.querySelector(".md-why")
  ?.dataset.why.length > 30)).map((e) => e.outerHTML.slice(0, 160))"""
AXES = """root => [...root.querySelectorAll("canvas[data-axes]")].filter((e) => e.offsetParent)
  .flatMap((e) => e.dataset.axes.split("; ").map((axis) =>
    [axis.split(" for ")[0], e.closest("figure").querySelector(".md-why").dataset.why]))"""


def test_every_term_is_explained(app: str, page: Page) -> None:
    """On every tab: controls, facts, badges, headings of pictures, charts and tables, axes."""
    page.goto(app)
    for ident in tabs(page):
        open_tab(page, ident)
        if ident == "learn":  # the step that has a panel of its own
            page.evaluate("document.querySelector('[data-step=solution]').click()")
            page.locator("#tab-learn .md-lesson-options input").first.check()
            page.click("#tab-learn .md-commit")
            page.wait_for_selector("#tab-learn .md-player[data-regime]")
        more = page.locator(f"#tab-{ident} .md-more:visible")
        if more.count():
            more.click()
        row = page.locator(f"#tab-{ident} .md-row")
        assert row.evaluate(UNEXPLAINED) == [], ident
        for axis, words in row.evaluate(AXES):
            assert axis in words, (ident, axis)
        marks = row.locator(".md-why:visible")
        assert marks.count() >= 5
        names = marks.evaluate_all("es => es.map((e) => e.getAttribute('aria-label'))")
        assert all(len(name) > len("What is this: ") for name in names), (ident, names)


def test_the_list_of_terms_is_used() -> None:
    """Every term that is named is in the list, and every one of the list is named."""
    files = [p for p in UI.rglob("*") if p.suffix in (".html", ".js", ".py")]
    text = "\n".join(path.read_text("utf-8") for path in files)
    named = set(re.findall(r'data-term="([^"]+)"|TERMS\["([^"]+)"\]', text))
    named = {a or b for a, b in named}
    assert named <= set(TERMS)
    for term in TERMS:
        assert term in named or f'"{term}"' in text, term
    assert all(len(words) > 30 for words in TERMS.values())
