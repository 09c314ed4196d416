"""Live runs without a page: equal ones are shared, none runs far ahead, all end."""

import asyncio
import time
from collections.abc import Callable, Iterator
from itertools import count
from typing import Any

import numpy as np
import pytest

from mldemo.ui.server import live, shared
from mldemo.ui.server.live import COMPUTE, body
from mldemo.ui.server.schedule import Full
from mldemo.ui.server.shared import AHEAD, Reader, Record, Shelf
from mldemo.ui.wire import decode


class Source:
    """A run that counts its steps and notices its end; endless without `total`."""

    def __init__(
        self,
        total: int | None = None,
        fail_at: int | None = None,
        seconds: float = 0.001,
        size: int = 4,
    ) -> None:
        self.steps, self.closed, self.begun = 0, False, 0
        self.total, self.fail_at, self.seconds, self.size = total, fail_at, seconds, size

    def records(self) -> Iterator[Record]:
        self.begun += 1
        try:
            for i in count():
                if i == self.fail_at:
                    raise ValueError("as told")
                if i == self.total:
                    return
                time.sleep(self.seconds)
                self.steps += 1
                yield {"step": i}, {"x": np.zeros(self.size, np.uint8)}
        finally:
            self.closed = True

    def reader(self, shelf: Shelf, key: Any = "run", address: str = "a", page: str = "") -> Reader:
        return shelf.reader((key,), self.records, 1e3, address, page=page)


def drained() -> None:
    """Wait until the compute threads have done what was asked for."""
    for _ in range(4):
        COMPUTE.submit(time.sleep, 0.01).result(5)


def step(raw: bytes) -> Any:
    ((meta, _),) = decode(raw)
    return meta.get("step", meta)


async def whole(reader: Reader) -> list[Any]:
    """All that a page gets."""
    try:
        return [step(raw) async for raw in body(reader)]
    finally:
        reader.close()


def in_loop(work: Callable[[Shelf], Any]) -> Any:
    """Run a coroutine function with a shelf of its own."""
    return asyncio.run(work(Shelf(COMPUTE)))


def test_equal_runs_are_computed_once_and_all_see_every_frame() -> None:
    """At once, later while it runs, and after it has ended."""
    source = Source(total=20)

    async def work(shelf: Shelf) -> list[list[int]]:
        many = [asyncio.create_task(whole(source.reader(shelf))) for _ in range(60)]
        await asyncio.sleep(0.1)
        late = asyncio.create_task(whole(source.reader(shelf)))
        found = [await task for task in [*many, late]]
        found.append(await whole(source.reader(shelf)))
        other = Source(total=3)
        assert await whole(other.reader(shelf, "another")) == [0, 1, 2]
        return found

    for seen in in_loop(work):
        assert seen == list(range(20))
    assert source.begun == 1 and source.steps == 20


def test_a_run_waits_for_its_reader() -> None:
    """It computes what was read and so many records more, whatever time the reader takes."""
    source = Source()

    async def work(shelf: Shelf) -> list[int]:
        reader = source.reader(shelf)
        frames = body(reader)
        seen = [step(await anext(frames)) for _ in range(3)]
        await asyncio.sleep(0.2)
        assert source.steps == 3 + AHEAD
        reader.close()
        return seen

    assert in_loop(work) == [0, 1, 2]


def test_the_last_reader_who_leaves_ends_the_run() -> None:
    """At most the step under way is still computed, and the records are closed."""
    source = Source(seconds=0.03)

    async def work(shelf: Shelf) -> int:
        first, second = source.reader(shelf), source.reader(shelf)
        frames = body(first)
        for _ in range(3):
            await anext(frames)
        second.close()
        await anext(frames)
        assert not source.closed
        first.close()
        assert shelf.kept == 0 and not shelf.readers
        return source.steps

    steps = in_loop(work)
    drained()
    assert source.closed
    assert source.steps <= steps + 1


def test_an_error_reaches_every_reader_after_what_came_before_and_is_not_kept() -> None:
    source = Source(fail_at=2)

    async def work(shelf: Shelf) -> list[Any]:
        both = [asyncio.create_task(whole(source.reader(shelf))) for _ in range(2)]
        found = [await task for task in both]
        return [*found, await whole(source.reader(shelf))]

    for seen in in_loop(work):
        assert seen == [0, 1, {"kind": "error", "text": "as told"}]
    assert source.begun == 2


def test_a_failure_of_ours_says_so_without_its_words(caplog: pytest.LogCaptureFixture) -> None:
    def records() -> Iterator[Record]:
        raise RuntimeError("/secret/path")
        yield

    async def work(shelf: Shelf) -> list[Any]:
        return await whole(shelf.reader(("x",), records, 1e3, "a"))

    (seen,) = in_loop(work)
    assert seen == {"kind": "error", "text": "the run failed on the server"}
    assert "/secret/path" in caplog.text


