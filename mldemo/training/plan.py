"""What to train: levels, steps, learning rates, and the times of the diffusion."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from mldemo.diffusion.sde import END, FIRST, Schedule
from mldemo.space.priors import prior_from_dict
from mldemo.space.spectral import check_resolution
from mldemo.space.streams import check_seed

# The times at which the shape of a picture is decided: 70 % of the training times are drawn from
# this interval alone.
DECISIVE, SHARE = (0.03, 0.6), 0.7


@dataclass(frozen=True)
class Plan:
    """What to train. Two equal plans on equal data give equal weights, bit for bit.

    `levels` are (resolution, steps) from coarse to fine; the peak learning rate is multiplied by
    `carried` from one level to the next, and within a level it warms up and decays as a cosine. On
    a finer level every `rehearsal`-th step is taken on a coarser one, so that what was learned
    there is not forgotten (0: never). One network is trained for all `priors`, and with
    `variations` for as many random priors around them (`families`). A fraction `decisive` of the
    training times is drawn from `DECISIVE` alone, the rest from all times. Data are shifted at
    random by at most `shift` in each direction, on a torus of length 1 where a pixel of a digit is
    1/32. `parent` is the sha256 of the file from whose weights training starts, None for random
    weights.
    """

    priors: tuple[dict[str, Any], ...]
    variations: int = 0
    network: dict[str, Any] = field(default_factory=lambda: {"kind": "ushaped"})
    levels: tuple[tuple[int, int], ...] = ((16, 8500), (32, 13000), (64, 800))
    rehearsal: int = 4
    batch: int = 96
    learning_rate: float = 2e-3
    carried: float = 0.5
    ema: float = 0.999
    seed: int = 0
    decisive: float = SHARE
    shift: float = 0.0
    parent: str | None = None
    schedule: Schedule = Schedule()

    def __post_init__(self) -> None:
        """Check every value."""
        if not self.levels:
            raise ValueError("a plan needs at least one level")
        for resolution, steps in self.levels:
            check_resolution(resolution)
            if not 1 <= steps <= 10_000_000:
                raise ValueError(f"steps must be from 1 to 10000000, got {steps}")
        if not 1 <= self.batch <= 65536:
            raise ValueError(f"batch must be from 1 to 65536, got {self.batch}")
        if not 0 < self.learning_rate <= 1:
            raise ValueError(f"learning rate must be in (0, 1], got {self.learning_rate:g}")
        if not 0 < self.carried <= 1:
            raise ValueError(f"carried must be in (0, 1], got {self.carried:g}")
        if not 0 <= self.ema < 1:
            raise ValueError(f"EMA decay must be in [0, 1), got {self.ema:g}")
        for name, most in (("decisive", 1.0), ("shift", 0.5)):
            if not 0 <= getattr(self, name) <= most:
                raise ValueError(f"{name} must be in [0, {most:g}], got {getattr(self, name):g}")
        check_seed(self.seed)
        if not self.priors:
            raise ValueError("a plan needs at least one prior")
        for record in self.priors:
            prior_from_dict(record)
        if not 0 <= self.variations <= 10_000:
            raise ValueError(f"variations must be from 0 to 10000, got {self.variations}")
        if self.rehearsal != 0 and not 2 <= self.rehearsal <= 10_000:
            raise ValueError(f"rehearsal must be 0 or from 2 to 10000, got {self.rehearsal}")

    @property
    def steps(self) -> int:
        """Optimiser steps over all levels."""
        return sum(steps for _, steps in self.levels)

    def level_of(self, step: int) -> tuple[int, int, int]:
        """(index, resolution, steps already done on that level) at a global step."""
        for index, (resolution, steps) in enumerate(self.levels):
            if step < steps:
                return index, resolution, step
            step -= steps
        raise ValueError(f"step {step} lies beyond the end of the plan")

    def resolution_of(self, step: int) -> int:
        """The resolution of a global step: its level's, or a coarser one to rehearse it."""
        index, resolution, inside = self.level_of(step)
        if index and self.rehearsal and inside % self.rehearsal == self.rehearsal - 1:
            return self.levels[inside // self.rehearsal % index][0]
        return resolution

    def rate(self, step: int) -> float:
        """The learning rate of a global step; Muon multiplies it by `optimizer.SPEED`."""
        index, _, inside = self.level_of(step)
        steps = self.levels[index][1]
        warm = min(1.0, (inside + 1) / min(100, max(1, steps // 10)))
        fall = 0.02 + 0.98 * 0.5 * (1 + np.cos(np.pi * inside / steps))
        return float(self.learning_rate * self.carried**index * warm * fall)


def training_times(count: int, rng: np.random.Generator, decisive: float = SHARE) -> np.ndarray:
    """Stratified times: one uniform offset, mapped by the quantiles of the mixture density.

    `decisive` of the mass is uniform on `DECISIVE`, the rest uniform on [1e-3, 1].
    """
    low, high = DECISIVE
    knots = np.array([FIRST, low, high, END])
    wide = (knots - FIRST) / (END - FIRST)
    narrow = np.clip((knots - low) / (high - low), 0, 1)
    cumulative = decisive * narrow + (1 - decisive) * wide
    quantiles = (np.arange(count) + rng.random()) / count
    return np.interp(quantiles, cumulative, knots)
