"""Whose step is computed next, without a page: order, ageing, bounds, ends."""

import threading
import time
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import pytest

from mldemo.ui.server import schedule
from mldemo.ui.server.schedule import LONG, Full, Schedule, Task


class Watched:
    """A run of `total` steps that notes each of them in a shared list."""

    def __init__(
        self,
        name: str,
        seen: list[str],
        work: float,
        total: int = 4,
        seconds: float = 0.002,
        alone: bool = False,
        kind: str | None = None,
        act: Callable[[], object] | None = None,
    ) -> None:
        self.act = act or (lambda: time.sleep(seconds))
        self.name, self.seen, self.total = name, seen, total
        self.ended = threading.Event()
        self.error: Exception | None = None
        self.closed = self.inside = False
        self.task = Task(
            self._items(), work, total, lambda _: None, self._finish, lambda: True, alone, kind
        )

    def _items(self) -> Iterator[int]:
        try:
            for i in range(self.total):
                assert not self.inside, "two threads step one run"
                self.inside = True
                self.seen.append(self.name)
                self.act()
                self.inside = False
                yield i
        finally:
            self.closed = True

    def _finish(self, error: Exception | None) -> None:
        self.error = error
        self.ended.set()


@pytest.fixture
def compute() -> Iterator[Callable[..., Schedule]]:
    """Makes schedules, and ends them."""
    made: list[Schedule] = []

    def make(threads: int = 1, **bounds: int) -> Schedule:
        made.append(Schedule(threads, **bounds))
        return made[-1]

    yield make
    for one in made:
        one.close()


def held(one: Schedule) -> threading.Event:
    """Keep its thread busy until the event is set, so that runs can gather."""
    event = threading.Event()
    one.submit(event.wait, 30)
    return event


def test_the_least_work_goes_first(compute: Callable[..., Schedule]) -> None:
    """Whoever came first; and a run that has begun goes before an equal one."""
    one, seen = compute(), list[str]()
    runs = [Watched(name, seen, work) for name, work in (("c", 9e3), ("a", 1e3), ("b", 2e3))]
    twin = Watched("d", seen, 1e3)
    start = held(one)
    for run in [*runs, twin]:
        one.enter(run.task)
    start.set()
    assert all(run.ended.wait(30) for run in [*runs, twin])
    assert "".join(seen) == "aaaa" + "dddd" + "bbbb" + "cccc"
    assert all(run.error is None and run.closed for run in runs)


def test_a_long_run_is_not_starved(
    compute: Callable[..., Schedule], monkeypatch: pytest.MonkeyPatch
) -> None:
    """While small runs keep coming it gets a step now and then, but no more than its share.

    On a clock of our own, 10 ms for each step of a small run, each of which brings the next.
    """
    now = 0.0
    monkeypatch.setattr(schedule, "PATIENCE", 0.05)
    monkeypatch.setattr(schedule, "time", SimpleNamespace(monotonic=lambda: now))
    one, seen = compute(), list[str]()
    start = held(one)

    def come() -> None:
        small.append(Watched("s", seen, 1e3, total=5, act=act))
        one.enter(small[-1].task)

    def act() -> None:
        nonlocal now
        now += 0.01
        if seen.count("s") % 5 != 1:
            return
        if len(small) > 1:
            one.leave(small[-2].task)  # it has ended
        come() if len(small) < 100 else one.leave(long.task)

    small, long = list[Watched](), Watched("L", seen, 1e6, total=1000)
    one.enter(long.task)
    come()
    start.set()
    while len(small) < 100:
        assert small[len(small) - 1].ended.wait(30)
    assert small[-1].ended.wait(30) and all(run.error is None for run in small)
    share = seen.count("L") / len(seen)
    assert 0.02 < share < 0.45


