"""Contiguous fields: the Fourier layer as products with real matrices in another order.

The networks are channels-last throughout; this order is for neuralop's networks, which are not.
Converting their fields at the boundary, or rearranging them between the products of
`channels_last`, took 1.25 and 1.4 times as long at 64² and 128².
"""

import torch
from torch import Tensor
from torch.nn import functional

from mldemo.networks.channels_last import angles
from mldemo.space.spectral import constant


@constant
def _cosines(n: int, m: int, dtype: torch.dtype, device: torch.device) -> list[Tensor]:
    """Six matrices; they expand a row in the fewest real functions, 2m + 1.

    rows (2m+1, N): v -> P_k = Σ_x v(x) cos(2πkx/N)/N for k = 0..m, then Q_k with sin, k = 1..m
    columns (2m+1, 2(m+1), N): the columns' DFT, times -i on the rows Q
    modes (2m+1, 2m+1): P_|k| ∓ iQ_|k| for k = -m..m
    waves (2m+1, 2m+1): c_k + c_{-k} for k = 0..m, then c_k - c_{-k} for k = 1..m
    rows⁻¹ (N, 2m+1): Σ_k a_k cos(2πkx/N) + b_k sin(2πkx/N);  columns⁻¹
    """
    k = torch.arange(m + 1)
    angle = angles(n, k)
    c, s = angle.cos(), angle.sin()
    rows = torch.cat([c, s[1:]])
    columns, turned = torch.cat([c, -s]) / n, torch.cat([-s, -c]) / n
    twice = torch.where(k > 0, 2.0, 1.0).double()[:, None]
    columns_inverse = torch.cat([twice * c, -twice * s]).T
    both = torch.cat([columns.expand(m + 1, -1, -1), turned.expand(m, -1, -1)])
    one, none = torch.eye(m, dtype=torch.float64), torch.zeros(m, 1, dtype=torch.float64)
    middle = torch.eye(2 * m + 1, dtype=torch.float64)[:1]
    back = one.flip(0)
    modes = torch.cat([torch.cat([none, back, -back], 1), middle, torch.cat([none, one, one], 1)])
    matrices = rows / n, both, modes, modes.T, rows.T, columns_inverse
    return [v.to(device=device, dtype=dtype).contiguous() for v in matrices]


def stored_matrices(weight: Tensor, m: int) -> Tensor:
    """W_k, k₁ = -m..m and k₂ = 0..m, as real matrices from [re; im]: (modes, 2 in, 2 out)."""
    cut = weight.shape[1] - 1 - m
    # a negative padding, because its backward pass writes the gradient once
    weight = functional.pad(weight, (0, 0, 0, 0, 0, 0, 0, -cut, -cut, -cut))
    re, im = weight.unbind(3)
    top, bottom = torch.cat([re, im], 3), torch.cat([-im, re], 3)
    return torch.cat([top, bottom], 2).flatten(0, 1)


def _in_order(z: Tensor, parts: int) -> Tensor:
    """`contiguous`, one part after the other: 2 to 5 times as fast, as its loops are longer."""
    return torch.stack(z.unbind(parts), parts)


def act(x: Tensor, matrices: Tensor, m: int) -> Tensor:
    """Contiguous (B, in, N, N) -> (B, out, N, N).

    Rows, then columns, then mode by mode, and back; the last product is a 1x1 convolution.
    """
    b, c, n, _ = x.shape
    r, k, o = 2 * m + 1, m + 1, matrices.shape[2] // 2
    rows, columns, modes, waves, rows_inverse, columns_inverse = _cosines(n, m, x.dtype, x.device)
    y = rows.expand(b * c, -1, -1).bmm(x.reshape(b * c, n, n)).view(b * c, r, n)
    z = modes @ columns.bmm(y.permute(1, 2, 0)).view(r, 2 * k * b * c)
    z = z.view(r, 2, k, b, c).permute(0, 2, 3, 1, 4)
    z = _in_order(z, 3).reshape(r * k, b, 2 * c)
    w = (waves @ z.bmm(matrices).view(r, k * b * 2 * o)).view(r, k, b, 2, o)
    re, im = (part.split([m + 1, m]) for part in w.unbind(3))  # of cosines, of sines
    # ce^{iθ} + c'e^{-iθ} = (c + c') cos θ + i(c - c') sin θ
    w = torch.stack([torch.cat([re[0], -im[1]]), torch.cat([im[0], re[1]])], 1)
    w = w.view(r * 2 * k, b * o).T.contiguous().view(b * o, r, 2 * k)
    y = rows_inverse.expand(b * o, -1, -1).bmm(w).view(b, o, n, 2 * k)
    y = functional.conv2d(y.permute(0, 3, 1, 2), columns_inverse[:, :, None, None])
    return y.permute(0, 2, 3, 1)
