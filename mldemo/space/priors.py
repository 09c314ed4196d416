"""The priors: six families of covariance operators, by the shape of their spectrum.

Every prior but `Standard` is one operator for all levels, normalised by its trace over all of Z²
(the continuum), so a level holds only a part of it.

Source: arXiv 2303.04772, section 4; `Bessel` and `Matched` go beyond it.
"""

import math
from dataclasses import dataclass, fields
from functools import lru_cache
from typing import Any, ClassVar

import numpy as np
import torch
from scipy import special
from torch import Tensor

from mldemo.space.covariance import EXPONENT, KAPPA, PRIORS, Parameter, Prior, in_range
from mldemo.space.noise import shell_order
from mldemo.space.spectral import bandwidth, check_resolution, multiplicity, radius
from mldemo.space.streams import Stream, check_seed, generator

LARGEST_CUTOFF = 127
RAISED = str.maketrans("0123456789.-", "⁰¹²³⁴⁵⁶⁷⁸⁹·⁻")


@dataclass(frozen=True)
class Standard(Prior):
    """White noise per pixel, q_k = T/N² on level N, as in DDPM (T = 1). Not trace class.

    With q_k fixed the trace would grow as N²; with q_k = T/N² the noise at every fixed frequency
    vanishes as N grows. Either way there is no limit in function space: `total` is infinite.
    (Σ_{k ∈ H_N} q_k is T(1 - 1/N)² for even N, since the Nyquist modes are left out.)
    """

    name: ClassVar[str] = "standard"
    written: ClassVar[str] = "qₖ = 1/N²"

    @property
    def trace_class(self) -> bool:
        """Always false."""
        return False

    @property
    def reason(self) -> str:
        """What is lost in the limit."""
        return "qₖ = 1/N² keeps Σ qₖ below 1, so the noise at every fixed frequency vanishes"

    @classmethod
    def for_data(cls, power: Tensor, variance: float) -> "Standard":
        """Variance 1 per pixel, whatever the data."""
        return cls()

    def eigenvalues(self, resolution: int) -> Tensor:
        """T/N² on every mode of H_N."""
        inside = multiplicity(check_resolution(resolution)) > 0
        return inside.to(torch.float64) * (self.trace / resolution**2)

    def _shape(self, resolution: int) -> Tensor:
        return torch.ones_like(multiplicity(resolution))

    def _shape_trace(self) -> float:
        return math.inf


@dataclass(frozen=True)
class PowerLaw(Prior):
    """Spectra that fall as |k|^-2s. In two dimensions Σ_k |k|^-2s is finite iff s > 1."""

    adjustable: ClassVar[tuple[Parameter, ...]] = (EXPONENT,)
    exponent: float = 2.0

    def __post_init__(self) -> None:
        """Check the parameters."""
        super().__post_init__()
        in_range("exponent", self.exponent, 0, 10, open_low=True)

    @property
    def trace_class(self) -> bool:
        """Whether s > 1."""
        return self.exponent > 1

    @property
    def reason(self) -> str:
        """The exponent, and whether the sum converges."""
        s = self.exponent
        if self.trace_class:
            return f"s = {s:.2f} > 1: Σ |k|⁻²ˢ converges in two dimensions"
        power = f"{2 - 2 * s:.2g}".translate(RAISED)
        growth = "like log N" if s == 1 else f"like N{power}"
        return f"s = {s:.2f} ≤ 1: Σ qₖ grows {growth}, there is no random function in the limit"


@dataclass(frozen=True)
class Laplacian(PowerLaw):
    """Inverse power of the Laplacian, q_k ∝ (4π²|k|²)^{-s}, q_0 = 0. Trace class iff s > 1.

    The mean (k = 0) carries no noise: the prior is degenerate there. The paper's exponent is
    s = 1.1 (0.55 for √Q in its code). Σ'_k |k|^{-2s} = 4 ζ(s) β(s) with the Riemann ζ and
    the Dirichlet β functions.
    """

    name: ClassVar[str] = "laplacian"
    written: ClassVar[str] = "qₖ ∝ |2πk|⁻²ˢ"
    exponent: float = 1.1

    def _shape(self, resolution: int) -> Tensor:
        r = radius(resolution)
        return torch.where(r > 0, r.clamp(min=1) ** (-2 * self.exponent), 0.0)

    def _shape_trace(self) -> float:
        s = self.exponent
        beta = 4.0**-s * (special.zeta(s, 0.25) - special.zeta(s, 0.75))
        return float(4 * special.zeta(s) * beta)


