"""Shared runs: equal ones are computed once for all readers, each of which has its own pace.

A run is a pure function of its query, so a class that follows one link costs one run. Each run
keeps its encoded records while it is under way, and 16 MiB of finished runs are kept after that.
When too much is kept, finished runs are dropped first, then the records that all readers of a run
have read: from then on it takes no new readers, and waits for its slowest one.
"""

import asyncio
import logging
from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterator
from typing import Any

from mldemo.ui.server.schedule import Full, Schedule, Task
from mldemo.ui.wire import Record, encode

Key = tuple[Any, ...]

AHEAD = 2  # records computed before the furthest reader asks for them
KEPT_FINISHED = 16 * 2**20  # bytes of finished runs
KEPT = 256 * 2**20  # bytes of all runs, above which a run pauses
KEPT_EACH = 4 * 2**20  # while it keeps more than this
MOST_READERS = 512
MOST_OF_ADDRESS = 64  # different runs; a whole class may share one address
MOST_OF_PAGE = 16  # runs, equal or not; each of the page's tabs shows one
log = logging.getLogger(__name__)


class Run:
    """One computation, its records so far and its readers. Belongs to one event loop."""

    def __init__(
        self,
        shelf: "Shelf",
        key: Key,
        items: Iterator[Record],
        work: float,
        alone: bool = False,
        kind: Hashable = None,
    ) -> None:
        self.shelf, self.key = shelf, key
        self.loop, self.news = asyncio.get_running_loop(), asyncio.Event()
        self.first, self.records, self.size = 0, list[bytes](), 0
        self.over, self.failed, self.error = False, False, None
        self.readers: set[Reader] = set()
        self.furthest = 0
        encoded = self._encoded(items)
        self.task = Task(encoded, work, 3, self._deliver, self.end, self._ready, alone, kind)

    # ------------------------------------------------------------ on a compute thread
    def _encoded(self, items: Iterator[Record]) -> Iterator[bytes]:
        heads = 0
        try:
            for meta, arrays in items:
                if meta.get("kind") == "head":  # it says how many frames there will be
                    heads += 1
                    more = int(meta.get("records", meta.get("steps", 0))) + 2
                    self.task.total = more + 1 if heads == 1 else self.task.total + more
                self.failed |= meta.get("kind") == "error"
                yield encode(meta, arrays)
        finally:
            close = getattr(items, "close", None)
            if close is not None:
                close()

    def _ready(self) -> bool:
        if self.shelf.kept > KEPT and self.size > KEPT_EACH:
            return False
        return self.task.done < self.furthest + AHEAD

    def _deliver(self, raw: bytes) -> None:
        self._on_loop(self._arrived, raw)

    def end(self, error: Exception | None) -> None:
        """Signal that no record follows; called from any thread but the event loop's."""
        self._on_loop(self._ended, error)

    def _on_loop(self, function: Callable[..., None], *arguments: Any) -> None:
        try:
            self.loop.call_soon_threadsafe(function, *arguments)
        except RuntimeError:  # the server is gone
            self.shelf.compute.leave(self.task)

    # ------------------------------------------------------------ on the event loop
    def _arrived(self, raw: bytes) -> None:
        if self.readers:  # else the run has just been abandoned
            self.records.append(raw)
            self.size += len(raw)
            self.shelf.keep(len(raw))
            self._tell()

    def _ended(self, error: Exception | None) -> None:
        if self.over:
            return
        self.over, self.error = True, error
        if error is not None and not isinstance(error, ValueError):
            log.error("a run failed", exc_info=error)
        self._tell()
        self.shelf.finished(self)

    def _tell(self) -> None:
        self.news.set()
        self.news = asyncio.Event()

    def moved(self) -> None:
        """Called when a reader has advanced or left."""
        self.furthest = max((r.position for r in self.readers), default=0)
        if self.shelf.kept > KEPT:
            self.trim()
        self.shelf.compute.wake()

    def trim(self) -> None:
        """Drop the records that all readers have read."""
        passed = min((r.position for r in self.readers), default=self.first) - self.first
        if passed > 0 and self.size > 0:  # a finished run shares the shelf's records
            gone = sum(map(len, self.records[:passed]))
            del self.records[:passed]
            self.first, self.size = self.first + passed, self.size - gone
            self.shelf.kept -= gone


