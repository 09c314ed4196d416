"""Forward's sheet in a real browser: what is drawn, marked or opened, and the link to it."""

import io
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import numpy as np
from PIL import Image
from playwright.sync_api import Page
from test_ui_forward import DONE, TAB, after, at_step, link, pixels, runs, show, tiles
from ui import app, browser, page

from mldemo.data.pictures import mask_from_text, picture_from_text

__all__ = ["app", "browser", "page"]


def test_a_drawing_is_in_the_link_and_the_link_brings_it_back(page: Page, app: str) -> None:
    show(page, app, "&count=1&steps=5&n=16")
    first = runs(page)
    page.click(f"{TAB} .md-pad-new")
    box = page.locator(f"{TAB} .md-pad").bounding_box()
    assert box is not None
    x, y, side = box["x"], box["y"], box["width"]
    page.mouse.move(x + 0.5 * side, y + 0.2 * side)
    page.mouse.down()
    page.mouse.move(x + 0.5 * side, y + 0.8 * side, steps=12)
    page.mouse.up()
    after(page, first)
    at_step(page, 0)
    drawn = pixels(page, ".md-x").astype(float)
    assert drawn[4:12, 8].mean() > 150  # the stroke
    assert drawn[:, :4].mean() < 40  # the paper
    at_step(page, 17)
    end = pixels(page, ".md-x0")
    query = link(page, "&picture=")
    greys = picture_from_text(query["picture"])
    assert greys.shape == (64, 64)
    assert greys[20:44, 31:33].mean() > 200
    page.goto(f"{app}/?" + "&".join(f"{k}={v}" for k, v in query.items()))
    page.wait_for_selector(DONE)
    at_step(page, 17)
    np.testing.assert_array_equal(pixels(page, ".md-x0"), end)


def test_what_the_pencil_does_stays_chosen(page: Page, app: str) -> None:
    """Beside a region too, run after run; a second finger draws nothing."""
    show(page, app, "&kind=inpaint&count=1&steps=5&n=16&score=gaussian&method=linear")
    assert page.input_value(f"{TAB} .md-tool") == "mark"
    page.select_option(f"{TAB} .md-tool", "draw")
    box = page.locator(f"{TAB} .md-pad").bounding_box()
    assert box is not None
    before = pixels(page, ".md-pad")
    for x in (0.1, 0.3):
        run = runs(page)
        page.mouse.move(box["x"] + x * box["width"], box["y"] + 0.2 * box["height"])
        page.mouse.down()
        page.eval_on_selector(
            f"{TAB} .md-pad",
            """(pad, [x, y]) => {
              const finger = { pointerId: 9, isPrimary: false, clientX: x, clientY: y };
              for (const what of ["down", "move", "up"])
                pad.dispatchEvent(new PointerEvent("pointer" + what, finger));
            }""",
            [box["x"] + 0.05 * box["width"], box["y"] + 0.95 * box["height"]],
        )
        page.mouse.move(box["x"] + x * box["width"], box["y"] + 0.5 * box["height"], steps=4)
        page.mouse.up()
        after(page, run)
        assert page.input_value(f"{TAB} .md-tool") == "draw"
    at_step(page, 0)
    drawn = tiles(pixels(page, ".md-x"), 16)[0]
    assert drawn[4:7, [2, 5]].min() > 90
    beside = pixels(page, ".md-pad").astype(int) - before
    assert np.abs(beside[200:, :30]).max() < 60 < np.abs(beside[60:120, 20:30]).max()
    page.select_option(f"{TAB} .md-region", "none")
    page.wait_for_selector(f"{TAB} .md-alert:not([hidden])")
    assert "region" in page.inner_text(f"{TAB} .md-alert")


def test_a_link_copied_right_after_a_stroke_holds_it(page: Page, app: str) -> None:
    """Before the run with it has begun."""
    show(page, app, "&kind=inpaint&n=16&score=gaussian&method=linear&steps=8")
    before, run = link(page, "&region=")["region"], runs(page)
    box = page.locator(f"{TAB} .md-pad").bounding_box()
    assert box is not None
    y = box["y"] + 0.5 * box["height"]
    page.mouse.move(box["x"] + 0.2 * box["width"], y)
    page.mouse.down()
    page.mouse.move(box["x"] + 0.4 * box["width"], y, steps=6)
    page.mouse.up()
    page.click(f"{TAB} .md-copy-link")
    copied = parse_qs(urlsplit(page.inner_text(f"{TAB} .md-command")).query)["region"][0]
    assert runs(page) == run
    marked, old = (mask_from_text(words, 16).numpy() for words in (copied, before))
    assert marked[8, 4:6].all() and not old[8, 4:6].any()
    assert link(page, copied)["region"] == copied


