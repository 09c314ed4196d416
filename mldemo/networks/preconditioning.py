"""A network as a denoiser: the linear part in closed form, the rest learned.

With data mean m, data spectrum Λ_k, noise spectrum q_k and v_k = α²Λ_k + σ²q_k, the best linear
denoiser is known. The network F only adds what it misses,

    D(x, t) = m + (αΛ/v)(x - αm) + √(Λσ²q/(vρ)) F(√(ρ/v)(x - αm), t),

where ρ is a fixed trace-class spectrum, so that input and target of F are functions with the
spectrum ρ at every time and on every level. Where Λq = 0 the gain of F is 0.
"""

import torch
from torch import Tensor, nn

from mldemo.data import Statistics
from mldemo.priors import Bessel, Prior
from mldemo.sde import Schedule, per_sample
from mldemo.spectral import squared_norm, to_field, to_modes

REFERENCE = Bessel(exponent=1.15, kappa=6.0)  # ρ


def _inverse(spectrum: Tensor) -> Tensor:
    """1/x where x is not negligible, else 0: modes outside the band, or without data and noise."""
    return torch.where(spectrum > 1e-30, 1 / spectrum, 0.0)


class Denoiser(nn.Module):
    """D(x, t) = E[X_0 | X_t = x] as the formula above, for fields (B, 1, N, N) and times (B,).

    Holds no parameters but those of `network`; `prior`, `statistics` and `schedule` say which
    process it denoises. Frequencies where Λ is negligible fall back to the Gaussian optimum.
    """

    def __init__(
        self, network: nn.Module, prior: Prior, statistics: Statistics, schedule: Schedule
    ) -> None:
        super().__init__()
        self.network = network
        self.prior, self.statistics, self.schedule = prior, statistics, schedule
        self._levels: dict[tuple[int, torch.dtype, torch.device], tuple[Tensor, ...]] = {}

    def level(self, resolution: int, like: Tensor) -> tuple[Tensor, ...]:
        """Modes of m and the spectra Λ, q, ρ on level N, in the dtype and on the device of `like`.

        Kept after the first call: a sampling loop moves nothing between devices.
        """
        key = (resolution, like.dtype, like.device)
        if key not in self._levels:
            values = (
                to_modes(self.statistics.mean_at(resolution).double()),
                self.statistics.spectrum(resolution),
                self.prior.eigenvalues(resolution),
                REFERENCE.eigenvalues(resolution),
            )
            self._levels[key] = tuple(
                v.to(like.device, like.dtype.to_complex() if v.is_complex() else like.dtype)
                for v in values
            )
        return self._levels[key]

    def forward(self, x: Tensor, time: Tensor) -> Tensor:
        """Denoise fields (B, 1, N, N) at times (B,) (or one time for all)."""
        n = x.shape[-1]
        time = time.expand(len(x))
        mean, data, noise, reference = self.level(n, x)
        alpha = per_sample(self.schedule.alpha(time), x)
        sigma = per_sample(self.schedule.sigma(time), x)
        variance = alpha**2 * data + sigma**2 * noise
        inverse = _inverse(variance)
        centred = to_modes(x) - alpha * mean
        f_in = to_field((reference * inverse).sqrt() * centred, n)
        f_out = self.network(f_in, self.schedule.log_snr(time).to(x.dtype))
        gain = (data * noise * inverse * _inverse(reference)).sqrt() * sigma
        modes = mean + alpha * data * inverse * centred + gain * to_modes(f_out)
        return to_field(modes, n)

    def loss(self, clean: Tensor, white: Tensor, time: Tensor) -> Tensor:
        """Denoising score matching in the preconditioned variables: the L² loss of F, (B,).

        `clean` holds modes of x_0 and `white` the modes ζ of η = √q ζ. The target
        √(ρ/v)(σ√q a - α√Λ ζ), x_0 - m = √Λ a, is formed without dividing by √(Λq); modes with
        Λq = 0, on which F has no influence, are left out.
        """
        n = clean.shape[-2]
        mean, data, noise, reference = self.level(n, clean.real)
        alpha = per_sample(self.schedule.alpha(time), clean.real)
        sigma = per_sample(self.schedule.sigma(time), clean.real)
        variance = alpha**2 * data + sigma**2 * noise
        scale = (reference * _inverse(variance)).sqrt()
        active = (data > 0) & (noise > 0)
        data_root, noise_root = data.sqrt(), noise.sqrt()
        deviation = clean - mean
        f_in = to_field(scale * (alpha * deviation + sigma * noise_root * white), n)
        unit = deviation * torch.where(active, 1 / data_root, 0.0)
        target = scale * (sigma * noise_root * unit - alpha * data_root * white)
        f_out = self.network(f_in, self.schedule.log_snr(time).to(f_in.dtype))
        error = torch.where(active, to_modes(f_out) - target, 0.0)
        return squared_norm(error, n).sum(-1)
