"""Many visitors at once, rude ones, ones that leave: what stays behind, and who is served."""

import asyncio
import os
import re
import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx
import pytest
from gradio_client import Client
from playwright.sync_api import Browser
from ui import LASTING, PATIENCE, Tab, answered, browser, serve

from mldemo.studies.bench_class import visit_together
from mldemo.ui.server.live import UNREAD_SECONDS
from mldemo.ui.server.schedule import IDLE_SECONDS, MOST_LONG
from mldemo.ui.server.shared import MOST_OF_ADDRESS, MOST_OF_PAGE
from mldemo.ui.wire import decode

__all__ = ["browser"]
GOOD = {"score": "gaussian", "n": "16", "steps": "4", "count": "1", "sampler": "ddim"}
LONG = "score=gaussian&n=128&count=16&steps=100&sampler=heun"
TICKS = os.sysconf("SC_CLK_TCK")


class Served:
    """An app of our own, whose process and temporary files we may look at."""

    def __init__(self, url: str, temporary: Path) -> None:
        self.url, self.temporary = url, temporary
        port = url.rpartition(":")[2].encode()
        asked = {p: self._arguments(p) for p in Path("/proc").glob("[0-9]*")}
        (self.process,) = [p for p, words in asked.items() if words[-2:] == [b"--port", port]]

    @staticmethod
    def _arguments(process: Path) -> list[bytes]:
        try:
            return (process / "cmdline").read_bytes().split(b"\0")[:-1]
        except OSError:  # it has just ended
            return []

    def run(self, tab: str = "watch", **query: str) -> list[tuple[dict, dict]]:
        """The records of a live run."""
        answer = httpx.get(f"{self.url}/mldemo/live/{tab}", params=query, timeout=60)
        assert answer.status_code == 200, answer.text
        return answered(answer.content)

    def ask(self, query: str, tab: str = "watch") -> socket.socket:
        """A connection that has asked for a run and takes little."""
        host, port = self.url.removeprefix("http://").split(":")
        s = socket.socket()
        s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        s.connect((host, int(port)))
        s.settimeout(5)
        s.sendall(f"GET /mldemo/live/{tab}?{query} HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())
        return s

    def work(self, seconds: float = 1.0) -> float:
        """The share of a core that the app takes."""
        before = self._ticks()
        time.sleep(seconds)
        return (self._ticks() - before) / TICKS / seconds

    def cost(self, work: Callable[[], Any]) -> float:
        """Seconds of a core that the app spends on something."""
        before = self._ticks()
        work()
        return (self._ticks() - before) / TICKS

    def _ticks(self) -> int:
        words = (self.process / "stat").read_text().rpartition(")")[2].split()
        return int(words[11]) + int(words[12])

    def idles(self, within: float = 20) -> bool:
        """Whether it comes to rest."""
        until = time.monotonic() + within
        while time.monotonic() < until:
            if self.work() < 0.05:
                return True
        return False

    def memory(self) -> float:
        """Resident megabytes."""
        pages = int((self.process / "statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE") / 1e6

    def files(self) -> set[str]:
        """All that lies in its temporary folder."""
        return {str(p) for p in self.temporary.rglob("*") if p.is_file()}


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """One app for this file."""
    temporary = tmp_path_factory.mktemp("temporary")
    with serve(TMPDIR=str(temporary)) as url:
        yield Served(url, temporary)


def test_eight_programs_at_once_each_get_every_frame(served: Served) -> None:
    """Through gradio_client; each gets its own seed's run."""
    together = threading.Barrier(8)

    def use(seed: int) -> list[dict[str, Any]]:
        client = Client(served.url, verbose=False, httpx_kwargs={"timeout": 60})
        together.wait(60)
        asked = {"resolution": 32, "steps": 20, "count": 4, "score": "gaussian", "seed": seed}
        job = client.submit(**asked, api_name="/frames")
        job.result(120)
        return job.outputs()

    with ThreadPoolExecutor(8) as pool:
        runs = list(pool.map(use, range(8)))
    for frames in runs:
        assert [frame["step"] for frame in frames] == list(range(21))
    assert len({frames[-1]["x0"] for frames in runs}) == 8


def test_long_runs_are_bounded_and_small_ones_pass(served: Served) -> None:
    """One long run too many gets a 503 and a sentence; a small one begins at once beside them."""
    sockets = [served.ask(f"{LASTING}&seed={seed}") for seed in range(MOST_LONG)]
    try:
        for s in sockets:
            assert s.recv(64).startswith(b"HTTP/1.1 200")
        answer = httpx.get(f"{served.url}/mldemo/live/watch?{LASTING}&seed=99", timeout=60)
        assert answer.status_code == 503
        assert f"{MOST_LONG} long runs are under way or waiting" in answer.text
        start = time.monotonic()
        assert served.run(**GOOD)[-1][0]["kind"] == "end"
        assert time.monotonic() - start < 20  # and not the minutes of the others
    finally:
        for s in sockets:
            s.close()
    assert served.run(**GOOD)[-1][0]["kind"] == "end"
    assert served.idles()


def test_three_hundred_different_runs_at_once(served: Served) -> None:
    """As many as one address may hold are served, the others refused; memory comes back."""
    served.run()
    assert served.idles()
    memory = served.memory()
    steps = 60  # none of these ends before all have come
    asked = [f"{seed}&steps={steps}" for seed in range(300)]
    visits = asyncio.run(visit_together(served.url, [asked], 0))
    whole = [v for v in visits if v["frames"] == steps + 1]
    assert len(whole) == MOST_OF_ADDRESS
    assert sum(v["refused"] for v in visits) == 300 - MOST_OF_ADDRESS
    assert served.idles()
    time.sleep(2 * IDLE_SECONDS)
    assert served.memory() < memory + 30


def test_a_class_follows_one_link(served: Served) -> None:
    """Sixty equal runs cost about as much as one, and each visitor gets every record."""
    query = {"score": "gaussian", "n": "64", "count": "16", "steps": "40", "seed": "31"}
    one = served.cost(lambda: served.run(**{**query, "seed": "30"}))
    found: list[bytes] = []

    def together() -> None:
        with ThreadPoolExecutor(60) as pool:
            url = f"{served.url}/mldemo/live/watch"
            for answer in pool.map(lambda _: httpx.get(url, params=query, timeout=120), range(60)):
                found.append(answer.content)

    sixty = served.cost(together)
    frames = {
        tuple(meta["step"] for meta, _ in decode(raw) if meta["kind"] == "frame") for raw in found
    }
    assert len(found) == 60 and frames == {tuple(range(41))}
    assert sixty < 12 * one  # sending is not free


def test_who_never_reads_is_dropped(served: Served) -> None:
    """Their connections end, and meanwhile another run is served."""
    memory = served.memory()
    with ExitStack() as stack:
        sockets = [stack.enter_context(served.ask(f"{LONG}&seed={seed}")) for seed in range(4)]
        time.sleep(2)
        assert served.run(**GOOD)[-1][0]["kind"] == "end"
        assert served.memory() < memory + 120
        time.sleep(UNREAD_SECONDS)  # who reads sooner gets the rest
        for s in sockets:
            raw = b""
            while part := s.recv(1 << 16):  # a connection that is kept would time out here
                raw += part
            assert b'"last"' not in raw
    assert served.idles()


def test_reload_and_close_stop_the_work(served: Served, browser: Browser) -> None:
    """A page that was reloaded computes one run, not two; a closed one computes none."""
    context = browser.new_context()
    page = context.new_page()
    page.set_default_timeout(PATIENCE)
    player = "#tab-watch .md-player"
    page.goto(f"{served.url}/?tab=watch&{LASTING}")
    Tab.shown(page, "watch").under_way(2)
    page.reload()  # its address asks for the run again
    Tab.shown(page, "watch").under_way(2)
    assert served.work() > 0.05
    page.click("#watch-stop")
    page.wait_for_selector(f"{player}[data-state=stopped]")
    assert served.idles()
    page.reload()
    Tab.shown(page, "watch").under_way(2)
    assert served.work() > 0.05
    context.close()
    assert served.idles()


def test_who_waits_sees_his_place_and_the_recorded_run(served: Served, browser: Browser) -> None:
    """A link's run that others keep waiting: an estimate, digits that move, then the run."""
    leave = threading.Event()

    def read(seed: int) -> None:
        query = LASTING.replace("steps=100", "steps=90")
        url = f"{served.url}/mldemo/live/watch?{query}&seed={seed}"
        with httpx.stream("GET", url, timeout=60) as answer:
            for _ in answer.iter_raw():
                if leave.is_set():
                    return

    context = browser.new_context()
    page = context.new_page()
    page.set_default_timeout(PATIENCE)
    player = "#tab-watch .md-player"
    with ThreadPoolExecutor(6) as pool:
        try:
            reading = [pool.submit(read, seed) for seed in range(6)]
            time.sleep(1)
            page.goto(f"{served.url}/?tab=watch&step=7&{LASTING}")
            waiting = f"{player}[data-state=waiting][data-mode=prerecorded]"
            page.wait_for_selector(f"{waiting}[data-frames='21']:not([data-step='0'])")
            words = page.inner_text(f"{player} .md-mode")
            assert re.fullmatch(r"waiting: number [5-7] in line, about \d+ s", words), words
        finally:
            leave.set()
        for done in reading:
            done.result(60)
    page.wait_for_selector(f"{player}[data-mode=live][data-step='7']")  # the link's own
    context.close()
    assert served.idles()


def test_who_is_refused_can_ask_again(served: Served, browser: Browser) -> None:
    """A link's run for which there is no place: the recorded one moves, and a button asks again
    for the very run."""
    context = browser.new_context()
    page = context.new_page()
    page.set_default_timeout(PATIENCE)
    player, words = "#tab-watch .md-player", "80 runs are under way: try again in a minute"
    live = "**/mldemo/live/watch?*"
    page.route(live, lambda route: route.fulfill(status=503, body=words))
    page.goto(f"{served.url}/?tab=watch&n=16&steps=9&step=4")
    shown = f"{player}[data-state=failed][data-mode=prerecorded]"
    page.wait_for_selector(f"{shown}[data-frames='21']:not([data-step='0'])")
    assert page.inner_text(f"{player} .md-mode") == "prerecorded"
    assert page.inner_text(f"{player} .md-alert").startswith(words)
    again = page.get_by_role("button", name="Try again")
    again.focus()
    page.keyboard.press("Enter")  # still no place: the same words, and the recorded run goes on
    page.wait_for_selector(f"{shown}[data-frames='21']")
    page.unroute(live)
    again.click()
    page.wait_for_selector(f"{player}[data-mode=live][data-state=finished][data-step='4']")
    assert "9 steps" in page.inner_text(f"{player} .md-what")
    assert not page.is_visible(f"{player} .md-alert")
    context.close()


def test_a_page_names_itself_and_follows_so_many_runs(served: Served, browser: Browser) -> None:
    """One more gets a sentence, which the page shows; another page goes on."""
    context = browser.new_context()
    page, other = context.new_page(), context.new_page()
    names, query = list[str](), "n=16&steps=4&count=1"
    url = f"{served.url}/?tab=watch&{query}"
    for one in (page, other):
        one.set_default_timeout(PATIENCE)
        with one.expect_request("**/mldemo/live/watch*") as asked:
            one.goto(url)
        names.append(asked.value.headers["x-page"])
        one.wait_for_selector("#tab-watch .md-player[data-mode=live][data-state=finished]")
    assert len(set(names)) == 2 and all(re.fullmatch(r"[\d-]{5,40}", name) for name in names)
    with ExitStack() as stack:
        for _ in range(MOST_OF_PAGE):
            headers, live = {"X-Page": names[0]}, f"{served.url}/mldemo/live/watch?{LASTING}"
            answer = stack.enter_context(httpx.stream("GET", live, headers=headers, timeout=60))
            assert answer.status_code == 200
        page.click("#watch-start")
        alert = page.wait_for_selector("#tab-watch .md-alert:visible")
        assert alert and f"this page follows {MOST_OF_PAGE} runs" in alert.inner_text()
        other.evaluate("document.querySelector('#tab-watch .md-player').dataset.mode = ''")
        other.click("#watch-start")
        other.wait_for_selector("#tab-watch .md-player[data-mode=live][data-state=finished]")
    context.close()
    assert served.idles()


def test_a_hundred_runs_leave_nothing(served: Served) -> None:
    """No file, no open one, and less than 20 MB."""
    queries = [
        ("watch", {"n": "16", "steps": "4", "count": "4"}),
        ("watch", {"n": "32", "steps": "4", "count": "4", "score": "empirical"}),
        ("resolution", {"finest": "32", "steps": "2"}),
        ("priors", {"n": "32"}),
    ]

    def all_of_them() -> None:
        for tab, query in queries:
            kinds = [meta["kind"] for meta, _ in served.run(tab, **query)]
            assert kinds[-1] == "end"

    for _ in range(5):  # models are loaded, caches are full
        all_of_them()
    memory, files, handles = served.memory(), served.files(), self_handles(served)
    for _ in range(25):
        all_of_them()
    assert served.files() == files
    assert self_handles(served) <= handles + 2
    assert served.memory() < memory + 20


def self_handles(served: Served) -> int:
    """How many files and connections the app holds open."""
    return len(list((served.process / "fd").iterdir()))


def test_foreign_hosts_are_refused_everywhere(served: Served) -> None:
    """The page, its API, live runs: whatever a foreign name asks for."""
    for path in ("/", "/config", "/gradio_api/info", "/mldemo/live/watch"):
        for host in ("evil.example", "127.0.0.1.evil.example", "localhost.evil.example:80"):
            assert httpx.get(served.url + path, headers={"Host": host}).status_code == 400


def test_there_is_no_monitoring_and_no_foreign_file(served: Served) -> None:
    """Neither numbers about visitors nor files of the machine."""
    for path in ("/monitoring/summary", "/gradio_api/monitoring/summary"):
        assert httpx.get(served.url + path).status_code in (403, 404)
    for path in (
        "/etc/passwd",
        f"{Path(__file__).resolve()}",
        "app.py",
        "checkpoints/manifest.json",
    ):
        answer = httpx.get(f"{served.url}/gradio_api/file={path}")
        assert answer.status_code in (403, 404)
        assert "Traceback" not in answer.text


def test_an_upload_has_a_limit(served: Served) -> None:
    """A megabyte is refused, and leaves no file."""
    files = served.files()
    big = {"files": ("x.png", b"\0" * 1_000_000)}
    answer = httpx.post(f"{served.url}/gradio_api/upload", files=big)
    assert 400 <= answer.status_code < 500
    assert "Traceback" not in answer.text
    assert served.files() == files
