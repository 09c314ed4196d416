"""A race: two training runs (lanes) with the same CPU time, evaluated along the way.

One trains coarse to fine and spends half of its time on coarse levels, the other trains on the
finest level alone. Data, prior, network, initial weights and seed are the same. The lane that has
used less CPU time takes the next step, so their times never differ by more than one step.
"""

import time
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from mldemo.diffusion.samplers import initial_state, sample
from mldemo.space.covariance import Prior
from mldemo.space.noise import unit_modes
from mldemo.space.spectral import resample, to_modes
from mldemo.space.streams import Stream
from mldemo.training.loop import Training
from mldemo.training.plan import Plan, training_times

Clock = Callable[[], float]
# Chosen for a minute on one core: 0.36 M weights, averaged over some fifty steps. Doubling the
# width, the batch or the rate gave a larger error in the same time.
NETWORK: dict[str, Any] = {
    **{"kind": "ushaped", "width": 16, "modes": 6, "depth": 1},
    **{"core_grid": 16, "core_patch": 2, "core_widths": [32, 64]},
}
COARSE = 0.5  # share of the CPU time for all coarser levels together
BATCH, RATE, MEMORY = 32, 2e-3, 0.98
VALIDATION, SAMPLES, SOLVER_STEPS = 64, 9, 10
_AT_ONCE = 16  # unseen fields evaluated between two yields
_ROUNDS = 5  # of measuring the cost of a step


@dataclass(frozen=True)
class Mark:
    """The state of a lane after `seconds` of its CPU time, at mark `number` of the race.

    step, level: steps taken, and the level of the plan that the last one belonged to (N).
    pixels: pixels of training images seen, batch times N² summed over the steps.
    error: the loss of the averaged weights on unseen fields of the finest level, with the same
        noise and times at every mark of both lanes.
    samples: fields (B, 1, N, N) of the averaged weights, from the same seed, by level N.
    """

    number: int
    lane: int
    step: int
    level: int
    seconds: float
    pixels: int
    error: float
    samples: dict[int, Tensor]


class Judge:
    """Evaluates networks on the same unseen fields, noise and times, and samples from one seed.

    unseen: fields (B, 1, M, M), M at least the finest of `levels`, on which samples are drawn.
    """

    def __init__(self, unseen: Tensor, levels: Sequence[int], seed: int, guidance: float) -> None:
        self.levels, self.seed, self.guidance = sorted(levels), seed, guidance
        finest = self.levels[-1]
        self.clean = to_modes(resample(unseen, finest))
        self.white = unit_modes(seed, range(len(unseen)), finest, stream=Stream.CLEAN)
        self.times = torch.from_numpy(training_times(len(unseen), np.random.default_rng(0)))

    def look(self, run: Training) -> Generator[None, None, tuple[float, dict[int, Tensor]]]:
        """Return error and samples of the averaged weights; yields after each piece of work."""
        denoiser, drawn, losses = run.averaged(self.guidance), {}, []
        parts = (part.split(_AT_ONCE) for part in (self.clean, self.white, self.times))
        for clean, white, times in zip(*parts, strict=True):
            with torch.no_grad():
                losses.append(denoiser.loss(clean, white, times))
            yield
        for level in self.levels:
            law = run.denoiser.prior, run.statistics, run.plan.schedule
            start = initial_state(*law, self.seed, list(range(SAMPLES)), level)
            for state in sample(denoiser, start, steps=SOLVER_STEPS, schedule=run.plan.schedule):
                drawn[level] = state.x0
                yield
        return float(torch.cat(losses).mean()), drawn


def shares(levels: Sequence[int]) -> tuple[dict[int, float], dict[int, float]]:
    """Each level's share of the CPU time: coarse to fine, and on the finest level alone.

    Fewer than two levels raise `ValueError`.
    """
    *coarse, finest = sorted(set(levels))
    if not coarse:
        raise ValueError(f"a race needs a coarse level and a fine one, got {tuple(levels)}")
    return {n: COARSE / len(coarse) for n in coarse} | {finest: 1 - COARSE}, {finest: 1.0}


def step_costs(
    plan: Plan, fields: Tensor, levels: Sequence[int], clock: Clock
) -> Generator[None, None, dict[int, float]]:
    """Return the seconds of a training step on each level, by a clock; yields after each step.

    The median over a few rounds. The levels take turns, so that load on the machine affects all of
    them alike; the first step of each is left out.
    """
    trials = {n: Training(replace(plan, levels=((n, _ROUNDS + 1),)), fields) for n in levels}
    taken: dict[int, list[float]] = {n: [] for n in levels}
    for round_ in range(_ROUNDS + 1):
        for n, run in trials.items():
            start = clock()
            run.advance()
            if round_:
                taken[n].append(clock() - start)
            yield
    return {n: float(np.median(seconds)) for n, seconds in taken.items()}


def plans(base: Plan, seconds: float, costs: dict[int, float]) -> list[Plan]:
    """The plans of both lanes: the steps that fit into `seconds`, at `costs` per step by level.

    Steps of a finer level that rehearse a coarser one (`Plan.rehearsal`) cost less.
    """
    made = []
    for parts in shares(list(costs)):
        steps, before = [], list[float]()
        for level, part in parts.items():
            back = 1 / base.rehearsal if before and base.rehearsal else 0.0
            cost = (1 - back) * costs[level] + back * sum(before) / max(1, len(before))
            steps.append((level, max(1, round(part * seconds / cost))))
            before.append(costs[level])
        made.append(replace(base, levels=tuple(steps)))
    return made


def race(
    lanes: Sequence[Training], judge: Judge, seconds: float, marks: int
) -> Iterator[Mark | None]:
    """Train until each lane has used `seconds` by its clock, or is at the end of its plan.

    Yields mark 0 of each lane, untrained, and then `marks` of them at equal intervals of time; if
    a step takes longer than an interval, a mark is skipped, but never the last. Between marks,
    yields None after each step and each network call, so that the caller can stop at any time.
    """
    due = [0] * len(lanes)
    pixels = [0] * len(lanes)
    while any(number <= marks for number in due):
        i = min((i for i in range(len(lanes)) if due[i] <= marks), key=lambda i: lanes[i].seconds)
        run, level = lanes[i], lanes[i].plan.levels[0][0]
        if due[i] > 0:
            progress = run.advance()
            level = progress.level
            pixels[i] += run.plan.batch * progress.resolution**2
            yield None
        over = run.step == run.plan.steps or run.seconds >= seconds
        reached = marks if over else int(marks * run.seconds / seconds)
        if reached >= due[i]:
            error, drawn = yield from judge.look(run)
            where = run.step, level, run.seconds, pixels[i]
            yield Mark(reached, i, *where, error, drawn)
            due[i] = reached + 1


def runs(
    fields: Tensor,
    prior: Prior,
    levels: Sequence[int],
    seconds: float,
    seed: int = 0,
    clock: Clock = time.thread_time,
) -> Generator[None, None, list[Training]]:
    """Return both lanes, planned by measured step costs; yields after each piece of work."""
    base = Plan(
        priors=(prior.to_dict(),),
        network=NETWORK,
        batch=BATCH,
        learning_rate=RATE,
        ema=MEMORY,
        seed=seed,
    )
    costs = yield from step_costs(base, fields, sorted(set(levels)), clock)
    lanes = []
    for plan in plans(base, seconds, costs):
        lanes.append(Training(plan, fields, clock=clock))
        yield
    return lanes
