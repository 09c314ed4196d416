"""The tab Evidence in a real browser: every record with its figure, its table and its command."""

import csv
import html
import io
import itertools
import json
import re
from urllib.parse import parse_qs, urlsplit

import httpx
import numpy as np
import pytest
import torch
from PIL import Image
from playwright.sync_api import Page
from ui import Tab, app, browser, laid_out, linked, page

from mldemo.diffusion.steps import SAMPLERS
from mldemo.store.manifest import BUNDLE
from mldemo.studies.evaluated import Evaluated
from mldemo.studies.report import finished, table, unrecorded
from mldemo.studies.study import Record, Study
from mldemo.ui.tab import LIBRARIES, Place, base, template
from mldemo.ui.tabs.evidence import evidence
from mldemo.ui.wire import decode

__all__ = ["app", "browser", "page"]
ROOT = "#tab-evidence .md-player"


PLACE = Place(torch.device("cpu"), BUNDLE)


def records() -> list[tuple[Study | Evaluated, Record]]:
    """What the tab shows."""
    return list(finished())


def show(page: Page, app: str, query: str = "") -> Tab:
    tab = Tab(page, app, "evidence", query)
    drawn(page)
    return tab


def drawn(page: Page, study: str | None = None) -> None:
    """Wait until the figure of the record that is shown (or of this one) stands there."""
    mark = "[data-plotted]" if study is None else f'[data-plotted="{study}"]'
    page.wait_for_selector(f"{ROOT}[data-state=finished]{mark} .md-plot .main-svg")
    laid_out(page)


def traces(page: Page) -> list[dict]:
    """What Plotly draws: names, whether they are seen, error bars, colours."""
    return page.eval_on_selector(
        f"{ROOT} .md-plot",
        """e => e._fullData.map((t) => ({name: t.name, seen: t.visible === true,
          color: t.line?.color, bars: t.error_y?.visible ? [...t.error_y.array] : null}))""",
    )


def test_every_record_is_there(app: str, page: Page) -> None:
    """Its question, conclusion, command, date, numbers; chosen by the question."""
    show(page, app)
    for study, record in records():
        page.check(f'#evidence-study input[value="{study.name}"]')
        drawn(page, study.name)
        assert page.inner_text(f"{ROOT} .md-what") == study.question
        assert page.inner_text(f"{ROOT} .md-supported") == record["conclusion"]
        assert page.inner_text(f"{ROOT} .md-made-by") == record["command"]
        assert page.inner_text(f"{ROOT} .md-date") == record["date"]
        state = study.state(record)
        assert page.get_attribute(ROOT, "data-record") == state
        assert ("stale" in page.inner_text(f"{ROOT} .md-record-state")) == (state == "stale")
        rows = page.locator(f"{ROOT} .md-rows tbody tr").count()
        assert rows == len(study.rows(record)) > 0
        figure = study.figure(record)
        found = traces(page)
        assert [t["name"] for t in found] == [t.name for t in figure.data]
        seen = [t.visible is True for t in figure.data]
        assert [t["seen"] for t in found] == seen
        bars = [s and bool(t.error_y.array) for s, t in zip(seen, figure.data, strict=True)]
        assert [t["bars"] is not None for t in found] == bars and any(bars)
        default = study.name == evidence.questions(PLACE)[0][1]
        linked(page, "tab=evidence" if default else f"study={study.name}", gone=default * "study=")
    shipped = {study.name for study, _ in records()}
    assert {name for _, name in evidence.questions(PLACE)} == shipped
    assert page.locator(f"{ROOT} .md-every-record tbody tr").count() == len(shipped)


def test_a_record_that_was_finished_is_there_after_a_reload(app: str, page: Page) -> None:
    """The page that was loaded before does not offer it; the next one does, and shows it."""

    def before(route) -> None:  # as the server answered then
        body = route.fetch().text()
        found = re.search('<meta name="md-choices" content="([^"]*)">', body)
        assert found
        offered = json.loads(html.unescape(found[1]))
        study = offered["evidence"]["study"]
        at = study["values"].index("solutions")
        del study["values"][at], study["labels"][at]
        text = html.escape(json.dumps(offered))
        route.fulfill(body=body.replace(found[1], text), content_type="text/html")

    page.route("**/?tab=evidence*", before)
    show(page, app)
    options = page.locator("#evidence-study input")
    assert options.count() == len(records()) - 1
    assert page.locator('#evidence-study input[value="solutions"]').count() == 0
    page.unroute("**/?tab=evidence*")
    page.reload()
    drawn(page)
    page.wait_for_selector('#evidence-study input[value="solutions"]')
    assert options.count() == len(records())
    page.check('#evidence-study input[value="solutions"]')
    drawn(page, "solutions")


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
        return next(decode(httpx.get(address, timeout=60).content))[0]["figure"]

    one, two, none = (figure(bars)["data"] for bars in ("1 sd", "2 sd", "none"))
    for a, b, c in zip(one, two, none, strict=True):
        assert b["error_y"]["array"] == pytest.approx([2 * v for v in a["error_y"]["array"]])
        assert any(a["error_y"]["array"]) and c["error_y"]["visible"] is False


