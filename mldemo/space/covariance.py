"""The covariance operator Q of the noise, diagonal in Fourier modes.

Q e_k = q_k e_k with q_k = q_{-k} ≥ 0 on the torus, so a Gaussian N(0, Q) has the modes √q_k ζ_k.
It is a random function of L² iff Q is trace class, Σ_k q_k < ∞.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from functools import lru_cache
from typing import Any, ClassVar, NamedTuple

import numpy as np
import torch
from torch import Tensor

from mldemo.space.diagonal import Diagonal
from mldemo.space.noise import unit_modes
from mldemo.space.spectral import check_resolution, multiplicity, to_field

UNBOUNDED_LEVEL = 16  # the level on which an operator that is not trace class is normalised


def in_range(name: str, value: float, low: float, high: float, open_low: bool = False) -> None:
    """Raise `ValueError` unless a parameter is a number from `low` to `high`."""
    if isinstance(value, bool) or not isinstance(value, int | float | np.number):
        raise ValueError(f"{name} must be a number, got {value!r}")
    bracket = "(" if open_low else "["
    if not (low < value <= high if open_low else low <= value <= high):
        raise ValueError(f"{name} must be in {bracket}{low:g}, {high:g}], got {value:g}")


class Parameter(NamedTuple):
    """A parameter that changes the shape of a spectrum, and its range in training.

    Networks for varied priors are trained on this range; exact scores have no such bound.
    `Request` has a field of the same name.
    """

    name: str
    low: float
    high: float

    def __contains__(self, value: object) -> bool:
        """Whether a value lies in the training range."""
        return isinstance(value, int | float) and self.low <= value <= self.high


EXPONENT = Parameter("exponent", 1.05, 3.0)  # s: q_k falls as |k|^-2s
KAPPA = Parameter("kappa", 1.0, 60.0)  # κ: q_k is flat for 2π|k| < κ
PRIORS: "dict[str, type[Prior]]" = {}


@dataclass(frozen=True)
class Prior(ABC):
    """A covariance operator Q = diag(q_k), scaled to the trace `trace` over all frequencies.

    A subclass defines the shape of the spectrum and states whether its sum is finite. A subclass
    with a name is in `PRIORS`, hence on the command line, on the page and in the API, and can be
    used with a network trained over varied priors. If the sum of the shape diverges, `trace` is
    the trace on level 16, and that on level N grows with N (but see `Standard`).

    written: the formula for q_k; parameters in braces are replaced by their values.
    adjustable: the parameters that a request may set.
    """

    name: ClassVar[str]
    written: ClassVar[str]
    adjustable: ClassVar[tuple[Parameter, ...]] = ()
    trace: float = field(default=1.0, kw_only=True)

    def __init_subclass__(cls) -> None:
        """Register a prior that has a name; a name that is taken raises `TypeError`."""
        if "name" in cls.__dict__:
            if cls.name in PRIORS:
                raise TypeError(f"there is a prior called {cls.name} already")
            PRIORS[cls.name] = cls

    def __post_init__(self) -> None:
        """Check the trace; subclasses add their parameters."""
        in_range("trace", self.trace, 0, 1e6, open_low=True)

    @classmethod
    def for_data(cls, power: Tensor, variance: float) -> "Prior":
        """The default prior for data with this radial power spectrum and tr Λ."""
        return cls(trace=variance)

    @abstractmethod
    def _shape(self, resolution: int) -> Tensor:
        """q_k up to a constant, (N, N//2 + 1) float64; the Nyquist entries are ignored."""

    @abstractmethod
    def _shape_trace(self) -> float:
        """The sum of `_shape` over all of Z²; called only if it is finite."""

    @property
    def formula(self) -> str:
        """q_k, in one line of plain text, with the values of this prior's parameters."""
        return self.written.format(**vars(self))

    @property
    @abstractmethod
    def reason(self) -> str:
        """Why Q is, or is not, trace class: a clause for a sentence."""

    @property
    def trace_class(self) -> bool:
        """Whether Σ_k q_k is finite."""
        return True

    @property
    def total(self) -> float:
        """The trace in the continuum, tr Q = Σ_{k ∈ Z²} q_k."""
        return self.trace if self.trace_class else math.inf

    def eigenvalues(self, resolution: int) -> Tensor:
        """q_k on level N in the layout of the modes, (N, N//2 + 1), float64; 0 at Nyquist."""
        return _eigenvalues(self, check_resolution(resolution))

    def operator_like(self, field: Tensor) -> Diagonal:
        """Q for a field (..., N, N), in its dtype and on its device; cached."""
        return _operator_on(self, field.shape[-1], field.dtype, field.device)

    def level_trace(self, resolution: int) -> float:
        """Σ_{k ∈ H_N} q_k: the variance of a pixel of a draw on level N."""
        return float(Diagonal(self.eigenvalues(resolution)).trace())

    def colour(self, modes: Tensor) -> Tensor:
        """√Q ζ: white-noise modes (..., N, N//2 + 1) as modes of N(0, Q)."""
        return _operator_on(self, modes.shape[-2], modes.real.dtype, modes.device).colour(modes)

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
    if prior.trace_class:
        return q * (prior.trace / prior._shape_trace())
    level = multiplicity(UNBOUNDED_LEVEL)
    shape = torch.where(level > 0, prior._shape(UNBOUNDED_LEVEL), 0.0)
    return q * (prior.trace / float((level * shape).sum()))


@lru_cache(maxsize=128)
def _operator_on(
    prior: Prior, resolution: int, dtype: torch.dtype, device: torch.device
) -> Diagonal:
    return Diagonal(prior.eigenvalues(resolution).to(device=device, dtype=dtype))
