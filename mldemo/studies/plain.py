"""A network as a denoiser without closed-form parts, as in the paper (arXiv 2303.04772)."""

import torch
from torch import Tensor

from mldemo.diffusion.denoiser import LARGEST_LOG_SNR, Denoiser, Noise
from mldemo.diffusion.sde import diffuse, per_sample
from mldemo.networks.blocks import CONDITIONS
from mldemo.space.spectral import to_field


class PlainDenoiser(Denoiser):
    """D(x, t) = (x - σ F(x, x, log(α²/σ²)))/α, where F predicts the noise η of x = αx_0 + ση.

    F is given the state in both of its channels and the time in place of every SNR, so it knows
    neither the prior nor the data's spectrum. The loss is ‖F - η‖², weighted as in the paper.
    `guidance` has no effect, as there is no filter.
    """

    def _noise(self, x: Tensor, time: Tensor) -> Tensor:
        snr = 2 * self.schedule.log_snr(time).to(x)
        snr = (snr.clamp(-LARGEST_LOG_SNR, LARGEST_LOG_SNR) / LARGEST_LOG_SNR)[:, None]
        return self.network(torch.cat([x, x], 1), snr.expand(-1, CONDITIONS))

    def forward(self, x: Tensor, time: Tensor) -> Tensor:
        """Denoise fields (B, 1, N, N) at times (B,) (or one time for all)."""
        time = time.to(x.device).reshape(-1)
        alpha, sigma = (per_sample(f(time), x) for f in (self.schedule.alpha, self.schedule.sigma))
        return (x - sigma * self._noise(x, time)) / alpha

    def loss(
        self, clean: Tensor, white: Tensor, time: Tensor, noise: Noise | None = None
    ) -> Tensor:
        """‖F - η‖² in L² of the torus, (B,); arguments as in `Denoiser.loss`."""
        n, like = clean.shape[-2], clean.real
        level = self.level(n, like.dtype, like.device)
        spectrum = level.noise if noise is None else noise.operators[0]
        modes = spectrum.root().on_modes(white)
        eta = to_field(modes, n)
        x = to_field(diffuse(self.schedule, clean, modes, time), n)
        return (self._noise(x, time) - eta).square().mean((1, 2, 3))
