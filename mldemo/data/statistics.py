"""The statistics of a data set that the method uses: mean and radial power spectrum."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from mldemo.space.covariance import Prior
from mldemo.space.priors import prior_kind
from mldemo.space.spectral import multiplicity, radial_power, radius, resample


@dataclass(frozen=True)
class Statistics:
    """Mean and radial power spectrum of a data set: what the linear filter and the oracles need.

    `mean` is a field (1, 1, M, M) on the finest level M; `power` holds Λ, the mean over each shell
    round(|k|) of E|x̂_k - m̂_k|², for the shells 0, 1, … that this level resolves.
    """

    mean: Tensor
    power: Tensor

    @classmethod
    def of(cls, fields: Tensor) -> "Statistics":
        """Estimate both from fields (B, 1, N, N)."""
        mean = fields.double().mean(0, keepdim=True)
        power = torch.zeros_like(radial_power(mean[0, 0]))
        for part in fields.split(1000):
            power += radial_power(part.double() - mean).sum((0, 1))
        return cls(mean.float(), (power / len(fields)).float())

    def prior(self, name: str) -> Prior:
        """The default prior of this name for these data (`Prior.for_data`)."""
        return prior_kind(name).for_data(self.power, self.variance)

    def mean_at(self, resolution: int) -> Tensor:
        """The mean on level N, (1, 1, N, N)."""
        return resample(self.mean, resolution)

    def spectrum(self, resolution: int) -> Tensor:
        """Λ_k on level N, (N, N//2 + 1) float64.

        Constant on every shell inside the disc |k| < M/2 of the finest level M, so that sums over
        Λ are those of the data; beyond it, the power law fitted to its upper three quarters, with
        an exponent of at most -2.5.
        """
        known = self.mean.shape[-1] // 2 - 1
        shells = np.arange(known // 4, known + 1)
        power = self.power.double().numpy()
        log_upper = np.log(power[shells].clip(min=1e-30))
        slope = min(float(np.polyfit(np.log(shells), log_upper, 1)[0]), -2.5)  # summable
        r = radius(resolution).numpy()
        shell = r.round().astype(int)
        beyond = power[known] * (r.clip(min=1) / known) ** slope
        spectrum = np.where(shell <= known, power[shell.clip(max=known)], beyond)
        return torch.from_numpy(spectrum) * (multiplicity(resolution) > 0)

    @property
    def variance(self) -> float:
        """E‖x - m‖² ≈ tr Λ on the finest level: the trace to which priors are normalised.

        Approximate in the corners, where Λ is extrapolated. Rounded to seven digits, so that it
        does not depend on the order of summation across threads.
        """
        n = self.mean.shape[-1]
        return float(f"{(multiplicity(n) * self.spectrum(n)).sum().item():.7g}")
