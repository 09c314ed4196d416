"""Shared by studies that train: data, budgets in CPU seconds, validation, samples.

A budget is given in CPU seconds and turned into steps by the cost of a step, which is measured
once per study, with the plans taking turns; so the load of the machine affects neither the number
of steps nor the position of a point on the axis of a curve.
"""

from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import replace
from functools import lru_cache
from statistics import median
from typing import Any

import numpy as np
import torch
from torch import Tensor

from mldemo.data.sets import DataSet
from mldemo.data.statistics import Statistics
from mldemo.diffusion.denoiser import Denoiser
from mldemo.diffusion.samplers import initial_state, sample
from mldemo.diffusion.sde import diffuse
from mldemo.space.covariance import Prior
from mldemo.space.noise import unit_modes
from mldemo.space.spectral import multiplicity, radius, resample, to_modes
from mldemo.studies.judged import data_of, judge
from mldemo.training.loop import Training
from mldemo.training.plan import Plan, training_times

TRAIN, HELD_OUT, CHUNK = 10_000, 128, 50
BANDS = (0, 4, 8, 16, 32)  # edges of |k|; the last band ends with the level
SMALL: dict[str, Any] = {
    "kind": "ushaped",
    "width": 8,
    "modes": 3,
    "depth": 1,
    "core_widths": (8,),
}
SMALL_OF: dict[str, dict[str, Any]] = {
    "fno": {"kind": "fno", "width": 8, "modes": 3, "depth": 1},
    "ushaped": SMALL,
    "unet": {"kind": "unet", "widths": (8,)},
    "wavelet": {"kind": "wavelet", "width": 8, "scales": 2, "depth": 1},
}


@lru_cache(maxsize=2)
def fields(quick: bool) -> tuple[Tensor, Tensor]:
    """Training and held-out fields of `data_of`, at 64."""
    return parts_of(data_of(quick), quick)


def parts_of(source: DataSet, quick: bool) -> tuple[Tensor, Tensor]:
    """Training and held-out fields of a data set, at 64."""
    counts = (48, 8) if quick else (TRAIN, HELD_OUT)
    parts = zip(("train", "validation"), counts, strict=True)
    train, held_out = (source.fields(part, first=count) for part, count in parts)
    return train, held_out


def prior_of(name: str, data: Tensor) -> Prior:
    """The prior of this name with its defaults for these fields."""
    return Statistics.of(data).prior(name)


def step_costs(plans: Mapping[str, Plan], data: Tensor, steps: int) -> dict[str, float]:
    """CPU seconds of a step on the finest level of each plan: the median over `steps` rounds."""
    runs = {
        name: Training(replace(plan, levels=((max(n for n, _ in plan.levels), steps + 1),)), data)
        for name, plan in plans.items()
    }
    found: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(steps + 1):
        for name, run in runs.items():
            before = run.seconds
            found[name].append(run.advance().seconds - before)
    return {name: median(seconds[1:]) for name, seconds in found.items()}  # the first is slower


def validation_loss(run: Training, held_out: Tensor, level: int) -> float:
    """The loss of the averaged weights on a level, with fixed noise and times."""
    denoiser, (times, white) = run.averaged(), _fixed(len(held_out), level)
    clean = to_modes(resample(held_out, level))
    with torch.inference_mode():
        parts = zip(clean.split(CHUNK), white.split(CHUNK), times.split(CHUNK), strict=True)
        return float(torch.cat([denoiser.loss(*part) for part in parts]).mean())


def band_errors(run: Training, held_out: Tensor, level: int) -> list[float]:
    """E‖P_b(D(x_t, t) - x_0)‖² for each of `bands(level)`, for x_t of `noised`."""
    gaps = to_modes(denoising_gaps(run.averaged(), held_out, level))
    power = multiplicity(level) * gaps.abs().double().square().mean((0, 1))
    r = radius(level)
    return [float(power[(r >= low) & (r < high)].sum()) for low, high in bands(level)]


