"""The figures of Evidence in a real browser: lines and their entries, bars, ticks, colours."""

import itertools
import re
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest
from playwright.sync_api import Page
from test_ui_evidence import ROOT, drawn, records, show, traces
from ui import answered, app, browser, laid_out, linked, page

from mldemo.studies.evaluated import Evaluated

__all__ = ["app", "browser", "page"]


def test_the_floor_is_a_band_in_the_page_s_colours(app: str, page: Page) -> None:
    """And what an evaluation does not keep has no heading."""
    show(page, app, "study=evaluation&__theme=dark")
    bands = page.eval_on_selector(
        f"{ROOT} .md-plot",
        "e => e._fullData.filter(t => t.fill === 'toself').map(t => [t.fillcolor, t.line.color])",
    )
    evaluated = Evaluated()
    record = evaluated.record()
    assert record is not None
    lines = {(row["checkpoint"], row["prior"]) for row in evaluated.rows(record)}
    name = ("one", "two", "three", "four", "five")[len(lines) % 5]  # the floor comes after them
    ink = page.eval_on_selector(
        ROOT, "(e, name) => getComputedStyle(e).getPropertyValue('--md-' + name)", name
    )
    assert bands == [[ink.strip() + "38", ink.strip()]] * 2
    for part, there in (("date", True), ("seeds", True), ("machine", False), ("spent", False)):
        assert page.is_visible(f"{ROOT} .md-{part}") is there
    page.check('#evidence-study input[value="linear"]')
    drawn(page, "linear")
    assert page.is_visible(f"{ROOT} .md-machine")


def test_a_mark_tells_its_value(app: str, page: Page) -> None:
    """Pointed at: the number with its spread."""
    show(page, app, "study=linear")
    page.locator(f"{ROOT} .md-plot .point").first.hover(force=True)
    words = page.locator(f"{ROOT} .md-plot .hoverlayer .hovertext")
    words.first.wait_for()
    assert " ± " in words.first.text_content()


def test_lines_bars_and_axis_are_in_the_link(app: str, page: Page) -> None:
    """A line is switched off by the keyboard; the link shows it so; other records are whole."""
    show(page, app, "study=linear")
    assert all(t["seen"] for t in traces(page))
    key = page.locator(f"{ROOT} .md-lines button").first
    name = key.inner_text()
    key.focus()
    page.keyboard.press("Enter")
    page.wait_for_function(
        "e => document.querySelector(e)._fullData[0].visible !== true", arg=f"{ROOT} .md-plot"
    )
    assert key.get_attribute("aria-pressed") == "false"
    page.click("#tab-evidence .md-more")
    page.check('#evidence-bars input[value="2 sd"]')
    page.check('#evidence-y input[value="log"]')
    page.wait_for_function(
        "e => document.querySelector(e)._fullLayout.yaxis.type === 'log'", arg=f"{ROOT} .md-plot"
    )
    before = traces(page)
    linked(page, "bars=", "y=log", "toggled=0")
    query = {k: v[0] for k, v in parse_qs(urlsplit(page.url).query).items()}
    wanted = {"tab": "evidence", "study": "linear", "bars": "2 sd", "y": "log", "toggled": "0"}
    assert query == wanted
    page.goto(page.url)
    drawn(page)
    after = traces(page)
    assert after == before
    assert {t["name"] for t in after if not t["seen"]} == {name}
    page.check('#evidence-study input[value="solutions"]')
    drawn(page, "solutions")
    linked(page, gone="toggled")


def test_bars_are_as_long_as_asked(app: str) -> None:
    def figure(bars: str) -> dict:
        address = f"{app}/mldemo/live/evidence?study=linear&bars={bars}"
        return answered(httpx.get(address, timeout=60).content)[0][0]["figure"]

    one, two, none = (figure(bars)["data"] for bars in ("1 sd", "2 sd", "none"))
    for a, b, c in zip(one, two, none, strict=True):
        assert b["error_y"]["array"] == pytest.approx([2 * v for v in a["error_y"]["array"]])
        assert any(a["error_y"]["array"]) and c["error_y"]["visible"] is False


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_the_figure_wears_the_page_s_colours(app: str, page: Page, theme: str) -> None:
    show(page, app, f"study=linear&__theme={theme}")
    inks = page.eval_on_selector(
        ROOT,
        "e => ['one', 'two', 'three'].map(n => getComputedStyle(e).getPropertyValue('--md-' + n))",
    )
    assert [t["color"] for t in traces(page)][:3] == [ink.strip() for ink in inks]
    assert inks[0].strip() == ("#0072b2" if theme == "light" else "#6cc0f5")


@pytest.mark.parametrize("size", [(390, 844), (1440, 900)])
def test_panels_stand_where_there_is_room(app: str, page: Page, size: tuple[int, int]) -> None:
    """Beside one another, or below on a phone; nothing sticks out; no mark outside."""
    page.set_viewport_size({"width": size[0], "height": size[1]})
    show(page, app, "study=solutions")
    domains = page.eval_on_selector(
        f"{ROOT} .md-plot",
        "e => ['xaxis', 'xaxis2'].map((n) => e._fullLayout[n].domain)",
    )
    assert (domains[0] == domains[1] == [0, 1]) == (size[0] == 390)
    assert page.evaluate("document.documentElement.scrollWidth") <= size[0]
    box, svg = (
        page.locator(f"{ROOT} .md-plot{part}").first.bounding_box() for part in ("", " .main-svg")
    )
    assert box and svg
    for side in ("width", "height"):
        assert svg[side] == pytest.approx(box[side], abs=1)
    marks = page.locator(f"{ROOT} .md-plot .point").first.bounding_box()
    assert marks and marks["width"] > 4


