"""Results of API calls that nobody reads end, those of slow readers do not."""

import asyncio
import subprocess
import sys
from types import SimpleNamespace
from typing import Any

import gradio as gr
import pytest
from gradio.queueing import Queue

from mldemo.ui.server import unread


async def dropped(queue: Any, read: str, seconds: float) -> None:
    """Run the watch for some time while one session is read."""
    watch = asyncio.create_task(unread.drop_unread(queue, every=0.01))
    for _ in range(round(seconds / 0.02)):
        await asyncio.sleep(0.02)
        assert not watch.done(), watch.exception()
        if read in queue.pending_messages_per_session:
            queue.pending_messages_per_session[read].get_nowait()
    queue.stopped = True
    await watch


def left(
    monkeypatch: pytest.MonkeyPatch, kept: float, pressed: float = 60, most: int = 1000
) -> set[str]:
    """The sessions that are left of a slow reader and one who is gone, each with 50 messages."""
    patience = {"KEPT_SECONDS": kept, "PRESSED_SECONDS": pressed, "MOST_UNREAD": most}
    for name, value in patience.items():
        monkeypatch.setattr(unread, name, value)
    job: Any = SimpleNamespace(session_hash="gone", _id="1", alive=True)

    async def work() -> set[str]:
        queue = Queue(True, 1, 0.1, 16, gr.Blocks())
        queue.active_jobs = [[job]]
        for session in ("slow", "gone"):
            queue.pending_messages_per_session[session] = asyncio.Queue()
            for i in range(50):
                queue.pending_messages_per_session[session].put_nowait(SimpleNamespace(i=i))
        await dropped(queue, "slow", 0.6)
        return set(queue.pending_messages_per_session)

    found = asyncio.run(work())
    assert job.alive == ("gone" in found)  # its call ends with its results
    return found


def test_results_wait_for_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    assert left(monkeypatch, kept=0.2) == {"slow"}
    assert left(monkeypatch, kept=60) == {"slow", "gone"}


def test_a_session_that_ends_meanwhile_does_not_end_the_watch(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """While the calls of one are ended, the others read to the end or leave."""
    monkeypatch.setattr(unread, "KEPT_SECONDS", 0.1)

    class Emptied(Queue):
        async def clean_events(self, **_: Any) -> None:
            self.pending_messages_per_session.pop("leaves", None)
            if (rest := self.pending_messages_per_session.get("reads")) and rest.qsize():
                rest.get_nowait()

    async def work() -> None:
        queue = Emptied(True, 1, 0.1, 16, gr.Blocks())
        for session in ("gone", "reads", "leaves"):
            queue.pending_messages_per_session[session] = asyncio.Queue()
            queue.pending_messages_per_session[session].put_nowait(SimpleNamespace())
        await dropped(queue, "nobody", 0.4)

    asyncio.run(work())


def test_many_results_wait_less_long(monkeypatch: pytest.MonkeyPatch) -> None:
    assert left(monkeypatch, kept=60, pressed=0.2, most=60) == {"slow"}
    assert left(monkeypatch, kept=60, pressed=0.2, most=100) == {"slow", "gone"}


PROGRAM = """
import time
import httpx
from mldemo.ui import build_app
from mldemo.ui.server import unread

unread.KEPT_SECONDS = 1.5
demo = build_app()
_, address, _ = demo.launch(prevent_thread_lock=True, server_name="127.0.0.1", quiet=True)
values = {"prior": "bessel", "resolution": 16, "steps": 2, "score": "gaussian", "count": 1}
call = f"{address}gradio_api/call/v2/frames"
asked = [httpx.post(call, json=values).json()["event_id"] for _ in range(2)]

def read(event):
    return httpx.get(f"{address}gradio_api/call/frames/{event}", timeout=30).text

first = read(asked[0])
time.sleep(4)
print(first.count("event: generating"), read(asked[1]).count("event: generating"))
print(sum(m.qsize() for m in demo._queue.pending_messages_per_session.values()))
demo.close()
"""


def test_the_page_drops_them() -> None:
    """Through HTTP: what is read at once comes, what is asked for too late is gone."""
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], capture_output=True, text=True, timeout=120, check=False
    )
    assert done.stdout.split()[-3:] == ["3", "0", "0"], done.stdout + done.stderr
