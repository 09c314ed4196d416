"""The real app in a real browser, for the tests of the page: fixtures and small readers.

Nothing is skipped: without Playwright or Chromium these tests fail. `MLDEMO_CHECKPOINTS` points
the app to another bundle. A test file takes the fixtures by importing them.
"""

import atexit
import base64
import os
import re
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import cache
from pathlib import Path
from typing import Self
from urllib.parse import urlsplit

import httpx
import numpy as np
import pytest
from playwright.sync_api import Browser, Page, Route, sync_playwright

from mldemo.ui.wire import decode

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
STORED = "cookies,local_storage,indexeddb,service_workers,cache_storage"
LASTING = "score=learned&n=128&count=16&steps=100&sampler=heun"  # minutes, unless it is stopped
PATIENCE = 60_000  # ms; what is measured is measured elsewhere, here a busy machine must do


@contextmanager
def serve(*arguments: str, log: Path | None = None, **environment: str) -> Iterator[str]:
    """The address of a freshly started app; what it prints goes to `log`."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "app.py", "--device", "cpu", "--port", str(port), *arguments]
    with (log or Path(os.devnull)).open("wb") as printed:
        process = subprocess.Popen(
            command, cwd=ROOT, env=os.environ | environment, stdout=printed, stderr=printed
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


@cache
def _shared_app() -> str:
    served = ExitStack()
    atexit.register(served.close)
    return served.enter_context(serve())


@pytest.fixture(scope="module")
def app() -> str:
    """One app for all test files that ask for it."""
    return _shared_app()


@cache
def _profile() -> str:
    """A folder in which Chromium keeps the scripts that it has compiled, from file to file."""
    folder = tempfile.TemporaryDirectory(prefix="mldemo-chromium-", ignore_cleanup_errors=True)
    atexit.register(folder.cleanup)
    return folder.name


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Debian's Chromium, one for each test file: Playwright's loop must end with the file."""
    with sync_playwright() as playwright:
        context = playwright.chromium.launch_persistent_context(
            _profile(),
            executable_path=CHROMIUM,
            args=ARGUMENTS,
            viewport={"width": 1440, "height": 900},
        )
        assert context.browser is not None
        yield context.browser
        context.close()


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    """An empty page with nothing stored; it may speak to 127.0.0.1 alone and log no error."""
    context = browser.contexts[0]  # that of the profile: pages open in two thirds of the time
    context.grant_permissions(["clipboard-read", "clipboard-write"])
    page = context.new_page()
    page.set_default_timeout(PATIENCE)
    requests, complaints = [], []
    page.on("request", lambda request: requests.append(request.url))
    page.on("console", lambda m: complaints.append(m.text) if m.type == "error" else None)
    page.on("pageerror", lambda error: complaints.append(str(error)))
    yield page
    visited = {urlsplit(u) for u in requests if not u.startswith(("data:", "blob:"))}
    session = context.new_cdp_session(context.pages[0])  # a test may have closed its own page
    for origin in {f"{url.scheme}://{url.netloc}" for url in visited}:
        kept = {"origin": origin, "storageTypes": STORED}
        session.send("Storage.clearDataForOrigin", kept)
    for opened in context.pages[1:]:  # the first is blank, and keeps Chromium open
        opened.close()
    context.clear_permissions()
    assert {url.hostname for url in visited} == {"127.0.0.1"}
    assert not complaints


def drawn(page: Page) -> None:
    """Wait until everything that has been asked for is on the screen: two frames of the page."""
    page.evaluate(
        "() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))"
    )


def laid_out(page: Page) -> None:
    """Wait until every style has come and every part stands where it did five frames ago."""
    page.evaluate(
        """async () => {
          const parts = ".md-player :is(canvas, .md-plot, .main-svg, .md-picture, .md-play),"
            + ".md-bar, .md-controls, .md-guide, #title"; // none that moves with its words
          const look = () => [...document.querySelectorAll(parts)].map((e) => {
            const { x, y, width, height } = e.getBoundingClientRect();
            return [x, y, width, height].map(Math.round);
          }).join();
          await document.fonts.ready;
          for (let last = null, same = 0, frames = 0; same < 5; frames += 1) {
            if (frames > 1200) throw Error("the page does not come to rest");
            await new Promise(requestAnimationFrame);
            const styles = [...document.querySelectorAll("link[rel=stylesheet]")];
            const now = styles.every((e) => e.sheet) ? look() : null;
            same = now !== null && now === last ? same + 1 : 0;
            last = now;
          }
        }"""
    )


