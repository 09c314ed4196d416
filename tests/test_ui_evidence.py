"""The tab Evidence in a real browser: every record with its table and its command."""

import csv
import html
import io
import json
import re
from urllib.parse import parse_qs

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


def test_plotly_comes_from_the_installed_package(app: str) -> None:
    ((name, path),) = LIBRARIES.items()
    answer = httpx.get(f"{app}/{base()}{name}")
    assert answer.content == path.read_bytes() and "immutable" in answer.headers["cache-control"]
    assert httpx.get(f"{app}/{base()}libraries/plotly.js").status_code == 404


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