SCREENS = [(390, 844, ""), (1440, 900, ""), (1920, 1080, "present=1")]


@pytest.mark.parametrize(("width", "height", "query"), SCREENS)
def test_every_line_has_its_entry(
    app: str, page: Page, width: int, height: int, query: str
) -> None:
    """None is cut, however many there are, and the figure keeps its size."""
    page.set_viewport_size({"width": width, "height": height})
    show(page, app, f"study=convergence&{query}")
    cut = page.eval_on_selector_all(
        f"{ROOT} .md-lines button",
        """entries => entries.filter((entry) => {
          const own = entry.getBoundingClientRect();
          for (let e = entry.parentElement; e !== document.body; e = e.parentElement) {
            const style = getComputedStyle(e), box = e.getBoundingClientRect();
            if (style.display === "contents" || style.overflow === "visible") continue;
            if (own.top < box.top || own.bottom > box.bottom || own.right > box.right) return true;
          }
          return !own.height || own.right > innerWidth;
        }).map((entry) => entry.textContent)""",
    )
    study, record = next(pair for pair in records() if pair[0].name == "convergence")
    names = {t.name for t in study.figure(record).data}
    assert page.locator(f"{ROOT} .md-lines button").count() == len(names) == 20
    assert not cut
    plot = page.locator(f"{ROOT} .md-plot").bounding_box()
    assert plot and plot["height"] > 0.35 * height
    first = page.locator(f"{ROOT} .md-lines button").first.bounding_box()
    assert first and plot["y"] + plot["height"] <= first["y"] < height


def test_no_two_lines_look_alike(app: str, page: Page) -> None:
    """Nor two entries; those shown at first differ in colour as far as there are colours."""
    show(page, app)
    for study, _ in records():
        page.check(f'#evidence-study input[value="{study.name}"]')
        drawn(page, study.name)
        entries = page.eval_on_selector_all(
            f"{ROOT} .md-lines button",
            """entries => entries.map((e) => [e.style.getPropertyValue("--ink"),
              e.firstElementChild.dataset.dash, e.firstElementChild.dataset.symbol,
              e.getAttribute("aria-pressed")])""",
        )
        lines = page.eval_on_selector(
            f"{ROOT} .md-plot",
            """e => e._fullData.filter((t) => t.visible === true && !t.fill?.startsWith("to"))
              .map((t) => [t.line.color, t.line.dash, t.marker.symbol, t.name])""",
        )
        for looks in (entries, [*{line[3]: line for line in lines}.values()]):
            assert len({tuple(look[:3]) for look in looks}) == len(looks), study.name
        seen = [ink for ink, *_, pressed in entries if pressed == "true"]
        assert len(set(seen)) == min(len(seen), 5), study.name


TICKS = """plot => [...plot.querySelectorAll(".xaxislayer-above, .yaxislayer-above")]
  .map((axis) => [...axis.querySelectorAll(".xtick text, .ytick text, .x2tick text, .y2tick text, "
    + ".x3tick text, .y3tick text, .x4tick text, .y4tick text")].map((text) => {
      const { x, y, right, bottom } = text.getBoundingClientRect();
      const sizes = [text, ...text.querySelectorAll("*")].map((e) => getComputedStyle(e).fontSize);
      return {words: text.textContent, box: [x, y, right, bottom], sizes};
    })).filter((axis) => axis.length)"""
DECIMAL, POWER = r"[0-9]+(\.[0-9]+)?²?", r"([0-9.]+·)?10[⁰¹²³⁴⁵⁶⁷⁸⁹⁻]+"


def assert_orderly(axes: list[list[dict]], said: object) -> None:
    """One size of type, one style of numbers, none over another."""
    for axis in axes:
        words = [tick["words"] for tick in axis]
        assert words, said
        assert len({size for tick in axis for size in tick["sizes"]}) == 1, (said, words)
        assert any(all(re.fullmatch(style, w) for w in words) for style in (DECIMAL, POWER)), (
            said,
            words,
        )
        for a, b in itertools.combinations(axis, 2):
            (left, top, right, bottom), other = a["box"], b["box"]
            apart = right < other[0] or other[2] < left or bottom <= other[1] or other[3] <= top
            assert apart, (said, a["words"], b["words"])


@pytest.mark.parametrize(("width", "height", "query"), SCREENS)
def test_ticks_can_be_read(app: str, page: Page, width: int, height: int, query: str) -> None:
    """On every figure, with the axis that its study has and with a logarithmic one."""
    page.set_viewport_size({"width": width, "height": height})
    for y in ("own", "log"):
        show(page, app, f"y={y}&{query}")
        for study, _ in records():
            page.eval_on_selector(f'#evidence-study input[value="{study.name}"]', "e => e.click()")
            drawn(page, study.name)
            assert_orderly(page.eval_on_selector(f"{ROOT} .md-plot", TICKS), (study.name, y))


def test_a_part_that_is_enlarged_has_ticks(app: str, page: Page) -> None:
    show(page, app, "study=solvers")
    before = page.eval_on_selector(f"{ROOT} .md-plot", TICKS)
    box = page.locator(f"{ROOT} .md-plot .nsewdrag").first.bounding_box()
    assert box
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    page.mouse.move(x, y)
    page.mouse.down()
    page.mouse.move(x + 60, y + 40, steps=5)
    page.mouse.up()
    page.wait_for_function(
        "e => document.querySelector(e)._fullLayout.yaxis.autorange === false",
        arg=f"{ROOT} .md-plot",
    )
    laid_out(page)
    after = page.eval_on_selector(f"{ROOT} .md-plot", TICKS)
    assert after != before
    assert_orderly(after, "enlarged")
