"""Where things stand on the page: on every screen, what is spoken of is in sight."""

import pytest
from playwright.sync_api import Page
from screenshots import tabs
from test_accessibility import open_tab
from ui import app, browser, laid_out, page

__all__ = ["app", "browser", "page"]
PROJECTORS = ((1280, 720), (1366, 768), (1920, 1080))
NARROW = ((390, 844), (720, 450))  # a phone; a page that is enlarged twice
# the lower edge of whatever a tab shows at the playhead, and of the button that plays it
LOWEST = """root => Object.fromEntries([...document.querySelectorAll(
    `${root} .md-screen :is(.md-picture, canvas, .md-plot, .md-play, .md-range)`
  )].filter((e) => e.offsetParent).map((e, i) => [
    `${i} ${e.className}`, e.getBoundingClientRect().bottom,
  ]))"""
CHARTS = """root => [...document.querySelectorAll(`${root} .md-screen :is(canvas, .md-plot)`)]
  .filter((e) => e.offsetParent && !e.closest(".md-picture"))
  .map((e) => [e.className, e.clientHeight])"""
UNCOVERED = """root => [...document.querySelectorAll(`${root} .md-run button`)].every((e) => {
  const { left, top, width, height } = e.getBoundingClientRect();
  return [0.2, 0.5, 0.8].every((x) => [0.2, 0.5, 0.8].every((y) => e.contains(
    document.elementFromPoint(left + x * width, top + y * height))));
})"""
SMALLEST = """root => Math.min(...[...document.querySelectorAll(
  `${root} .md-screen :is(canvas, .md-plot)`
)].filter((e) => e.offsetParent).map((e) => e.clientHeight))"""
SMALL_TYPE = """tab => [...document.querySelectorAll(`#tab-${tab} *`)].filter((e) =>
  e.offsetParent && !/^(SUB|SUP)$/.test(e.tagName)
  && parseFloat(getComputedStyle(e).fontSize) < 17.5
  && (e.matches("select, input[type=number]")
    || [...e.childNodes].some((n) => n.nodeType === 3 && n.data.trim()))
).map((e) => [e.className, e.textContent.trim()])"""


def resize(page: Page, size: tuple[int, int]) -> None:
    """To another screen, laid out."""
    page.set_viewport_size({"width": size[0], "height": size[1]})
    laid_out(page)


@pytest.mark.parametrize("query", ["present=1", ""])
def test_pictures_playhead_and_play_fit_a_projector(app: str, page: Page, query: str) -> None:
    """On every tab, without scrolling, and large enough to be seen; in large type also words."""
    resize(page, PROJECTORS[0])
    page.goto(f"{app}/?{query}")
    for ident in tabs(page):
        if ident == "learn":
            continue
        open_tab(page, ident)
        root = f"#tab-{ident} .md-player"
        assert not (query and page.evaluate(SMALL_TYPE, ident)), ident
        for size in PROJECTORS:
            resize(page, size)
            below = {k: v for k, v in page.evaluate(LOWEST, root).items() if v > size[1]}
            assert not below, (ident, size, below)
            assert page.evaluate(SMALLEST, root) >= 44, (ident, size)


def test_every_tab_can_be_pressed_before_a_class(app: str, page: Page) -> None:
    """In large type nothing lies over their buttons."""
    page.goto(f"{app}/?present=1")
    every = tabs(page)
    for size in PROJECTORS:
        resize(page, size)
        for ident in every:
            page.locator(f"button[role=tab][data-tab-id={ident}]:visible").click(trial=True)


@pytest.mark.parametrize("size", NARROW)
def test_pictures_play_and_controls_share_a_narrow_screen(
    app: str, page: Page, size: tuple[int, int]
) -> None:
    """The controls are a sheet below the pictures; scrolled, the pictures stay.

    While the sheet is closed no chart is squeezed; in an open one nothing lies over the buttons,
    also while the controls are scrolled beneath them.
    """
    resize(page, size)
    page.goto(app)
    for ident in tabs(page):
        if ident == "learn":
            continue
        open_tab(page, ident)
        root, controls = f"#tab-{ident} .md-player", f"#tab-{ident} .md-controls"
        assert not page.is_visible(f"{controls} .md-more")
        handle = page.locator(f"{controls} .md-handle")
        assert handle.get_attribute("aria-expanded") == "false"
        laid_out(page)
        charts = page.evaluate(CHARTS, root)
        assert all(height >= 84 for _, height in charts), (ident, charts)
        handle.click()
        assert handle.get_attribute("aria-expanded") == "true"
        laid_out(page)
        sheet = page.locator(controls).bounding_box()
        assert sheet is not None
        assert sheet["y"] + sheet["height"] == pytest.approx(size[1], abs=1)
        for scrolled in (None, 200):
            if scrolled:
                page.mouse.wheel(0, scrolled)
                laid_out(page)
            edges = page.evaluate(LOWEST, root)
            assert all(0 < edge <= sheet["y"] for edge in edges.values()), (ident, scrolled, edges)
        assert page.evaluate("document.documentElement.scrollWidth") <= size[0]
        for _ in range(8):
            page.evaluate("root => document.querySelector(root).scrollBy(0, 12)", controls)
            assert page.evaluate(UNCOVERED, controls), ident
        handle.click()


