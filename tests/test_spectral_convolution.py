"""Spectral convolution and resampling, against neuralop, dense sums and finite differences."""

import numpy as np
import pytest
import torch
from neuralop.layers.spectral_convolution import SpectralConv
from neuralop.models import FNO
from torch import Tensor, nn

from mldemo.networks import SpectralConvolution
from mldemo.networks.channels_last import resample_features
from mldemo.space import spectral
from tests.test_networks import banded, randomised


def modes_first(weight: Tensor) -> Tensor:
    """neuralop's (in, out, k₁, k₂) complex as ours (k₁, k₂, in, re/im, out)."""
    return torch.view_as_real(weight).permute(2, 3, 0, 4, 1)


def stock(channels: int, out: int, modes: int, seed: int = 0) -> SpectralConv:
    """neuralop's layer with |k|∞ ≤ modes, Hermitian on k₂ = 0."""
    torch.manual_seed(seed)
    layer = SpectralConv(channels, out, (2 * modes + 1,) * 2, bias=False)
    w = layer.weight.tensor
    with torch.no_grad():
        w[..., 0] = (w[..., 0] + w[..., 0].flip(-1).conj()) / 2
    return layer


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("n", [32, 64])
def test_spectral_convolution_is_neuralops(n: int, layout: torch.memory_format) -> None:
    """n_modes = (17, 17): output and the gradients of input and weights to 1e-4 relative."""
    torch.manual_seed(1)
    theirs, ours = stock(6, 5, 8), SpectralConvolution(6, 5, (17, 17))
    with torch.no_grad():
        ours.weight.copy_(modes_first(theirs.weight.tensor))
    x, cotangent = torch.randn(3, 6, n, n), torch.randn(3, 5, n, n)
    a = x.clone().requires_grad_()
    b = x.clone().to(memory_format=layout).requires_grad_()
    out = ours(b)
    assert out.is_contiguous(memory_format=layout)
    expected = theirs(a)
    (expected * cotangent).sum().backward()
    (out * cotangent).sum().backward()
    pairs = [
        (out, expected),
        (b.grad, a.grad),
        (ours.weight.grad, modes_first(theirs.weight.tensor.grad)),
    ]
    for mine, other in pairs:
        assert mine is not None
        assert other is not None
        gap = (mine - other).detach().abs().max() / other.detach().abs().max()
        assert float(gap) < 1e-4


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize(("n", "modes"), [(8, 2), (8, 3), (9, 3), (9, 4), (8, 6), (9, 6)])
def test_spectral_convolution_is_the_dense_sum(
    n: int, modes: int, layout: torch.memory_format
) -> None:
    """Σ_k W_k v̂_k e_k over the whole plane, W_{-k} = conj W_k; more modes than the grid resolves
    are cut off; only the Hermitian part counts on k₂ = 0."""
    layer = SpectralConvolution(2, 3, 2 * modes + 1, bias=True)
    randomised(layer).double()
    x = torch.randn(2, 2, n, n, dtype=torch.float64, generator=torch.Generator().manual_seed(3))
    w = torch.view_as_complex(layer.weight.detach().transpose(3, 4).contiguous()).numpy()
    hat = np.fft.fft2(x.numpy()) / n**2
    out = np.zeros((2, 3, n, n), dtype=complex)
    grid = np.arange(n) / n
    m = min(modes, spectral.bandwidth(n))
    for k1 in range(-m, m + 1):
        for k2 in range(-m, m + 1):
            if k2 == 0:
                weight = (w[modes + k1, 0] + w[modes - k1, 0].conj()) / 2
            else:
                weight = w[modes + k1, k2] if k2 > 0 else w[modes - k1, -k2].conj()
            wave = np.exp(2j * np.pi * (k1 * grid[:, None] + k2 * grid[None, :]))
            out += np.einsum("io,bi,xy->boxy", weight, hat[:, :, k1, k2], wave)
    assert np.abs(out.imag).max() < 1e-12
    assert layer.bias is not None
    expected = out.real + layer.bias.detach().numpy()
    ours = layer(x.to(memory_format=layout)).detach().numpy()
    np.testing.assert_allclose(ours, expected, atol=1e-12)


@pytest.mark.parametrize(("coarse", "fine"), [(16, 32), (17, 34), (16, 27)])
def test_spectral_convolution_is_one_operator(coarse: int, fine: int) -> None:
    """One band-limited function sampled twice goes to one function."""
    layer = randomised(SpectralConvolution(3, 3, 9)).double()
    low, high = (layer(banded(n, 7, 3)) for n in (coarse, fine))
    torch.testing.assert_close(spectral.resample(high, coarse), low, atol=1e-12, rtol=0)