class Reader:
    """One reader's position in a run."""

    def __init__(self, run: Run, address: str, page: str = "") -> None:
        self.run, self.address, self.page, self.position = run, address, page, 0
        run.readers.add(self)

    def take(self) -> bytes | None:
        """The next record, or None if it has not arrived."""
        at = self.position - self.run.first
        if at >= len(self.run.records):
            return None
        self.position += 1
        raw = self.run.records[at]
        self.run.moved()
        return raw

    @property
    def over(self) -> bool:
        """Whether no record will follow."""
        return self.run.over and self.position == self.run.first + len(self.run.records)

    def close(self) -> None:
        """Leave the run, which ends with its last reader."""
        if self in self.run.readers:
            self.run.readers.remove(self)
            self.run.shelf.readers.discard(self)
            self.run.moved()
            if not self.run.readers:
                self.run.shelf.drop(self.run)


class Shelf:
    """All runs that are under way, and the last finished ones."""

    def __init__(self, compute: Schedule) -> None:
        self.compute = compute
        self.kept = 0
        self.readers: set[Reader] = set()
        self._runs: dict[Key, Run] = {}
        self._finished: OrderedDict[Key, list[bytes]] = OrderedDict()

    def reader(
        self,
        key: Key,
        items: Callable[[], Iterator[Record]],
        work: float,
        address: str,
        alone: bool = False,
        page: str = "",
        kind: Hashable = None,
    ) -> Reader:
        """A reader at the first record of the run with this key; raises `Full` beyond the limits.

        items: creates the records if the run is not yet computed; its exceptions propagate.
        alone: whether the run is one of those computed one at a time (`schedule.Task`).
        page: the identifier that a page sends, or "".
        kind: of the run (`schedule.Task`).
        """
        if len(self.readers) >= MOST_READERS:
            raise Full(f"{MOST_READERS} pages are served at once, and no more: try again soon")
        if page and sum((r.address, r.page) == (address, page) for r in self.readers) >= (
            MOST_OF_PAGE
        ):
            raise Full(
                f"this page follows {MOST_OF_PAGE} runs, and no more at once: "
                "stop one, or wait for its end"
            )
        run = self._runs.get(key)
        if run is None or run.first > 0 or run.loop is not asyncio.get_running_loop():
            run = self._new(key, items, work, address, alone, kind)
        reader = Reader(run, address, page)
        self.readers.add(reader)
        return reader

    def _new(
        self,
        key: Key,
        items: Callable[[], Iterator[Record]],
        work: float,
        address: str,
        alone: bool,
        kind: Hashable,
    ) -> Run:
        done = self._finished.get(key)
        if done is not None:
            self._finished.move_to_end(key)
            run = Run(self, key, iter(()), 0.0)
            run.records, run.over, run.task.left = done, True, True
            return run
        if len({id(r.run) for r in self.readers if r.address == address}) >= MOST_OF_ADDRESS:
            raise Full(
                f"{MOST_OF_ADDRESS} runs of your address are under way or waiting, and no more "
                "may wait: try again in a minute"
            )
        run = Run(self, key, items(), work, alone, kind)
        self.compute.enter(run.task)
        self._runs[key] = run
        return run

    def line(self, run: Run) -> dict[str, Any]:
        """The record that tells a page its position in the queue and its waiting time."""
        place, seconds = self.compute.line(run.task)
        return {"kind": "line", "place": place, "seconds": round(seconds, 1)}

    def keep(self, size: int) -> None:
        """Count the bytes of a new record, and make room if needed."""
        self.kept += size
        while self.kept > KEPT and self._finished:
            self.kept -= sum(map(len, self._finished.popitem(last=False)[1]))
        if self.kept > KEPT:
            for run in self._runs.values():
                run.trim()

    def finished(self, run: Run) -> None:
        """Keep a complete run for later readers; its present readers read on."""
        whole = run.first == 0 and run.error is None and not run.failed
        if whole and 0 < run.size <= KEPT_FINISHED:
            self._finished[run.key] = list(run.records)
            self.kept += run.size
            while sum(sum(map(len, r)) for r in self._finished.values()) > KEPT_FINISHED:
                self.kept -= sum(map(len, self._finished.popitem(last=False)[1]))

    def close(self) -> None:
        """End all runs; called from outside their event loops."""
        for run in list(self._runs.values()):
            self.compute.leave(run.task)
            run.end(ValueError("the server is closing"))

    def drop(self, run: Run) -> None:
        """Abandon a run that has no readers left."""
        self.compute.leave(run.task)
        self.kept -= run.size
        run.size, run.records = 0, []  # run and task form a reference cycle, freed late
        if self._runs.get(run.key) is run:
            del self._runs[run.key]