def test_a_low_chart_has_no_legend_but_its_curves(app: str, page: Page) -> None:
    """However many names there are, its axes are not upside down."""
    page.goto(app)
    found = page.evaluate(
        """async (url) => {
          const { Chart } = await import(url), ink = new Proxy({}, { get: () => "black" });
          const canvas = document.body.appendChild(document.createElement("canvas"));
          const curves = [..."abcdef"].map((name) => ({ name: name.repeat(30), points: [] }));
          const plan = { x: [1, 2], y: [1, 2], label: "x", curves };
          return [60, 90, 400].map((height) => {
            canvas.style.cssText = `width: 200px; height: ${height}px`;
            const chart = new Chart(canvas, { layout: () => plan });
            chart.draw({ ink }, true);
            return [chart.box.t, chart.box.b];
          });
        }""",
        page.evaluate(
            "[...document.querySelectorAll('link[rel=modulepreload]')]"
            ".map((e) => e.href).find((e) => e.includes('/chart.js'))"
        ),
    )
    (low, *_), (middle, *_), (tall, *_) = found
    assert all(top < bottom for top, bottom in found)
    assert low == middle < tall


def test_lesser_controls_are_folded(app: str, page: Page) -> None:
    """On the first screen there are three, and Network; More shows the others, and they work."""
    page.goto(app)
    assert "watch" in tabs(page)
    open_tab(page, "watch")
    blocks = "#tab-watch .md-controls [data-testid=block-info]"
    network = page.locator("#watch-network").count()
    assert page.locator(f"{blocks}:visible").count() == 3 + network
    more = page.locator("#tab-watch .md-more")
    assert more.get_attribute("aria-expanded") == "false"
    more.focus()
    page.keyboard.press("Enter")
    assert more.get_attribute("aria-expanded") == "true"
    assert page.locator(f"{blocks}:visible").count() == 10 + network


RING = """() => {
  let e = document.activeElement;
  for (let i = 0; e && i < 4; i++, e = e.parentElement) {
    const style = getComputedStyle(e);
    if (style.outlineStyle !== "none" && parseFloat(style.outlineWidth) >= 2) return true;
  }
  return false;
}"""


def test_focus_is_seen_wherever_it_goes(app: str, page: Page) -> None:
    """A ring around whatever the keyboard reaches, radio buttons and menus too."""
    page.goto(app)
    assert "watch" in tabs(page)
    open_tab(page, "watch")
    page.click("#tab-watch .md-more")
    page.mouse.move(0, 0)
    page.focus("button[data-tab-id=learn]")
    kinds = set()
    for _ in range(60):
        page.keyboard.press("Tab")
        kind = page.evaluate("document.activeElement.type ?? document.activeElement.tagName")
        if kind == "BODY":
            break
        kinds.add(kind)
        what = page.evaluate("document.activeElement.outerHTML.slice(0, 200)")
        assert page.evaluate(RING), what
    assert {"radio", "range", "number", "text", "button", "checkbox"} <= kinds


def lowest(page: Page, selector: str) -> float:
    """The lower edge of what is seen of a part."""
    box = page.locator(selector).bounding_box()
    assert box is not None
    return box["y"] + box["height"]


@pytest.mark.parametrize("size", [*PROJECTORS, NARROW[0]])
def test_play_is_near_the_pad(app: str, page: Page, size: tuple[int, int]) -> None:
    """Right below the sheet that is drawn on, in sight together with it."""
    resize(page, size)
    page.goto(f"{app}/?tab=forward")
    root = "#tab-forward .md-player"
    page.wait_for_selector(f"{root}[data-state=finished]")
    pad, play = lowest(page, f"{root} .md-pad"), page.locator(f"{root} .md-play").bounding_box()
    assert play is not None
    assert 0 <= play["y"] - pad <= 40
    assert play["y"] + play["height"] <= size[1]


def test_the_first_screen_explains_itself(app: str, page: Page) -> None:
    """Three sentences and where to read on; the tour goes from thing to thing, by keyboard too."""
    page.goto(app)
    assert "watch" in tabs(page)
    intro = page.inner_text("#title .md-intro")
    assert 3 <= sum(intro.count(c) for c in ".:") <= 5
    links = page.locator("#title a").evaluate_all("es => es.map((e) => e.getAttribute('href'))")
    assert "https://arxiv.org/abs/2303.04772" in links
    page.locator("#title .md-tour").focus()
    page.keyboard.press("Enter")
    box, seen = page.locator(".md-tour-box"), []
    box.wait_for()
    for _ in range(12):
        seen.append(box.locator(".md-tour-words").inner_text())
        marked = page.locator(".md-toured").bounding_box()
        said = box.bounding_box()
        assert marked is not None
        assert said is not None
        assert said["y"] >= 0
        assert said["y"] + said["height"] <= 900
        page.keyboard.press("Enter")
        if not box.is_visible():
            break
    assert len(seen) == len(set(seen)) == 9
    assert all(len(words) > 40 for words in seen)
    assert page.evaluate("document.activeElement.className") == "md-tour"
    assert page.locator(".md-toured").count() == 0
    page.click("#title a:has-text('lecturers')")
    page.wait_for_selector(".md-maker[open] .md-maker-link")
