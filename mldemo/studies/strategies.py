"""Strategies of coarse-to-fine training: how CPU seconds are spent, level by level.

A strategy gives each level a share of the time, and changes to the plan. Either the shares are
kept (`in_shares`), or they only name the levels and training decides when to change level
(`adaptive`): slices of time are tried on the next level, which is kept once it lowers the finest
level's validation loss by at least as much per second as the present one did.
"""

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from torch import Tensor

from mldemo.studies.trained import validation_loss
from mldemo.training.loop import Training
from mldemo.training.plan import Plan

SLICES = 16  # of the time; an adaptive strategy stays on one level in each


@dataclass(frozen=True)
class Strategy:
    """Shares of the CPU time by level, coarse to fine; `change` overrides fields of the plan.

    part: the share of the study's seconds that it gets.
    """

    name: str
    shares: dict[int, float]
    change: dict[str, Any] = field(default_factory=dict)
    part: float = 1.0
    adaptive: bool = False

    @property
    def finest(self) -> int:
        """The finest level."""
        return max(self.shares)


FULL = {16: 0.5, 32: 0.3, 64: 0.2}
STRATEGIES = (
    Strategy("64 alone", {64: 1.0}),
    Strategy("32 → 64", {32: 0.7, 64: 0.3}),
    Strategy("16 → 64", {16: 0.7, 64: 0.3}),
    Strategy("16 → 32 → 64", FULL),
    Strategy("8 → 16 → 32 → 64", {8: 0.2, 16: 0.35, 32: 0.25, 64: 0.2}),
    Strategy("16 → 32 → 64, half the time", FULL, part=0.5),
    Strategy("16 → 32 → 64, a quarter of the time", FULL, part=0.25),
    Strategy("16 → 32 → 64, a third each", {16: 1 / 3, 32: 1 / 3, 64: 1 / 3}),
    Strategy("16 → 32 → 64, most on the finest", {16: 0.2, 32: 0.3, 64: 0.5}),
    Strategy("16 → 32 → 64, rate carried", FULL, {"carried": 1.0}),
    Strategy("16 → 32 → 64, rehearsal", FULL, {"rehearsal": 4}),
    Strategy("mixed", {16: 0.0, 32: 0.0, 64: 1.0}, {"rehearsal": 2, "carried": 1.0}),
    Strategy("adaptive", FULL, adaptive=True),
    Strategy("32 alone", {32: 1.0}),
    Strategy("16 → 32", {16: 0.6, 32: 0.4}),
)
QUICK = (
    Strategy("32 alone", {32: 1.0}),
    Strategy("16 → 32", {16: 0.6, 32: 0.4}),
    Strategy("mixed", {16: 0.0, 32: 1.0}, {"rehearsal": 2, "carried": 1.0}),
    Strategy("adaptive", {16: 0.6, 32: 0.4}, adaptive=True),
)


@dataclass(frozen=True)
class Budgeted(Plan):
    """A plan with levels appended during training; the rate warms up and decays once in `seconds`.

    costs: CPU seconds of a step by level.
    """

    seconds: float = 1.0
    costs: tuple[tuple[int, float], ...] = ()

    def spent(self, step: int) -> float:
        """CPU seconds of the steps before `step`."""
        costs, total = dict(self.costs), 0.0
        for resolution, steps in self.levels:
            taken = min(step, steps)
            total, step = total + taken * costs[resolution], step - taken
        return total

    def rate(self, step: int) -> float:
        """A warm-up in the first twentieth of the time, a cosine decay to 0.02 of the peak."""
        done = min(1.0, self.spent(step) / self.seconds)
        fall = 0.02 + 0.98 * 0.5 * (1 + np.cos(np.pi * done))
        return float(self.learning_rate * min(1.0, 20 * done + 0.01) * fall)


def in_shares(
    plan: Plan,
    strategy: Strategy,
    costs: dict[int, float],
    seconds: float,
    points: int,
    train: Tensor,
) -> Iterator[tuple[float, Training]]:
    """Train by the shares of a strategy; yields CPU seconds spent and the run, `points` times."""
    levels = tuple(
        (n, max(1, round(seconds * share / costs[n]))) for n, share in strategy.shares.items()
    )
    if plan.rehearsal:  # rehearsal is cheaper: more steps at the same cost
        levels = at_equal_cost(replace(plan, levels=levels), costs, seconds)
    run = Training(replace(plan, levels=levels), train)
    spent, due = 0.0, 1
    while run.step < run.plan.steps:
        spent += costs[run.plan.resolution_of(run.step)]
        run.advance()
        if spent >= due * seconds / points * (1 - 1e-9) or run.step == run.plan.steps:
            due = int(spent / seconds * points * (1 + 1e-9)) + 1
            yield spent, run


def at_equal_cost(
    plan: Plan, costs: dict[int, float], seconds: float
) -> tuple[tuple[int, int], ...]:
    """The plan's levels, with as many steps on the last as make the plan cost `seconds`."""
    *before, (finest, steps) = plan.levels
    for _ in range(4):  # the cost is nearly linear in the steps
        whole = replace(plan, levels=(*before, (finest, steps)))
        each = [costs[whole.resolution_of(step)] for step in range(whole.steps)]
        last = sum(each[-steps:])
        steps = max(1, round(steps * (seconds - sum(each[:-steps])) / last))
    return (*before, (finest, steps))


def adaptive(
    plan: Plan,
    strategy: Strategy,
    costs: dict[int, float],
    seconds: float,
    train: Tensor,
    held_out: Tensor,
) -> Iterator[tuple[float, Training]]:
    """Train from the coarsest level on, leaving each when the next one gains more per second."""
    levels = sorted(strategy.shares)
    steps = {n: max(1, round(seconds / SLICES / costs[n])) for n in levels}
    shared = {f.name: getattr(plan, f.name) for f in dataclasses.fields(plan)}
    shared |= {"levels": ((levels[0], steps[levels[0]]),), "seconds": seconds}
    budgeted = Budgeted(**shared, costs=tuple(costs.items()))
    run = Training(budgeted, train)
    loss = validation_loss(run, held_out, levels[-1])
    present, at, gain = 0, 0, 0.0  # indices: the present level, that of this slice
    while True:
        before = budgeted.spent(run.step)
        while run.step < run.plan.steps:
            run.advance()
        spent = budgeted.spent(run.step)
        now = validation_loss(run, held_out, levels[-1])
        found, loss = (loss - now) / (spent - before), now
        yield spent, run
        if spent >= seconds * (1 - 0.5 / SLICES):
            return
        if at > present:  # a slice was tried there
            present = at if found >= gain else present
            at = present
        else:
            gain, at = found, min(present + 1, len(levels) - 1)
        left = max(1, round((seconds - spent) / costs[levels[at]]))
        more = (levels[at], min(steps[levels[at]], left))
        run.plan = budgeted = replace(budgeted, levels=(*budgeted.levels, more))
