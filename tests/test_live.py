"""Live runs without a page: how far ahead they compute, and how they end."""

import asyncio
import time
from collections.abc import Iterator
from itertools import count
from typing import Any

import pytest

from mldemo.ui.server.live import AHEAD, COMPUTE, Line, Record, compute
from mldemo.ui.wire import decode


class Source:
    """An endless run that counts its steps and notices its end."""

    def __init__(self, fail_at: int | None = None, seconds: float = 0.01) -> None:
        self.steps, self.closed, self.fail_at, self.seconds = 0, False, fail_at, seconds

    def records(self) -> Iterator[Record]:
        try:
            for i in count():
                if i == self.fail_at:
                    raise ValueError("as told")
                time.sleep(self.seconds)
                self.steps += 1
                yield {"step": i}, {}
        finally:
            self.closed = True


def drained() -> None:
    """Wait until the compute thread has nothing left to do."""
    COMPUTE.submit(int).result(5)


def step(raw: bytes) -> int:
    ((meta, _),) = decode(raw)
    return meta["step"]


@pytest.mark.parametrize("ahead", [1, 2])
def test_a_run_waits_for_its_reader(ahead: int) -> None:
    """It computes what was asked for and so many steps more, whatever time the reader takes."""
    source = Source()

    async def read() -> list[int]:
        frames = compute(source.records(), ahead=lambda: ahead)
        seen = [step(await anext(frames)) for _ in range(3)]
        await asyncio.sleep(0.2)
        assert source.steps == 3 + ahead
        await frames.aclose()
        return seen

    assert asyncio.run(read()) == [0, 1, 2]


def test_a_reader_who_leaves_ends_the_run() -> None:
    """At most the step under way is still computed, and the records are closed."""
    source = Source(seconds=0.05)  # longer than the pace, so that a step is under way
    records = source.records()

    async def read() -> int:
        frames = compute(records, ahead=lambda: AHEAD)
        for _ in range(3):
            await anext(frames)
        await frames.aclose()
        return source.steps

    steps = asyncio.run(read())
    drained()
    assert source.closed
    assert source.steps <= steps + 1


def test_an_error_reaches_the_reader_after_what_came_before() -> None:
    """The records before it, then the exception; the run is closed."""
    source, seen = Source(fail_at=2), []

    async def read() -> None:
        async for raw in compute(source.records(), ahead=lambda: AHEAD):
            seen.append(step(raw))

    with pytest.raises(ValueError, match="as told"):
        asyncio.run(read())
    drained()
    assert seen == [0, 1] and source.closed


def test_only_a_run_alone_asks_for_more_than_one_step() -> None:
    """With others there, steps are taken in turn."""

    async def enter() -> list[Any]:
        line = Line()
        async with line.enter():
            found = [line.ahead()]
            async with line.enter():
                found.append(line.ahead())
            return [*found, line.ahead()]

    assert asyncio.run(enter()) == [AHEAD, 1, AHEAD]
