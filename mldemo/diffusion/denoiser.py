"""A network as a denoiser: the isotropic filter in closed form, the rest learned.

With data mean m, radial data spectrum Λ_k, noise spectrum q_k and v_k = α²Λ_k + σ²q_k, the best
isotropic filter is known, D_lin(x) = m + (αΛ/v)(x - αm). (The best linear denoiser uses the full
covariance of the data, `mldemo.studies.linear`.) The network F adds what the filter misses,

    D(x, t) = D_lin(x) + √(Λσ²q/(vρ)) F(√(ρ/v)(x - αm), D_lin(x), SNR),

where ρ is a fixed trace-class spectrum, so that the first input and the target of F are functions
with the spectrum ρ at every time and on every level. Where Λq = 0 the gain of F is 0.

F is conditioned on log(α²/σ²) and on log(α²Λ/(σ²q)) on a few shells of |k|, clipped and scaled to
[-1, 1], and receives D_lin, whose gain in each mode is set by the signal-to-noise ratio there. F
depends on the prior only through its inputs, so one network can be used with any prior.

Sampling may weight F's part by a guidance g, D_g = D_lin + g (D - D_lin): g = 0 is the filter, 1
the trained network. g > 1 sharpens: samples move away from those of the filter and their FID
mostly falls, while the squared error of D_g rises (up to t = 0.8 it is least near g = 1,
`mldemo.studies.linear`).
This is autoguidance, arXiv 2406.02507, with the filter as the weak model, at no extra call.
"""

from typing import NamedTuple

import torch
from torch import Tensor, nn

from mldemo.data.statistics import Statistics
from mldemo.diffusion.marginal import Marginal
from mldemo.diffusion.sde import Schedule
from mldemo.networks.blocks import SHELLS
from mldemo.space.covariance import Prior
from mldemo.space.diagonal import Diagonal
from mldemo.space.priors import Bessel
from mldemo.space.spectral import (
    bandwidth,
    outside_modes,
    radial_mean,
    squared_norm,
    to_field,
    to_modes,
)

REFERENCE = Bessel(exponent=1.15, kappa=6.0)  # ρ
SHELL_LEVEL = 64  # the level on which shells are averaged, but see `Noise.of`
LARGEST_LOG_SNR = 12.0  # beyond e^±12 a shell is all signal or all noise


def _on_shells(spectrum: Tensor, resolution: int) -> Tensor:
    """The mean of a spectrum over each of `SHELLS`; beyond level N, over its last whole shell."""
    means = radial_mean(spectrum, resolution)
    return means[[min(shell, bandwidth(resolution)) for shell in SHELLS]]


class Noise(NamedTuple):
    """Spectra of the noise: q_k on the modes of a level and its mean over each of `SHELLS`.

    One spectrum, (N, N//2 + 1) and (S,), or one per sample, (B, 1, N, N//2 + 1) and (B, S).
    """

    modes: Tensor
    shells: Tensor

    @property
    def operators(self) -> tuple[Diagonal, Tensor]:
        """Q, and q on the shells."""
        return Diagonal(self.modes), self.shells

    @classmethod
    def of(cls, prior: Prior, resolution: int) -> "Noise":
        """The spectra of a prior on level N, float64, and their shell means.

        The means are of level 64; of level N if the prior is not trace class.
        """
        level = SHELL_LEVEL if prior.trace_class else resolution
        return cls(prior.eigenvalues(resolution), _on_shells(prior.eigenvalues(level), level))


class _Level(NamedTuple):
    """Modes of m, and the operators Λ, ρ, Q on one level; q and Λ on the shells."""

    mean: Tensor
    data: Diagonal
    reference: Diagonal
    noise: Diagonal
    shells: Tensor
    data_shells: Tensor


