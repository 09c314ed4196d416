"""Training in a real browser: a recorded race, a live one, its end, its checkpoint in Watch."""

import io
import json
import re
import zipfile
from pathlib import Path

import numpy as np
import pytest
from playwright.sync_api import Page
from ui import PATIENCE, Held, Tab, app, browser, drawn, linked, number, page

from mldemo.ui.tabs.training.training import RECORDING
from mldemo.ui.wire import MAGIC, decode, encode

__all__ = ["app", "browser", "page"]
SHORT = "seconds=10"
LONG = 180_000  # ms; twice ten CPU seconds, on a machine that others use too


def cells(tab: Tab, row: str) -> list[str]:
    """Both lanes' cells of a row of the table."""
    found = tab.page.locator(f"{tab.root} .md-lanes tr:has(th:text-is('{row}')) td")
    return found.all_inner_texts()


def test_a_recorded_race_plays_at_once(app: str, page: Page) -> None:
    """With no click; both lanes begin alike and end unlike, after the same seconds; someone won,
    and what is said of it is what the table says."""
    tab = Tab(page, app, "training")
    assert tab.text("mode") == "prerecorded"
    page.focus(tab.root)
    page.wait_for_selector(f"{tab.root}[data-state=finished]")
    assert not page.is_visible(f"{tab.root} .md-take")
    page.keyboard.press("Home")
    tab.at(0)
    for name, n in (("0", 16), ("1", 32)):
        first, second = (tab.pictures(lane + name, n) for lane in "ab")
        np.testing.assert_array_equal(first, second)
    assert cells(tab, "steps") == ["0", "0"] and cells(tab, "error") == ["100.0 %"] * 2
    assert tab.text("verdict") == ""
    page.keyboard.press("End")
    tab.at(30)
    drawn(page)
    for name, n in (("0", 16), ("1", 32)):
        first, second = (tab.pictures(lane + name, n) for lane in "ab")
        assert np.abs(first.astype(float) - second).mean() > 2
    seconds = [number(text) for text in cells(tab, "CPU seconds")]
    assert seconds[0] == pytest.approx(seconds[1], rel=0.1)
    a, b = (number(text) for text in cells(tab, "error"))
    words = tab.text("verdict")
    assert max(a, b) < 80
    better = "A draw" if abs(a - b) < 0.02 * min(a, b) else "Coarse" if a < b else "Fine"
    assert words.startswith(better) and f"{a:.1f} %" in words and f"{b:.1f} %" in words


@pytest.mark.parametrize(
    ("errors", "words"),
    [
        ((0.4, 0.5), "Coarse to fine won: .* 20 % below that of fine only .40.0 % against 50.0 %"),
        ((0.5, 0.4), "Fine only won: .* 20 % below that of coarse to fine .40.0 % against 50.0 %"),
        ((0.4, 0.407), "A draw after 40 CPU seconds each: .* within 2 % .* .40.0 % against 40.7"),
    ],
)
def test_who_won_and_by_how_much(
    app: str, page: Page, errors: tuple[float, float], words: str
) -> None:
    """The recorded race with other errors at its end."""
    raw = [MAGIC]
    for meta, arrays in decode(RECORDING.read_bytes().removeprefix(MAGIC)):
        if meta["kind"] == "frame" and meta["step"] == 30:
            meta["readings"]["error"] = errors[meta["track"]]
        raw.append(encode(meta, arrays))
    page.route("**/recordings/race.bin", lambda route: route.fulfill(body=b"".join(raw)))
    tab = Tab(page, app, "training")
    page.wait_for_selector(f"{tab.root}[data-state=finished]")
    page.focus(tab.root)
    page.keyboard.press("End")
    tab.at(30)
    page.wait_for_selector(f"{tab.root} .md-verdict:not(:empty)")
    assert re.match(words, tab.text("verdict")), tab.text("verdict")


def test_the_errors_can_be_read_off(app: str, page: Page) -> None:
    page.add_init_script(
        "window.written = []; const fill = CanvasRenderingContext2D.prototype.fillText;"
        "CanvasRenderingContext2D.prototype.fillText = function (words, ...more) "
        "{ window.written.push(words); return fill.call(this, words, ...more); };"
    )
    Tab(page, app, "training")
    page.wait_for_function("written.includes('100 %')")
    assert {"80 %", "60 %", "40 %"} <= set(page.evaluate("written"))