def noised(denoiser: Denoiser, held_out: Tensor, level: int) -> tuple[Tensor, Tensor, Tensor]:
    """x_0, x_t and t on a level, with noise and times that are the same for every run."""
    times, _ = _fixed(len(held_out), level)
    clean = resample(held_out, level)
    noise = denoiser.prior.draw(0, range(len(clean)), level)
    return clean, diffuse(denoiser.schedule, clean, noise, times), times


def denoising_gaps(denoiser: Denoiser, held_out: Tensor, level: int) -> Tensor:
    """D(x_t, t) - x_0 on a level, (B, 1, N, N), of `noised` fields."""
    parts = (v.split(CHUNK) for v in noised(denoiser, held_out, level))
    with torch.inference_mode():
        return torch.cat([denoiser(y, t) - x for x, y, t in zip(*parts, strict=True)])


def bands(level: int) -> list[tuple[float, float]]:
    """The edges of the frequency bands of a level."""
    low = [edge for edge in BANDS if edge < level / 2]
    return list(zip(low, [*low[1:], float("inf")], strict=True))


@lru_cache(maxsize=16)
def _fixed(count: int, level: int) -> tuple[Tensor, Tensor]:
    """The times (count,) and unit modes with which every run is validated."""
    times = torch.from_numpy(training_times(count, np.random.default_rng(0)))
    return times, unit_modes(0, range(count), level)


def samples(run: Training, resolution: int, count: int, seed: int) -> Tensor:
    """Samples (count, 1, N, N) of the averaged weights in 20 calls, without guidance (g = 1)."""
    denoiser = run.averaged()
    where = denoiser.prior, run.statistics, run.plan.schedule, seed
    starts = (initial_state(*where, part, resolution, device=run.device) for part in _parts(count))
    return _sampled(denoiser, starts)


def from_noise(run: Training, resolution: int, count: int, seed: int) -> Tensor:
    """Samples of a reverse process that starts from N(0, Q) in place of the law at T."""
    denoiser = run.averaged()
    return _sampled(denoiser, (denoiser.prior.draw(seed, p, resolution) for p in _parts(count)))


def _parts(count: int) -> list[list[int]]:
    return [list(range(first, min(first + CHUNK, count))) for first in range(0, count, CHUNK)]


def _sampled(denoiser: Denoiser, starts: Iterable[Tensor]) -> Tensor:
    """Samples from starts x_T, (B, 1, N, N) each, in 20 calls of DPM-Solver++(2M)."""
    with torch.inference_mode():
        runs = (deque(sample(denoiser, x, "dpmpp2m", 20, denoiser.schedule), 1) for x in starts)
        return torch.cat([last.x0.cpu() for (last,) in runs])


def trained(plan: Plan, data: Tensor, denoising: type[Denoiser] = Denoiser) -> Training:
    """A run that is trained to the end of its plan."""
    run = Training(plan, data, denoising=denoising)
    for _ in run.run():
        pass
    return run


def evaluated(images: Tensor, quick: bool) -> dict[str, float]:
    """FID by both maps, precision, recall, Vendi score, distances and spectrum of samples.

    With the floor of unseen images for FID, recall and Vendi score. "octave, dB" is the power of
    the samples relative to the data's in the highest octave where both have any.
    """
    found, floors = judge(quick).evaluate(images), ("fid", "recall", "vendi_features")
    names = *floors, "fid_second", "precision", "energy_distance", "sliced_wasserstein"
    out = {name: found["metrics"][name] for name in names}
    for name in floors:
        out[f"{name}, floor"] = found["floor"][name]
        out[f"{name}, floor sd"] = found["floor_sd"][name]
    octaves = [o["decibel"] for o in found["spectrum"] if o["decibel"] is not None]
    return out | {"octave, dB": octaves[-1], "nearest": found["nearest"]["ratio"]}