def test_a_picture_is_opened_without_an_upload(page: Page, app: str, tmp_path: Path) -> None:
    """It is reduced here and travels in the link: every request is a GET."""
    show(page, app, "&count=1&steps=5&n=16")
    first = runs(page)
    methods: list[str] = []
    page.on("request", lambda request: methods.append(request.method))
    array = np.zeros((300, 500, 3), np.uint8)
    array[:, 250:] = [255, 255, 255]
    out = io.BytesIO()
    Image.fromarray(array).save(out, "PNG")
    page.set_input_files(
        f"{TAB} .md-pad-file",
        {"name": "half.png", "mimeType": "image/png", "buffer": out.getvalue()},
    )
    after(page, first)
    assert set(methods) == {"GET"}
    at_step(page, 0)
    shown = pixels(page, ".md-x").astype(float)
    assert shown[:, 10:14].mean() > 220 > 40 > shown[:, 2:6].mean()
    page.set_input_files(
        f"{TAB} .md-pad-file", {"name": "a.png", "mimeType": "image/png", "buffer": b"no picture"}
    )
    page.wait_for_selector(f"{TAB} .md-pad-note:not([hidden])")
    assert "no picture" in page.inner_text(f"{TAB} .md-pad-note")


def open_picture(page: Page, array: np.ndarray | bytes, name: str = "a.png") -> None:
    """Give the tab a file."""
    if isinstance(array, np.ndarray):
        out = io.BytesIO()
        Image.fromarray(array).save(out, "PNG")
        array = out.getvalue()
    file = {"name": name, "mimeType": "image/png", "buffer": array}
    page.set_input_files(f"{TAB} .md-pad-file", file)


def test_what_is_wrong_with_a_file_is_said_beside_the_sheet(page: Page, app: str) -> None:
    """In sight, whatever is wrong with it; the picture and the run stay as they were."""
    page.set_viewport_size({"width": 1280, "height": 720})
    show(page, app, "&count=1&steps=5&n=16")
    before, run = pixels(page, ".md-pad"), runs(page)
    svg = b'<svg xmlns="http://www.w3.org/2000/svg"/>'
    for name, content in (("notes.jpg", b"text"), ("drawing.png", svg), ("empty.png", b"")):
        open_picture(page, content, name)
        note = page.wait_for_selector(f"{TAB} .md-pad-note:not([hidden])")
        page.wait_for_function(
            "([e, name]) => document.querySelector(e).textContent.includes(name)",
            arg=[f"{TAB} .md-pad-note", name],
        )
        box = note.bounding_box()
        assert box is not None
        assert box["y"] + box["height"] < 720
    np.testing.assert_array_equal(pixels(page, ".md-pad"), before)
    assert runs(page) == run


def test_a_light_background_may_be_inverted(page: Page, app: str) -> None:
    """It is offered for black on white, not for white on black; then the sheet is dark."""
    show(page, app, "&count=1&steps=5&n=16")
    dark = np.zeros((64, 64), np.uint8)
    dark[16:48, 28:36] = 255
    offer = page.locator(f"{TAB} .md-pad-offer")
    first = runs(page)
    open_picture(page, dark)
    after(page, first)
    assert not offer.is_visible()
    second = runs(page)
    open_picture(page, 255 - dark)
    offer.click()
    after(page, second)
    assert not offer.is_visible()
    sheet = pixels(page, ".md-pad")
    assert sheet[:8].mean() < 10 < 245 < sheet[100:150, 120:136].mean()


def test_a_coloured_picture_is_grey_on_the_sheet(page: Page, app: str) -> None:
    """What is drawn there is what the run is given."""
    show(page, app, "&count=1&steps=5&n=16")
    first = runs(page)
    open_picture(page, np.array([[[255, 0, 0]]], np.uint8))
    after(page, first)
    colours = page.eval_on_selector(
        f"{TAB} .md-pad", "c => [...c.getContext('2d').getImageData(9, 9, 1, 1).data]"
    )
    assert colours == [76, 76, 76, 255]
    at_step(page, 0)
    assert np.abs(pixels(page, ".md-x").astype(int) - 76).max() <= 3  # as WebP keeps it


def test_the_region_is_painted_only_where_it_counts(page: Page, app: str) -> None:
    """After "fill a region" and back it is gone from the sheet, and there again with it."""
    show(page, app, "&count=1&steps=5&n=16")
    plain, run = pixels(page, ".md-pad"), runs(page)
    page.locator("#forward-kind").get_by_label("fill a region").check()
    after(page, run)
    marked, run = pixels(page, ".md-pad"), runs(page)
    assert (marked != plain).mean() > 0.3
    page.locator("#forward-kind").get_by_label("dissolve, then denoise").check()
    after(page, run)
    np.testing.assert_array_equal(pixels(page, ".md-pad"), plain)
