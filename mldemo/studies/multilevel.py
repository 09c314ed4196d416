"""What coarse-to-fine training saves: quality at the finest level against CPU time.

Three strategies get the same CPU seconds: 16 → 32 → 64, 32 → 64, and 64 alone, all without
rehearsal of coarser levels, so that a level's steps are all its own. Along the way each
is compared with the test data at 64: the training loss of the averaged weights, with noise and
times that are the same for all, and at a few points the FID of samples at 64.

CPU seconds are those of the process, so that a busy machine does not decide. A step's cost on
each level is measured first; it turns the budget into steps.
"""

import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from mldemo.data.sets import open_data
from mldemo.data.statistics import Statistics
from mldemo.metrics.evaluation import Reference
from mldemo.pipeline import Run, default_prior
from mldemo.request import GUIDANCE, Request
from mldemo.space.noise import unit_modes
from mldemo.space.spectral import to_modes
from mldemo.store.files import read_json, write_json
from mldemo.training.loop import Training
from mldemo.training.plan import Plan, training_times

FINEST = 64
STRATEGIES: dict[str, dict[int, float]] = {  # the share of the CPU time that each level gets
    "16 → 32 → 64": {16: 0.5, 32: 0.3, 64: 0.2},
    "32 → 64": {32: 0.7, 64: 0.3},
    "64 alone": {64: 1.0},
}
POINTS, VALIDATION = 12, 64  # points of a curve, validation images in each
FID_EVERY = 4  # points from one FID to the next


def step_costs(plan: Plan, fields: Tensor, levels: list[int], steps: int = 4) -> dict[int, float]:
    """CPU seconds of one training step on each level, the first step left out."""
    costs = {}
    for resolution in levels:
        run = Training(replace(plan, levels=((resolution, steps + 1),)), fields)
        run.advance()
        start = time.process_time()
        for _ in range(steps):
            run.advance()
        costs[resolution] = (time.process_time() - start) / steps
    return costs


def validation_loss(run: Training, test: Tensor) -> float:
    """The loss of the averaged weights on test fields (B, 1, 64, 64), noise and times fixed."""
    denoiser = run.averaged()
    times = torch.from_numpy(training_times(len(test), np.random.default_rng(0)))
    white = unit_modes(0, range(len(test)), test.shape[-1])
    with torch.inference_mode():
        parts = zip(test.split(32), white.split(32), times.split(32), strict=True)
        losses = [denoiser.loss(to_modes(x), w, t) for x, w, t in parts]
    return float(torch.cat(losses).mean())


def study(
    source: str, seconds: float, count: int, state: Path | None = None
) -> Iterator[tuple[str, Any]]:
    """The parts of the record, each when it is ready; `seconds` of CPU time for each strategy.

    Finished strategies, and the training state of the one under way, are kept in the folder
    `state`, and a study that was stopped goes on from there.
    """
    data = open_data(source)
    fields, test = data.fields("train"), data.fields("validation", first=VALIDATION)
    prior = default_prior("bessel", Statistics.of(fields)).to_dict()
    reference = Reference.of(source)
    base = Plan(priors=(prior,))
    kept = state / "costs.json" if state else None
    if kept and kept.exists():
        costs = {int(k): v for k, v in read_json(kept).items()}
    else:
        costs = step_costs(base, fields, [16, 32, 64])
        keep(kept, costs)
    yield "cpu_seconds_per_step", costs
    for name, shares in STRATEGIES.items():
        levels = tuple((n, max(1, round(seconds * part / costs[n]))) for n, part in shares.items())
        plan = Plan(priors=(prior,), levels=levels, rehearsal=0)
        slug = "-".join(map(str, shares))
        kept = state / f"{slug}.json" if state else None
        if kept and kept.exists():
            yield name, read_json(kept)
            continue
        file = state / f"{slug}.safetensors" if state else None
        curve = _strategy(plan, fields, test, reference, count, file)
        part = {"levels": levels, "curve": curve}
        keep(kept, part)
        yield name, part


def keep(path: Path | None, value: Any) -> None:
    """Write what is done so far, if there is a place for it."""
    if path is not None:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_json(path, value)


def _strategy(
    plan: Plan,
    fields: Tensor,
    test: Tensor,
    reference: Reference,
    count: int,
    state: Path | None,
) -> list[dict[str, float]]:
    run = Training(plan, fields)
    curve_file = state.with_suffix(".curve.json") if state else None
    curve: list[dict[str, float]] = []
    if state is not None and state.exists():
        run.resume(state)
        assert curve_file is not None
        curve = read_json(curve_file)
    spent = curve[-1]["cpu_seconds"] if curve else 0.0
    start = time.process_time()
    every = max(1, plan.steps // POINTS)
    while run.step < plan.steps:
        run.advance()
        if run.step % every == 0 or run.step == plan.steps:
            spent += time.process_time() - start
            loss = validation_loss(run, test)
            point = {"cpu_seconds": round(spent, 1), "step": run.step, "loss": loss}
            if len(curve) % FID_EVERY == FID_EVERY - 1 or run.step == plan.steps:
                point["fid_ratio"] = reference.evaluate(samples(run, FINEST, count))["fid_ratio"]
            curve.append(point)
            if state is not None:
                keep(curve_file, curve)
                run.save(state)
            start = time.process_time()
    return curve


def samples(run: Training, resolution: int, count: int, guidance: float = GUIDANCE) -> Tensor:
    """Fields that the averaged weights draw under the plan's first prior, (count, 1, N, N)."""
    prior = run.denoiser.prior
    request = Request(prior=prior.name, resolution=resolution, count=count, seed=1)
    denoiser = run.averaged(guidance).requires_grad_(False)
    parts = run.statistics, run.plan.schedule, denoiser, run.device
    sampling = Run(request, prior, *parts, None, [n for n, _ in run.plan.levels])
    chunks = [range(i, min(i + 50, count)) for i in range(0, count, 50)]
    return torch.cat([sampling.result(chunk).x0 for chunk in chunks])


def plot(record: dict[str, Any], path: Path) -> None:
    """Loss and FID at the finest level against CPU seconds, a line per strategy, as a picture."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 3.4), layout="constrained")
    axes = figure.subplots(1, 2)
    for name, style in zip(STRATEGIES, ("o-", "s--", "^:"), strict=False):
        for axis, key in zip(axes, ("loss", "fid_ratio"), strict=True):
            points = [(p["cpu_seconds"], p[key]) for p in record[name]["curve"] if key in p]
            axis.plot(*zip(*points, strict=True), style, label=name)
    for axis, what in zip(axes, ("validation loss at 64²", "FID at 64² / floor"), strict=True):
        axis.set(xlabel="CPU seconds", ylabel=what, yscale="log")
        axis.grid(alpha=0.3, which="both")
    axes[0].legend()
    figure.savefig(path, dpi=100)
