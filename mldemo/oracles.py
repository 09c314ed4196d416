"""Exact denoisers D(x, t) = E[X_0 | X_t = x]: what a perfect network would compute.

Each is a callable like `networks.preconditioning.Denoiser`. Q is inverted here (through 1/v_k) and
nowhere else; modes with v_k = 0 carry no evidence.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from mldemo.priors import Prior
from mldemo.sde import Schedule, per_sample
from mldemo.spectral import multiplicity, resample, to_field, to_modes


def _inverse(variance: Tensor) -> Tensor:
    return torch.where(variance > 0, 1 / variance, 0.0)


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
        n = x.shape[-1]
        data = self.spectrum.to(x.device, x.dtype)
        noise = self.prior.eigenvalues(n).to(x.device, x.dtype)
        mean = to_modes(self.mean.to(x))
        alpha = per_sample(self.schedule.alpha(time), x)
        sigma = per_sample(self.schedule.sigma(time), x)
        gain = alpha * data * _inverse(alpha**2 * data + sigma**2 * noise)
        return to_field(mean + gain * (to_modes(x) - alpha * mean), n)

    def flow_map(self, x: Tensor) -> Tensor:
        """Where the probability flow takes x_T, exactly: x_0 = m + √(Λ/v_T)(x_T - α_T m)."""
        n = x.shape[-1]
        data = self.spectrum.to(x.device, x.dtype)
        noise = self.prior.eigenvalues(n).to(x.device, x.dtype)
        end = torch.ones(1, dtype=torch.float64)
        alpha = per_sample(self.schedule.alpha(end), x)
        sigma = per_sample(self.schedule.sigma(end), x)
        mean = to_modes(self.mean.to(x))
        gain = (data * _inverse(alpha**2 * data + sigma**2 * noise)).sqrt()
        return to_field(mean + gain * (to_modes(x) - alpha * mean), n)


@dataclass(frozen=True)
class MixtureDenoiser:
    """Data Σ_i w_i N(m_i, Λ) with one Λ: responsibilities times the Gaussian denoisers.

    γ_i ∝ w_i exp(-½ Σ_k |x - αm_i|²_k / v_k), computed with log-sum-exp. Non-trivial under
    refinement only while Σ_k |Δm_k|²/v_k stays finite (Cameron-Martin); beyond that γ tends to
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
        gamma, data, inverse, alpha, means = self._parts(x, time)
        mean = torch.einsum("bi,ichw->bchw", gamma.to(means.dtype), means)
        modes = mean + alpha * data * inverse * (to_modes(x) - alpha * mean)
        return to_field(modes, x.shape[-1])

    def _parts(self, x: Tensor, time: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
        n = x.shape[-1]
        data = self.spectrum.to(x.device, x.dtype)
        noise = self.prior.eigenvalues(n).to(x.device, x.dtype)
        alpha = per_sample(self.schedule.alpha(time), x)
        sigma = per_sample(self.schedule.sigma(time), x)
        inverse = _inverse(alpha**2 * data + sigma**2 * noise)
        means = to_modes(self.means.to(x))
        apart = _weighted_distance(to_modes(x), means, alpha, inverse, n)
        weights = self.weights.to(x.device, x.dtype)
        gamma = torch.softmax(weights.log() - 0.5 * apart, dim=1)
        return gamma, data, inverse, alpha, means


@dataclass(frozen=True)
class EmpiricalDenoiser:
    """Data that are exactly the fields {y_i}: D = Σ_i γ_i y_i, γ_i ∝ exp(-½Σ|x - αy_i|²/(σ²q)).

    The score a perfectly over-fitted network would learn: it can only ever return its data.
    Modes with q_k = 0 are never noised, so x and αy_i must agree there; the sampler's start does
    not know the data, so they are left out of the evidence. `fields` (I, 1, M, M) are resampled
    to the level of x once.
    """

    fields: Tensor
    prior: Prior
    schedule: Schedule = Schedule()

    def __call__(self, x: Tensor, time: Tensor) -> Tensor:
        """Denoise (B, 1, N, N)."""
        n = x.shape[-1]
        points = to_modes(_on_level(self.fields, n, x))
        noise = self.prior.eigenvalues(n).to(x.device)  # float64: steep spectra leave float32
        alpha = per_sample(self.schedule.alpha(time), x)
        sigma = per_sample(self.schedule.sigma(time), x)
        inverse = _inverse(sigma.double() ** 2 * noise)
        apart = _weighted_distance(to_modes(x), points, alpha, inverse, n)
        gamma = torch.softmax(-0.5 * apart, dim=1)
        return to_field(torch.einsum("bi,ichw->bchw", gamma.to(points.dtype), points), n)


_LEVELS: dict[tuple[int, int, torch.dtype, torch.device], tuple[Tensor, Tensor]] = {}


def _on_level(fields: Tensor, resolution: int, like: Tensor) -> Tensor:
    """The fields on level N beside `like`; the last few answers are kept, one per data set."""
    key = (id(fields), resolution, like.dtype, like.device)
    kept = _LEVELS.get(key)
    if kept is None or kept[0] is not fields:
        while len(_LEVELS) >= 8:
            _LEVELS.pop(next(iter(_LEVELS)))
        kept = fields, resample(fields, resolution).to(like)
        _LEVELS[key] = kept
    return kept[1]


def _weighted_distance(
    x: Tensor, points: Tensor, alpha: Tensor, inverse: Tensor, resolution: int
) -> Tensor:
    """Σ_k |x - αy_i|²_k w_k over the whole plane, (B, I), w_k = `inverse`; in float64.

    Summed as |x|² - 2α⟨x, y⟩ + α²|y|² by one matrix product; |x|² is the same for every i and
    drops out of the responsibilities, so it is left out.
    """
    weight = (multiplicity(resolution).to(x.device) * inverse.double())[..., None]
    xs = torch.view_as_real(x).double() * weight
    ys = torch.view_as_real(points).double().flatten(1)
    a = alpha.double().flatten()[:, None]
    cross = xs.flatten(1) @ ys.T
    scale = weight.expand(len(weight), *torch.view_as_real(x).shape[1:]).flatten(1)
    return -2 * a * cross + a**2 * (scale @ ys.T.square())
