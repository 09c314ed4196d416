"""The wavelet layer, compared with PyWavelets, with itself on other grids, with the identity."""

import numpy as np
import pytest
import pywt
import torch
from torch import Tensor, nn

from mldemo.networks import build_network
from mldemo.networks.channels_last import on_both_axes
from mldemo.networks.wavelet import (
    WaveletConvolution,
    WaveletNeuralOperator,
    analysis,
    from_bands,
    halving,
    to_bands,
)
from mldemo.space import spectral
from tests.test_networks import banded, randomised
from tests.test_spectral_convolution import SkippedLayer

HERE = torch.float64, torch.device("cpu")


def layer(channels: int = 3, scales: int = 3) -> WaveletConvolution:
    made = randomised(WaveletConvolution(channels, scales)).double()
    assert isinstance(made, WaveletConvolution)
    return made


@pytest.mark.parametrize("n", [4, 8, 16])
def test_the_functions_are_orthonormal(n: int) -> None:
    """On a grid that resolves them (|k| < 4n/3), and from one scale to the next, where they also
    span all."""
    one = torch.eye(2 * n, dtype=torch.float64)
    fine, step = analysis(n, 64, *HERE), halving(n, *HERE)
    torch.testing.assert_close(fine @ fine.T, one, atol=1e-13, rtol=0)
    torch.testing.assert_close(step @ step.T, one, atol=1e-13, rtol=0)
    again = step @ analysis(2 * n, 64, *HERE)[: 2 * n]
    torch.testing.assert_close(again, fine, atol=1e-13, rtol=0)


def test_coefficients_are_those_of_pywavelets() -> None:
    """Its "dmey" cuts Meyer's filter off after 62 taps: measured, 0.3 % of the largest. For
    |k|∞ ≤ N/3 samples are coefficients in V_N, which its transform begins with."""
    field = banded(64, 20)
    bands = to_bands(on_both_axes(analysis(32, 64, *HERE), field))
    ours = [part.numpy() for part in bands.split(1, 1)]
    low, (first, second, both) = pywt.dwt2(field.numpy(), "dmey", "periodization")
    for mine, theirs in zip(ours, (low, -second, -first, both), strict=True):
        assert np.abs(mine - theirs).max() < 5e-3 * np.abs(low).max()
        assert np.abs(mine).max() > 0.1 * np.abs(low).max()


@pytest.mark.parametrize("n", [24, 32, 33, 64])
def test_what_the_scales_resolve_comes_back(n: int) -> None:
    """With filters that pass everything the layer is the identity on |k|∞ ≤ 32/3."""
    same = layer()
    for convolution in same.filters:
        nn.init.dirac_(convolution.weight)
    u = banded(n, 10, 3)
    torch.testing.assert_close(same(u), u, atol=1e-12, rtol=0)
    u = banded(8, 3, 4)
    torch.testing.assert_close(from_bands(to_bands(u)), u, atol=0, rtol=0)


@pytest.mark.parametrize(("coarse", "fine"), [(16, 32), (17, 34), (16, 27), (9, 64)])
def test_it_is_one_operator(coarse: int, fine: int) -> None:
    """One field of H_N sampled twice goes to one function, to rounding: no aliasing at all."""
    filters = layer()
    low, high = (filters(banded(n, spectral.bandwidth(coarse), 3)) for n in (coarse, fine))
    torch.testing.assert_close(spectral.resample(high, coarse), low, atol=1e-12, rtol=0)


@pytest.mark.parametrize("n", [16, 18, 32])
def test_it_moves_with_the_field(n: int) -> None:
    """By a quarter of the torus, where the coarsest scale comes back to itself."""
    filters, u = layer(), banded(n, 7, 3)
    offsets = torch.tensor([[0.25, -0.5]] * len(u), dtype=torch.float64)

    def moved(field: Tensor) -> Tensor:
        return spectral.to_field(spectral.shift(spectral.to_modes(field), offsets), n)

    torch.testing.assert_close(filters(moved(u)), moved(filters(u)), atol=1e-12, rtol=0)


def test_scales_beyond_its_own_are_left_alone() -> None:
    """Two scales make V_16, which ends at |k| = 32/3."""
    u = banded(64, 31, 3)
    beyond = u - spectral.resample(spectral.resample(u, 23), 64)  # no |k|∞ ≤ 11
    assert float(layer(scales=2)(beyond).detach().abs().max()) < 1e-12


@pytest.mark.parametrize("n", [8, 11])
def test_gradients_are_finite_differences(n: int) -> None:
    """For the input, the filters and the skip convolution that is added."""
    both = SkippedLayer(layer(2, 2), randomised(nn.Conv2d(2, 2, 1)).double())
    names, values = zip(*both.named_parameters(), strict=True)

    def act(x: Tensor, *parameters: Tensor) -> Tensor:
        return torch.func.functional_call(both, dict(zip(names, parameters, strict=True)), (x,))

    leaves = [y.detach().requires_grad_() for y in (banded(n, 3, 2), *values)]
    assert torch.autograd.gradcheck(act, leaves, fast_mode=True)
    with torch.no_grad():
        x = banded(n, 3, 2)
        torch.testing.assert_close(both(x), both.layer(x) + both.skip(x))


def test_size_is_the_stated_one() -> None:
    """The docstring's "About 0.75 million parameters"."""
    count = sum(p.numel() for p in build_network({"kind": "wavelet"}).parameters())
    stated = (WaveletNeuralOperator.__doc__ or "").split("About ")[1].split(" million")[0]
    assert count == pytest.approx(float(stated) * 1e6, rel=0.01)