def _matern_trace(width: float, exponent: float) -> float:
    """Σ_{k ∈ Z²} (a² + |k|²)^{-s} by Poisson summation, exact up to rounding.

    π a^{2-2s}/(s-1) + (2π^s/Γ(s)) Σ_{n≠0} (|n|/a)^{s-1} K_{s-1}(2πa|n|); the terms fall as
    e^{-2πa|n|}.
    """
    a, s = width, exponent
    reach = math.ceil(40 / (2 * math.pi * a)) + 1
    axis = np.arange(-reach, reach + 1)
    n = np.hypot(*np.meshgrid(axis, axis)).ravel()
    n = n[n > 0]
    tail = ((n / a) ** (s - 1) * special.kv(s - 1, 2 * np.pi * a * n)).sum()
    lead = math.pi * a ** (2 - 2 * s) / (s - 1)
    return float(lead + 2 * math.pi**s / special.gamma(s) * tail)


@dataclass(frozen=True)
class Bessel(PowerLaw):
    """Matérn covariance, q_k ∝ (κ² + 4π²|k|²)^{-s}. Trace class iff s > 1.

    2π/κ is the correlation length; q_k is flat for 2π|k| < κ and falls as |k|^{-2s} beyond.
    """

    name: ClassVar[str] = "bessel"
    written: ClassVar[str] = "qₖ ∝ (κ² + 4π²|k|²)⁻ˢ, κ = 2π/ℓ"
    adjustable: ClassVar[tuple[Parameter, ...]] = (EXPONENT, KAPPA)
    exponent: float = 1.5
    kappa: float = 6 * math.pi

    def __post_init__(self) -> None:
        """Check the parameters."""
        super().__post_init__()
        in_range("kappa", self.kappa, 0.1, 1000)

    def _shape(self, resolution: int) -> Tensor:
        a = self.kappa / (2 * math.pi)
        return (a**2 + radius(resolution) ** 2) ** -self.exponent

    def _shape_trace(self) -> float:
        return _matern_trace(self.kappa / (2 * math.pi), self.exponent)


