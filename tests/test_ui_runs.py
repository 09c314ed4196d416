"""Runs as people meet them: they begin at their beginning, are paced, pinned and linked."""

import numpy as np
import pytest
from playwright.sync_api import Page
from ui import Held, Tab, app, browser, drawn, linked, number, page

__all__ = ["app", "browser", "page"]
SMALL = "score=gaussian&n=16&count=4&seed=3"
# every step that is drawn, with the run and the time; when each run was computed
WATCHER = """
window.drawn = [];
window.computed = {};
new MutationObserver((changes) => {
  for (const { target: { dataset: d }, attributeName } of changes) {
    const now = performance.now();
    if (attributeName === "data-state") computed[d.run] ??= d.state === "finished" ? now : null;
    else if (d.step) drawn.push([now, d.run, Number(d.step)]);
  }
}).observe(document, { attributeFilter: ["data-step", "data-state"], subtree: true });
"""
# the page's clock: a sixtieth of a second for each of its frames, however long one takes
CLOCK = """
const frame = window.requestAnimationFrame.bind(window);
let time = 0, last = null;
performance.now = () => time;
window.requestAnimationFrame = (act) => frame((now) => {
  if (now !== last) time += 1000 / 60;
  last = now;
  act(time);
});
"""


def steps_drawn(page: Page, run: str) -> list[tuple[float, int]]:
    """When which step of a run was drawn."""
    return [(t, step) for t, name, step in page.evaluate("drawn") if name == run]


@pytest.mark.parametrize(
    ("before", "begun_by"),
    [
        ("Home", "#watch-start"),
        ("ArrowLeft", "#watch-dice"),
        ("Home", "#watch-n label:has-text('8')"),
    ],
)
def test_a_new_run_begins_at_its_beginning_and_plays(
    app: str, page: Page, before: str, begun_by: str
) -> None:
    """Wherever the playhead stood; every step is shown, at the chosen speed, though computed."""
    page.add_init_script(CLOCK + WATCHER)
    page.route("**/live/watch?*", lambda route: route.fulfill(response=route.fetch()))  # at once
    tab = Tab(page, app, "watch", f"{SMALL}&steps=12&speed=12&loop=0")
    tab.end()
    page.keyboard.press(before)
    page.wait_for_selector(f"{tab.root}[data-playing=false]")
    run = tab.facts()["run"]
    page.locator(begun_by).first.click()
    page.wait_for_selector(
        f'{tab.root}[data-played=true][data-playing=false]:not([data-run="{run}"])'
    )
    run = tab.facts()["run"]
    shown = steps_drawn(page, run)
    steps = list(dict.fromkeys(s for _, s in shown))
    assert steps == list(range(13))
    assert shown[-1][0] > page.evaluate("run => computed[run]", run)
    gaps = np.diff([t for t, _ in shown])
    assert np.median(gaps) == pytest.approx(1000 / 12, rel=0.01)


def test_it_says_that_it_is_computed_faster_than_it_is_played(app: str, page: Page) -> None:
    """And stops saying so when it is paused, or played as it comes."""
    tab = Tab(page, app, "watch", f"{SMALL}&steps=20")
    tab.finished()
    page.wait_for_function(
        "e => /computed in [0-9.]+ s, played slowly/.test(document.querySelector(e).textContent)",
        arg=f"{tab.root} .md-pace",
    )
    assert number(tab.text("pace").partition("in ")[2]) < 5
    page.focus(tab.root)
    page.keyboard.press(" ")
    page.wait_for_selector(f"{tab.root}[data-playing=false]")
    assert "played" not in tab.text("pace")


def test_a_run_obeys_loop(app: str, page: Page) -> None:
    """A live one too: after its end it begins again, or stands still there."""
    page.add_init_script(WATCHER)
    tab = Tab(page, app, "watch", f"{SMALL}&steps=5&speed=30")
    tab.finished()
    page.wait_for_selector(f"{tab.root}[data-played=true]")
    page.wait_for_function("drawn.slice(6).some((d) => d[2] === 1)")
    page.uncheck(f"{tab.root} .md-loop")
    page.wait_for_selector(f"{tab.root}[data-playing=false][data-step='5']")


