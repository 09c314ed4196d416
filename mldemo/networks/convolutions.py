"""A 3x3 convolution with the parameters of `nn.Conv2d`, quicker on the smallest grid."""

from typing import Any

import torch
from torch import Tensor, nn

from mldemo.networks.kept import Kept
from mldemo.space.spectral import constant

TILE = 4  # points per side of the grid that is one tile
POINTS = (0.0, 1.0, -1.0, 0.5, -0.5)  # where the polynomials are evaluated, besides infinity


def _evaluation(terms: int) -> Tensor:
    """(6, terms): the values of 1, x, x², … at `POINTS`; at infinity, the leading coefficient."""
    powers = torch.linalg.vander(torch.tensor(POINTS, dtype=torch.float64), N=terms)
    infinity = torch.zeros(1, terms, dtype=torch.float64)
    infinity[0, -1] = 1
    return torch.cat([powers, infinity])


@constant
def _tile(dtype: torch.dtype, device: torch.device) -> tuple[Tensor, Tensor, Tensor]:
    """Winograd's F(4 x 4, 3 x 3): transforms of the field, of the kernel, and back.

    (36, 16), (36, 9) and (16, 36). Along an axis the product of polynomials of degree 3 and 2 is
    V₆⁻¹((V₃g) · (V₄a)), where V evaluates at six points; correlation is its transpose,
    y = V₄ᵀ((V₃g) · (V₆⁻ᵀd)). The zeros around the grid, the first and last of the six d, are left
    out with their columns. Source: A. Lavin, S. Gray, arXiv 1509.09308.
    """
    field = torch.linalg.inv(_evaluation(6)).T[:, 1:5]
    matrices = field, _evaluation(3), _evaluation(4).T
    forth, kernel, back = (torch.kron(v, v).to(device, dtype).contiguous() for v in matrices)
    return forth, kernel, back


class Convolution(nn.Conv2d):
    """A 3x3 convolution with zeros around the grid, `stride` 1 or 2.

    A 4 x 4 grid is one tile of Winograd's algorithm: 36 products a channel where 144 were, in
    about half the time, forward and backward. In half precision its sums would be too coarse:
    there, and on other grids, the convolution is torch's.
    """

    def __init__(self, channels: int, out_channels: int, stride: int = 1) -> None:
        super().__init__(channels, out_channels, 3, stride, padding=1)
        self._kernels = Kept()

    def forward(self, input: Tensor) -> Tensor:
        """(B, C, N, N) -> (B, out_channels, N, N), or half as fine."""
        where = input.device.type
        cast = torch.amp.is_autocast_available(where) and torch.is_autocast_enabled(where)
        exact = input.dtype in (torch.float32, torch.float64) and not cast
        if not exact or input.shape[-2:] != (TILE, TILE) or self.stride != (1, 1):
            return super().forward(input)
        b, c = input.shape[:2]
        forth, _, back = _tile(input.dtype, input.device)
        kernels = self._kernels(self.weight, None, self._transformed)
        points = input.permute(0, 2, 3, 1).reshape(b, TILE**2, c)
        z = forth.expand(b, -1, -1).bmm(points).transpose(0, 1).bmm(kernels)
        bias: Any = self.bias
        y = torch.baddbmm(bias, back.expand(b, -1, -1), z.transpose(0, 1))
        return y.view(b, TILE, TILE, -1).permute(0, 3, 1, 2)

    def _transformed(self) -> Tensor:
        """The kernels at the 36 points, (36, C, out)."""
        _, kernel, _ = _tile(self.weight.dtype, self.weight.device)
        weights = self.weight.permute(2, 3, 1, 0)
        return (kernel @ weights.reshape(9, -1)).view(-1, *weights.shape[2:])
