"""Every tab for everybody: nothing serious for axe-core, a keyboard is enough, it fits screens."""

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page
from screenshots import settle, tabs
from ui import app, browser, drawn, page

__all__ = ["app", "browser", "page"]


def open_tab(page: Page, ident: str) -> None:
    """By its button, or by the menu into which gradio puts those for which there is no room."""
    button = page.locator(f"button[role=tab][data-tab-id={ident}]:visible")
    if button.count():
        button.first.click()
    else:
        page.evaluate(
            "t => document.querySelector(`button[role=tab][data-tab-id=${t}]`).click()", ident
        )
    settle(page, ident)


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_axe_finds_nothing_serious(app: str, page: Page, theme: str) -> None:
    """On no tab: roles, names, contrast, order of headings."""
    axe, bad = Axe(), []
    page.goto(f"{app}/?__theme={theme}")
    for ident in tabs(page):
        open_tab(page, ident)
        found = axe.run(page).response["violations"]
        for violation in found:
            if violation["impact"] in ("serious", "critical"):
                where = [node["target"] for node in violation["nodes"]][:5]
                bad.append(f"{ident}: {violation['id']}: {violation['help']}: {where}")
    assert not bad, "\n".join(bad)


FOCUSED = """() => {
  const e = document.activeElement, box = e.getBoundingClientRect();
  return {tag: e.tagName, id: e.closest("[id]")?.id ?? "", tab: e.dataset.tabId ?? "",
    name: e.getAttribute("aria-label") ?? e.textContent.trim().slice(0, 40),
    seen: box.width > 0 && box.height > 0, player: e.matches(".md-player"),
    at: [...document.querySelectorAll("*")].indexOf(e)};
}"""


def test_a_keyboard_is_enough(app: str, page: Page) -> None:
    """Tab reaches the tabs; Enter opens each, and Tab then reaches its player and its Start."""
    page.goto(app)
    every = tabs(page)
    # nothing is clicked: the first Tab starts at the top of the page
    page.wait_for_selector(f"#tab-{every[0]} .md-player[data-step]")
    for _ in range(12):
        page.keyboard.press("Tab")
        if page.evaluate(FOCUSED)["tab"]:
            break
    assert page.evaluate(FOCUSED)["tab"] == every[0]
    for ident in every:
        page.locator(f"button[role=tab][data-tab-id={ident}]:visible").first.focus()
        page.keyboard.press("Enter")
        settle(page, ident)
        page.locator(f"button[role=tab][data-tab-id={ident}]:visible").first.focus()
        seen = []
        for _ in range(120):
            page.keyboard.press("Tab")
            focused = page.evaluate(FOCUSED)
            if focused["tag"] == "BODY" or any(focused["at"] == s["at"] for s in seen):
                break  # once around
            seen.append(focused)
        assert any(s["player"] for s in seen), ident
        if ident != "learn":  # its controls are hidden until a step needs them
            assert any(s["id"] == f"{ident}-start" for s in seen), (ident, seen)
        assert not [s for s in seen if not s["seen"]], (ident, "focus goes where nothing is seen")


@pytest.mark.parametrize(
    ("size", "query"),
    [((1440, 900), "__theme=dark"), ((390, 844), "__theme=light"), ((1920, 1080), "present=1")],
)
def test_every_tab_opens_runs_and_scrubs(
    app: str, page: Page, size: tuple[int, int], query: str
) -> None:
    """On every screen: Start works, the playhead asks for nothing, nothing sticks out."""
    page.set_viewport_size({"width": size[0], "height": size[1]})
    page.goto(f"{app}/?{query}")
    seen: list[str] = []
    page.on("request", lambda request: seen.append(request.url))
    for ident in tabs(page):
        open_tab(page, ident)
        assert page.evaluate("document.documentElement.scrollWidth") <= size[0], ident
        root = f"#tab-{ident} .md-player"
        if ident == "learn":
            continue  # its controls are hidden until a step needs them
        before, over = page.get_attribute(root, "data-run"), "finished"
        page.click(f"#{ident}-start")
        if ident == "training":  # takes minutes, so it is stopped on its way
            page.wait_for_selector(f'{root}[data-mode=live]:not([data-run="{before}"])')
            page.wait_for_function("e => document.querySelector(e).dataset.frames > 5", arg=root)
            page.click(f"#{ident}-stop")
            over = "stopped"
        page.wait_for_selector(
            f'{root}[data-mode=live][data-state={over}]:not([data-run="{before}"])'
        )
        drawn(page)
        seen.clear()
        if page.locator(f"{root} .md-bar").is_visible():
            page.focus(root)
            page.keyboard.press("Home")
            page.wait_for_selector(f'{root}[data-step="0"]')
            page.keyboard.press("ArrowRight")
            page.wait_for_selector(f'{root}[data-step="1"]')
        assert seen == [], ident
        assert page.evaluate("document.documentElement.scrollWidth") <= size[0], ident