def test_a_link_s_step_is_of_its_first_run_only(app: str, page: Page) -> None:
    """It stands there; the next run begins at its beginning, and the step leaves the link."""
    tab = Tab(page, app, "watch", f"{SMALL}&steps=12&step=4&loop=0&speed=30")
    tab.finished()
    tab.at(4)
    assert tab.facts()["playing"] == "false"
    linked(page, "&step=4")
    run = tab.facts()["run"]
    page.click("#watch-dice")
    page.wait_for_selector(f'{tab.root}[data-step="12"]:not([data-run="{run}"])')
    linked(page, gone="&step=")


def test_a_link_holds_however_late_the_page_reads_it(app: str, page: Page) -> None:
    """Its step, band and loop, though a script that it waits for comes after everything else."""
    held = Held(page, "**/tabs/watch/network.js")
    page.goto(f"{app}/?tab=watch&{SMALL}&steps=6&step=2&band=only-2-4&loop=0")
    page.wait_for_selector("#tab-watch .md-player", state="attached")
    held.come()
    page.wait_for_timeout(1000)
    held.let_go()
    tab = Tab.shown(page, "watch")
    tab.finished()
    tab.at(2)
    assert tab.text("band-note").startswith("Shown: |k| from 2 to 4 alone")
    assert not page.is_checked(f"{tab.root} .md-loop")


def test_a_pinned_run_stands_beside_the_next_one(app: str, page: Page) -> None:
    """At the same time t, under one playhead, with no request; the link brings both back."""
    tab = Tab(page, app, "watch", f"{SMALL}&steps=6")
    tab.end()
    alone = {step: tab.pictures("x0", 16) for step in [6]}
    page.keyboard.press("Home")
    tab.at(0)
    alone[0] = tab.pictures("x0", 16)
    page.click(f"{tab.root} .md-pin")
    run = tab.facts()["run"]
    page.locator("#watch-n").get_by_label("64", exact=True).check()
    page.wait_for_selector(f'{tab.root}[data-state=finished]:not([data-run="{run}"])')
    seen: list[str] = []
    page.on("request", lambda request: seen.append(request.url))

    def both() -> None:
        page.focus(tab.root)
        for key, step in (("Home", 0), ("End", 6)):
            page.keyboard.press(key)
            tab.at(step)
            np.testing.assert_array_equal(tab.pictures("beside-x0", 16), alone[step])
            assert tab.pictures("x0", 64).shape == (4, 64, 64)

    both()
    assert seen == []
    caption = page.inner_text(f"{tab.root} .md-beside figcaption >> nth=0")
    assert "pinned" in caption
    assert "16²" in caption
    url = linked(page, "pin=", "n=64")
    page.goto("about:blank")
    page.goto(url)
    tab.finished()
    page.wait_for_selector(f"{tab.root}.md-pinned")
    both()
    page.click(f"{tab.root} .md-pin")
    assert page.locator(f"{tab.root} .md-beside:visible").count() == 0
    linked(page, gone="pin=")


def test_runs_with_other_steps_are_pinned_at_the_same_time(app: str, page: Page) -> None:
    """Six steps beside twelve: step 6 of 12 is not step 6 of 6."""
    tab = Tab(page, app, "watch", f"{SMALL}&steps=6")
    tab.end()
    end = tab.pictures("x", 16)
    pinned = "score-gaussian*n-16*count-4*seed-3*steps-6"
    tab = Tab(page, app, "watch", f"{SMALL}&steps=12&pin={pinned}")
    tab.finished()
    page.wait_for_selector(f"{tab.root}.md-pinned")
    page.focus(tab.root)
    page.keyboard.press("Home")
    for _ in range(6):
        page.keyboard.press("ArrowRight")
    tab.at(6)
    assert np.abs(tab.pictures("beside-x", 16).astype(float) - end).mean() > 3
    page.keyboard.press("End")
    tab.at(12)
    np.testing.assert_array_equal(tab.pictures("beside-x", 16), end)