class SkippedLayer(nn.Module):
    """A layer and the skip that it adds, as one module."""

    def __init__(self, layer: nn.Module, skip: nn.Conv2d) -> None:
        super().__init__()
        self.layer, self.skip = layer, skip

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(x, skip=self.skip)


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize(("n", "modes"), [(8, 2), (9, 6)])
def test_gradients_are_finite_differences(
    n: int, modes: int, layout: torch.memory_format, bias: bool
) -> None:
    """For the input, the weights (also where modes are cut off) and the skip convolution."""
    layer = randomised(SpectralConvolution(2, 3, 2 * modes + 1)).double()
    skip = randomised(nn.Conv2d(2, 3, 1, bias=bias)).double()
    x = torch.randn(2, 2, n, n, generator=torch.Generator().manual_seed(5)).double()

    def act(x: Tensor, *parameters: Tensor) -> Tensor:
        x = x.to(memory_format=layout)
        return torch.func.functional_call(both, dict(zip(names, parameters, strict=True)), (x,))

    both = SkippedLayer(layer, skip)
    names, values = zip(*both.named_parameters(), strict=True)
    leaves = [y.detach().requires_grad_() for y in (x, *values)]
    assert torch.autograd.gradcheck(act, leaves, fast_mode=True)


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_another_field_is_added(layout: torch.memory_format) -> None:
    """A skip convolution on the grid of the layer, a field in the resampling of features."""
    layer = randomised(SpectralConvolution(3, 4, 5)).double()
    skip = randomised(nn.Conv2d(3, 4, 1)).double()
    x, added = (banded(8, 3, 3, seed=s).to(memory_format=layout) for s in (1, 2))
    for graph in (True, False):
        with torch.set_grad_enabled(graph):
            torch.testing.assert_close(layer(x, skip=skip), layer(x) + skip(x))
            fine = resample_features(x, 8, added=added.clone())
            torch.testing.assert_close(fine, resample_features(x, 8) + added)


@pytest.mark.parametrize(("source", "target"), [(8, 11), (11, 8)])
def test_gradients_of_resampling_are_finite_differences(source: int, target: int) -> None:
    """For the features and for the field that they are added to."""
    generator = torch.Generator().manual_seed(5)
    x, added = (
        torch.randn(2, 3, n, n, generator=generator, dtype=torch.float64).requires_grad_()
        for n in (source, target)
    )

    def act(x: Tensor, added: Tensor) -> Tensor:
        return resample_features(x, target, added=added.clone())

    assert torch.autograd.gradcheck(act, (x, added), fast_mode=True)


def test_kept_matrices_follow_the_weight() -> None:
    """A layer that does not learn keeps its matrices; whatever way the weight changes, it acts as
    a new layer with that weight, and it can be differentiated after a call in inference mode."""
    layer = randomised(SpectralConvolution(2, 2, 5)).requires_grad_(False)
    x = banded(8, 3, 2).float()

    def check() -> None:
        other = SpectralConvolution(2, 2, 5).to(layer.weight.dtype)
        other.load_state_dict(layer.state_dict())
        y = x.to(layer.weight.dtype)
        with torch.inference_mode():
            torch.testing.assert_close(layer(y), layer(y), rtol=0, atol=0)
            torch.testing.assert_close(layer(y), other(y), rtol=0, atol=0)

    check()
    layer.weight.mul_(2)
    check()
    layer.load_state_dict({"weight": torch.ones_like(layer.weight)})
    check()
    layer.weight.data = torch.full_like(layer.weight, 3)
    check()
    layer.weight = nn.Parameter(torch.full_like(layer.weight, 4), requires_grad=False)
    check()
    layer.double()
    check()
    y = x.double().requires_grad_()
    (gradient,) = torch.autograd.grad(layer(y).sum(), y)
    assert gradient.isfinite().all()
    assert gradient.any()


def test_spectral_convolution_plugs_into_neuralops_fno() -> None:
    """FNO(conv_module=SpectralConvolution) with the weights of a stock FNO computes the same and
    has the same gradient."""
    options = {"n_modes": (9, 9), "in_channels": 2, "out_channels": 1, "hidden_channels": 6}
    torch.manual_seed(0)
    theirs = FNO(**options, n_layers=2)
    ours = FNO(**options, n_layers=2, conv_module=SpectralConvolution)
    own = dict(ours.named_parameters())
    with torch.no_grad():
        for name, parameter in theirs.named_parameters():
            if name in own and ".convs." not in name:
                own[name].copy_(parameter)
        for a, b in zip(theirs.fno_blocks.convs, ours.fno_blocks.convs, strict=True):
            w = a.weight.tensor
            w[..., 0] = (w[..., 0] + w[..., 0].flip(-1).conj()) / 2
            a.bias.zero_()
            b.weight.copy_(modes_first(w))
    x = torch.randn(2, 2, 24, 24)
    a, b = x.clone().requires_grad_(), x.clone().requires_grad_()
    expected, out = theirs(a), ours(b)
    torch.testing.assert_close(out, expected, rtol=1e-4, atol=1e-5)
    expected.square().sum().backward()
    out.square().sum().backward()
    assert a.grad is not None
    torch.testing.assert_close(b.grad, a.grad, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"n_modes": 16}, "odd numbers, got 16"),
        ({"n_modes": (17, 9)}, r"odd numbers, got \(17, 9\)"),
        ({"n_modes": 9, "separable": True}, "separable is not supported, got True"),
        ({"n_modes": 9, "factorization": "tucker"}, "factorization is not supported"),
    ],
)
def test_other_layers_are_refused(options: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        SpectralConvolution(2, 2, **options)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"square field .* got \(1, 2, 8, 9\)"):
        SpectralConvolution(2, 2, 5)(torch.zeros(1, 2, 8, 9))


@pytest.mark.parametrize("source", [8, 9, 16, 40])
@pytest.mark.parametrize("target", [8, 11, 16, 33])
def test_feature_resampling_is_spectral_resampling(source: int, target: int) -> None:
    x = torch.randn(2, 3, source, source, generator=torch.Generator().manual_seed(0)).double()
    expected = spectral.resample(x, target)
    torch.testing.assert_close(resample_features(x, target), expected, atol=1e-13, rtol=1e-12)
