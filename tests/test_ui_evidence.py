"""The tab Evidence in a real browser: every record with its figure, its table and its command."""

import csv
import html
import io
import json
import re
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest
import torch
from playwright.sync_api import Page
from ui import Tab, app, browser, laid_out, linked, page

from mldemo.store.manifest import BUNDLE
from mldemo.studies.evaluated import Evaluated
from mldemo.studies.report import finished, table
from mldemo.studies.study import Record, Study
from mldemo.ui.tab import LIBRARIES, Place, base
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