class Denoiser(nn.Module):
    """D(x, t) = E[X_0 | X_t = x] as the formula above, for fields (B, 1, N, N) and times (B,).

    Its only parameters are those of `network`; `prior`, `statistics` and `schedule` define the
    process that it denoises, `guidance` is the weight of F's part in sampling (the loss ignores
    it). Fields have the precision of the network.
    Where Λ is negligible F has no influence, and D is the Gaussian optimum.
    """

    def __init__(
        self,
        network: nn.Module,
        prior: Prior,
        statistics: Statistics,
        schedule: Schedule,
        guidance: float = 1.0,
    ) -> None:
        super().__init__()
        self.network = network
        self.prior, self.statistics, self.schedule = prior, statistics, schedule
        self.guidance = guidance
        self._levels: dict[tuple[int, torch.dtype, torch.device], _Level] = {}

    @outside_modes
    def level(self, resolution: int, dtype: torch.dtype, device: torch.device) -> _Level:
        """The quantities of the formula on level N, in a dtype and on a device.

        Cached after the first call: a sampling loop copies nothing between devices.
        """
        key = (resolution, dtype, device)
        if key not in self._levels:
            own = next((p.dtype for p in self.network.parameters()), dtype)
            if own != dtype:
                raise ValueError(f"the network is {own}, the fields are {dtype}: convert one")

            def here(v: Tensor) -> Tensor:
                return v.to(device, dtype.to_complex() if v.is_complex() else dtype)

            noise = Noise.of(self.prior, resolution)
            self._levels[key] = _Level(
                here(to_modes(self.statistics.mean_at(resolution).double())),
                Diagonal(here(self.statistics.spectrum(resolution))),
                Diagonal(here(REFERENCE.eigenvalues(resolution))),
                Diagonal(here(noise.modes)),
                here(noise.shells),
                here(_on_shells(self.statistics.spectrum(SHELL_LEVEL), SHELL_LEVEL)),
            )
        return self._levels[key]

    def _ask(
        self, level: _Level, model: Marginal, shells: Tensor, centred: Tensor, time: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Modes of D_lin and of F's answer; `centred` holds the modes of x - αm, `shells` q."""
        n = centred.shape[-2]
        linear = level.mean + model.gain.on_modes(centred)
        whitened = (level.reference @ model.inverse).colour(centred)
        fields = to_field(torch.cat([whitened, linear], 1), n)
        base = 2 * self.schedule.log_snr(time).to(shells.dtype)[:, None]
        ratio = level.data_shells.clamp(min=1e-30).log() - shells.clamp(min=1e-30).log()
        snr = torch.cat([base, base + ratio], 1).clamp(-LARGEST_LOG_SNR, LARGEST_LOG_SNR)
        return linear, to_modes(self.network(fields, snr / LARGEST_LOG_SNR))

    def forward(self, x: Tensor, time: Tensor) -> Tensor:
        """Denoise fields (B, 1, N, N) at times (B,) (or one time for all)."""
        n = x.shape[-1]
        time = time.to(x.device).reshape(-1)  # one time for all makes one row of everything else
        level = self.level(n, x.dtype, x.device)
        model = Marginal.at(self.schedule, time, level.data, level.noise)
        centred = to_modes(x) - model.alpha * level.mean
        linear, answer = self._ask(level, model, level.shells, centred, time)
        added = (model.posterior @ level.reference.inverse()).colour(answer)
        return to_field(linear + self.guidance * added, n)

    def loss(
        self, clean: Tensor, white: Tensor, time: Tensor, noise: Noise | None = None
    ) -> Tensor:
        """Denoising score matching in the preconditioned variables: the L² loss of F, (B,).

        `clean` holds modes of x_0 and `white` the modes ζ of η = √q ζ; `noise` the spectra q,
        those of the prior unless each sample has its own. The target √(ρ/v)(σ√q a - α√Λ ζ),
        x_0 - m = √Λ a, is formed without dividing by √(Λq); modes with Λq = 0, on which F has no
        influence, are left out.
        """
        n, like = clean.shape[-2], clean.real
        level = self.level(n, like.dtype, like.device)
        spectrum, shells = (level.noise, level.shells) if noise is None else noise.operators
        model = Marginal.at(self.schedule, time, level.data, spectrum)
        active = (level.data.values > 0) & (spectrum.values > 0)
        data_root, noise_root = level.data.root(), spectrum.root()
        deviation = clean - level.mean
        eta = noise_root.on_modes(white)
        centred = model.alpha * deviation + model.sigma * eta
        unit = deviation * torch.where(active, 1 / data_root.values, 0.0)
        target = (level.reference @ model.inverse).colour(
            model.sigma * noise_root.on_modes(unit) - model.alpha * data_root.on_modes(white)
        )
        _, answer = self._ask(level, model, shells, centred, time)
        return squared_norm(torch.where(active, answer - target, 0.0), n).sum(-1)
