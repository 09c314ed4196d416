"""Exact denoisers D(x, t) = E[X_0 | X_t = x]: what a perfect network would compute.

Each is a callable like `denoiser.Denoiser`. The weights γ of the mixture and of the data set
need v⁻¹ or Q⁻¹ (`Diagonal.inverse`); modes without variance carry no evidence.
"""

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from mldemo.diffusion.marginal import Marginal
from mldemo.diffusion.sde import Schedule, per_sample
from mldemo.space.covariance import Prior
from mldemo.space.diagonal import Diagonal
from mldemo.space.spectral import multiplicity, to_field, to_modes


@dataclass(frozen=True)
class GaussianDenoiser:
    """Data N(m, Λ), Λ diagonal: D = m + αΛ/v (x - αm), v = α²Λ + σ²q.

    `mean` is a field (1, 1, N, N) and `spectrum` the Λ_k of the same level, (N, N//2 + 1). Exact
    on that level only; pass `Statistics.mean_at(N)` and `.spectrum(N)`.
    """

    mean: Tensor
    spectrum: Tensor
    prior: Prior
    schedule: Schedule = Schedule()

    def __call__(self, x: Tensor, time: Tensor) -> Tensor:
        """Denoise (B, 1, N, N)."""
        model = self._at(x, time)
        mean = to_modes(self.mean.to(x))
        modes = mean + model.gain.on_modes(to_modes(x) - model.alpha * mean)
        return to_field(modes, x.shape[-1])

    def flow_map(self, x: Tensor) -> Tensor:
        """The exact end of the probability flow from x_T: x_0 = m + √(Λ/v_T)(x_T - α_T m)."""
        model = self._at(x, torch.ones(1, dtype=torch.float64))
        mean = to_modes(self.mean.to(x))
        modes = mean + (model.data @ model.inverse).colour(to_modes(x) - model.alpha * mean)
        return to_field(modes, x.shape[-1])

    def _at(self, x: Tensor, time: Tensor) -> Marginal:
        data, noise = Diagonal(self.spectrum).like(x), self.prior.operator_like(x)
        return Marginal.at(self.schedule, time, data, noise)


@dataclass(frozen=True)
class MixtureDenoiser:
    """Data Σ_i w_i N(m_i, Λ) with one Λ: responsibilities times the Gaussian denoisers.

    γ_i ∝ w_i exp(-½ Σ_k |x - αm_i|²_k / v_k), computed with log-sum-exp. Non-trivial under
    refinement only while Σ_k |Δm_k|²/v_k stays finite (Cameron-Martin); otherwise γ tends to
    0 or 1. `means` are fields (I, 1, N, N), `weights` sum to 1.
    """

    means: Tensor
    weights: Tensor
    spectrum: Tensor
    prior: Prior
    schedule: Schedule = Schedule()

    def responsibilities(self, x: Tensor, time: Tensor) -> Tensor:
        """γ, shape (B, I)."""
        return self._parts(x, time)[0]

    def __call__(self, x: Tensor, time: Tensor) -> Tensor:
        """Denoise (B, 1, N, N)."""
        gamma, model, means = self._parts(x, time)
        mean = torch.einsum("bi,ichw->bchw", gamma.to(means.dtype), means)
        modes = mean + model.gain.on_modes(to_modes(x) - model.alpha * mean)
        return to_field(modes, x.shape[-1])

    def _parts(self, x: Tensor, time: Tensor) -> tuple[Tensor, Marginal, Tensor]:
        """γ, the Gaussian model around each mean, and the modes of the means."""
        data, noise = Diagonal(self.spectrum).like(x), self.prior.operator_like(x)
        model = Marginal.at(self.schedule, time, data, noise)
        means = to_modes(self.means.to(x))
        apart = _weighted_distance(to_modes(x), means, model.alpha, model.inverse)
        weights = self.weights.to(x.device, x.dtype)
        return torch.softmax(weights.log() - 0.5 * apart, dim=1), model, means


@dataclass(frozen=True)
class EmpiricalDenoiser:
    """Data that are exactly the fields {y_i}: D = Σ_i γ_i y_i, γ_i ∝ exp(-½Σ|x - αy_i|²/(σ²q)).

    The score that a perfectly over-fitted network would learn: it can only return its data. Modes
    with q_k = 0 are never noised, so x and αy_i must agree there; the sampler's start is drawn
    without the data, so these modes are left out of the evidence. `fields` (I, 1, N, N) are on the
    level of x.
    """

    fields: Tensor
    prior: Prior
    schedule: Schedule = Schedule()

    @cached_property
    def _modes(self) -> Tensor:
        return to_modes(self.fields)

    def __call__(self, x: Tensor, time: Tensor) -> Tensor:
        """Denoise (B, 1, N, N)."""
        wide = _evidence_dtype(x.device)  # steep spectra exceed the range of single precision
        points = self._modes.to(x.device, x.dtype.to_complex())
        noise = self.prior.operator_like(x.to(wide))
        alpha = per_sample(self.schedule.alpha(time), x)
        sigma = per_sample(self.schedule.sigma(time), x).to(wide)
        inverse = (sigma**2 * noise).inverse()
        apart = _weighted_distance(to_modes(x), points, alpha, inverse)
        gamma = torch.softmax(-0.5 * apart, dim=1)
        modes = torch.einsum("bi,ichw->bchw", gamma.to(points.dtype), points)
        return to_field(modes, x.shape[-1])


def _evidence_dtype(device: torch.device) -> torch.dtype:
    """Double precision wherever the device has it; Apple's GPUs do not."""
    return torch.float32 if device.type == "mps" else torch.float64


def _weighted_distance(x: Tensor, points: Tensor, alpha: Tensor, inverse: Diagonal) -> Tensor:
    """Σ_k |x - αy_i|²_k w_k over the whole plane, without the term |x|², (B, I), w_k = `inverse`.

    -2α⟨x, y⟩ + α²|y|² by matrix products; |x|² is the same for every i and drops out of the
    responsibilities.
    """
    wide = _evidence_dtype(x.device)
    multiple = multiplicity(x.shape[-2]).to(x.device, wide)
    weight = (multiple * inverse.values.to(wide))[..., None].expand(-1, -1, -1, -1, 2).flatten(1)
    xs = torch.view_as_real(x).to(wide).flatten(1)
    ys = torch.view_as_real(points).to(wide).flatten(1).T
    a = alpha.to(wide).flatten()[:, None]
    return -2 * a * ((xs * weight) @ ys) + a**2 * (weight @ ys.square())
