"""The real app in a real browser: `python app.py` and Debian's Chromium.

Nothing here is skipped: without Playwright or Chromium these tests fail. `MLDEMO_CHECKPOINTS`
points the app to another bundle.
"""

import base64
import io
import json
import math
import os
import socket
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import Browser, Page, sync_playwright

ROOT = Path(__file__).resolve().parents[1]
CHROMIUM = "/usr/bin/chromium"
ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
PATIENCE = 60_000  # ms; what is measured is measured elsewhere, here a busy machine must do
READY = ".md-player[data-step]"
DONE = ".md-player[data-mode=live][data-state=finished]"


@pytest.fixture(scope="module")
def app() -> Iterator[str]:
    """The address of a freshly started app."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "app.py", "--device", "cpu", "--port", str(port)]
    process = subprocess.Popen(
        command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    url = f"http://127.0.0.1:{port}"
    try:
        for _ in range(600):
            assert process.poll() is None, "app.py ended by itself"
            try:
                if httpx.get(url, timeout=5).status_code == 200:
                    break
            except httpx.TransportError:
                time.sleep(0.1)
        else:
            pytest.fail("app.py served no page")
        yield url
    finally:
        process.terminate()
        process.wait(20)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Debian's Chromium."""
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        yield chromium
        chromium.close()


@pytest.fixture
def page(app: str, browser: Browser) -> Iterator[Page]:
    """The page with its first picture; it may speak to 127.0.0.1 alone and log no error."""
    page = browser.new_page(viewport={"width": 1440, "height": 900})
    page.set_default_timeout(PATIENCE)
    requests, complaints = [], []
    page.on("request", lambda request: requests.append(request.url))
    page.on("console", lambda m: complaints.append(m.text) if m.type == "error" else None)
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.goto(app)
    page.wait_for_selector(READY)
    page.evaluate("window.counted = 0")
    yield page
    page.close()
    strangers = {u for u in requests if not u.startswith(("data:", "blob:"))}
    assert {urlsplit(u).hostname for u in strangers} == {"127.0.0.1"}
    assert not complaints


def canvas(page: Page, name: str) -> np.ndarray:
    """The pixels of one of the player's canvases, (height, width, 4)."""
    read = """c => [c.width, c.height,
        btoa(Array.from(c.getContext('2d').getImageData(0, 0, c.width, c.height).data,
        v => String.fromCharCode(v)).join(''))]"""
    width, height, text = page.eval_on_selector(f".md-{name}", read)
    return np.frombuffer(base64.b64decode(text), np.uint8).reshape(height, width, 4).astype(float)


def facts(page: Page) -> dict[str, str]:
    """What the player says of itself in data attributes."""
    return page.eval_on_selector(".md-player", "e => ({...e.dataset})")


def run_live(page: Page) -> None:
    """Press Start and wait for the end."""
    page.click("#start")
    page.wait_for_selector(DONE)
    page.wait_for_function("document.querySelector('.md-player').dataset.frames === '21'")


def test_a_recorded_run_moves_with_no_click(page: Page) -> None:
    """And it says that it is recorded."""
    assert page.inner_text(".md-mode") == "prerecorded"
    before = canvas(page, "x")
    assert before[..., :3].std() > 20
    for _ in range(60):  # the last few steps of a run look alike, so some patience is needed
        page.wait_for_timeout(250)
        if np.abs(canvas(page, "x") - before).mean() > 5:
            break
    else:
        pytest.fail("nothing moves")
    assert canvas(page, "s")[..., 3].std() > 5


def test_a_live_run_arrives_and_is_replayed_without_a_request(page: Page) -> None:
    """Twenty-one states; afterwards slider, keys and buttons change the picture by themselves."""
    run_live(page)
    assert page.inner_text(".md-mode") == "live on CPU"
    assert page.inner_text(".md-score") == "learned score"
    end = canvas(page, "x")
    assert end[..., :3].std() > 20
    np.testing.assert_array_equal(end, canvas(page, "x0"))  # at t = 0 both are the same
    page.wait_for_timeout(500)  # gradio closes its stream

    seen: list[str] = []
    page.on("request", lambda request: seen.append(request.url))

    def at(step: int) -> np.ndarray:
        page.wait_for_function(f"document.querySelector('.md-player').dataset.step === '{step}'")
        return canvas(page, "x")

    page.focus(".md-player")
    page.keyboard.press("Home")
    start = at(0)
    assert np.abs(start - end).mean() > 10
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowRight")
    at(2)
    page.keyboard.press("ArrowLeft")
    at(1)
    page.keyboard.press("End")
    np.testing.assert_array_equal(at(20), end)
    page.eval_on_selector(
        ".md-range", "e => { e.value = 10; e.dispatchEvent(new Event('input')); }"
    )
    middle = at(10)
    assert np.abs(middle - start).mean() > 1
    page.focus(".md-range")
    page.keyboard.press("ArrowRight")  # the slider's own key, once and not twice
    at(11)
    page.focus(".md-player")
    page.keyboard.press(" ")
    at(13)
    page.click(".md-play")
    held = facts(page)["step"]
    page.wait_for_timeout(600)
    assert facts(page)["step"] == held
    page.click(".md-copy")
    assert page.inner_text(".md-command").startswith("python -m mldemo sample --prior bessel")
    assert seen == []


