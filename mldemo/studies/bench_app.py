"""The app's speed as a visitor experiences it: the real app, a real browser.

A frame counts when it has arrived *and* has been drawn: the page writes the step that it has drawn
into `data-step`, and a `MutationObserver` notes when.
"""

import math
import os
import shutil
import socket
import statistics
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mldemo.store.manifest import BUNDLE

APP = Path(__file__).resolve().parents[2] / "app.py"
PLAYER = "#tab-watch .md-player"
COUNT, STEPS = 16, 100  # enough steps for a steady rate
START_SECONDS, RUN_SECONDS = 120, 300
NEEDED = (
    "bench app drives Chromium with Playwright: pip install playwright, then apt-get install "
    "chromium or playwright install chromium"
)
WATCHER = """
window.drawn = []; window.clicked = null;
addEventListener("click", () => { window.clicked ??= performance.now(); }, true);
new MutationObserver((changes) => {
  for (const { target: { dataset: d } } of changes)
    window.drawn.push([performance.now(), d.mode, d.run, Number(d.step)]);
}).observe(document, { attributeFilter: ["data-step"], subtree: true });
"""


def app(folder: Path = BUNDLE, rounds: int = 3) -> Iterator[dict[str, Any]]:
    """Median of `rounds` fresh starts of the app, with the default run of the tab Watch.

    seconds_to_page: from the start of the process to the page's first byte.
    seconds_to_motion: from the browser's request for the page to the second picture drawn.
    seconds_to_live_frame: from the click on Start to the first frame drawn, at 32².
    frames_per_second: of a live run at 32² and at 64², arrived and drawn, started by a click on
        a loaded page; and of the run before it, which a link starts while gradio builds the page
        in the same browser.
    requests_while_scrubbing: requests to the server while every step is visited.

    Errors: without app.py, Playwright or Chromium, a `ValueError` that says what is missing.
    """
    found = [_visit(folder) for _ in range(rounds)]
    for name in found[0]:
        values = sorted(one[name] for one in found)
        middle = statistics.median(values)
        yield {"bench": "app", "what": name, "median": round(middle, 3), "runs": values}


@dataclass(frozen=True)
class Served:
    """A new app: its address, its process, and how many seconds it took to answer."""

    url: str
    process: int
    seconds: float

    def megabytes(self) -> float:
        """Resident memory, where the system has a /proc; elsewhere nan."""
        with suppress(OSError):
            pages = Path(f"/proc/{self.process}/statm").read_text().split()[1]
            return int(pages) * os.sysconf("SC_PAGE_SIZE") / 1e6
        return math.nan

    def core_seconds(self) -> float:
        """CPU seconds used so far; nan without a /proc."""
        with suppress(OSError):
            fields = Path(f"/proc/{self.process}/stat").read_text().rpartition(")")[2].split()
            return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
        return math.nan


@contextmanager
def served(folder: Path, *arguments: str) -> Iterator[Served]:
    """A new app on loopback; without app.py, or if it serves no page, a `ValueError`."""
    if not APP.is_file():
        raise ValueError(f"this bench starts {APP}, which is not there: run it from a clone")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    url, start = f"http://127.0.0.1:{port}", time.perf_counter()
    process = subprocess.Popen(
        [sys.executable, str(APP), "--port", str(port), *arguments],
        env=os.environ | {"MLDEMO_CHECKPOINTS": str(folder)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        while not _answers(url):
            if process.poll() is not None or time.perf_counter() - start > START_SECONDS:
                raise ValueError(f"app.py served no page within {START_SECONDS} s")
            time.sleep(0.02)
        yield Served(url, process.pid, time.perf_counter() - start)
    finally:
        process.terminate()
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=START_SECONDS) as answer:
            return answer.status == 200
    except OSError:
        return False


@contextmanager
def _page() -> Iterator[Any]:
    """A page of a headless Chromium."""
    try:
        from playwright.sync_api import Error, sync_playwright
    except ImportError:
        raise ValueError(NEEDED) from None
    with sync_playwright() as playwright:
        try:
            chromium = playwright.chromium.launch(
                executable_path=shutil.which("chromium") or shutil.which("google-chrome"),
                args=["--no-sandbox", "--disable-gpu"],
            )
        except Error:
            raise ValueError(NEEDED) from None
        try:
            page = chromium.new_page(viewport={"width": 1440, "height": 900})
            page.set_default_timeout(1000 * RUN_SECONDS)
            page.add_init_script(WATCHER)
            yield page
        finally:
            chromium.close()


def _visit(folder: Path) -> dict[str, float]:
    """One start of the app, one visit."""
    with _page() as page, served(folder) as app:
        found, url = {"seconds_to_page": round(app.seconds, 3)}, app.url
        page.goto(url)
        page.wait_for_function("new Set(drawn.map((d) => d[3])).size > 1")
        found["seconds_to_motion"] = _seconds(page, "drawn.find((d) => d[3] !== drawn[0][3])[0]")
        page.click("#watch-start")
        page.wait_for_function("drawn.some((d) => d[1] === 'live')")
        first = "drawn.find((d) => d[1] === 'live')[0] - clicked"
        found["seconds_to_live_frame"] = _seconds(page, first)
        for n in (32, 64):
            page.goto(f"{url}/?tab=watch&n={n}&count={COUNT}&steps={STEPS}&speed=60")
            page.wait_for_selector(f"{PLAYER}[data-state=finished][data-step='{STEPS}']")
            found[f"frames_per_second_at_{n}_while_the_page_builds"] = _rate(page)
            page.evaluate("drawn.length = 0")
            page.click("#watch-start")
            page.wait_for_function(f"drawn.some((d) => d[1] === 'live' && d[3] === {STEPS})")
            found[f"frames_per_second_at_{n}"] = _rate(page)
        found["requests_while_scrubbing"] = _scrub(page)
        return found


def _seconds(page: Any, milliseconds: str) -> float:
    return round(page.evaluate(milliseconds) / 1000, 3)


def _rate(page: Any) -> float:
    """Frames per second between the first and the last drawn; skipped ones are not counted."""
    live = "drawn.filter((d) => d[1] === 'live').map((d) => [d[3], d[0]])"
    times = page.evaluate(f"Object.values(Object.fromEntries({live}))")
    return round(1000 * (len(times) - 1) / (max(times) - min(times)), 1)


def _scrub(page: Any) -> int:
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.focus(PLAYER)
    page.keyboard.press("Home")
    for step in range(1, STEPS + 1):
        page.keyboard.press("ArrowRight")
        page.wait_for_selector(f"{PLAYER}[data-step='{step}']")
    page.wait_for_timeout(500)
    return len(asked)