def test_who_waits_hears_his_place_and_an_estimate() -> None:
    """Once in a while, until his run begins."""
    source = Source(total=2)

    async def work(shelf: Shelf) -> list[Any]:
        for _ in range(COMPUTE.threads):
            COMPUTE.submit(time.sleep, 0.8)
        return await whole(source.reader(shelf))

    line, *rest = in_loop(work)
    assert line["kind"] == "line" and line["place"] == 1 and line["seconds"] >= 0
    assert rest[-2:] == [0, 1]


def test_one_address_holds_a_class_and_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shared, "MOST_OF_ADDRESS", 3)
    source = Source()

    async def work(shelf: Shelf) -> None:
        held = [source.reader(shelf, i) for i in range(3)]
        held.append(source.reader(shelf, 0))  # equal to the first: no run of its own
        with pytest.raises(Full, match="3 runs of your address"):
            source.reader(shelf, 3)
        held.append(source.reader(shelf, 3, address="b"))
        for reader in held:
            reader.close()

    in_loop(work)


def test_one_page_follows_so_many_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Equal ones count; other pages of its address, and who names none, go on."""
    monkeypatch.setattr(shared, "MOST_OF_PAGE", 3)
    source = Source()

    async def work(shelf: Shelf) -> None:
        held = [source.reader(shelf, key, page="p") for key in (0, 1, 1)]
        with pytest.raises(Full, match="this page follows 3 runs, and no more at once: stop one"):
            source.reader(shelf, 0, page="p")
        held += [source.reader(shelf, 0, page=page) for page in ("q", "", "", "", "")]
        held.append(source.reader(shelf, 0, "b", page="p"))
        held.pop(0).close()
        held.append(source.reader(shelf, 2, page="p"))
        for reader in held:
            reader.close()

    in_loop(work)


def test_what_is_kept_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """A run beyond the bound forgets what all have read, takes no newcomer, waits for the last."""
    monkeypatch.setattr(shared, "KEPT", 50_000)
    monkeypatch.setattr(shared, "KEPT_EACH", 20_000)
    source = Source(size=10_000)

    async def work(shelf: Shelf) -> None:
        fast, slow = source.reader(shelf), source.reader(shelf)
        frames, most = body(fast), 0
        reading = asyncio.create_task(_read(frames, 40))
        for _ in range(40):
            await asyncio.sleep(0.01)
            most = max(most, shelf.kept)
        assert most < 50_000 + AHEAD * 11_000  # the fast one waits for the slow one
        assert not reading.done()
        slow.close()
        assert await reading == list(range(40))
        assert fast.run.first > 0
        newcomer = source.reader(shelf)
        assert newcomer.run is not fast.run
        newcomer.close()
        fast.close()
        assert shelf.kept == 0

    in_loop(work)


def test_finished_runs_are_kept_within_a_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shared, "KEPT_FINISHED", 25_000)
    source = Source(total=1, size=10_000)

    async def work(shelf: Shelf) -> None:
        for key in (0, 1, 2):
            await whole(source.reader(shelf, key))
        assert 20_000 < shelf.kept < 25_000
        assert source.begun == 3
        await whole(source.reader(shelf, 2))
        assert source.begun == 3
        await whole(source.reader(shelf, 0))  # the oldest has gone
        assert source.begun == 4

    in_loop(work)


async def _read(frames: Any, many: int) -> list[int]:
    return [step(await anext(frames)) for _ in range(many)]


def test_a_place_in_line_does_not_count_as_unread(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live, "READ_SECONDS", 0.2)

    async def work(shelf: Shelf) -> list[Any]:
        return await whole(Source(total=1, seconds=0.6).reader(shelf))

    seen = in_loop(work)
    assert [s for s in seen if isinstance(s, int)] == [0]
    assert "error" not in [s["kind"] for s in seen if isinstance(s, dict) and "kind" in s]


@pytest.mark.parametrize("version", ["2.3", "2.4"])
@pytest.mark.parametrize("unread", [0.1, 0.002])
def test_a_slow_page_that_reads_gets_all(
    monkeypatch: pytest.MonkeyPatch, unread: float, version: str
) -> None:
    """It reads a record in 0.2 s and a piece in 0.01; it is dropped where that is too long."""
    monkeypatch.setattr(live, "UNREAD_SECONDS", unread)
    monkeypatch.setattr(live, "PIECE", 1000)
    got: list[Any] = []

    async def send(message: Any) -> None:
        await asyncio.sleep(1e-5 * len(message.get("body", b"")))
        got.append(message)

    async def receive() -> Any:
        await asyncio.sleep(60)

    async def work(shelf: Shelf) -> None:
        answer = live.LiveResponse(Source(total=3, size=20_000).reader(shelf))
        await answer({"type": "http", "asgi": {"spec_version": version}}, receive, send)

    in_loop(work)
    raw = b"".join(message.get("body", b"") for message in got)
    assert max(len(message.get("body", b"")) for message in got) <= 1000
    if unread == 0.1:
        assert [meta["step"] for meta, _ in decode(raw) if "step" in meta] == [0, 1, 2]
        assert [message["more_body"] for message in got[-2:]] == [True, False]
    else:
        assert len(raw) < 20_000
