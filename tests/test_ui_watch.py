"""Watch in a real browser: what is shown is what the core computes, and it needs no server."""

import io
import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import Browser, Page
from ui import LASTING, PATIENCE, Tab, app, browser, drawn, laid_out, linked, page

from mldemo.data.pictures import pixels
from mldemo.pipeline import prepare
from mldemo.request import Request

__all__ = ["app", "browser", "page"]
LIVE = "score=gaussian&n=32&steps=20&count=4&seed=3"


def folder() -> Path:
    """The bundle that the app serves."""
    from mldemo.store.manifest import BUNDLE

    return Path(os.environ.get("MLDEMO_CHECKPOINTS", BUNDLE))


def test_a_recorded_run_moves_with_no_click(app: str, page: Page) -> None:
    """And it says that it is recorded."""
    tab = Tab(page, app, "watch")
    assert tab.text("mode") == "prerecorded"
    before = tab.canvas("x")[..., 0].astype(float)
    assert before.std() > 20
    for _ in range(240):  # the last few steps of a run look alike, so some patience is needed
        page.wait_for_timeout(250)
        if np.abs(tab.canvas("x")[..., 0] - before).mean() > 5:
            break
    else:
        pytest.fail("nothing moves")
    assert tab.canvas("s")[..., 3].std() > 5
    assert tab.canvas("map")[..., 3].std() > 5


