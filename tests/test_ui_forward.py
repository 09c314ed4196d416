"""The tab Forward in a real browser: dissolve, keep, fill, and the link to it."""

import base64
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import httpx
import numpy as np
import pytest
import torch
from playwright.sync_api import Page
from ui import answered, app, browser, linked, page

from mldemo.data.pictures import mask_from_text
from mldemo.space.spectral import to_modes

__all__ = ["app", "browser", "page"]
TAB = "#tab-forward"
DONE = f"{TAB} .md-player[data-mode=live][data-state=finished]"


def pixels(page: Page, selector: str) -> np.ndarray:
    """The grey values of a canvas (height, width)."""
    read = """c => [c.width, c.height, btoa(Array.from(c.getContext('2d')
        .getImageData(0, 0, c.width, c.height).data.filter((_, i) => i % 4 === 0),
        v => String.fromCharCode(v)).join(''))]"""
    width, height, text = page.eval_on_selector(f"{TAB} {selector}", read)
    return np.frombuffer(base64.b64decode(text), np.uint8).reshape(height, width)


def tiles(sheet: np.ndarray, n: int) -> np.ndarray:
    """The pictures of a square sheet (count, n, n)."""
    side = len(sheet) // n
    return sheet.reshape(side, n, side, n).swapaxes(1, 2).reshape(-1, n, n)


def show(page: Page, app: str, query: str = "") -> None:
    page.goto(f"{app}/?tab=forward{query}")
    page.wait_for_selector(DONE)


def at_step(page: Page, step: int) -> None:
    """Move the playhead and wait until it is drawn."""
    page.eval_on_selector(
        f"{TAB} .md-range",
        "(e, v) => { e.value = v; e.dispatchEvent(new Event('input')); }",
        str(step),
    )
    page.wait_for_selector(f'{TAB} .md-player[data-step="{step}"]')


def runs(page: Page) -> str:
    return page.get_attribute(f"{TAB} .md-player", "data-run") or ""


def after(page: Page, before: str) -> None:
    """Wait for the end of a run that is not `before`."""
    page.wait_for_selector(f'{DONE}:not([data-run="{before}"])')


def link(page: Page, part: str, gone: str = "") -> dict[str, str]:
    """What the address says, once it has a part, and another no more."""
    linked(page, part, gone=gone)
    return {k: v[0] for k, v in parse_qs(urlsplit(page.url).query).items()}


def test_it_dissolves_under_every_prior_and_comes_back(page: Page, app: str) -> None:
    """No click; step 0 is x_0 itself; at the turn six priors look different; scrubbing is free."""
    show(page, app)
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    at_step(page, 0)
    clean = tiles(pixels(page, ".md-x"), 32)
    assert (clean == clean[0]).all()
    names = page.eval_on_selector_all(
        f"{TAB} .md-every figcaption", "list => list.map(e => e.textContent)"
    )
    assert names == ["standard", "laplacian", "bessel", "fno", "combined", "matched"]
    at_step(page, 12)
    noisy = [
        pixels(page, f".md-every figure:nth-of-type({i}) canvas").astype(float)
        for i in range(1, 7)
    ]
    for i, one in enumerate(noisy):
        assert np.abs(one - clean[0]).mean() > 5
        assert all(np.abs(one - other).mean() > 1 for other in noisy[:i])
    own = tiles(pixels(page, ".md-x"), 32)
    np.testing.assert_array_equal(own[0], noisy[names.index("bessel")])
    at_step(page, 32)
    end = tiles(pixels(page, ".md-x0"), 32).astype(float)
    assert np.abs(end[0] - end[1]).mean() > 0.5
    assert np.abs(end - clean[0]).mean() < np.abs(own - clean[0].astype(float)).mean()
    assert asked == []


def test_low_frequencies_are_kept(page: Page, app: str) -> None:
    """|k| ≤ 2 of every result are those of the picture, but for clipping to 0..255."""
    show(page, app, "&kind=extend&keep=2&n=16&score=gaussian&method=linear&steps=8")
    at_step(page, 0)
    kept = to_modes(torch.from_numpy(pixels(page, ".md-kept").astype(float)))
    at_step(page, 8)
    end = to_modes(torch.from_numpy(tiles(pixels(page, ".md-x0"), 16).astype(float)))
    low = [(0, 1), (1, 0), (1, 1), (2, 2), (-1, 2)]
    for k in low:
        error = (end[..., k[0], k[1]] - kept[k]).abs().max()
        assert float(error) < 0.25 * float(
            kept.abs()[[a for a, _ in low], [b for _, b in low]].max()
        )
    free = end[:, 5, 3]
    assert float((free[0] - free[1]).abs()) > 0.05


