"""Random two-phase materials: binary media with sharp edges, defined by a formula.

A smooth Gaussian random field on the torus is thresholded. It is a trigonometric polynomial,
so every sample is one function with exact values at every point of the torus, and its phase
boundary is a smooth curve: no grid is fine enough to resolve the jump, and the spectrum of the
medium decays as |k|⁻³ (Porod's law in two dimensions), not faster.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
import torch
from torch import Tensor

from mldemo.space.spectral import (
    check_resolution,
    multiplicity,
    radius,
    resample,
    resample_modes,
    to_field,
    to_modes,
)
from mldemo.space.streams import Stream, check_seed, generator

LARGEST_COUNT, LARGEST_GRID = 100_000, 2048
_BAND = 64  # the Gaussian field lies in H_64
_FINER = 8  # the phases are projected from a grid this much finer than level max(N, 64)


@dataclass(frozen=True)
class Material:
    """u = +1 where g > a and -1 elsewhere, g stationary Gaussian, E g(x)g(x + r) = ρ(r), ρ(0) = 1.

    ρ has the coefficients c_k ∝ exp(-2π²ℓ²|k|²) on H_64: exp(-|r|²/(2ℓ²)) made periodic, with
    ℓ = `correlation_length` in units of the torus's side, from 0.04 (where what lies outside H_64
    is below 1e-12) to 0.2. The threshold a = Φ⁻¹(1 - φ) makes P(u(x) = +1) = φ =
    `volume_fraction`, from 0.01 to 0.99, and

        P(u(x) = u(x + r) = +1) = φ² + (1/2π) ∫₀^ρ(r) exp(-a²/(1 + s)) / √(1 - s²) ds,

    which is ¼ + arcsin(ρ)/(2π) for φ = ½. Sample i depends on (seed, i) only. Source: M. Teubner,
    Europhys. Lett. 14 (1991) 403. Raises `ValueError` outside these bounds.
    """

    correlation_length: float = 0.06
    volume_fraction: float = 0.5
    seed: int = 0

    def __post_init__(self) -> None:
        """Check every value."""
        length, share = self.correlation_length, self.volume_fraction
        if not 0.04 <= length <= 0.2:
            raise ValueError(f"correlation length must be from 0.04 to 0.2, got {length!r}")
        if not 0.01 <= share <= 0.99:
            raise ValueError(f"volume fraction must be from 0.01 to 0.99, got {share!r}")
        check_seed(self.seed)

    def _potential(self, index: int) -> Tensor:
        """Modes of g - a on H_64."""
        white = generator(Stream.MATERIAL, self.seed, index).standard_normal((_BAND, _BAND))
        c = torch.exp(-2 * (math.pi * self.correlation_length * radius(_BAND)) ** 2)
        c = c / (multiplicity(_BAND) * c).sum()
        modes = to_modes(torch.from_numpy(white)) * _BAND * c.sqrt()
        modes[0, 0] -= NormalDist().inv_cdf(1 - self.volume_fraction)
        return modes.to(torch.complex64)

    def phases(self, indices: Sequence[int], resolution: int) -> Tensor:
        """Values of u at the points j/N, ±1, float32: (B, 1, N, N) for any N from 1 to 2048.

        These are values, not a projection: a coarse grid holds every f-th point of a grid f times
        finer.
        """
        whole = isinstance(resolution, int) and not isinstance(resolution, bool)
        if not whole or not 1 <= resolution <= LARGEST_GRID:
            raise ValueError(f"grid must be from 1 to {LARGEST_GRID} points, got {resolution!r}")
        step = math.ceil(_BAND / resolution)  # a grid below 64 does not resolve g: subsample
        n = resolution * step
        out = torch.empty(len(_checked(indices)), 1, resolution, resolution)
        for row, index in zip(out, indices, strict=True):
            g = to_field(resample_modes(self._potential(index), _BAND, n), n)
            row[0] = torch.where(g[::step, ::step] > 0, 1.0, -1.0)
        return out

    def fields(self, indices: Sequence[int], resolution: int = _BAND) -> Tensor:
        """The projection of u on H_N, float32: (B, 1, N, N) for N from 8 to 256.

        Projected from the phases on 512² points (8N for N above 64), so for N ≤ 64 a coarse level
        is exactly the restriction of a finer one. Compared with 4096² points the relative L²
        error is about 1 % at N = 64. The projection overshoots ±1 at the edges.
        """
        n = max(check_resolution(resolution), _BAND) * _FINER
        out = torch.empty(len(_checked(indices)), 1, resolution, resolution)
        for row, index in zip(out, indices, strict=True):
            row[:] = resample(self.phases([index], n)[0], resolution)
        return out


def _checked(indices: Sequence[int]) -> Sequence[int]:
    if len(indices) > LARGEST_COUNT:
        raise ValueError(f"at most {LARGEST_COUNT} samples in one call, got {len(indices)}")
    for index in indices:
        if isinstance(index, bool) or not isinstance(index, int | np.integer) or index < 0:
            raise ValueError(f"a sample's index must be a whole number from 0, got {index!r}")
        if index >= 2**63:
            raise ValueError(f"a sample's index must be below 2^63, got {index}")
    return indices