def test_the_pixels_are_the_cores_and_scrubbing_asks_nobody(
    app: str, page: Page, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A link computes the run; the copied Python gives every pixel of every step."""
    tab = Tab(page, app, "watch", LIVE)
    tab.finished()
    assert tab.text("mode") == "live on CPU"
    page.click(".md-copy-python")
    scope: dict = {}
    code = tab.text("command").replace("prepare(request)", "prepare(request, folder=BUNDLE)")
    monkeypatch.chdir(tmp_path)
    exec(f"from pathlib import Path\nBUNDLE = Path({str(folder())!r})\n{code}", scope)
    shown = scope["shown"].numpy()
    assert shown.shape == (21, 4, 32, 32)
    seen: list[str] = []
    page.on("request", lambda request: seen.append(request.url))
    page.focus(tab.root)
    for key, step in (("Home", 0), ("ArrowRight", 1), ("ArrowRight", 2), ("ArrowLeft", 1)):
        page.keyboard.press(key)
        tab.at(step)
        np.testing.assert_array_equal(tab.pictures("x0", 32), shown[step])
    page.keyboard.press("End")
    tab.at(20)
    np.testing.assert_array_equal(tab.pictures("x", 32), shown[20])
    page.eval_on_selector(
        f"{tab.root} .md-range", "e => { e.value = 10; e.dispatchEvent(new Event('input')); }"
    )
    tab.at(10)
    page.focus(f"{tab.root} .md-range")
    page.keyboard.press("ArrowRight")  # the slider's own key, once and not twice
    tab.at(11)
    page.focus(tab.root)
    page.keyboard.press(" ")
    page.wait_for_function("e => +document.querySelector(e).dataset.step >= 13", arg=tab.root)
    page.keyboard.press(" ")
    page.wait_for_selector(f"{tab.root}[data-playing=false]")
    drawn(page)
    held = tab.facts()["step"]
    page.wait_for_timeout(600)
    assert tab.facts()["step"] == held
    page.wait_for_function(  # it speaks at most every 1.5 s
        "([e, words]) => document.querySelector(e).textContent.includes(words)",
        arg=[f"{tab.root} .md-say", f"Step {held} of 20, log signal to noise"],
    )
    assert seen == []


def test_a_band_of_frequencies_is_cut_out(app: str, page: Page) -> None:
    """Only and without add up to the picture; numpy's transform agrees with the browser's."""
    tab = Tab(page, app, "watch", LIVE)
    tab.end()
    whole = tab.pictures("x0", 32) / 127.5 - 1
    parts = []
    for kind in ("only", "without"):
        page.check(f"{tab.root} .md-band-kind input[value={kind}]")
        page.fill(f"{tab.root} .md-band-low", "2")
        page.fill(f"{tab.root} .md-band-high", "5")
        drawn(page)
        parts.append(tab.pictures("x0", 32).astype(float))
    axis = np.fft.fftfreq(32, 1 / 32)
    k = np.hypot(axis[:, None], axis)
    inside = (k >= 1.5) & (k < 5.5)
    for shown, mask in zip(parts, (inside, ~inside), strict=True):
        wanted = np.fft.ifft2(np.fft.fft2(whole) * mask).real
        wanted = ((wanted + 1) * 127.5).clip(0, 255)
        assert np.abs(shown - wanted).max() <= 0.51
    linked(page, "band=without-2-5")


@pytest.mark.parametrize(("chart", "across"), [("s", True), ("map", False)])
def test_a_finger_chooses_a_band_along_the_axis_of_frequencies(
    app: str, browser: Browser, chart: str, across: bool
) -> None:
    """There a drag does not scroll the page, which has room to scroll."""
    context = browser.new_context(viewport={"width": 390, "height": 844}, has_touch=True)
    page = context.new_page()
    page.set_default_timeout(PATIENCE)
    tab = Tab(page, app, "watch")
    tab.at(20)
    canvas = page.locator(f"{tab.root} canvas.md-{chart}")
    canvas.scroll_into_view_if_needed()
    finger = context.new_cdp_session(page)

    def drag(dx: float, dy: float) -> float:
        """Move a finger from the middle of the chart by these shares; how far the page went."""
        box = canvas.bounding_box()
        assert box
        before = page.evaluate("scrollY")
        x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
        for i in range(11):
            at = {"x": x + dx * i / 10 * box["width"], "y": y + dy * i / 10 * box["height"]}
            kind = "touchMove" if i else "touchStart"
            finger.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": [at]})
        finger.send("Input.dispatchTouchEvent", {"type": "touchEnd", "touchPoints": []})
        page.wait_for_timeout(300)
        return abs(page.evaluate("scrollY") - before)

    room = page.evaluate("document.documentElement.scrollHeight - innerHeight - scrollY")
    assert room > 100
    assert drag(-0.3 * across, -0.3 * (not across)) == 0
    linked(page, "band=only-")
    context.close()


def test_every_control_is_in_the_link(app: str, page: Page) -> None:
    """What is set by hand is in the URL, and the URL gives the same values and pixels again."""
    tab = Tab(page, app, "watch", "score=gaussian&n=16&count=1")
    tab.finished()
    tab.more()
    page.locator("#watch-n").get_by_label("64", exact=True).check()
    page.locator("#watch-count").get_by_label("4", exact=True).check()
    page.get_by_label("number input for Steps").fill("7")
    page.get_by_label("number input for Steps").press("Tab")
    page.fill("#watch-seed input", "12345")
    page.press("#watch-seed input", "Tab")
    for name, word in (("prior", "laplacian"), ("sampler", "Heun")):
        page.locator(f"#watch-{name} input").click()
        page.get_by_role("option", name=word).click()
    page.wait_for_function(
        "e => document.querySelector(e).textContent.includes('laplacian prior · 64² · 7 steps · "
        "Heun · seed 12345')",
        arg=f"{tab.root} .md-what",
    )
    tab.finished()
    page.focus(tab.root)
    page.keyboard.press("Home")
    for _ in range(4):
        page.keyboard.press("ArrowRight")
    tab.at(4)
    page.check(f"{tab.root} .md-smooth")
    parts = ("prior=laplacian", "n=64", "steps=7", "sampler=heun", "count=4", "seed=12345")
    url, shown = linked(page, *parts, "&step=4", "view=smooth"), tab.pictures("x", 64)
    page.goto("about:blank")
    page.goto(url)
    tab.at(4)
    np.testing.assert_array_equal(tab.pictures("x", 64), shown)
    assert page.input_value("#watch-seed input") == "12345"
    assert page.is_checked(f"{tab.root} .md-smooth")
    page.click(".md-copy-link")
    assert "checkpoint=auto" in page.evaluate("navigator.clipboard.readText()")


def test_a_run_is_coarse_until_the_time_that_is_chosen(app: str, page: Page) -> None:
    """Chosen under More it is in the link, in the words, in the copied command and the pixels."""
    tab = Tab(page, app, "watch", LIVE)
    tab.finished()
    assert "coarse" not in tab.text("what")
    tab.more()
    page.locator("#watch-coarse_until").get_by_label("0.2", exact=True).check()
    page.wait_for_function(
        "e => document.querySelector(e).textContent.includes('coarse until t = 0.2 (16² → 32²)')",
        arg=f"{tab.root} .md-what",
    )
    tab.end()
    assert "coarse_until=0.2" in page.url
    page.click(".md-copy-command")
    assert "--coarse-until 0.2" in page.evaluate("navigator.clipboard.readText()")
    request = Request(resolution=32, steps=20, count=4, seed=3, score="gaussian", coarse_until=0.2)
    frames = list(prepare(request).frames())
    np.testing.assert_array_equal(tab.pictures("x0", 32), pixels(frames[20].x0)[:, 0].numpy())
    page.keyboard.press("Home")
    tab.at(0)
    np.testing.assert_array_equal(tab.pictures("x", 32), pixels(frames[0].x)[:, 0].numpy())
    assert tab.canvas("s")[..., 3].std() > 5


def test_a_wrong_link_is_put_right_and_says_so(app: str, page: Page) -> None:
    """The bound is named; nothing of the link becomes markup."""
    tab = Tab(page, app, "watch", "steps=1e9&n=<b>x</b>&score=gaussian&count=1")
    tab.finished()
    words = tab.text("alert")
    assert "steps=1e9, which must be from 2 to 100; 20 is used" in words
    assert "n=<b>x</b>, which must be one of 8, 16, 32, 64, 128" in words
    assert page.locator(f"{tab.root} .md-alert b").count() == 0


def test_a_lecturers_link_hides_and_enlarges(app: str, page: Page) -> None:
    """hide= takes controls, parts and tabs away; present=1 makes the type larger."""
    tab = Tab(page, app, "watch")
    size = "e => parseFloat(getComputedStyle(document.querySelector(e)).fontSize)"
    before = page.evaluate(size, tab.root)
    assert page.is_visible("#watch-seed")
    tab = Tab(page, app, "watch", "present=1&hide=seed,facts,priors,footer")
    page.wait_for_selector("#watch-seed", state="hidden")
    page.wait_for_function(f"e => ({size})(e) > {before}", arg=tab.root)
    for hidden in (f"{tab.root} .md-facts", "[data-tab-id=priors]", "#footer", "#watch-dice"):
        assert not page.is_visible(hidden)
    assert page.is_visible("#watch-n")


def test_moving_a_control_starts_a_run(app: str, page: Page) -> None:
    """On the page as it opens, with its prerecorded run, and no click on Start."""
    tab = Tab(page, app, "watch")
    assert tab.facts()["mode"] == "prerecorded"
    page.click("#tab-watch .md-more")
    page.locator("#watch-score").get_by_label("Gaussian").check()
    tab.finished()
    assert tab.text("score") == "exact score of a Gaussian"


def test_stop_ends_within_a_step(app: str, page: Page) -> None:
    """At most the step under way still arrives, and the next run works."""
    tab = Tab(page, app, "watch", LASTING)
    tab.under_way(3)
    page.click("#watch-stop")
    page.wait_for_selector(f"{tab.root}[data-state=stopped]")
    drawn(page)
    count = tab.facts()["frames"]
    page.wait_for_timeout(1500)
    assert tab.facts()["frames"] == count
    assert int(count) < 101
    page.locator("#watch-n").get_by_label("16", exact=True).check()
    tab.finished()


def test_pictures_are_saved(app: str, page: Page, tmp_path: Path) -> None:
    """A PNG, and an animated GIF and WebP that another library reads, with moving pictures."""
    tab = Tab(page, app, "watch", "score=gaussian&n=16&steps=6&count=4")
    tab.finished()
    for kind, frames in (("png", 1), ("gif", 7), ("webp", 7)):
        with page.expect_download() as waiting:
            page.click(f"{tab.root} .md-save-{kind}")
        path = tmp_path / f"saved.{kind}"
        waiting.value.save_as(path)
        image = Image.open(io.BytesIO(path.read_bytes()))
        assert getattr(image, "n_frames", 1) == frames
        first = np.asarray(image.convert("L")).astype(float)
        assert first.std() > 15
        if frames > 1:
            image.seek(frames - 1)
            last = np.asarray(image.convert("L")).astype(float)
            assert np.abs(last - first).mean() > 2
            assert image.info["duration"] == 2000  # the end stays in sight


@pytest.mark.parametrize(
    ("size", "theme"),
    [((1440, 900), "light"), ((1440, 900), "dark"), ((390, 844), "light"), ((1920, 1080), "dark")],
)
def test_the_page_fits_the_screen(app: str, page: Page, size: tuple, theme: str) -> None:
    """Both pictures are above the fold, nothing sticks out sideways, the theme is the wanted."""
    page.set_viewport_size({"width": size[0], "height": size[1]})
    tab = Tab(page, app, "watch", f"__theme={theme}")
    laid_out(page)
    pixels = np.asarray(Image.open(io.BytesIO(page.screenshot())).convert("L")).astype(float)
    assert pixels.std() > 15
    assert (np.median(pixels) < 80) == (theme == "dark")
    assert page.evaluate("document.documentElement.scrollWidth") <= size[0]
    for name in ("x", "x0"):
        box = page.locator(f"{tab.root} .md-{name}").bounding_box()
        assert box is not None
        assert box["width"] > 140
        assert box["y"] + box["height"] < size[1]
        assert box["x"] >= 0
        assert box["x"] + box["width"] <= size[0]


def test_reduced_motion_shows_the_end_and_does_not_play(app: str, browser: Browser) -> None:
    """Whoever asked their system for less motion gets the last picture."""
    context = browser.new_context(reduced_motion="reduce")
    page = context.new_page()
    page.set_default_timeout(PATIENCE)
    tab = Tab(page, app, "watch")
    tab.at(20)
    page.wait_for_timeout(1000)
    assert tab.facts()["step"] == "20"
    assert page.get_attribute(f"{tab.root} .md-play", "aria-label") == "Play"
    context.close()


def test_without_a_recording_the_page_still_works(app: str, browser: Browser) -> None:
    """It says so, and Start works."""
    page = browser.new_page()
    page.set_default_timeout(PATIENCE)
    page.route("**/recordings/**", lambda route: route.abort())
    page.goto(app)
    page.wait_for_selector("text=There is no recording here")
    page.click("#tab-watch .md-more")
    page.locator("#watch-score").get_by_label("Gaussian").check()
    page.click("#watch-start")
    page.wait_for_selector(".md-player[data-mode=live][data-state=finished]")
    page.close()
