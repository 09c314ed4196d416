"""The tab Solvers in a real browser: the recorded study, and one curve computed when it opens."""

# ruff: noqa: F401, F811 - fixtures are imported and used by their names

from urllib.parse import parse_qs, urlsplit

import httpx
import pytest
from playwright.sync_api import Page
from ui import answered, app, browser, drawn, linked, page

from mldemo.studies.gaussian_law import STEPS, bundled_gaussian, gaussian_curve
from mldemo.ui.tabs.solvers.solvers import recorded

TAB = "#tab-solvers"
DONE = f"{TAB} .md-player[data-mode=live][data-state=finished]"


def show(page: Page, app: str, query: str = "") -> None:
    page.goto(f"{app}/?tab=solvers{query}")
    page.wait_for_selector(DONE)
    page.wait_for_selector(f'{TAB} .md-player[data-frames="{len(STEPS)}"]')


def picture(page: Page, name: str = "errors") -> str:
    """A canvas as text, to see whether it changed."""
    drawn(page)
    return page.eval_on_selector(f"{TAB} .md-{name}", "c => c.toDataURL()")


def table(page: Page, name: str) -> list[list[str]]:
    """The rows, that of the header first."""
    return page.eval_on_selector_all(
        f"{TAB} .md-{name} tr", "rows => rows.map(r => [...r.cells].map(c => c.textContent))"
    )


def test_it_opens_with_the_record_and_computes_a_curve(page: Page, app: str) -> None:
    show(page, app)
    record = recorded()
    assert record is not None
    how = page.inner_text(f"{TAB} .md-cost caption").split(":")[0]
    assert how == ("Recorded with earlier code" if record["stale"] else "Recorded")
    columns = list(zip(*table(page, "cost"), strict=True))
    assert columns[0][:3] == ("sampler", "order", "slope W₂")
    for (label, order, shown, *_), sampler in zip(
        columns[1:], record["samplers"].values(), strict=True
    ):
        assert label == sampler["label"]
        slope = float(shown.replace("−", "-"))
        assert slope == pytest.approx(sampler["gaussian_slope"]["slope"], abs=0.006)
        assert slope == pytest.approx(-float(order), abs=0.1)
    assert [row[2] for row in table(page, "slopes")[1:]] == ["−0.10", "−0.50", "−1.00", "−2.00"]
    assert "live on CPU" in page.inner_text(f"{TAB} .md-mode")
    for name in ("errors", "levels"):
        colours = page.eval_on_selector(
            f"{TAB} .md-{name}",
            "c => new Set(new Uint32Array(c.getContext('2d').getImageData(0, 0, c.width,"
            " c.height).data.buffer)).size",
        )
        assert colours > 50


def test_the_tables_fit_a_phone(page: Page, app: str) -> None:
    """Nothing is to be scrolled sideways at 390 px."""
    page.set_viewport_size({"width": 390, "height": 844})
    show(page, app)
    excess = page.eval_on_selector_all(
        f"{TAB} .md-scroll", "boxes => boxes.map(e => e.scrollWidth - e.clientWidth)"
    )
    assert excess == [0, 0]


def test_the_live_curve_is_what_the_study_computes(app: str) -> None:
    raw = httpx.get(f"{app}/mldemo/live/solvers?sampler=ddim&n=8&prior=laplacian", timeout=60)
    points = [meta["readings"] for meta, _ in answered(raw.content) if meta["kind"] == "frame"]
    assert points == list(gaussian_curve(bundled_gaussian("laplacian", 8), "ddim"))
    answer = httpx.get(f"{app}/mldemo/live/solvers?sampler=magic", timeout=60).content
    assert "sampler must be one of" in answered(answer)[0][0]["text"]


def test_the_playhead_adds_points_without_a_request(page: Page, app: str) -> None:
    show(page, app)
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    whole = picture(page)
    page.focus(f"{TAB} .md-player")
    page.keyboard.press("Home")
    page.wait_for_selector(f'{TAB} .md-player[data-step="0"]')
    assert picture(page) != whole
    page.keyboard.press("End")
    page.wait_for_selector(f'{TAB} .md-player[data-step="{len(STEPS) - 1}"]')
    assert picture(page) == whole
    assert asked == []


def test_axes_and_lines_are_in_the_link(page: Page, app: str) -> None:
    show(page, app)
    seen = {picture(page)}
    for name, value in (("error-kind", "error"), ("cost-kind", "calls"), ("cost-kind", "seconds")):
        page.select_option(f"{TAB} .md-{name}", value)
        seen.add(picture(page))
    page.uncheck(f"{TAB} .md-theory")
    last = picture(page)
    seen.add(last)
    assert len(seen) == 5
    linked(page, "error=", "against=seconds", "theory=")
    query = {k: v[0] for k, v in parse_qs(urlsplit(page.url).query).items()}
    assert query == {"tab": "solvers", "error": "error", "against": "seconds", "theory": "0"}
    show(page, app, "&error=error&against=seconds&theory=0")
    assert picture(page) == last
    assert not page.is_checked(f"{TAB} .md-theory")


def test_another_sampler_is_computed_at_once(page: Page, app: str) -> None:
    show(page, app, "&sampler=ddim&n=8")
    assert "DDIM" in page.inner_text(f"{TAB} .md-what")
    before = page.get_attribute(f"{TAB} .md-player", "data-run")
    page.click("#solvers-n label:has-text('16')")
    page.wait_for_selector(f'{DONE}:not([data-run="{before}"])')
    assert "16²" in page.inner_text(f"{TAB} .md-what")
