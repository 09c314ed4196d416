"""Conditioning on a known part of the clean function: D_y(x, t) = E[X_0 | X_t = x, P X_0 = y].

P selects what is known: the modes |k|∞ ≤ K (`LowModes`), or pixels (`Pixels`). Given D_y in place
of D and a start from the conditional law, a sampler draws from that law: conditioning changes the
denoiser, not the loop. If X_0 given X_t = x has the mean D(x, t) and the covariance S, then

    D_y = D + S Pᵀ (P S Pᵀ)⁻¹ (y - P D),    hence P D_y = y,

exactly for Gaussian data, where S = Λσ²q/v, v = α²Λ + σ²q. For other data it is an approximation,
and S = (σ²/α) Q (∂D/∂x)ᵀ depends on x (its product with a vector is one backward pass). "linear"
uses the Gaussian S, "guided" the denoiser's own S in the outer factor (pseudo-inverse guidance,
https://openreview.net/forum?id=9_gsMA8MRKQ, with the data's spectrum as its covariance).

As P D_y = y at every step, every deterministic sampler keeps P x_t = α_t y + σ_t Pη with a fixed
η, as if the known part were replaced at every step by the forward process with coupled noise.
For `LowModes` the Gaussian S does not couple known and free modes: the free ones are left as they
are. For `Pixels` it continues the residual smoothly across the edge of the mask.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch
from torch import Tensor

from mldemo.diffusion.marginal import Marginal
from mldemo.diffusion.samplers import Denoise
from mldemo.diffusion.sde import Schedule
from mldemo.space.covariance import Prior
from mldemo.space.diagonal import Diagonal
from mldemo.space.spectral import apply_multiplier, bandwidth, check_resolution, frequencies

METHODS = ("linear", "guided")
MOST_ITERATIONS = 60  # of conjugate gradients
RIDGE = 1e-6


class Known(ABC):
    """An orthogonal projection PᵀP of fields (B, 1, N, N) onto their known part."""

    @abstractmethod
    def part(self, field: Tensor) -> Tensor:
        """PᵀP u, as a field."""

    @abstractmethod
    def solve(self, residual: Tensor, covariance: Diagonal) -> Tensor:
        """Pᵀ (P S Pᵀ)⁻¹ P r for S diagonal in the modes, one for all samples or one for each."""

    def impose(self, field: Tensor, value: Tensor) -> Tensor:
        """The field with its known part replaced by that of `value`."""
        return field - self.part(field) + self.part(value)


@dataclass(frozen=True)
class LowModes(Known):
    """The modes |k|∞ ≤ K are known: what the coarser level N = 2K + 1 resolves."""

    cutoff: int
    resolution: int

    def __post_init__(self) -> None:
        """Check 0 ≤ K ≤ the bandwidth of the level."""
        most = bandwidth(check_resolution(self.resolution))
        if isinstance(self.cutoff, bool) or not isinstance(self.cutoff, int):
            raise ValueError(f"the cut-off must be a whole number, got {self.cutoff!r}")
        if not 0 <= self.cutoff <= most:
            raise ValueError(
                f"the cut-off must be from 0 to {most} at {self.resolution}, got {self.cutoff}"
            )

    def _mask(self, like: Tensor) -> Tensor:
        k1, k2 = frequencies(self.resolution)
        return ((k1.abs() <= self.cutoff) & (k2 <= self.cutoff)).to(like)

    def part(self, field: Tensor) -> Tensor:
        """The field's low modes."""
        return apply_multiplier(field, self._mask(field))

    def solve(self, residual: Tensor, covariance: Diagonal) -> Tensor:
        """r_k / S_k for the known modes; a mode without variance is left to `impose`."""
        return covariance.inverse().apply(self.part(residual))


@dataclass(frozen=True)
class Pixels(Known):
    """The pixels where `mask` (N, N) is true are known. The result lies in H_N up to Nyquist."""

    mask: Tensor

    def __post_init__(self) -> None:
        """Check the mask's type and shape."""
        if self.mask.dtype != torch.bool or self.mask.ndim != 2:
            raise ValueError(
                "the mask must be boolean of shape (N, N), "
                f"got {self.mask.dtype} {tuple(self.mask.shape)}"
            )
        if self.mask.shape[0] != self.mask.shape[1]:
            raise ValueError(f"the mask must be square, got {tuple(self.mask.shape)}")
        check_resolution(self.mask.shape[0])

    def part(self, field: Tensor) -> Tensor:
        """The field on the known pixels, 0 elsewhere."""
        return torch.where(self.mask.to(field.device), field, 0.0)

    def solve(self, residual: Tensor, covariance: Diagonal) -> Tensor:
        """Conjugate gradients on the known pixels, with a ridge of 1e-6 of the mean S_k.

        Steep spectra make P S Pᵀ numerically singular; the ridge bounds its condition number, and
        `impose` removes the small residual that the ridge leaves.
        """
        ridge = RIDGE * covariance.values.mean((-2, -1), keepdim=True)

        def apply(z: Tensor) -> Tensor:
            return self.part(covariance.apply(z)) + ridge * z

        r = self.part(residual)
        z, p = torch.zeros_like(r), r
        rr = start = _dot(r, r)
        for _ in range(MOST_ITERATIONS):
            if bool((rr <= 1e-12 * start).all()):
                break
            image = apply(p)
            step = _ratio(rr, _dot(p, image))
            z, r = z + step * p, r - step * image
            rr, before = _dot(r, r), rr
            p = r + _ratio(rr, before) * p
        return z


def _dot(a: Tensor, b: Tensor) -> Tensor:
    return (a * b).sum((-3, -2, -1), keepdim=True)


def _ratio(a: Tensor, b: Tensor) -> Tensor:
    return torch.where(b > 0, a / b, 0.0)


@dataclass(frozen=True)
class ConditionalDenoiser:
    """D_y of the formula above, for fields (B, 1, N, N); only the known part of `value` is used.

    `spectrum` holds the data's Λ_k on this level, (N, N//2 + 1): `Statistics.spectrum(N)`. Method
    "linear" costs one call of D; it is exact for Gaussian data with this spectrum and prior, and
    an approximation otherwise. "guided" costs a backward pass as well and accounts for a coupling
    of known and free modes in the data. Both return P D_y = y.
    """

    denoise: Denoise
    known: Known
    value: Tensor
    prior: Prior
    spectrum: Tensor
    schedule: Schedule = Schedule()
    method: str = "linear"

    def __post_init__(self) -> None:
        """Check the method."""
        if self.method not in METHODS:
            raise ValueError(
                f"the method must be one of {', '.join(METHODS)}, got {str(self.method)[:80]!r}"
            )

    def __call__(self, x: Tensor, time: Tensor) -> Tensor:
        """Denoise (B, 1, N, N) at one time for all, shape ()."""
        data, noise = Diagonal(self.spectrum).like(x), self.prior.operator_like(x)
        model = Marginal.at(self.schedule, time, data, noise)
        covariance = model.posterior
        with torch.set_grad_enabled(self.method == "guided"):
            x = x.detach().requires_grad_(self.method == "guided")
            d = self.denoise(x, time)
        z = self.known.solve(self.known.part(self.value - d.detach()), covariance)
        if self.method == "guided":
            (pulled,) = torch.autograd.grad(d, x, z)  # (∂D/∂x)ᵀ Pᵀ z
            step = (model.sigma**2 / model.alpha * noise).apply(pulled)
        else:
            step = covariance.apply(z)
        return self.known.impose(d.detach() + step, self.value)
