"""The race of two trainings: equal time, equal weights for equal steps, an end at any step."""

import time
from collections.abc import Iterator
from itertools import count
from pathlib import Path

import numpy as np
import pytest
import torch

from mldemo.data.sets import IdxFolder
from mldemo.space.priors import Bessel
from mldemo.training import race
from mldemo.training.loop import Training
from mldemo.training.plan import Plan
from mldemo.training.race import Judge, Mark, plans, shares


@pytest.fixture(scope="module")
def fields(idx_folder: Path) -> torch.Tensor:
    return IdxFolder(idx_folder).fields(resolution=16, first=60)


def ticking(step: float) -> race.Clock:
    """A clock by which every training step takes `step` seconds: it is read before and after."""
    ticks = count()
    return lambda: step * next(ticks)


def lanes(fields: torch.Tensor, tiny_plan: dict, coarse: int, fine: int) -> list[Training]:
    """Steps on the finest level take three times as long as half of the coarse lane's."""
    levels = ((8, coarse), (16, coarse)), ((16, fine),)
    clocks = ticking(1.0), ticking(3.0)
    return [
        Training(Plan(**tiny_plan | {"levels": each}), fields, clock=clock)
        for each, clock in zip(levels, clocks, strict=True)
    ]


def judge(fields: torch.Tensor) -> Judge:
    return Judge(fields[:8], (8, 16), seed=3, guidance=1.0)


def marks_of(stream: Iterator[Mark | None]) -> list[Mark]:
    return [mark for mark in stream if mark is not None]


def test_whoever_has_used_less_time_goes_next(fields: torch.Tensor, tiny_plan: dict) -> None:
    """After every step both have used the same to within a step of the slower; marks are in time,
    and the pixels are those of the levels that steps were taken on, rehearsal included."""
    both = lanes(fields, tiny_plan, 12, 8)
    found = []
    for mark in race.race(both, judge(fields), 24.0, 4):
        assert abs(both[0].seconds - both[1].seconds) <= 3.0
        if mark is not None:
            found.append(mark)
            assert mark.seconds == both[mark.lane].seconds
    assert [both[0].seconds, both[1].seconds] == [24.0, 24.0]
    for lane in (0, 1):
        own = [m for m in found if m.lane == lane]
        assert [m.number for m in own] == [0, 1, 2, 3, 4]
        assert [m.seconds for m in own] == [0.0, 6.0, 12.0, 18.0, 24.0]
        plan = both[lane].plan
        for m in own:
            taken = [plan.resolution_of(i) ** 2 for i in range(m.step)]
            assert m.pixels == plan.batch * sum(taken)
        assert [m.level for m in own[:-1]] == ([8, 8, 8, 16] if lane == 0 else [16] * 4)


def test_equal_steps_give_equal_weights_and_samples(fields: torch.Tensor, tiny_plan: dict) -> None:
    """The race looks, and looking changes nothing: a lane is the training of its plan."""
    alone = Training(Plan(**tiny_plan | {"levels": ((8, 6), (16, 6))}), fields)
    for _ in alone.run():
        pass
    ends = []
    for marks in (1, 3):
        both = lanes(fields, tiny_plan, 6, 4)
        *_, last = [m for m in race.race(both, judge(fields), 12.0, marks) if m and m.lane == 0]
        state = both[0].denoiser.network.state_dict()
        other = alone.denoiser.network.state_dict()
        assert all(torch.equal(state[k], other[k]) for k in state)
        ends.append(last)
    assert ends[0].error == ends[1].error
    assert all(torch.equal(ends[0].samples[n], ends[1].samples[n]) for n in (8, 16))
    assert {n: x.shape for n, x in ends[0].samples.items()} == {
        n: (race.SAMPLES, 1, n, n) for n in (8, 16)
    }