def test_stop_ends_within_a_step(page: Page) -> None:
    """At 128² a step is long: at most the one under way still arrives, and the next run works."""
    page.get_by_label("128", exact=True).check()
    page.get_by_label("number input for Steps").fill("100")
    page.get_by_label("number input for Steps").press("Tab")
    page.click("#start")
    page.wait_for_function(
        "() => { const d = document.querySelector('.md-player').dataset;"
        " return d.mode === 'live' && +d.frames >= 3 }"
    )
    before = page.evaluate(
        """() => { const n = document.querySelector('.md-player').dataset.frames;
        document.querySelector('#stop').click(); return +n }"""
    )
    page.wait_for_timeout(1500)
    after = int(facts(page)["frames"])
    assert after <= before + 2  # one under way, one perhaps not drawn when we counted
    page.wait_for_timeout(2500)
    assert int(facts(page)["frames"]) == after
    assert facts(page)["state"] == "stopped"
    page.get_by_label("32", exact=True).check()
    page.get_by_label("number input for Steps").fill("20")
    page.get_by_label("number input for Steps").press("Tab")
    run_live(page)


def test_a_prior_without_a_checkpoint_says_so(page: Page) -> None:
    """A note beside the form, and a sentence after Start; the exact score then works."""
    page.get_by_role("combobox", name="Prior").click()
    page.get_by_role("option", name="laplacian").click()
    page.wait_for_selector("#note >> text=No checkpoint was trained with the laplacian prior")
    page.click("#start")
    page.wait_for_selector("text=these scores work without one: gaussian, empirical")
    page.wait_for_function("document.querySelector('.md-mode').textContent === 'prerecorded'")
    page.get_by_label("Gaussian", exact=True).check()
    run_live(page)
    assert page.inner_text(".md-score").startswith("exact score")
    assert "laplacian prior" in page.inner_text(".md-what")


@pytest.mark.parametrize(
    ("size", "theme"),
    [((1440, 900), "light"), ((1440, 900), "dark"), ((390, 844), "light"), ((1920, 1080), "dark")],
)
def test_the_page_fits_the_screen(
    page: Page, app: str, tmp_path: Path, size: tuple[int, int], theme: str
) -> None:
    """Both pictures are above the fold, nothing sticks out sideways, the theme is the wanted."""
    page.set_viewport_size({"width": size[0], "height": size[1]})
    page.goto(f"{app}/?__theme={theme}")
    page.wait_for_selector(READY)
    page.wait_for_timeout(500)
    picture = page.screenshot(path=tmp_path / f"{size[0]}-{theme}.png")
    pixels = np.asarray(Image.open(io.BytesIO(picture)).convert("L")).astype(float)
    assert pixels.std() > 15
    assert (np.median(pixels) < 80) == (theme == "dark")
    assert page.evaluate("document.documentElement.scrollWidth") <= size[0]
    for name in ("x", "x0"):
        box = page.locator(f".md-{name}").bounding_box()
        assert box is not None
        assert box["width"] > 140
        assert box["y"] + box["height"] < size[1]
        assert box["x"] >= 0
        assert box["x"] + box["width"] <= size[0]


def test_reduced_motion_shows_the_end_and_does_not_play(app: str, browser: Browser) -> None:
    """Whoever asked their system for less motion gets the last picture."""
    context = browser.new_context(reduced_motion="reduce")
    page = context.new_page()
    page.goto(app)
    page.wait_for_selector(READY, timeout=PATIENCE)
    page.wait_for_timeout(1000)
    assert facts(page)["step"] == "20"
    assert page.get_attribute(".md-play", "aria-label") == "Play"
    context.close()


