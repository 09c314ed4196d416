"""Live runs: one thread computes, each page reads its own stream of records.

`GET mldemo/live/TAB?…` answers with records (`wire.encode`) as they are computed. What gradio's
queue would do is done here, for a hundredth of its cost per frame: a bounded line, a time budget,
an end when the page goes away or stops reading.
"""

import asyncio
import logging
import time
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, suppress
from typing import Any

import numpy as np
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.types import Message, Receive, Scope, Send

from mldemo.ui.wire import encode

Record = tuple[dict[str, Any], dict[str, np.ndarray]]
Source = Callable[[Mapping[str, str]], Iterator[Record]]

RUNNING, WAITING = 4, 16  # runs that take turns, and runs that wait for one of them to end
SECONDS = 120.0  # a run that takes longer is ended
UNREAD_SECONDS = 10.0  # a page that reads nothing for so long is dropped
PACE = 1 / 60  # frames come no faster than a screen shows them
AHEAD = 2  # steps that a run alone asks for at once: the compute thread need not wait for it
LONGEST_QUERY = 2000
# All that torch does happens on this one thread, one step at a time: every thread that calls torch
# gets a team of OpenMP threads of its own, and as soon as the teams outnumber the cores their
# barriers sleep instead of spin (twice the time per step).
COMPUTE = ThreadPoolExecutor(1, thread_name_prefix="compute")
log = logging.getLogger(__name__)


class Line:
    """Who computes and who waits, first come first served."""

    def __init__(self, running: int = RUNNING, waiting: int = WAITING) -> None:
        self.running, self.waiting = running, waiting
        self._active = 0
        self._queue: list[asyncio.Event] = []

    @property
    def full(self) -> bool:
        """Whether another run would have to be turned away."""
        return self._active >= self.running and len(self._queue) >= self.waiting

    def ahead(self) -> int:
        """How many steps a run may ask for: with others there, one each, in turn."""
        return AHEAD if self._active == 1 else 1

    def place(self, turn: asyncio.Event) -> int:
        """How many runs wait before this one, itself included; 0 if it is its turn."""
        return self._queue.index(turn) + 1 if turn in self._queue else 0

    @asynccontextmanager
    async def enter(self) -> AsyncIterator[asyncio.Event]:
        """A place in the line; the event is set when it is this run's turn."""
        turn = asyncio.Event()
        if self._active < self.running:
            self._active += 1
            turn.set()
        else:
            self._queue.append(turn)
        try:
            yield turn
        finally:
            if turn.is_set():
                self._active -= 1
                if self._queue:
                    self._queue.pop(0).set()
                    self._active += 1
            else:
                self._queue.remove(turn)


async def compute(
    records: Iterator[Record], seconds: float = SECONDS, ahead: Callable[[], int] = lambda: 1
) -> AsyncGenerator[bytes, None]:
    """Encoded records, computed `ahead()` of the reader, paced, and ended after `seconds`."""
    loop = asyncio.get_running_loop()

    def step() -> tuple[bytes, bool] | None:
        record = next(records, None)
        if record is None:
            return None
        return encode(*record), record[0].get("last", False)

    start, due = time.monotonic(), 0.0
    steps = deque([loop.run_in_executor(COMPUTE, step)])
    try:
        while (answer := await steps[0]) is not None:
            raw, last = answer
            steps.popleft()
            while len(steps) < ahead():
                steps.append(loop.run_in_executor(COMPUTE, step))
            if (wait := due - time.monotonic()) > 0:
                await asyncio.sleep(wait)
            due = time.monotonic() + PACE
            yield raw
            if time.monotonic() - start > seconds and not last:
                raise ValueError(
                    f"stopped after {seconds:g} s: lower resolution, steps or count to see the end"
                )
    finally:
        for future in steps:
            future.cancel()
        close = getattr(records, "close", None)
        if close is not None:
            with suppress(RuntimeError):  # the interpreter is going down
                COMPUTE.submit(close)


def sentence(error: Exception) -> str:
    """The error's message on one line of bounded length."""
    text = " ".join(str(error).split())
    return text if len(text) <= 400 else text[:400] + " …"


class LiveResponse(StreamingResponse):
    """A stream that ends when nobody reads it, and whose generator is closed whatever happens."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer; a page that is gone is no error."""
        try:
            await super().__call__(scope, receive, send)
        except TimeoutError:
            log.info("a page left its run unread for %g s", UNREAD_SECONDS)

    async def stream_response(self, send: Send) -> None:
        """Send, but never wait longer than `UNREAD_SECONDS` for the reader."""

        async def patient(message: Message) -> None:
            await asyncio.wait_for(send(message), UNREAD_SECONDS)

        try:
            await super().stream_response(patient)
        finally:
            await self.body_iterator.aclose()  # type: ignore[attr-defined]


class Live:
    """The endpoint: `sources` maps the name of a tab to what computes its records."""

    def __init__(self, sources: dict[str, Source]) -> None:
        self.sources, self.line = sources, Line()

    async def answer(self, request: Request) -> Response:
        """Stream the run that the URL asks for; errors are records too, of one sentence."""
        source = self.sources.get(request.path_params["tab"])
        if source is None:
            return Response("there is no such tab", 404)
        if len(request.url.query) > LONGEST_QUERY:
            return Response(f"the query is longer than {LONGEST_QUERY} characters", 414)
        if self.line.full:
            ahead = self.line.running + self.line.waiting
            return Response(
                f"{ahead} runs are under way or waiting here, and no more may wait: "
                "try again in a minute",
                503,
            )
        query = dict(request.query_params)
        return LiveResponse(
            self._body(source, query),
            media_type="application/octet-stream",
            headers={"Cache-Control": "no-store", "X-Accel-Buffering": "no"},
        )

    async def _body(self, source: Source, query: dict[str, str]) -> AsyncIterator[bytes]:
        async with self.line.enter() as turn:
            said = 0
            while not turn.is_set():
                if (place := self.line.place(turn)) != said:
                    said = place
                    yield encode({"kind": "line", "place": place}, {})
                with suppress(TimeoutError):
                    await asyncio.wait_for(turn.wait(), 0.5)
            frames = compute(source(query), ahead=self.line.ahead)
            try:
                async for raw in frames:
                    yield raw
            except ValueError as error:
                yield encode({"kind": "error", "text": sentence(error)}, {})
            except Exception:
                log.exception("a run failed")
                yield encode({"kind": "error", "text": "the run failed on the server"}, {})
            finally:
                await frames.aclose()
