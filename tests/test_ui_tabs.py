"""Resolution and Priors in a real browser."""

import numpy as np
import pytest
from playwright.sync_api import Page
from ui import Tab, app, browser, laid_out, linked, number, page

__all__ = ["app", "browser", "page"]


def gap(page: Page, tab: Tab, pair: str) -> float:
    """The number beside a pair, in per cent."""
    return number(page.inner_text(f'{tab.root} [data-pair="{pair}"]'))


def test_one_function_on_all_grids(app: str, page: Page) -> None:
    """Under the exact score a trace-class run commutes with restriction; white noise halves."""
    tab = Tab(page, app, "resolution", "score=gaussian&finest=64&steps=5&prior=bessel")
    tab.finished()
    seen: list[str] = []
    page.on("request", lambda request: seen.append(request.url))
    page.focus(tab.root)
    page.keyboard.press("Home")
    tab.at(0)
    for n in (16, 32):
        assert gap(page, tab, f"bessel-{n}") < 0.01
        assert gap(page, tab, f"standard-{n}") == pytest.approx(50, abs=1)
    start = tab.pictures("smooth-prior-64", 64)
    page.keyboard.press("End")
    tab.at(5)
    assert np.abs(tab.pictures("smooth-prior-64", 64).astype(float) - start).mean() > 3
    assert seen == []
    linked(page, "finest=64", "tab=resolution")


def test_the_learned_score_is_one_operator(app: str, page: Page) -> None:
    """Its ends on neighbouring grids differ, but they are the same digit."""
    tab = Tab(page, app, "resolution", "finest=64&steps=6&show=x0")
    tab.finished()
    tab.at(6)
    assert 0 < gap(page, tab, "bessel-32") < 30


def test_priors_follow_the_sliders(app: str, page: Page) -> None:
    """At s ≤ 1 the verdict changes; the draws are those of the core."""
    from test_ui_watch import folder

    from mldemo.data.pictures import pixels
    from mldemo.pipeline import default_statistics

    tab = Tab(page, app, "priors", "priors=laplacian.standard&s=1.1&n=32")
    tab.finished()
    verdicts = f"{tab.root} .md-verdict"
    assert page.locator(verdicts).all_inner_texts() == ["trace class", "not trace class"]
    drawn = default_statistics(folder()).prior("laplacian").draw(7, range(4), 32)
    np.testing.assert_array_equal(
        tab.pictures("card:first-child canvas", 32), pixels(drawn)[:, 0].numpy()
    )
    box = page.locator("#priors-s").get_by_role("spinbutton")
    box.fill("0.9")
    box.press("Tab")
    page.wait_for_function(
        "e => document.querySelector(e).textContent === 'not trace class'", arg=verdicts
    )
    assert "like N⁰·²" in page.locator(f"{tab.root} .md-reason").first.inner_text()
    linked(page, "s=0.9", "priors=laplacian.standard")


def test_tabs_are_opened_and_linked(app: str, page: Page) -> None:
    """A click on each tab shows it working, and the URL names it."""
    Tab(page, app, "watch")
    for ident in ("resolution", "priors"):
        page.click(f"button[role=tab][data-tab-id={ident}]")
        page.wait_for_selector(f"#tab-{ident} .md-player[data-state=finished]")
        linked(page, f"tab={ident}")


def test_labels_say_what_is_shown(app: str, page: Page) -> None:
    """One meaning for x̂₀, axes with names, no colour that praises, no letters left raw."""
    tab = Tab(page, app, "watch", "score=gaussian&n=16&count=1&steps=2")
    tab.finished()
    assert page.get_attribute(f"{tab.root} .md-map", "data-axes") == "step; frequency |k|"
    headings = page.locator(f"{tab.root} figcaption:visible").all_inner_texts()
    assert [h.split("\n")[0].replace(" ", "") for h in headings if "x̂" in h] == ["x̂0predictedend"]
    assert any(h.startswith("Power of x") for h in headings)
    assert "noisy" not in " ".join(headings)
    tab = Tab(page, app, "resolution", "score=gaussian&finest=64&steps=4&prior=bessel")
    tab.end()
    numbers = page.locator(f"{tab.root} .md-number")
    assert numbers.first.inner_text() == "≈ 0 %"  # single precision does not tell less from it
    colours = numbers.evaluate_all("es => es.map((e) => getComputedStyle(e).color)")
    assert len(colours) == 4
    assert len(set(colours)) == 1
    assert "e-" not in "".join(numbers.all_inner_texts())
    for ident in ("watch", "resolution", "priors", "forward", "solvers", "learn"):
        page.evaluate(f"document.querySelector('[data-tab-id={ident}]').click()")
        page.wait_for_selector(f"#tab-{ident} .md-player", state="visible")
        words = page.inner_text(f"#tab-{ident}")
        assert "η_" not in words
        assert "⏮" not in words  # few fonts have it


@pytest.mark.parametrize("ident", ["resolution", "priors"])
def test_nothing_sticks_out_on_a_phone(app: str, page: Page, ident: str) -> None:
    """390 pixels are enough."""
    page.set_viewport_size({"width": 390, "height": 844})
    Tab(page, app, ident, "steps=2&finest=32" if ident == "resolution" else "")
    laid_out(page)
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