def test_a_pinned_run_of_another_network_says_so(app: str, page: Page) -> None:
    """Its settings may all be those of the run beside it."""
    same = {"n": 16, "count": 4, "seed": 3, "steps": 2}
    pinned = "*".join(f"{k}-{v}" for k, v in same.items()) + "*checkpoint-mnist-unet-bessel-16"
    query = "&".join(f"{k}={v}" for k, v in same.items())
    tab = Tab(page, app, "watch", f"{query}&pin={pinned}")
    tab.finished()
    page.wait_for_selector(f"{tab.root}.md-pinned")
    caption = page.inner_text(f"{tab.root} .md-beside figcaption >> nth=0")
    assert "mnist-unet-bessel-16, pinned" in caption


@pytest.mark.parametrize(("prior", "lowest"), [("bessel", False), ("fno", True)])
def test_words_in_the_map_of_snr_stand_where_they_are_true(
    app: str, page: Page, prior: str, lowest: bool
) -> None:
    """Also for a prior that has no noise at high frequencies: "noise" is on noise."""
    page.add_init_script(
        """window.words = {};
        const { fillText } = CanvasRenderingContext2D.prototype;
        CanvasRenderingContext2D.prototype.fillText = function (word, x, y, ...more) {
          if (["noise", "signal"].includes(word)) { // the colour just outside the word
            const [red, , blue] = this.getImageData(x + (word === "noise" ? -2 : 2), y, 1, 1).data;
            words[word] = [y / this.canvas.height, red > blue];
          }
          return fillText.call(this, word, x, y, ...more);
        };"""
    )
    tab = Tab(page, app, "watch", f"score=gaussian&n=64&count=4&seed=3&steps=4&prior={prior}")
    tab.finished()
    page.wait_for_function("words.noise && words.signal")
    (noise, on_noise), (_, on_signal) = page.evaluate("[words.noise, words.signal]")
    assert (on_noise, on_signal) == (True, False)
    assert (noise > 0.2) == lowest  # bessel: at the highest frequencies, the upper edge


def band_of(whole: np.ndarray, low: int, high: int) -> np.ndarray:
    """Grey pictures with these frequencies alone."""
    n = whole.shape[-1]
    axis = np.fft.fftfreq(n, 1 / n)
    k = np.hypot(axis[:, None], axis)
    mask = (k >= low - 0.5) & (k < high + 0.5)
    field = np.fft.ifft2(np.fft.fft2(whole / 127.5 - 1) * mask).real
    return ((field + 1) * 127.5).clip(0, 255)


@pytest.mark.parametrize(("chart", "across"), [("s", True), ("map", False)])
def test_pointing_at_a_frequency_shows_it_alone(
    app: str, page: Page, chart: str, across: bool
) -> None:
    """In both sheets and both charts as long as the pointer stays; a click keeps it."""
    tab = Tab(page, app, "watch", f"{SMALL}&steps=6")
    tab.end()
    whole, charts = tab.pictures("x0", 16), {c: tab.canvas(c) for c in ("s", "map")}
    box = page.locator(f"{tab.root} .md-{chart}").bounding_box()
    assert box is not None
    x = box["x"] + box["width"] * (0.6 if across else 0.5)
    y = box["y"] + box["height"] * (0.4 if across else 0.3)
    page.mouse.move(x, y)
    page.wait_for_function(
        "e => document.querySelector(e).textContent.startsWith('Shown: |k|')",
        arg=f"{tab.root} .md-band-note",
    )
    drawn(page)
    words = tab.text("band-note")
    found = [int(v) for v in words.replace(";", " ").split() if v.isdigit()]
    assert 1 < found[0] <= found[-1] < 10
    wanted = band_of(whole, found[0], found[-1])
    assert np.abs(tab.pictures("x0", 16) - wanted).max() <= 0.51
    for name, before in charts.items():
        assert (tab.canvas(name) != before).any(-1).mean() > 0.02, name
    page.mouse.move(5, 5)
    page.wait_for_function(
        "e => !document.querySelector(e).textContent", arg=f"{tab.root} .md-band-note"
    )
    drawn(page)
    np.testing.assert_array_equal(tab.pictures("x0", 16), whole)
    for name, before in charts.items():
        np.testing.assert_array_equal(tab.canvas(name), before)
    page.mouse.click(x, y)
    page.mouse.move(5, 5)
    linked(page, f"band=only-{found[0]}-{found[-1]}")
    drawn(page)
    assert np.abs(tab.pictures("x0", 16) - wanted).max() <= 0.51


