"""A family of priors on which one network is trained.

It has named members and variations around them: priors whose exponent, correlation length, cutoff
or filter is drawn at random. From these, a network that is conditioned on signal-to-noise ratios
learns to denoise under priors that it was not trained with.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from mldemo.diffusion.denoiser import Noise
from mldemo.space.covariance import EXPONENT, KAPPA, Prior
from mldemo.space.priors import (
    Bessel,
    Combined,
    FourierFilter,
    Laplacian,
    Standard,
    prior_from_dict,
)
from mldemo.space.streams import Stream, generator

MEMBERS_SHARE = 0.6  # of a batch, if there are variations; the first member has twice the weight


def variation(index: int, seed: int, trace: float) -> Prior:
    """Prior `index` of a random sequence through all kinds in turn; three in seven are Matérn."""
    rng = generator(Stream.FAMILY, seed, index)
    lowest, highest = np.log([EXPONENT.low - 1, EXPONENT.high - 1])
    exponent = 1 + float(np.exp(rng.uniform(lowest, highest)))
    kappa = float(np.exp(rng.uniform(*np.log([KAPPA.low, KAPPA.high]))))
    filter_seed, cutoff = int(rng.integers(2**31)), int(rng.integers(8, 31))
    kinds: tuple[Prior, ...] = (
        Bessel(exponent, kappa, trace=trace),
        Bessel(exponent, kappa, trace=trace),
        Bessel(exponent, kappa, trace=trace),
        Laplacian(exponent, trace=trace),
        FourierFilter(cutoff, filter_seed, trace=trace),
        Combined(exponent, cutoff, filter_seed, float(rng.uniform(0.1, 1.0)), trace=trace),
        Standard(trace=float(np.exp(rng.uniform(np.log(0.3), np.log(3.0))))),
    )
    return kinds[index % len(kinds)]


@dataclass(frozen=True)
class Family:
    """Priors, each with its probability of being used for a training sample."""

    priors: tuple[Prior, ...]
    weights: tuple[float, ...]

    @classmethod
    def of(
        cls, members: tuple[dict[str, Any], ...], variations: int, seed: int, trace: float
    ) -> "Family":
        """The members of a training plan and `variations` priors around them."""
        named = tuple(prior_from_dict(record) for record in members)
        rest = tuple(variation(i, seed, trace) for i in range(variations))
        share = MEMBERS_SHARE if rest else 1.0
        parts = np.array([2.0] + [1.0] * (len(named) - 1))
        each = (1 - share) / max(1, len(rest))
        weights = [*(share * parts / parts.sum()).tolist(), *([each] * len(rest))]
        return cls(named + rest, tuple(weights))

    def noise(self, resolution: int) -> Noise:
        """Spectra of every prior on level N: (P, 1, N, N//2 + 1) and (P, S), float32."""
        each = [Noise.of(prior, resolution) for prior in self.priors]
        modes = torch.stack([noise.modes.float() for noise in each])[:, None]
        return Noise(modes, torch.stack([noise.shells.float() for noise in each]))