def test_the_table_is_taken_home(app: str, page: Page) -> None:
    """As CSV, the report's; the figure as SVG with its lines; the command as it is."""
    show(page, app, "study=convergence")
    study, record = next(pair for pair in records() if pair[0].name == "convergence")
    with page.expect_download() as kept:
        page.click(f"{ROOT} .md-save-table")
    assert kept.value.suggested_filename == "mldemo-convergence.csv"
    text = kept.value.path().read_bytes().decode()
    assert text == table(study, record)
    rows = list(csv.DictReader(io.StringIO(text)))
    assert float(rows[0]["coupled, mean"]) == study.rows(record)[0]["coupled, mean"]
    with page.expect_download() as kept:
        page.click(f"{ROOT} .md-save-figure")
    picture = kept.value.path().read_text("utf-8")
    assert picture.startswith("<svg") and picture.count('class="trace scatter') >= 4
    page.click(f"{ROOT} .md-copy-command")
    assert page.evaluate("navigator.clipboard.readText()") == record["command"]


def test_the_link_opens_a_run_that_shows_it(app: str, page: Page) -> None:
    for study, _ in records():
        show(page, app, f"study={study.name}")
        page.click(f"{ROOT} .md-shown-in")
        tab = parse_qs(study.link)["tab"][0]
        page.wait_for_selector(f"#tab-{tab} .md-player[data-state=finished]")
        assert page.locator(f"#tab-{tab} .md-alert:visible").count() == 0


def test_another_record_from_the_list_of_all(app: str, page: Page) -> None:
    """By keyboard; what is stale is marked there too."""
    show(page, app)
    (first, _), *_, (study, record) = records()
    assert first.name != study.name
    lines = page.locator(f"{ROOT} .md-every-record tbody tr")
    assert [lines.nth(i).get_attribute("data-record") for i in range(lines.count())] == [
        one.state(found) for one, found in records()
    ]
    page.locator(f"{ROOT} .md-every-record tbody button").last.focus()
    page.keyboard.press("Enter")
    drawn(page, study.name)
    assert page.inner_text(f"{ROOT} .md-supported") == record["conclusion"]


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


def test_plotly_comes_from_the_installed_package(app: str) -> None:
    ((name, path),) = LIBRARIES.items()
    answer = httpx.get(f"{app}/{base()}{name}")
    assert answer.content == path.read_bytes() and "immutable" in answer.headers["cache-control"]
    assert httpx.get(f"{app}/{base()}libraries/plotly.js").status_code == 404


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


def test_the_table_has_the_page_s_names_and_numbers(app: str, page: Page) -> None:
    """No key of the code; a true minus sign in numbers alone."""
    show(page, app)
    for study, record in records():
        page.check(f'#evidence-study input[value="{study.name}"]')
        drawn(page, study.name)
        heads = page.locator(f"{ROOT} .md-rows thead th").all_text_contents()
        assert not [head for head in heads if "_" in head or head in ("w2", "fid")], study.name
        lines = page.eval_on_selector_all(
            f"{ROOT} .md-rows tbody tr",
            "all => all.map((r) => [...r.cells].map((c) => c.innerText))",
        )
        for words, row in zip(lines, study.rows(record), strict=True):
            for text, (key, value) in zip(words, row.items(), strict=True):
                if isinstance(value, str):
                    assert text == (SAMPLERS[value].label if key == "sampler" else value).strip()
                else:
                    assert "-" not in text
                    if value is not None:
                        assert float(text.replace("−", "-")) == pytest.approx(value, rel=5e-3)
    page.check('#evidence-study input[value="solvers"]')
    drawn(page, "solvers")
    heads = page.locator(f"{ROOT} .md-rows thead th").all_text_contents()
    for key, head in zip(("calls", "w2", "to_limit"), heads[2:5], strict=True):
        assert f'<option value="{key}">{head}</option>' in template("solvers")
    page.check('#evidence-study input[value="multilevel-sampling"]')
    drawn(page, "multilevel-sampling")
    heads = page.locator(f"{ROOT} .md-rows thead th").all_text_contents()
    assert {"FID", "FID, second judge, sd", "CPU seconds"} <= set(heads)


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_a_wide_table_says_that_it_scrolls(app: str, page: Page, theme: str) -> None:
    """A shadow at the side where there is more; the arrow keys bring it."""
    show(page, app, f"study=evaluation&__theme={theme}")
    rows = page.locator(f"{ROOT} .md-rows")
    rows.scroll_into_view_if_needed()

    def shadow() -> list[bool]:
        """Whether the left and the right edge differ from the paper beside the caption."""
        grey = np.asarray(Image.open(io.BytesIO(rows.screenshot())).convert("L"), float)
        line = grey[3]  # above all words
        return [bool(abs(line[i] - np.median(line)) > 25) for i in (1, -2)]

    assert shadow() == [False, True]
    rows.focus()
    page.keyboard.press("ArrowRight")
    page.wait_for_function(
        "e => document.querySelector(e).scrollLeft > 20", arg=f"{ROOT} .md-rows"
    )
    rows.evaluate("e => e.scrollTo({left: e.scrollWidth, behavior: 'instant'})")
    assert shadow() == [True, False]


def test_what_has_no_record_is_named(app: str, page: Page) -> None:
    """Its question and the command, below the records; it can't be chosen."""
    show(page, app)
    missing = [s for s in unrecorded() if type(s).__module__.startswith("mldemo.")]
    found = page.locator(f"{ROOT} .md-unrecorded li").all_text_contents()
    assert found == [f"{s.question} python -m mldemo study run {s.name}" for s in missing]
    assert page.is_visible(f"{ROOT} .md-unrecorded") == bool(missing)
    offered = page.eval_on_selector_all("#evidence-study input", "all => all.map((e) => e.value)")
    assert not set(offered) & {s.name for s in missing}
