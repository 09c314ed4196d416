"""The covariance operator Q of the noise, diagonal in Fourier modes.

Q e_k = q_k e_k with q_k = q_{-k} ≥ 0 on the torus, so a Gaussian N(0, Q) has the modes √q_k ζ_k.
It is a random function of L² iff Q is trace class, Σ_k q_k < ∞.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import lru_cache
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from mldemo.space.noise import unit_modes
from mldemo.space.spectral import check_resolution, multiplicity, to_field


def in_range(name: str, value: float, low: float, high: float, open_low: bool = False) -> None:
    """Raise `ValueError` unless a parameter is a number from `low` to `high`."""
    if isinstance(value, bool) or not isinstance(value, int | float | np.number):
        raise ValueError(f"{name} must be a number, got {value!r}")
    bracket = "(" if open_low else "["
    if not (low < value <= high if open_low else low <= value <= high):
        raise ValueError(f"{name} must be in {bracket}{low:g}, {high:g}], got {value:g}")


@dataclass(frozen=True)
class Prior(ABC):
    """A covariance operator Q = diag(q_k) with trace `trace` over all frequencies.

    Subclasses give the shape of the spectrum; it is scaled once, by the continuum trace.
    """

    name: ClassVar[str]
    trace_class: ClassVar[bool] = True

    @abstractmethod
    def _shape(self, resolution: int) -> Tensor:
        """q_k up to a constant, (N, N//2 + 1) float64; the Nyquist entries are ignored."""

    @abstractmethod
    def _shape_trace(self) -> float:
        """The sum of `_shape` over all of Z²."""

    @property
    def total(self) -> float:
        """The trace in the continuum, tr Q = Σ_{k ∈ Z²} q_k."""
        return self.trace  # type: ignore[attr-defined]  # every subclass has the field

    def eigenvalues(self, resolution: int) -> Tensor:
        """q_k on level N in the layout of the modes, (N, N//2 + 1), float64; 0 at Nyquist."""
        return _eigenvalues(self, check_resolution(resolution))

    def eigenvalues_like(self, field: Tensor) -> Tensor:
        """`eigenvalues` for a field (..., N, N), in its dtype and on its device; copied once."""
        return _eigenvalues_on(self, field.shape[-1], field.dtype, field.device)

    def level_trace(self, resolution: int) -> float:
        """Σ_{k ∈ H_N} q_k: the variance of a pixel of a draw on level N."""
        return float((multiplicity(resolution) * self.eigenvalues(resolution)).sum())

    def colour(self, modes: Tensor) -> Tensor:
        """√Q ζ: white-noise modes (..., N, N//2 + 1) as modes of N(0, Q)."""
        q = _eigenvalues_on(self, modes.shape[-2], modes.real.dtype, modes.device)
        return modes * q.sqrt()

    def draw(
        self,
        seed: int,
        indices: Sequence[int],
        resolution: int,
        dtype: torch.dtype = torch.float32,
        device: torch.device | str = "cpu",
    ) -> Tensor:
        """Draws of N(0, Q) for the samples (seed, index): fields (B, 1, N, N).

        One (seed, index) is one function: P_N of the draw at M > N is the draw at N (not for
        `Standard`, whose operator changes with the level).
        """
        modes = unit_modes(seed, indices, check_resolution(resolution), dtype, device)
        return to_field(self.colour(modes), resolution)

    def to_dict(self) -> dict[str, Any]:
        """The name and every parameter, as JSON types; `prior_from_dict` undoes it."""
        return {"name": self.name, **asdict(self)}


@lru_cache(maxsize=128)
def _eigenvalues(prior: Prior, resolution: int) -> Tensor:
    inside = multiplicity(resolution) > 0
    q = torch.where(inside, prior._shape(resolution), 0.0)
    return q * (prior.total / prior._shape_trace())


@lru_cache(maxsize=128)
def _eigenvalues_on(
    prior: Prior, resolution: int, dtype: torch.dtype, device: torch.device
) -> Tensor:
    return prior.eigenvalues(resolution).to(device=device, dtype=dtype)