@lru_cache(maxsize=64)
def _filter_gains(seed: int, cutoff: int, resolution: int) -> Tensor:
    """R_k, real and even, uniform in [0.2, 1] for |k|∞ ≤ K, else 0; the same on every level."""
    count = ((2 * cutoff + 1) ** 2 + 1) // 2  # k = 0, then one number for each pair ±k
    numbers = generator(Stream.FILTER, seed).random(count)
    rows, columns, mirrored, opposite = shell_order(resolution)
    gains = np.zeros(1 + len(rows))
    known = min(count, len(gains))
    gains[:known] = 0.2 + 0.8 * numbers[:known]
    out = np.zeros((resolution, resolution // 2 + 1))
    out[0, 0] = gains[0]
    out[rows, columns] = gains[1:]
    out[opposite, 0] = gains[1:][mirrored]
    return torch.from_numpy(out)


@dataclass(frozen=True)
class FourierFilter(Prior):
    """The paper's FNO prior: white noise filtered by a random Fourier layer, q_k ∝ R_k².

    R_k is real, even and uniform in [0.2, 1] for |k|∞ ≤ K, drawn from `filter_seed`; q_k = 0
    beyond, so Q has finite rank (2K + 1)² and is trivially trace class.
    """

    name: ClassVar[str] = "fno"
    written: ClassVar[str] = "qₖ ∝ Rₖ² for |k|∞ ≤ {cutoff}, else 0"
    cutoff: int = 14
    filter_seed: int = 0

    def __post_init__(self) -> None:
        """Check the parameters."""
        super().__post_init__()
        in_range("cutoff", self.cutoff, 1, LARGEST_CUTOFF)
        if not isinstance(self.cutoff, int):
            raise ValueError(f"cutoff must be a whole number, got {self.cutoff!r}")
        check_seed(self.filter_seed)

    @property
    def reason(self) -> str:
        """Finite rank."""
        return "finitely many qₖ are not 0"

    def _shape(self, resolution: int) -> Tensor:
        return _filter_gains(self.filter_seed, self.cutoff, resolution) ** 2

    def _shape_trace(self) -> float:
        n = 2 * self.cutoff + 1
        return float((multiplicity(n) * self._shape(n)).sum())


@dataclass(frozen=True)
class Combined(PowerLaw):
    """The paper's remedy for the degenerate mean: q_k ∝ (√q_laplacian + c √q_fno)².

    Both parts have trace 1 before they are mixed; the sum is normalised after squaring, cross
    term included: 1 + c² + 2c Σ_k √(q_laplacian q_fno).
    """

    name: ClassVar[str] = "combined"
    written: ClassVar[str] = "qₖ ∝ (√q of laplacian + {mix:g} √q of fno)²"
    exponent: float = 1.1
    cutoff: int = 14
    filter_seed: int = 0
    mix: float = 0.5

    def __post_init__(self) -> None:
        """Check the parameters."""
        super().__post_init__()
        in_range("mix", self.mix, 0, 100, open_low=True)
        self._parts()

    def _parts(self) -> tuple[Laplacian, FourierFilter]:
        return Laplacian(self.exponent), FourierFilter(self.cutoff, self.filter_seed)

    def _shape(self, resolution: int) -> Tensor:
        laplacian, filtered = self._parts()
        root = laplacian.eigenvalues(resolution).sqrt()
        return (root + self.mix * filtered.eigenvalues(resolution).sqrt()) ** 2

    def _shape_trace(self) -> float:
        n = 2 * self.cutoff + 1  # the cross term lives on |k|∞ ≤ K
        laplacian, filtered = self._parts()
        cross = multiplicity(n) * (laplacian._shape(n) * filtered._shape(n)).sqrt()
        scale = math.sqrt(laplacian._shape_trace() * filtered._shape_trace())
        return 1 + self.mix**2 + 2 * self.mix * float(cross.sum()) / scale


@dataclass(frozen=True)
class Matched(PowerLaw):
    """Noise shaped like the data, q_k ∝ (k₀² + |k|²)^{-p}, k₀ and p from `fit_matched`.

    The same family as `Bessel` (κ = 2πk₀, s = p), with parameters fitted to the data.
    """

    name: ClassVar[str] = "matched"
    written: ClassVar[str] = "qₖ ∝ (k₀² + |k|²)⁻ˢ, fitted to the data"
    adjustable: ClassVar[tuple[Parameter, ...]] = ()
    exponent: float = 2.0
    knee: float = 2.0

    def __post_init__(self) -> None:
        """Check the parameters."""
        super().__post_init__()
        in_range("knee", self.knee, 0.02, 160)

    @classmethod
    def for_data(cls, power: Tensor, variance: float) -> "Matched":
        """The prior fitted to the power spectrum, `fit_matched`."""
        return fit_matched(power, variance)

    def _shape(self, resolution: int) -> Tensor:
        return (self.knee**2 + radius(resolution) ** 2) ** -self.exponent

    def _shape_trace(self) -> float:
        return _matern_trace(self.knee, self.exponent)


def prior_kind(name: str) -> type[Prior]:
    """The class of this name; unknown names raise `ValueError`."""
    if not isinstance(name, str) or name not in PRIORS:
        raise ValueError(f"prior must be one of {', '.join(PRIORS)}, got {str(name)[:80]!r}")
    return PRIORS[name]


def prior_from_dict(record: dict[str, Any]) -> Prior:
    """The prior that `Prior.to_dict` wrote; unknown names or parameters raise `ValueError`."""
    parameters = dict(record)
    name = parameters.pop("name", None)
    kind = prior_kind(name)
    unknown = set(parameters) - {f.name for f in fields(kind)}
    if unknown:
        raise ValueError(f"the {name} prior has no parameter {', '.join(sorted(unknown))}")
    return kind(**parameters)


def fit_matched(power: Tensor, trace: float, resolution: int = 64) -> Matched:
    """Fit q_k = c (k₀² + |k|²)^{-p} to a radial power spectrum, least squares in log-log.

    `power` holds the mean |û_k|² of the shells 0, 1, 2, … (`radial_power`). The fit uses the
    shells from 1 to the bandwidth of the level, with squared residuals weighted by 1/|k|: equal
    weight per unit of log |k|. c follows from `trace`.
    """
    from scipy.optimize import least_squares

    shells = np.arange(1, bandwidth(resolution) + 1)
    target = np.log(power[shells].double().numpy().clip(min=1e-12))
    weight = shells**-0.5

    def residual(p: np.ndarray) -> np.ndarray:
        log_c, knee, exponent = p
        return weight * (log_c - exponent * np.log(knee**2 + shells**2) - target)

    start = np.array([float(target[0]), 3.0, 2.0])
    fit = least_squares(residual, start, bounds=([-60, 0.05, 1.01], [60, 60, 10]))
    _, knee, exponent = fit.x
    return Matched(exponent=float(exponent), knee=float(knee), trace=trace)
