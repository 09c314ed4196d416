"""A spectral convolution that is symmetric, exact at odd N, and fast on a CPU.

(Kv)^_k = W_k v̂_k for |k|∞ ≤ m and 0 beyond, with complex matrices W_k = conj W_{-k}. Nyquist modes
of an even grid are left out, so the layer is the same operator on every level that resolves m.

The transform is a truncated DFT written as real matrix products, one for each axis: of N
frequencies only those up to m are ever formed. The output has the memory layout of the input,
and the products are ordered to suit it: see `channels_last` and `contiguous`.
"""

from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from mldemo.networks import channels_last, contiguous
from mldemo.networks.kept import Kept
from mldemo.networks.parts import BaseSpectralConv
from mldemo.space.spectral import bandwidth


class SpectralConvolution(BaseSpectralConv):
    """Multiply the modes |k|∞ ≤ m of a (B, C, N, N) field by learned complex matrices.

    `n_modes` follows neuralop: the number of modes kept per axis, so (17, 17) keeps |k|∞ ≤ 8; it
    must be odd, so that the kept set is symmetric. Of the other arguments that neuralop passes to
    a `conv_module`, those that would require a different layer raise `ValueError`.

    The weights start at zero: a mode that no training level has reached then adds nothing.

    Shape of `weight`: (2m+1, m+1, in, 2, out), real and imaginary part of W_k for k₁ = -m..m and
    k₂ = 0..m. On k₂ = 0 only the Hermitian part acts on real fields.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        n_modes: int | tuple[int, int] | list[int],
        bias: bool = False,
        **neuralop_defaults: Any,
    ) -> None:
        super().__init__()
        sizes = (n_modes, n_modes) if isinstance(n_modes, int) else tuple(n_modes)
        if len(sizes) != 2 or sizes[0] != sizes[1] or sizes[0] % 2 == 0 or sizes[0] < 1:
            raise ValueError(f"n_modes must be two equal odd numbers, got {n_modes!r}")
        for option in ("separable", "complex_data", "factorization", "resolution_scaling_factor"):
            if neuralop_defaults.get(option):
                raise ValueError(f"{option} is not supported, got {neuralop_defaults[option]!r}")
        self.in_channels, self.out_channels = in_channels, out_channels
        self.modes = sizes[0] // 2
        shape = (2 * self.modes + 1, self.modes + 1, in_channels, 2, out_channels)
        self.weight = nn.Parameter(torch.zeros(shape))
        self.bias = nn.Parameter(torch.zeros(out_channels, 1, 1)) if bias else None
        self._kept = Kept()

    @property
    def n_modes(self) -> tuple[int, int]:
        """Modes kept per axis, as neuralop counts them."""
        return 2 * self.modes + 1, 2 * self.modes + 1

    def transform(self, x: Tensor, output_shape: Any = None) -> Tensor:
        """The input of neuralop's skip connection, unchanged: the layer keeps the grid."""
        return x

    def forward(
        self, x: Tensor, output_shape: Any = None, skip: nn.Conv2d | None = None
    ) -> Tensor:
        """(B, in, N, N) -> (B, out, N, N) in the same layout, plus a 1x1 convolution of x."""
        n = x.shape[-1]
        if x.shape[-2] != n or output_shape not in (None, (n, n), [n, n]):
            raise ValueError(f"a square field on one grid is needed, got {tuple(x.shape)}")
        m = min(self.modes, bandwidth(n))
        if x.is_contiguous():
            compute = partial(contiguous.stored_matrices, self.weight, m)
            y = contiguous.act(x, self._kept(self.weight, ("stored", m), compute), m)
            y = y if skip is None else y + skip(x)
        else:
            compute = partial(channels_last.half_plane_matrices, self.weight, m)
            matrices = self._kept(self.weight, ("half plane", m), compute)
            y = channels_last.act(x, matrices, m, skip)
        return y if self.bias is None else y + self.bias