def test_log_snr_is_that_of_the_frequencies_shown(app: str, page: Page) -> None:
    """log of α²ΣΛ/σ²Σq, which pointing at one shell makes the chart's own ratio."""
    from test_ui_watch import folder

    from mldemo.pipeline import prepare
    from mldemo.request import Request
    from mldemo.space.spectral import multiplicity, radius

    tab = Tab(page, app, "watch", f"{SMALL}&steps=6&step=3&band=only-2-4")
    tab.finished()
    tab.at(3)
    run = prepare(Request("bessel", 16, 6, score="gaussian"), folder=folder())
    r = radius(16)
    weights = multiplicity(16) * ((r >= 1.5) & (r < 4.5))
    signal = (weights * run.statistics.spectrum(16)).sum()
    noise = (weights * run.prior.eigenvalues(16)).sum()
    expected = np.log(run.alphas[3] ** 2 * float(signal) / (run.sigmas[3] ** 2 * float(noise)))
    assert number(tab.text("snr").replace("−", "-")) == pytest.approx(expected, abs=0.006)


def test_back_leads_to_the_tab_before(app: str, page: Page) -> None:
    """And forward again; the values of each are still there."""
    Tab(page, app, "watch", SMALL)
    for ident in ("priors", "solvers"):
        page.click(f"button[role=tab][data-tab-id={ident}]")
        page.wait_for_selector(f"#tab-{ident} .md-player[data-state=finished]")
        linked(page, f"tab={ident}")
    for ident, back in (("priors", True), ("watch", True), ("priors", False)):
        page.go_back() if back else page.go_forward()
        page.wait_for_selector(f"#tab-{ident} .md-player", state="visible")
        linked(page, f"tab={ident}")
        assert ("n=16" in page.url) == (ident == "watch")


def test_an_export_names_its_step_and_its_band(app: str, page: Page) -> None:
    """In its footer, as drawn."""
    page.add_init_script(
        "window.written = []; const fill = CanvasRenderingContext2D.prototype.fillText;"
        "CanvasRenderingContext2D.prototype.fillText = function (words, ...more) "
        "{ window.written.push(words); return fill.call(this, words, ...more); };"
    )
    tab = Tab(page, app, "watch", f"{SMALL}&steps=6&step=2&band=only-2-4")
    tab.finished()
    tab.at(2)
    with page.expect_download():
        page.click(f"{tab.root} .md-save-png")
    (footer,) = [w for w in page.evaluate("written") if w.startswith("mldemo ·")]
    assert "seed 3 · step 2 of 6, log signal to noise" in footer
    assert footer.endswith("|k| from 2 to 4 alone")


def test_nothing_starts_beside_an_error(app: str, page: Page) -> None:
    """What cannot be computed is said, and no run is announced."""
    page.goto(f"{app}/?tab=watch&prior=fno&checkpoint=mnist-unet-standard-16")
    root = "#tab-watch .md-player"
    page.wait_for_selector(f"{root}[data-state=failed]")
    assert "fno" in page.inner_text(f"{root} .md-alert")
    assert page.inner_text(f"{root} .md-mode") == "no run"
