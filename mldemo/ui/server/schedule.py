"""Scheduling of runs, step by step: shortest remaining processing time first.

This rule minimises the mean completion time (Schrage 1968), and small runs never wait for large
ones. By itself it would starve the large ones: a share of the time therefore goes to the run that
has waited longest for a step.

Limits keep the machine usable: on the number of runs, of long runs, and of runs that are computed
one at a time (trainings). A place is taken under a lock at the moment it is requested, and held
until it is given up.
"""

import atexit
import threading
import time
from collections import deque
from collections.abc import Callable, Hashable, Iterator
from concurrent.futures import Future
from typing import Any

from mldemo.machine import release_memory

MOST, MOST_LONG = 80, 20  # runs that hold a place, and long ones among them
LONG = 1e7  # pixel evaluations above which a run is long: some six seconds of a core
SECONDS = 120.0  # of computing, after which a run is ended
MOST_ALONE, ALONE_SECONDS = 4, 300.0  # the same for runs that are computed one after the other
PATIENCE = 5.0  # a run that waits longer for a step may get one out of turn,
AGED_SHARE = 0.25  # as long as such steps take no more than this, relative to the others
RATE = 6e-7  # seconds per pixel evaluation until some are measured,
LEARNING = 0.05  # and the weight of each measured step in their moving average
IDLE_SECONDS = 1.0  # without work, after which freed memory is returned to the system
_END = object()


class Full(Exception):
    """There is no place for another run; the message says why and what helps."""


class Task:
    """The items of one run, computed one by one on a compute thread.

    items: advanced and closed on compute threads only, by one thread at a time.
    work: estimated pixel evaluations; total: the expected number of items.
    deliver: called on the compute thread with each item.
    finish: called there once, after the last item, with the exception that ended the run or None.
    ready: whether another item is wanted yet.
    alone: such runs are computed one at a time, in order of entry.
    kind: runs of one kind are assumed to take the same time per pixel evaluation.
    """

    def __init__(
        self,
        items: Iterator[Any],
        work: float,
        total: int,
        deliver: Callable[[Any], None],
        finish: Callable[[Exception | None], None],
        ready: Callable[[], bool],
        alone: bool = False,
        kind: Hashable = None,
    ) -> None:
        self.kind = kind
        self.alone, self.most_seconds = alone, ALONE_SECONDS if alone else SECONDS
        self.items, self.work, self.total = items, work, total
        self.deliver, self.finish, self.ready = deliver, finish, ready
        self.done, self.spent = 0, 0.0
        self.entered = self.served = time.monotonic()
        self.busy = self.over = self.left = False

    @property
    def remaining(self) -> float:
        """Pixel evaluations that are left."""
        return 0.0 if self.over else self.work * max(1, self.total - self.done) / self.total

    def step(self) -> bool:
        """Compute and deliver one item; returns whether there may be more."""
        start = time.monotonic()
        try:
            item = next(self.items, _END)
            if item is not _END:
                self.deliver(item)
        except Exception as error:
            self.finish(error)
            return False
        self.spent += time.monotonic() - start
        self.done += 1
        if item is _END:
            self.finish(None)
        elif self.spent > self.most_seconds and self.done < self.total:
            told = f"stopped after {self.most_seconds:g} s"
            less = "lower resolution, steps or count, or a training's seconds, to see the end"
            self.finish(ValueError(f"{told}: {less}"))
        else:
            return True
        return False

    def close(self) -> None:
        """Run the iterator's `finally`."""
        close = getattr(self.items, "close", None)
        if close is not None:
            close()


