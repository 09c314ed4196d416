"""Live runs: a few threads compute, each page reads its own stream of records.

`GET mldemo/live/TAB?…` answers with records (`wire.encode`) as they are computed. This replaces
gradio's queue, at a hundredth of its cost per frame: runs are scheduled (`schedule`), equal runs
are computed once (`shared`), and a stream ends when its page is closed or stops reading.
"""

import asyncio
import logging
import time
from collections.abc import AsyncGenerator, Callable, Collection, Hashable, Iterator, Mapping
from contextlib import suppress

from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response, StreamingResponse
from starlette.types import Message, Receive, Scope, Send

from mldemo.ui.limits import kind_of, size_of
from mldemo.ui.server.schedule import Full, Schedule
from mldemo.ui.server.shared import Reader, Record, Shelf
from mldemo.ui.wire import encode

Source = Callable[[Mapping[str, str]], Iterator[Record]]

UNREAD_SECONDS = 10.0  # a page that reads nothing for this long is dropped,
READ_SECONDS = 600.0  # and so is one that has not reached the end this long after the first record
PIECE = 2**16  # bytes sent at once: what a slow page must read within `UNREAD_SECONDS`
PACE = 1 / 60  # frames come no faster than a screen shows them
QUIET_SECONDS = 0.3  # a shorter wait is not reported
LONGEST_QUERY = 2000
PAGE_HEADER = "X-Page"  # identifies the page that asks (`stream.js`)
COMPUTE = Schedule()
log = logging.getLogger(__name__)


def sentence(error: Exception) -> str:
    """The error's message on one line of bounded length."""
    text = " ".join(str(error).split())
    return text if len(text) <= 400 else text[:400] + " …"


async def body(reader: Reader) -> AsyncGenerator[bytes, None]:
    """The stream of one page: its position in the queue while waiting, then all records, paced."""
    shelf, run = reader.run.shelf, reader.run
    start, begun, due, said = time.monotonic(), None, 0.0, None
    while begun is None or time.monotonic() - begun < READ_SECONDS:
        news = run.news
        if (raw := reader.take()) is not None:
            begun = begun or time.monotonic()
            if (wait := due - time.monotonic()) > 0:
                await asyncio.sleep(wait)
            due = time.monotonic() + PACE
            yield raw
        elif reader.over:
            break
        else:
            if reader.position == 0 and time.monotonic() - start > QUIET_SECONDS:
                if (line := shelf.line(run)) != said:
                    said = line
                    yield encode(line, {})
            with suppress(TimeoutError):
                await asyncio.wait_for(news.wait(), QUIET_SECONDS if said is None else 0.5)
    else:
        yield encode({"kind": "error", "text": f"not read within {READ_SECONDS:g} s"}, {})
    if isinstance(run.error, ValueError):
        yield encode({"kind": "error", "text": sentence(run.error)}, {})
    elif run.error is not None:
        yield encode({"kind": "error", "text": "the run failed on the server"}, {})


def pieces(message: Message) -> Iterator[Message]:
    """The message of an answer, a long body in several of at most `PIECE` bytes."""
    body = message.get("body", b"")
    *first, last = range(0, len(body) or 1, PIECE)
    for start in first:
        yield {**message, "body": body[start : start + PIECE], "more_body": True}
    yield {**message, "body": body[last:]} if first else message


class LiveResponse(StreamingResponse):
    """A stream that ends when it is not read; its reader is closed in every case."""

    def __init__(self, reader: Reader) -> None:
        super().__init__(
            body(reader),
            media_type="application/octet-stream",
            headers={"Cache-Control": "no-store", "X-Accel-Buffering": "no"},
        )
        self.reader = reader

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the stream; a page that stops reading is logged, not an error."""
        try:
            await super().__call__(scope, receive, send)
        except (TimeoutError, ClientDisconnect):
            log.info("a page left its run unread for %g s", UNREAD_SECONDS)
        finally:
            self.reader.close()

    async def stream_response(self, send: Send) -> None:
        """Send piece by piece, and never wait longer than `UNREAD_SECONDS` for the reader."""

        async def patient(message: Message) -> None:
            for piece in pieces(message):
                await asyncio.wait_for(send(piece), UNREAD_SECONDS)

        await super().stream_response(patient)


class Live:
    """The endpoint of live runs; `sources` maps the id of a tab to its source of records.

    defaults: of each tab's fields; a query that states them is equal to one that omits them.
    alone: the tabs whose runs are computed one at a time.
    stamps: what the runs of a tab depend on besides their query (`Tab.stamp`).
    """

    def __init__(
        self,
        sources: dict[str, Source],
        defaults: Mapping[str, Mapping[str, str]] | None = None,
        alone: Collection[str] = (),
        stamps: Mapping[str, Callable[[], Hashable]] | None = None,
    ) -> None:
        self.sources, self.defaults, self.alone = sources, defaults or {}, alone
        self.stamps = stamps or {}
        self.shelf = Shelf(COMPUTE)

    def close(self) -> None:
        """End all runs, from any thread; their readers receive an error message."""
        self.shelf.close()

    async def answer(self, request: Request) -> Response:
        """Stream the run that the URL describes; an invalid value is reported in a record."""
        tab = request.path_params["tab"]
        source = self.sources.get(tab)
        if source is None:
            return Response("there is no such tab", 404)
        if len(request.url.query) > LONGEST_QUERY:
            return Response(f"the query is longer than {LONGEST_QUERY} characters", 414)
        query = dict(request.query_params)
        whole = {**self.defaults.get(tab, {}), **query}
        now = self.stamps[tab]() if tab in self.stamps else None
        key, work = (tab, now, *sorted(whole.items())), size_of(whole)
        address = request.client.host if request.client else ""
        page = request.headers.get(PAGE_HEADER, "")[:40]
        try:
            reader = self.shelf.reader(
                key,
                lambda: source(query),
                work,
                address,
                alone=tab in self.alone,
                page=page,
                kind=(tab, *kind_of(whole)),
            )
        except Full as error:
            return Response(sentence(error), 503, {"Retry-After": "60"})
        except ValueError as error:
            text = encode({"kind": "error", "text": sentence(error)}, {})
            return Response(text, media_type="application/octet-stream")
        return LiveResponse(reader)
