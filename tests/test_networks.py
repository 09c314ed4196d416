"""Networks, compared with themselves on other grids and sample by sample; and their records."""

import json
import math
import resource
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from mldemo.networks import NETWORKS, build_network, complete_record
from mldemo.networks.blocks import CONDITIONS, FIELDS, coordinates
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