def linked(page: Page, *there: str, gone: str = "") -> str:
    """Wait until the address, which follows with a delay, has these parts, and one no more."""
    page.wait_for_function(
        """([there, gone]) => there.every((part) => location.href.includes(part))
          && !(gone && location.href.includes(gone))""",
        arg=[[*there], gone],
    )
    return page.url


class Held:
    """Requests that get no answer until they are let go."""

    def __init__(self, page: Page, pattern: str | re.Pattern[str]) -> None:
        self.page, self.pattern, self.routes, self.free = page, pattern, list[Route](), False
        page.route(pattern, lambda r: r.continue_() if self.free else self.routes.append(r))

    def come(self) -> None:
        """Wait until one has been asked."""
        deadline = time.monotonic() + PATIENCE / 1000
        while not self.routes:
            assert time.monotonic() < deadline, self.pattern
            self.page.wait_for_timeout(20)

    def let_go(self) -> None:
        """Answer them, and all that come."""
        self.free = True
        for route in self.routes:
            route.continue_()


class Tab:
    """One tab of an open page."""

    def __init__(self, page: Page, app: str, ident: str, query: str = "") -> None:
        page.goto(f"{app}/?tab={ident}&{query}")
        self._take(page, ident)

    @classmethod
    def shown(cls, page: Page, ident: str) -> Self:
        """The tab of a page that is already open."""
        tab = cls.__new__(cls)
        tab._take(page, ident)
        return tab

    def _take(self, page: Page, ident: str) -> None:
        self.page, self.root = page, f"#tab-{ident} .md-player"
        page.wait_for_selector(f"{self.root}[data-step]")

    def facts(self) -> dict[str, str]:
        """What the player says of itself in data attributes."""
        return self.page.eval_on_selector(self.root, "e => ({...e.dataset})")

    def more(self) -> None:
        """Unfold the controls that few need."""
        self.page.click(f"{self.root.split()[0]} .md-more")

    def text(self, name: str) -> str:
        """The words of a part."""
        return self.page.inner_text(f"{self.root} .md-{name}")

    def under_way(self, frames: int) -> None:
        """Wait until this many frames of a live run have come, and more are to come."""
        self.page.wait_for_function(
            """([root, frames]) => (({ mode, state, frames: come }) => mode === "live"
              && state === "running" && come >= frames)(document.querySelector(root).dataset)""",
            arg=[self.root, frames],
        )

    def finished(self) -> None:
        """Wait for the end of a live run, drawn."""
        self.page.wait_for_selector(f"{self.root}[data-mode=live][data-state=finished]")
        drawn(self.page)

    def end(self) -> None:
        """Wait for the end of a live run, and stand still at its last step."""
        self.finished()
        self.page.focus(self.root)
        self.page.keyboard.press("End")
        self.page.wait_for_selector(f"{self.root}[data-playing=false][data-played=true]")

    def at(self, step: int) -> None:
        """Wait until a step is drawn."""
        self.page.wait_for_selector(f'{self.root}[data-step="{step}"]')

    def canvas(self, name: str) -> np.ndarray:
        """The pixels of a canvas, (height, width, 4)."""
        read = """c => [c.width, c.height, btoa(Array.from(c.getContext('2d')
            .getImageData(0, 0, c.width, c.height).data, v => String.fromCharCode(v)).join(''))]"""
        width, height, text = self.page.eval_on_selector(f"{self.root} .md-{name}", read)
        raw = np.frombuffer(base64.b64decode(text), np.uint8)
        return raw.reshape(height, width, 4)

    def pictures(self, name: str, n: int) -> np.ndarray:
        """The grey pictures of a canvas, (count, N, N) in reading order."""
        grey = self.canvas(name)[..., 0]
        rows, columns = grey.shape[0] // n, grey.shape[1] // n
        tiles = grey.reshape(rows, n, columns, n).swapaxes(1, 2)
        return tiles.reshape(rows * columns, n, n)


def answered(raw: bytes) -> list[tuple[dict, dict]]:
    """The records of a live run but its places in line: on a busy machine any run may wait."""
    return [(meta, arrays) for meta, arrays in decode(raw) if meta["kind"] != "line"]


def number(text: str) -> float:
    """The number in "3.5 %" and the like."""
    found = re.search(r"-?[0-9.]+(e[+-]?[0-9]+)?", text)
    assert found, text
    return float(found[0])