def test_only_so_many_get_in_at_any_speed(compute: Callable[..., Schedule]) -> None:
    """300 at once from as many threads: exactly the bound; a place that is left is free again."""
    one = compute(most=64)
    start, inside, refused = held(one), list[Task](), list[str]()
    together = threading.Barrier(300)

    def come() -> None:
        task = Watched("x", [], 1e3).task
        together.wait(20)
        try:
            one.enter(task)
            inside.append(task)
        except Full as error:
            refused.append(str(error))

    threads = [threading.Thread(target=come) for _ in range(300)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert len(inside) == 64 and len(refused) == 236
    assert "64 runs" in refused[0] and "\n" not in refused[0]
    one.leave(inside.pop())
    one.enter(Watched("x", [], 1e3).task)
    start.set()


def test_long_runs_leave_places_to_small_ones(compute: Callable[..., Schedule]) -> None:
    one = compute(most=10, most_long=2)
    start = held(one)
    for _ in range(2):
        one.enter(Watched("L", [], 2 * LONG).task)
    with pytest.raises(Full, match="2 long runs"):
        one.enter(Watched("L", [], 2 * LONG).task)
    for _ in range(8):
        one.enter(Watched("s", [], 1e3).task)
    with pytest.raises(Full, match="10 runs"):
        one.enter(Watched("s", [], 1e3).task)
    start.set()


def test_trainings_take_turns_and_let_others_pass(compute: Callable[..., Schedule]) -> None:
    """One after the other on two threads, whatever their work; no other run waits for them."""
    two, seen, go_on = compute(2), list[str](), threading.Event()
    work = {"A": 4e6, "B": 1e6, "C": 2e6}
    trainings = [
        Watched(name, seen, w, 20, alone=True, act=lambda: go_on.wait(30))
        for name, w in work.items()
    ]
    other = Watched("x", seen, 1e3, 5)
    for training in trainings:
        two.enter(training.task)
    place, seconds = two.line(trainings[1].task)
    assert place == 2 and seconds == pytest.approx(4e6 * two.rate / 2)
    two.enter(other.task)
    assert other.ended.wait(30)
    assert not trainings[0].ended.is_set()
    go_on.set()
    assert all(training.ended.wait(30) for training in trainings)
    assert "".join(seen).replace("x", "") == "A" * 20 + "B" * 20 + "C" * 20


def test_one_who_leaves_lets_the_next_training_begin(compute: Callable[..., Schedule]) -> None:
    """And no more than a few may wait."""
    one, seen = compute(), list[str]()
    trainings = [Watched(name, seen, 1e6, 10_000, alone=True) for name in "ABCD"]
    for training in trainings:
        one.enter(training.task)
    with pytest.raises(Full, match="one training is under way here, 3 wait"):
        one.enter(Watched("E", seen, 1e6, alone=True).task)

    def begun(name: str) -> bool:
        until = time.monotonic() + 30
        while name not in seen and time.monotonic() < until:
            time.sleep(0.005)
        return name in seen

    assert begun("A") and "B" not in seen
    one.leave(trainings[0].task)
    assert begun("B") and trainings[0].closed and "A" not in seen[seen.index("B") :]
    for training in trainings[1:]:
        one.leave(training.task)


def test_two_threads_take_two_runs(compute: Callable[..., Schedule]) -> None:
    """At the same time, but each run on one thread only (asserted in its steps)."""
    two, seen = compute(2), list[str]()
    both = threading.Barrier(2, timeout=30)
    runs = [Watched(name, seen, 1e3, total=20, act=both.wait) for name in "ab"]
    for run in runs:
        two.enter(run.task)
    assert all(run.ended.wait(60) for run in runs)
    assert all(run.error is None for run in runs)
    assert all({*seen[i : i + 2]} == {"a", "b"} for i in range(0, 40, 2))


def test_jobs_pass_runs_and_bring_their_errors(compute: Callable[..., Schedule]) -> None:
    one, seen = compute(), list[str]()
    long = Watched("L", seen, 1e6, total=1000)
    one.enter(long.task)
    assert one.submit(lambda: 7).result(30) == 7
    with pytest.raises(ZeroDivisionError):
        one.submit(lambda: 1 / 0).result(30)
    assert len(seen) < 200
    one.leave(long.task)
    one.submit(int).result(30)
    assert long.closed


def test_place_and_estimate(compute: Callable[..., Schedule]) -> None:
    """The sum of what is before a run, at the measured rate."""
    one = compute()
    start = held(one)
    runs = [Watched("x", [], work) for work in (1e6, 2e6, 4e6)]
    for run in runs:
        one.enter(run.task)
    assert one.line(runs[2].task) == (3, pytest.approx(3e6 * one.rate))
    assert one.line(runs[0].task) == (1, 0)
    start.set()


def test_a_network_that_takes_longer_counts_for_more(compute: Callable[..., Schedule]) -> None:
    """Measured: of as many pixel evaluations the quicker network goes first, whoever came first.

    A slow run waits for two quick ones, and they for no slow one.
    """
    one, seen = compute(), list[str]()
    for kind, seconds in (("large", 0.02), ("light", 0.002)):
        run = Watched(kind, [], 1e6, 8, seconds, kind=kind)
        one.enter(run.task)
        assert run.ended.wait(30)
        one.leave(run.task)
    start = held(one)
    slow = Watched("S", seen, 1e6, 8, 0.02, kind="large")
    quick = [Watched(name, seen, 1e6, 8, 0.002, kind="light") for name in "ab"]
    for run in (slow, *quick):
        one.enter(run.task)
    place, seconds = one.line(slow.task)
    assert place == 3 and seconds == sum(one.left(run.task) for run in quick)
    assert one.left(slow.task) > 2 * one.left(quick[0].task)
    assert one.line(quick[0].task)[0] == 2  # beside its equal
    start.set()
    assert all(run.ended.wait(30) for run in (slow, *quick))
    assert "".join(seen) == "a" * 8 + "b" * 8 + "S" * 8


def test_iterate_gives_items_and_errors_to_another_thread(
    compute: Callable[..., Schedule],
) -> None:
    one = compute()

    def items() -> Iterator[int]:
        yield 1
        yield 2
        raise ValueError("as told")

    found: list[Any] = []
    with pytest.raises(ValueError, match="as told"):
        found.extend(x for x in _noted(one.iterate(items(), 1e3, 9), found))
    assert found == [1, 2]
    assert list(one.iterate(iter(()), 1e3, 1)) == []


def _noted(items: Iterator[Any], found: list[Any]) -> Iterator[Any]:
    for item in items:
        found.append(item)
    yield from ()


def test_a_run_that_computes_for_too_long_is_ended(
    compute: Callable[..., Schedule], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(schedule, "SECONDS", 0.05)
    one = compute()
    run = Watched("x", [], 1e3, total=1000, seconds=0.02)
    one.enter(run.task)
    assert run.ended.wait(30)
    assert "lower resolution" in str(run.error)
    one.submit(int).result(30)
    assert run.closed


def test_close_ends_at_once_and_frees_who_waits(compute: Callable[..., Schedule]) -> None:
    one = compute()
    run = Watched("x", [], 1e3, total=10_000, seconds=0.01)
    one.enter(run.task)
    start = time.monotonic()
    one.close()
    assert time.monotonic() - start < 2
    assert one.submit(int).cancelled()
    with pytest.raises(Full):
        one.enter(Watched("y", [], 1e3).task)