def test_only_the_marked_region_is_generated(page: Page, app: str) -> None:
    """The right half by default; the left half is the given picture to the last bit."""
    show(page, app, "&kind=inpaint&n=16&score=gaussian&method=linear&steps=8")
    words = link(page, "&region=")["region"]
    region = mask_from_text(words, 16).numpy()
    assert region[:, 8:].all()
    assert not region[:, :8].any()
    at_step(page, 8)
    end = tiles(pixels(page, ".md-x0"), 16)
    assert (end[:, ~region] == end[0, ~region]).all()
    assert (end[0][region] != end[1][region]).mean() > 0.3
    before = runs(page)
    page.select_option(f"{TAB} .md-region", "lower")
    after(page, before)
    region = mask_from_text(link(page, "&region=", gone=words)["region"], 16).numpy()
    assert region[8:].all()
    assert not region[:8].any()


def test_what_cannot_be_is_said(page: Page, app: str) -> None:
    page.goto(f"{app}/?tab=forward&kind=extend&keep=20&n=16")
    page.wait_for_selector(f"{TAB} .md-player[data-state=failed]")
    assert "keep must be at most 7" in page.inner_text(f"{TAB} .md-alert")


@pytest.mark.parametrize(
    ("query", "words"),
    [
        ("picture=abcd", "known format"),
        ("picture=" + "A" * 1601, "at most 1600 characters"),
        ("picture=%3Cscript%3E", "base64url"),
        ("kind=inpaint", "needs a region"),
        ("kind=inpaint&region=" + "A" * 171, "needs a region"),
        ("region=AAAA", "171 characters"),
        ("t=nan", "t must be"),
        ("t=0", "t must be"),
        ("keep=-1", "keep must be"),
        ("digit=400", "digit must be"),
        ("method=magic", "method must be"),
        ("kind=%00", "kind must be"),
        ("file=a", "there is no control"),
    ],
)
def test_hostile_queries_get_one_sentence(app: str, query: str, words: str) -> None:
    """The server's own answer, without the page's help."""
    answer = httpx.get(f"{app}/mldemo/live/forward?{query}", timeout=60)
    (record, arrays), *rest = answered(answer.content)
    assert record["kind"] == "error"
    assert words in record["text"]
    assert not arrays
    assert not rest


def test_the_copied_python_gives_the_same_pixels(
    page: Page, app: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    show(page, app, "&kind=inpaint&n=16&score=gaussian&steps=6&count=4")
    at_step(page, 6)
    end = tiles(pixels(page, ".md-x0"), 16)
    page.click(f"{TAB} .md-copy-python")
    scope: dict = {}
    monkeypatch.chdir(tmp_path)
    exec(page.inner_text(f"{TAB} .md-command"), scope)
    np.testing.assert_array_equal(scope["shown"][-1].numpy(), end)


def test_a_pinned_run_passes_the_same_times(page: Page, app: str) -> None:
    """Going up beside going up; with the drawing that it was given, which the link holds too."""
    show(page, app, "&count=1&steps=5&n=16&t=0.9&seed=2")
    first = runs(page)
    page.click(f"{TAB} .md-pad-new")
    box = page.locator(f"{TAB} .md-pad").bounding_box()
    assert box is not None
    page.mouse.move(box["x"] + 0.5 * box["width"], box["y"] + 0.2 * box["height"])
    page.mouse.down()
    page.mouse.move(box["x"] + 0.5 * box["width"], box["y"] + 0.8 * box["height"], steps=12)
    page.mouse.up()
    after(page, first)
    alone = {}
    for step in (0, 6, 12, 17):
        at_step(page, step)
        alone[step] = pixels(page, ".md-x")
    page.click(f"{TAB} .md-pin")
    second = runs(page)
    page.click(f"{TAB} .md-pad-digit")
    after(page, second)
    assert "own picture, pinned" in page.inner_text(f"{TAB} .md-beside figcaption >> nth=0")

    def beside() -> None:
        for step, pictures in alone.items():
            at_step(page, step)
            np.testing.assert_array_equal(pixels(page, ".md-beside-x"), pictures)

    beside()
    query = link(page, "&pin=", gone="&picture=")
    page.goto("about:blank")
    page.goto(f"{app}/?" + "&".join(f"{k}={v}" for k, v in query.items()))
    page.wait_for_selector(f"{DONE}[data-pinned=true]")
    beside()