def test_untrained_lanes_are_the_filter_and_equal(fields: torch.Tensor, tiny_plan: dict) -> None:
    """Mark 0 of both: the same pictures and error; those of the later ones differ."""
    found = marks_of(race.race(lanes(fields, tiny_plan, 3, 2), judge(fields), 6.0, 1))
    first, second = (next(m for m in found if m.lane == i and m.number == 0) for i in (0, 1))
    assert first.error == second.error
    assert all(torch.equal(first.samples[n], second.samples[n]) for n in (8, 16))
    ends = [m for m in found if m.number == 1]
    assert len({m.error for m in ends} | {first.error}) == 3


def test_a_lane_ends_with_its_seconds_or_its_plan(fields: torch.Tensor, tiny_plan: dict) -> None:
    """A plan that is too long is cut; of one that is short the last mark is there all the same."""
    both = lanes(fields, tiny_plan, 50, 2)
    found = marks_of(race.race(both, judge(fields), 10.0, 2))
    assert [run.step for run in both] == [10, 2]
    assert [(m.number, m.seconds) for m in found if m.lane == 0] == [(0, 0), (1, 5), (2, 10)]
    assert [(m.number, m.seconds) for m in found if m.lane == 1] == [(0, 0), (2, 6)]


def test_it_stops_within_a_step(fields: torch.Tensor, tiny_plan: dict) -> None:
    both = lanes(fields, tiny_plan, 50, 50)
    stream = race.race(both, judge(fields), 1e6, 1000)
    while both[0].step + both[1].step < 7:
        next(stream)
    stream.close()
    assert both[0].step + both[1].step == 7


def test_costs_become_steps() -> None:
    """Half of the time for the coarse levels, the other for the finest, where a step in four goes
    back to a coarser level and costs as much as one there."""
    base = Plan(priors=(Bessel().to_dict(),), rehearsal=4)
    first, second = plans(base, 60.0, {16: 0.1, 32: 0.3})
    assert first.levels == ((16, 300), (32, 120)) and second.levels == ((32, 200),)
    first, _ = plans(base, 60.0, {32: 0.3, 8: 0.1, 16: 0.2})
    assert [n for n, _ in first.levels] == [8, 16, 32]
    spent = 150 * 0.1 + (0.75 * 0.2 + 0.25 * 0.1) * first.levels[1][1]
    assert first.levels[0] == (8, 150) and spent == pytest.approx(30, abs=0.2)
    assert shares((32, 16)) == ({16: 0.5, 32: 0.5}, {32: 1.0})
    with pytest.raises(ValueError, match="a race needs a coarse level and a fine one"):
        shares((32, 32))


def test_a_race_of_four_seconds(fields: torch.Tensor, monkeypatch: pytest.MonkeyPatch) -> None:
    """By the thread's own clock: both lanes get what was asked for, and learn something.

    In one second a slow processor takes 17 steps, too few for the average to have moved.
    """
    monkeypatch.setattr(race, "NETWORK", race.NETWORK | {"width": 8, "core_widths": [8, 16]})
    made = race.runs(fields, Bessel(trace=0.2), (8, 16), 4.0)
    while True:
        try:
            next(made)
        except StopIteration as done:
            both = done.value
            break
    before = time.thread_time()
    found = marks_of(race.race(both, judge(fields), 4.0, 3))
    assert sum(run.seconds for run in both) <= time.thread_time() - before
    for lane in (0, 1):
        own = [m for m in found if m.lane == lane]
        assert own[-1].number == 3 and own[-1].error < own[0].error
        assert own[-1].seconds <= 4.0 + 2 * own[-1].seconds / own[-1].step
    assert np.isfinite([m.error for m in found]).all()


def test_costs_are_medians_by_the_clock(fields: torch.Tensor, tiny_plan: dict) -> None:
    """The first step of each level is left out, and one slow step decides nothing."""
    ticks = [0.0, 0.0, *[v for _ in range(4) for v in (0.0, 1.0, 0.0, 3.0)], 0.0, 1.0, 0.0, 50.0]
    measuring = race.step_costs(Plan(**tiny_plan), fields, (8, 16), iter(ticks).__next__)
    while True:
        try:
            next(measuring)
        except StopIteration as done:
            assert done.value == {8: 1.0, 16: 3.0}
            break