def test_without_a_recording_the_page_still_works(app: str, browser: Browser) -> None:
    """It says so, and Start works."""
    page = browser.new_page()
    page.set_default_timeout(PATIENCE)
    page.route("**/recordings/**", lambda route: route.abort())
    page.goto(app)
    page.wait_for_selector("text=There is no recording here")
    run_live(page)
    page.close()


def call(app: str, data: list[Any], rest: float = 0.0) -> dict[str, Any]:
    """Post a run as any client could and return its last message, read after `rest` seconds."""
    config = httpx.get(f"{app}/config", timeout=30).json()
    index = next(d["id"] for d in config["dependencies"] if d["api_name"] == "run")
    session = uuid.uuid4().hex
    body = json.dumps({"data": data, "fn_index": index, "session_hash": session})
    kind = {"Content-Type": "application/json"}
    join = httpx.post(f"{app}/gradio_api/queue/join", content=body, headers=kind, timeout=30)
    assert join.status_code == 200, join.text
    time.sleep(rest)
    where = {"session_hash": session}
    with httpx.stream("GET", f"{app}/gradio_api/queue/data", params=where, timeout=60) as lines:
        for line in lines.iter_lines():
            if line.startswith("data:"):
                message = json.loads(line[5:])
                if message["msg"] in ("process_completed", "unexpected_error"):
                    return message
    raise AssertionError("the stream ended without an answer")


GOOD: dict[str, Any] = {
    "score": "gaussian",
    "prior": "bessel",
    "checkpoint": None,
    "resolution": 16,
    "steps": 2,
    "sampler": "ddim",
    "count": 1,
    "seed": 3,
}


@pytest.mark.parametrize(
    ("field", "value", "words"),
    [
        ("steps", math.nan, ["steps", "nan"]),
        ("steps", None, ["steps", "None"]),
        ("steps", [20], ["steps", "[20]"]),
        ("steps", True, ["steps", "True"]),
        ("steps", 201, ["steps", "200", "201"]),
        ("steps", 0, ["steps", "1", "0"]),
        ("steps", 2.5, ["steps", "2.5"]),
        ("count", 17, ["count", "16", "17"]),
        ("count", "four", ["count", "four"]),
        ("resolution", 256, ["resolution", "128", "256"]),
        ("resolution", math.inf, ["resolution", "inf"]),
        ("resolution", 10**30, ["resolution", "256", "1000"]),
        ("seed", -1, ["seed", "-1"]),
        ("seed", 1e300, ["seed", str(2**63 - 1)]),
        ("seed", {"a": 1}, ["seed"]),
        ("sampler", "magic", ["sampler", "magic", "dpmpp2m"]),
        ("sampler", ["ddim"], ["sampler", "ddim"]),
        ("score", None, ["score", "None", "learned"]),
        ("prior", "x" * 100_000, ["prior", "xxx", "bessel"]),
    ],
)
def test_bad_calls_get_a_sentence(app: str, field: str, value: object, words: list[str]) -> None:
    """The sentence names the field, the value or the bound; never a traceback."""
    answer = call(app, list({**GOOD, field: value}.values()))
    assert answer["success"] is False
    error = answer["output"]["error"]
    assert isinstance(error, str)
    assert all(word in error for word in words), error
    assert "Traceback" not in error
    assert len(error) < 600


def test_other_bad_calls_and_then_a_good_one(app: str) -> None:
    """Too much work, an unknown checkpoint, a path for a checkpoint; the app goes on."""
    work = {**GOOD, "resolution": 128, "steps": 200, "count": 16, "sampler": "heun"}
    assert "bound" in call(app, list(work.values()))["output"]["error"]
    for name in ("nothing", "../../etc/passwd", 7, ["a"]):
        learned = {**GOOD, "score": "learned", "checkpoint": name}
        assert "checkpoint" in call(app, list(learned.values()))["output"]["error"]
    assert call(app, list(GOOD.values()))["success"] is True


def test_a_client_that_does_not_read_is_dropped(app: str) -> None:
    """Two hundred frames for nobody: the run ends early, and nothing piles up."""
    answer = call(app, list({**GOOD, "steps": 200}.values()), rest=6)
    assert answer["success"] is False
    assert "unread" in answer["output"]["error"]


def test_an_absent_device_ends_with_one_sentence() -> None:
    """Exit code 2, no traceback."""
    ended = subprocess.run(
        [sys.executable, "app.py", "--device", "abacus"],
        cwd=ROOT,
        env=os.environ | {"CUDA_VISIBLE_DEVICES": ""},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert ended.returncode == 2
    assert ended.stderr.count("\n") == 1
    assert "abacus" in ended.stderr