class Schedule:
    """Threads that compute the steps of runs, and short jobs before them.

    Networks are called on these threads only: every thread that computes with torch gets its own
    team of OpenMP threads, and as soon as these outnumber the cores, their barriers sleep instead
    of spinning (twice the time per step).
    """

    def __init__(self, threads: int = 1, most: int = MOST, most_long: int = MOST_LONG) -> None:
        self.threads, self.most, self.most_long = threads, most, most_long
        self.rate, self._rates = RATE, dict[Hashable, float]()
        self._tasks: list[Task] = []
        self._jobs: deque[tuple[Future[Any], Callable[[], Any]]] = deque()
        self._changed = threading.Condition()
        self._credit, self._closing = 0.0, False
        self._started: list[threading.Thread] = []

    # ------------------------------------------------------------ from any thread
    def submit(self, function: Callable[..., Any], *arguments: Any) -> "Future[Any]":
        """Queue a short job, which is computed before the next step of any run."""
        future: Future[Any] = Future()
        with self._changed:
            if self._closing:
                future.cancel()
                return future
            self._jobs.append((future, lambda: function(*arguments)))
            self._wake()
        return future

    def enter(self, task: Task) -> None:
        """Take a place; raises `Full` if none is free."""
        with self._changed:
            if self._closing:
                raise Full("the server is closing")
            if len(self._tasks) >= self.most:
                raise Full(
                    f"{self.most} runs are under way or waiting here, and no more may wait: "
                    "try again in a minute"
                )
            if task.work > LONG and sum(t.work > LONG for t in self._tasks) >= self.most_long:
                raise Full(
                    f"{self.most_long} long runs are under way or waiting here, and no more may "
                    "wait: lower resolution, steps or count, or try again in a minute"
                )
            if task.alone and sum(t.alone and not t.over for t in self._tasks) >= MOST_ALONE:
                raise Full(
                    f"one training is under way here, {MOST_ALONE - 1} wait for its end, and no "
                    "more may wait: watch the recorded one, or try again in some minutes"
                )
            self._tasks.append(task)
            self._wake()

    def leave(self, task: Task) -> None:
        """Give up the place, whether or not the run is complete; a step under way is the last."""
        with self._changed:
            if task.left:
                return
            task.left = True
            self._tasks.remove(task)
            if not (task.busy or task.over or self._closing):
                self._jobs.append((Future(), task.close))
                self._wake()

    def wake(self) -> None:
        """Notify the compute threads that a run may have become ready."""
        with self._changed:
            self._wake()

    def left(self, task: Task) -> float:
        """Estimated thread seconds that a run still takes, at the measured rate of its kind."""
        return task.remaining * self._rates.get(task.kind, self.rate)

    def line(self, task: Task) -> tuple[int, float]:
        """A run's position in the queue, from 1, and the estimated seconds before its turn."""
        with self._changed:
            others = [t for t in self._tasks if t is not task and not t.over]
            if task.alone:  # later ones wait for it
                others = [t for t in others if not t.alone or t.entered < task.entered]
            own = self.left(task)
            before = [s for t in others if (s := self.left(t)) <= own or (t.alone and task.alone)]
            return 1 + len(before), sum(before) / self.threads

    def iterate(
        self, items: Iterator[Any], work: float, total: int, kind: Hashable = None
    ) -> Iterator[Any]:
        """The items, each computed in its turn; blocks. Not for use on a compute thread."""
        arrived: deque[Any] = deque()
        news = threading.Semaphore(0)

        def deliver(item: Any) -> None:
            arrived.append(item)
            news.release()

        def finish(error: Exception | None) -> None:
            deliver((_END, error))

        task = Task(items, work, total, deliver, finish, lambda: len(arrived) < 2, kind=kind)
        self.enter(task)
        try:
            while True:
                news.acquire()
                item = arrived.popleft()
                self.wake()
                if isinstance(item, tuple) and item[0] is _END:
                    if item[1] is not None:
                        raise item[1]
                    return
                yield item
        finally:
            self.leave(task)

    def close(self, seconds: float = 5.0) -> None:
        """End the threads after the steps that are under way, and cancel the waiting jobs."""
        with self._changed:
            self._closing = True
            for future, _ in self._jobs:
                future.cancel()
            self._jobs.clear()
            self._changed.notify_all()
        for thread in self._started:
            if thread is not threading.current_thread():
                thread.join(seconds)

    # ------------------------------------------------------------ with the lock
    def _wake(self) -> None:
        while len(self._started) < self.threads:
            name = f"compute-{len(self._started)}"
            thread = threading.Thread(target=self._work, name=name, daemon=True)
            if not self._started:
                atexit.register(self.close)
            self._started.append(thread)
            thread.start()
        self._changed.notify_all()

    def _next(self) -> tuple[Task, bool] | None:
        first = next((t for t in self._tasks if t.alone and not t.over), None)
        here = [t for t in self._tasks if t is first or not t.alone]
        ready = [t for t in here if not t.busy and not t.over and t.ready()]
        if not ready:
            return None
        longest = min(ready, key=lambda t: t.served)
        if self._credit >= 0 and time.monotonic() - longest.served > PATIENCE:
            return longest, True
        return min(ready, key=self.left), False

    # ------------------------------------------------------------ on a compute thread
    def _work(self) -> None:
        while True:
            with self._changed:
                chosen = None
                used = True
                while not self._closing and not self._jobs and (chosen := self._next()) is None:
                    if not self._changed.wait(IDLE_SECONDS if used else None) and used:
                        used = bool(self._tasks)
                        if not used:
                            release_memory()
                if self._closing:
                    return
                job = self._jobs.popleft() if self._jobs else None
                if job is None and chosen is not None:
                    chosen[0].busy = True
            if job is not None:
                _answer(*job)
            elif chosen is not None:
                self._step(*chosen)

    def _step(self, task: Task, aged: bool) -> None:
        before = task.spent
        more = task.step()
        with self._changed:
            taken = task.spent - before
            task.busy, task.served = False, time.monotonic()
            self._credit = min(0.0, self._credit + (-taken if aged else AGED_SHARE * taken))
            task.over = task.left or not more
            if 1 < task.done < task.total:  # the first item includes loading
                measured = taken * task.total / task.work
                known = self._rates.get(task.kind, measured)
                self._rates[task.kind] = known + LEARNING * (measured - known)
                self.rate += LEARNING * (measured - self.rate)
        if task.over:
            task.close()


def _answer(future: "Future[Any]", function: Callable[[], Any]) -> None:
    """Run a job and pass on what it returns or raises."""
    if not future.set_running_or_notify_cancel():
        return
    try:
        result = function()
    except BaseException as error:
        future.set_exception(error)
    else:
        future.set_result(result)
