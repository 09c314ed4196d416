"""The Gaussian model at one time: x_t = α x_0 + σ η with x_0 ~ N(m, Λ) and η ~ N(0, Q), diagonal.

Everything linear follows from its covariance v = α²Λ + σ²q: the filter αΛ/v, which is the best
denoiser for such data and the best isotropic filter for any, the law of the start, conditioning.
"""

from typing import NamedTuple

from torch import Tensor

from mldemo.diffusion.sde import Schedule, per_sample
from mldemo.space.diagonal import Diagonal


class Marginal(NamedTuple):
    """α, σ (B, 1, 1, 1) and Λ, Q, v, v⁻¹ at one time for all samples, or at one for each."""

    alpha: Tensor
    sigma: Tensor
    data: Diagonal
    noise: Diagonal
    variance: Diagonal
    inverse: Diagonal

    @classmethod
    def at(cls, schedule: Schedule, time: Tensor, data: Diagonal, noise: Diagonal) -> "Marginal":
        """The model at times (B,) or (), with the dtype and on the device of Λ."""
        alpha = per_sample(schedule.alpha(time), data.values)
        sigma = per_sample(schedule.sigma(time), data.values)
        variance = alpha**2 * data + sigma**2 * noise
        return cls(alpha, sigma, data, noise, variance, variance.inverse())

    @property
    def gain(self) -> Diagonal:
        """αΛ/v: E[x_0 | x_t] = m + gain (x_t - αm)."""
        return self.alpha * self.data @ self.inverse

    @property
    def posterior(self) -> Diagonal:
        """Λσ²q/v, the covariance of x_0 given x_t."""
        return self.sigma**2 * (self.data @ self.noise @ self.inverse)

    def split(self, white: Tensor, other: Tensor) -> tuple[Tensor, Tensor]:
        """Independent modes of x_0 - m ~ N(0, Λ) and η ~ N(0, Q) with α(x_0 - m) + ση = √v ζ.

        `white` is ζ, and `other` a second white noise, independent of it, which supplies the
        spread of x_0 given x_t.
        """
        given, spread = self.inverse.colour(white), self.posterior.colour(other)
        clean = self.alpha * self.data.on_modes(given) + spread
        noise = self.sigma * self.noise.on_modes(given) - self.alpha / self.sigma * spread
        return clean, noise
