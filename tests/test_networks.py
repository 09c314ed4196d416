"""Layers and operators, compared with neuralop, dense sums, and themselves on other grids."""

import json
import math
import resource
from typing import Any

import numpy as np
import pytest
import torch
from neuralop.layers.spectral_convolution import SpectralConv
from neuralop.models import FNO
from torch import Tensor, nn
from torch.nn import functional

from mldemo.networks import NETWORKS, SpectralConvolution, build_network, complete_record
from mldemo.networks.blocks import CONDITIONS, FIELDS, coordinates
from mldemo.networks.channels_last import resample_features
from mldemo.space import spectral

RECORDS = {
    "ushaped": {"kind": "ushaped", "width": 8, "modes": 3, "depth": 2, "core_widths": (8, 16, 16)},
    "fno": {"kind": "fno", "width": 8, "modes": 3, "depth": 2},
    "wavelet": {"kind": "wavelet", "width": 8, "scales": 2, "depth": 2},
}
each_network = pytest.mark.parametrize("kind", list(RECORDS))


def randomised(module: nn.Module, seed: int = 0, scale: float = 1.0) -> nn.Module:
    """Weights of the size training gives: the networks start at zero, where tests are trivial."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in module.parameters():
            fan_in = parameter.shape[2] if parameter.ndim == 5 else parameter[0].numel()
            spread = scale / math.sqrt(max(fan_in, 1)) if parameter.ndim > 1 else 0.1
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * spread)
    return module


def banded(n: int, band: int, channels: int = 1, count: int = 2, seed: int = 1) -> Tensor:
    """Random real fields on level n with |k|∞ ≤ band, the same functions for every n."""
    generator = torch.Generator().manual_seed(seed)
    shape = (count, channels, 2 * band + 1, 2 * band + 1)
    field = torch.randn(shape, generator=generator, dtype=torch.float64)
    return spectral.resample(field, n)


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


def test_coordinates_are_points_of_the_torus() -> None:
    """cos and sin of 2πx with x = j/N: a coarse grid sees every second point of a fine one."""
    coarse, fine = (coordinates(n, torch.float64, torch.device("cpu")) for n in (9, 18))
    torch.testing.assert_close(fine[..., ::2, ::2], coarse)
    x = 2 * math.pi * 4 / 9
    expected = torch.tensor([math.cos(x), math.sin(x), 1.0, 0.0], dtype=torch.float64)
    torch.testing.assert_close(coarse[0, :, 4, 0], expected, atol=1e-15, rtol=0)


def conditions(count: int, seed: int = 4) -> Tensor:
    """Scaled log-SNRs, uniform in [-1, 1]."""
    generator = torch.Generator().manual_seed(seed)
    return 2 * torch.rand(count, CONDITIONS, generator=generator, dtype=torch.float64) - 1


@each_network
@pytest.mark.parametrize("n", [8, 9, 16, 21])
def test_every_sample_has_its_own_noise(kind: str, n: int) -> None:
    """A batch of different log-SNRs equals its samples one by one; each log-SNR and each of the
    two fields counts, and counts for its own sample only."""
    network = randomised(build_network(RECORDS[kind])).double()
    x, snr = banded(n, 3, FIELDS, count=3), conditions(3)
    with torch.no_grad():
        together = network(x, snr)
        for i in range(3):
            alone = network(x[i : i + 1], snr[i : i + 1])
            torch.testing.assert_close(alone, together[i : i + 1], rtol=1e-9, atol=1e-10)
        for j in range(CONDITIONS + FIELDS):
            fields, ratios = x.clone(), snr.clone()
            if j < CONDITIONS:
                ratios[1, j] = snr[0, j]
            else:
                fields[1, j - CONDITIONS] = x[0, j - CONDITIONS]
            gap = (network(fields, ratios) - together).abs().amax((1, 2, 3))
            assert float(gap[1]) > 1e-4, j
            assert float(gap[[0, 2]].max()) < 1e-10


def aliasing(network: nn.Module, coarse: int, fine: int, band: int) -> float:
    with torch.no_grad():
        low, high = (network(banded(n, band, FIELDS), conditions(2)) for n in (coarse, fine))
    low, high = spectral.resample(low, coarse), spectral.resample(high, coarse)
    return float((low - high).square().mean().sqrt() / high.square().mean().sqrt())


@each_network
@pytest.mark.parametrize(("coarse", "bound"), [(16, 0.15), (32, 0.035), (33, 0.035)])
def test_networks_are_operators_up_to_aliasing(kind: str, coarse: int, bound: float) -> None:
    """One band-limited function (|k|∞ ≤ 5) at N and 2N: the outputs on H_N differ by what the
    point-wise nonlinearities alias. Measured, relative L²: 16 to 32 11.2 % (ushaped), 5.4 %
    (fno) and 10.7 % (wavelet), 32 to 64 2.6, 0.7 and 1.7 %, with weights of full size; small
    weights alias less."""
    network = randomised(build_network(RECORDS[kind])).double()
    assert aliasing(network, coarse, 2 * coarse, 5) < bound
    quiet = randomised(build_network(RECORDS[kind]), scale=0.1).double()
    assert aliasing(quiet, coarse, 2 * coarse, 5) < bound / 100


@each_network
def test_aliasing_falls_with_the_grid(kind: str) -> None:
    """It is aliasing, not another operator: from 16, 32, 64 to the double each, the gap falls by
    factors of 4 and 9 (ushaped), 10 and 21 (fno), 6 and 20 (wavelet), where a layer that depends
    on the grid would leave a floor."""
    network = randomised(build_network(RECORDS[kind])).double()
    gaps = [aliasing(network, n, 2 * n, 3) for n in (16, 32, 64)]
    assert gaps[0] > 3 * gaps[1] > 18 * gaps[2]


@each_network
def test_fresh_networks_can_learn(kind: str) -> None:
    """Zero-initialised as they are, the loss gradient reaches the output layer, and after one step
    every parameter."""
    torch.manual_seed(0)
    network = build_network(RECORDS[kind])
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1)
    x, snr = banded(16, 5, FIELDS).float(), conditions(2).float()
    for _ in range(4):
        optimizer.zero_grad()
        (network(x, snr) - x[:, :1].square()).square().mean().backward()
        optimizer.step()
    silent = [name for name, p in network.named_parameters() if p.grad is None or not p.grad.any()]
    assert not silent


@pytest.mark.parametrize("kind", list(NETWORKS))
def test_a_complete_record_is_what_json_brings_back(kind: str) -> None:
    """With every parameter, and those given as they are."""
    record = complete_record({"kind": kind} | ({"widths": (8,)} if kind == "unet" else {}))
    assert json.loads(json.dumps(record)) == record
    assert len(record) > 1 and record["kind"] == kind


@pytest.mark.parametrize(
    ("record", "message"),
    [
        ({"kind": "cnn"}, r"network kind must be one of fno, ushaped.*, got 'cnn'"),
        ({"kind": "fno", "colour": 1}, "fno network has no parameter 'colour'; it has"),
        ({"kind": "fno", "width": 10**6}, "width must be a whole .* from 1 to 1024, got 1000000"),
        ({"kind": "fno", "width": 32.0}, r"width must be a whole number .*, got 32\.0"),
        ({"kind": "fno", "depth": True}, "depth must be a whole number from 0 to 64, got True"),
        ({"kind": "ushaped", "modes": 128}, "modes must be a whole .* from 0 to 127, got 128"),
        ({"kind": "ushaped", "core_patch": 0}, "core_patch must be .* from 1 to 16, got 0"),
        ({"kind": "ushaped", "core_grid": "16"}, "core_grid must be a whole .*, got '16'"),
        ({"kind": "ushaped", "core_widths": [12]}, r"core_widths must be .* 1024, got \[12\]"),
        ({"kind": "unet", "widths": 8}, "widths must be one to four multiples of 8 .*, got 8"),
        ({"kind": "wavelet", "scales": 7}, "scales must be a whole .* from 1 to 6, got 7"),
        ({"kind": "fno", "width": 1024, "modes": 127}, "may have 100000000 weights, .* 273864373"),
    ],
)
def test_bad_records_are_refused_before_they_take_memory(
    record: dict[str, object], message: str
) -> None:
    """The process does not grow by 100 MB: a width of a million alone would take 1.9 GB."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(ValueError, match=message):
        build_network(record)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100_000  # kB


def test_the_core_adds_what_it_kept_on_the_way_down() -> None:
    """With nothing coming up from below, the answer is that of the kept field alone."""
    network: Any = randomised(build_network({"kind": "ushaped", "core_widths": [8, 16]}))
    core, e = network.core, torch.randn(2, 128)
    x = torch.randn(2, FIELDS + 4, 16, 16)
    for parameter in core.narrow.parameters():
        nn.init.zeros_(parameter)
    kept = core.down[0](core.enter(functional.pixel_unshuffle(x, 2)), e)
    expected = functional.pixel_shuffle(core.leave(core.up[0](kept, e)), 2)
    torch.testing.assert_close(core(x, e), expected)


@pytest.mark.parametrize("options", [{"core_grid": 8}, {"core_grid": 18}, {"core_patch": 3}])
def test_patches_tile_the_latent(options: dict[str, int]) -> None:
    record = {"kind": "ushaped", "core_widths": [8, 8, 8, 8]} | options
    multiple = 8 * record.get("core_patch", 2)
    with pytest.raises(ValueError, match=f"core_grid must be a multiple of {multiple}, got"):
        build_network(record)
