"""The law that n steps of a sampler generate from Gaussian data, in closed form.

With the exact score of a Gaussian every sampler is affine, so its samples are Gaussian, and their
distance W2² = ‖Δm‖² + Σ(√a - √b)² is known from the data and from the sampler's own limit n → ∞.
The latter excludes the error that the last denoising at t = 1e-3 leaves.
"""

import math
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from mldemo.diffusion.marginal import Marginal
from mldemo.diffusion.samplers import sample
from mldemo.diffusion.sde import END, FIRST, Schedule
from mldemo.diffusion.steps import check_sampler
from mldemo.pipeline import default_statistics
from mldemo.space.covariance import Prior
from mldemo.space.diagonal import Diagonal
from mldemo.space.spectral import multiplicity, squared_norm, to_field, to_modes
from mldemo.store.manifest import BUNDLE

STEPS = (5, 8, 10, 14, 20, 28, 40, 56, 80, 112, 160, 224, 320)


@dataclass(frozen=True)
class GaussianProblem:
    """Data N(m, Λ) on one level and a prior: the law of every sampler is then known exactly.

    `mean` is a field (1, 1, N, N), `spectrum` Λ_k (N, N//2 + 1), both float64. Samplers start from
    N(α_T m, α_T²Λ + σ_T²q).
    """

    mean: Tensor
    spectrum: Tensor
    prior: Prior
    schedule: Schedule = Schedule()

    @property
    def resolution(self) -> int:
        """N."""
        return self.mean.shape[-1]

    @property
    def noise(self) -> Tensor:
        """q_k."""
        return self.prior.eigenvalues(self.resolution)

    def _at(self, t: float) -> Marginal:
        data, noise = Diagonal(self.spectrum), Diagonal(self.noise)
        return Marginal.at(self.schedule, torch.tensor(t, dtype=torch.float64), data, noise)

    def start_variance(self) -> Tensor:
        """v_k = α²Λ_k + σ²q_k at T."""
        return self._at(END).variance.values[0, 0]

    def generated(self, sampler: str, steps: int) -> tuple[Tensor, Tensor]:
        """Mean (field) and variance per mode of what `steps` steps of the sampler return.

        A sampler is affine in every mode and in every increment of the noise, with coefficients
        that depend on (Λ_k, q_k) alone. So it is run on one number for each such pair, in rows
        that give the response to the mean, to x_T, and to each increment by itself.
        """
        pairs, which = torch.unique(
            torch.stack([self.spectrum, self.noise]).flatten(1), dim=1, return_inverse=True
        )
        kicks = self._run(sampler, steps, pairs, 0)[1]
        rows = self._run(sampler, steps, pairs, kicks)[0][:, 0, 0]
        mean, gain, added = rows[0], rows[1], rows[2:].square().sum(0)

        def unfold(values: Tensor) -> Tensor:
            return values[which].reshape(self.spectrum.shape)

        field = to_field(to_modes(self.mean) * unfold(mean), self.resolution)
        return field, unfold(gain**2) * self.start_variance() + unfold(added)

    def _run(self, sampler: str, steps: int, pairs: Tensor, kicks: int) -> tuple[Tensor, int]:
        """The rows at the end, (2 + kicks, 1, 1, K), and the number of increments used.

        Row 0 has data mean 1 and starts from α_T. The other rows have data mean 0: row 1 starts
        from 1, row 2 + j starts from 0 and gets increment j alone.
        """
        spectrum, noise = pairs
        x = torch.zeros(2 + kicks, 1, 1, pairs.shape[1], dtype=torch.float64)
        mean = torch.zeros_like(x)
        mean[0] = 1.0
        x[0], x[1] = float(self._at(END).alpha), 1.0
        asked = 0

        def denoise(y: Tensor, t: Tensor) -> Tensor:
            model = Marginal.at(self.schedule, t, Diagonal(spectrum), Diagonal(noise))
            return mean + model.gain.on_modes(y - model.alpha * mean)

        def increment(start: float, end: float) -> Tensor:
            nonlocal asked
            kick = torch.zeros_like(x)
            if kicks:
                kick[2 + asked] = (noise * (end - start)).sqrt()
            asked += 1
            return kick

        states = sample(denoise, x, sampler, steps, self.schedule, increment)
        last = deque(states, maxlen=1)[0]
        return last.x, asked

    def limit_variance(self) -> Tensor:
        """The variance for n → ∞: v_k at 1e-3 after the last denoising. The mean is then m."""
        model = self._at(FIRST)
        return (model.gain @ model.gain @ model.variance).values[0, 0]

    def distance(self, mean: Tensor, variance: Tensor, target: Tensor) -> float:
        """W2 between N(mean, variance) and N(m, target)."""
        gap = squared_norm(to_modes(mean - self.mean), self.resolution).sum()
        weight = multiplicity(self.resolution)
        return math.sqrt(float(gap + (weight * (variance.sqrt() - target.sqrt()) ** 2).sum()))

    def errors(self, sampler: str, steps: int) -> dict[str, float]:
        """W2 to the data and to the sampler's limit, in units of √tr Λ."""
        mean, variance = self.generated(sampler, steps)
        unit = math.sqrt(float((multiplicity(self.resolution) * self.spectrum).sum()))
        return {
            "w2": self.distance(mean, variance, self.spectrum) / unit,
            "to_limit": self.distance(mean, variance, self.limit_variance()) / unit,
        }


def bundled_gaussian(
    prior: str = "bessel", resolution: int = 32, folder: Path = BUNDLE
) -> GaussianProblem:
    """The digits' mean and spectrum with a prior's default parameters."""
    statistics = default_statistics(folder)
    mean, spectrum = statistics.mean_at(resolution).double(), statistics.spectrum(resolution)
    return GaussianProblem(mean, spectrum, statistics.prior(prior))


def gaussian_curve(
    problem: GaussianProblem, sampler: str, steps: Sequence[int] = STEPS
) -> Iterator[dict[str, Any]]:
    """One point per step count: steps, calls, w2, to_limit."""
    for n in steps:
        yield {"steps": n, "calls": check_sampler(sampler).calls(n), **problem.errors(sampler, n)}