def test_a_live_race_is_watched_stopped_and_scrubbed(app: str, page: Page) -> None:
    """The page draws while it trains; after Stop nothing more comes, and what is there is kept."""
    tab = Tab(page, app, "training", SHORT)
    tab.under_way(12)
    assert tab.text("mode") == "live on CPU"
    assert re.fullmatch(r"about \d+ s to go", tab.text("pace"))
    frames = page.evaluate("""() => new Promise((done) => {
      let count = 0;
      const begin = performance.now();
      const tick = (now) => {
        count += 1;
        if (now - begin < 3000) requestAnimationFrame(tick); else done(count / 3);
      };
      requestAnimationFrame(tick);
    })""")
    assert frames >= 20
    page.click("#training-stop")
    page.wait_for_selector(f"{tab.root}[data-state=stopped]")
    held = tab.facts()["frames"]
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.focus(tab.root)
    page.keyboard.press("Home")
    tab.at(0)
    page.keyboard.press("ArrowRight")
    tab.at(1)
    page.wait_for_timeout(1500)
    assert tab.facts()["frames"] == held and asked == []


def test_stop_before_the_race_begins_leaves_the_recorded_one(app: str, page: Page) -> None:
    """The link asks for a live race, whose first frame has not come yet."""
    held = Held(page, "**/live/training**")
    page.goto(f"{app}/?tab=training&{SHORT}")
    held.come()
    page.click("#training-stop")
    page.wait_for_selector(
        "#tab-training .md-player[data-mode=prerecorded][data-state=finished][data-step]"
    )


def test_a_race_to_its_end_and_on_to_watch(app: str, page: Page) -> None:
    """Both checkpoints can be saved, and one be watched: the network is the one of the race."""
    tab = Tab(page, app, "training", f"{SHORT}&levels=8-32&seed=5")
    page.wait_for_selector(f"{tab.root}[data-mode=live][data-state=finished]", timeout=LONG)
    page.wait_for_selector(f"{tab.root} .md-take:not([hidden])")
    assert "won" in tab.text("verdict") or "draw" in tab.text("verdict")
    assert cells(tab, "trains at") == ["32²", "32²"]
    with page.expect_download() as saving:
        page.click(f"{tab.root} .md-save-zip")
    raw = Path(saving.value.path()).read_bytes()
    with zipfile.ZipFile(io.BytesIO(raw)) as archive:
        names = set(archive.namelist())
        manifest = json.loads(archive.read("manifest.json"))
    assert names == {"manifest.json", "coarse-to-fine.safetensors", "fine-only.safetensors"}
    entry = manifest["files"]["coarse-to-fine"]
    steps = sum(count for _, count in entry["levels"])
    assert [n for n, _ in entry["levels"]] == [8, 32] and str(steps) == cells(tab, "steps")[0]
    address = page.get_attribute(f"{tab.root} .md-watch-it >> nth=0", "href") or ""
    watch = Tab(page, app, "watch", address.removeprefix("?tab=watch&"))
    watch.finished()
    assert "coarse-to-fine" in watch.text("checkpoint")
    page.click(f"{watch.root} .md-own")
    watch.page.wait_for_function(
        "e => !document.querySelector(e).textContent.includes('coarse-to-fine')",
        arg=f"{watch.root} .md-checkpoint",
    )
    linked(page, gone="trained=")


def test_sketches_are_drawn_kept_in_the_link_and_learned(app: str, page: Page) -> None:
    """A stroke goes into the link, and back onto the pad; the race learns shapes like it."""
    tab = Tab(page, app, "training")
    page.locator("#training-data").get_by_label("what you draw").check()
    pad = page.locator(f"{tab.root} .md-pad").bounding_box()
    assert pad is not None
    x, y, side = pad["x"], pad["y"], pad["width"]
    page.mouse.move(x + 0.3 * side, y + 0.5 * side)
    page.mouse.down()
    page.mouse.move(x + 0.7 * side, y + 0.5 * side, steps=4)
    page.mouse.up()
    page.wait_for_url("**sketches=**")
    again = Tab(page, app, "training", page.url.split("tab=training&")[1] + "&" + SHORT)
    drawn = again.canvas("pad")[..., 0]
    assert drawn[128, 90:160].min() > 200 and drawn[40].max() < 50
    again.under_way(6)
    page.click("#training-stop")
    page.wait_for_selector(f"{again.root}[data-state=stopped]")
    page.click(f"{again.root} .md-erase")
    linked(page, gone="sketches=")
    page.click("#training-start")
    page.wait_for_selector(f"{again.root} .md-alert:not([hidden])", timeout=PATIENCE)
    assert "draw something first" in again.text("alert")
