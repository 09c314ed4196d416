"""The 3x3 convolution and the modulated activation, held against torch's own."""

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.flop_counter import FlopCounterMode

from mldemo.networks.blocks import Modulation
from mldemo.networks.convolutions import Convolution


def same_weights(channels: int, out: int, stride: int) -> tuple[Convolution, nn.Conv2d]:
    """Ours and torch's, float64."""
    torch.manual_seed(0)
    ours = Convolution(channels, out, stride).double()
    theirs = nn.Conv2d(channels, out, 3, stride, padding=1).double()
    theirs.load_state_dict(ours.state_dict())
    return ours, theirs


def field(*shape: int) -> Tensor:
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(shape, generator=generator, dtype=torch.float64)
    return x.contiguous(memory_format=torch.channels_last).requires_grad_()


@pytest.mark.parametrize(("n", "stride"), [(4, 1), (4, 2), (5, 1), (8, 1), (8, 2)])
@pytest.mark.parametrize(("channels", "out"), [(3, 5), (8, 8)])
def test_a_convolution_is_torchs(n: int, stride: int, channels: int, out: int) -> None:
    """Values and all gradients; 4 x 4 is the tile, the others surround it."""
    ours, theirs = same_weights(channels, out, stride)
    x = field(3, channels, n, n)
    y, expected = ours(x), theirs(x)
    torch.testing.assert_close(y, expected, rtol=1e-12, atol=1e-12)
    weights = torch.linspace(-1, 2, y.numel(), dtype=torch.float64).view_as(y)
    found = torch.autograd.grad(y, (x, *ours.parameters()), weights)
    wanted = torch.autograd.grad(expected, (x, *theirs.parameters()), weights)
    for a, b in zip(found, wanted, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-11, atol=1e-11)


def test_single_precision_loses_a_digit_at_most() -> None:
    """Winograd's transforms cost accuracy; at the width of the shipped core it is 1e-5."""
    ours, theirs = same_weights(128, 128, 1)
    x = field(2, 128, 4, 4).detach()
    error = (ours.float()(x.float()) - theirs(x)).abs().max() / theirs(x).abs().max()
    assert error < 1e-5


def test_the_tile_takes_fewer_multiplications() -> None:
    """36 products a channel pair for 16 x 9, and transforms that many channels share."""
    ours, theirs = same_weights(64, 64, 1)
    x = field(16, 64, 4, 4)
    counts = []
    for layer in (ours.requires_grad_(False), theirs):
        with torch.no_grad(), FlopCounterMode(display=False) as counter:
            layer(x)
            layer(x)
        counts.append(counter.get_total_flops() / 2)
    assert counts[0] < 0.5 * counts[1]


def test_the_tile_follows_its_weight() -> None:
    """What is kept of a kernel is not used for the next one."""
    ours, theirs = same_weights(3, 4, 1)
    x = field(1, 3, 4, 4)
    ours.requires_grad_(False)
    ours(x)
    with torch.no_grad():
        ours.weight.mul_(3)
        theirs.weight.mul_(3)
        torch.testing.assert_close(ours(x), theirs(x))
    ours.weight.data = theirs.weight.data = torch.ones_like(theirs.weight)
    torch.testing.assert_close(ours(x), theirs(x))


def test_modulation_is_film_before_silu() -> None:
    """silu((1 + a) h + b) per sample and channel, with autograd's gradients; at first silu(h)."""
    torch.manual_seed(0)
    layer, h, e = Modulation(6, 3).double(), field(2, 3, 4, 4), field(2, 6, 1, 1)
    e = e[:, :, 0, 0].detach().requires_grad_()
    torch.testing.assert_close(layer(h, e), functional.silu(h))
    for parameter in layer.parameters():
        nn.init.normal_(parameter)

    def plain(h: Tensor, e: Tensor) -> Tensor:
        a, b = layer.linear(e)[:, :, None, None].chunk(2, 1)
        return functional.silu((1 + a) * h + b)

    torch.testing.assert_close(layer(h, e), plain(h, e))
    leaves = h, e, *layer.parameters()
    found = torch.autograd.grad(layer(h, e).square().sum(), leaves)
    wanted = torch.autograd.grad(plain(h, e).square().sum(), leaves)
    for a, b in zip(found, wanted, strict=True):
        torch.testing.assert_close(a, b)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_is_torchs(dtype: torch.dtype) -> None:
    """The tile's sums would lose two digits more; also under autocast, which leaves nothing."""
    ours, theirs = same_weights(8, 8, 1)
    x = field(2, 8, 4, 4).detach()
    with torch.no_grad():
        half, other = ours.to(dtype)(x.to(dtype)), theirs.to(dtype)(x.to(dtype))
        torch.testing.assert_close(half, other, rtol=0, atol=0)
        ours, theirs, x = ours.float(), theirs.float(), x.float()
        with torch.autocast("cpu", dtype):
            torch.testing.assert_close(ours(x), theirs(x), rtol=0, atol=0)
        torch.testing.assert_close(ours(x), theirs(x), rtol=1e-4, atol=1e-5)
