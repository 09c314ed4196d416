"""The study of architectures: aliasing in closed form, edges, and what a record supports."""

import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from mldemo.networks import SpectralConvolution, build_network
from mldemo.networks.blocks import FIELDS
from mldemo.networks.wavelet import WaveletConvolution
from mldemo.studies.aliasing import gap, layer_gaps, network_gap
from mldemo.studies.architectures import FILTER, NETWORKS, Architectures, errors, near_edges
from mldemo.studies.trained import SMALL, band_errors, fields, prior_of
from mldemo.training.loop import Training
from mldemo.training.plan import Plan
from tests.test_networks import banded, conditions, randomised


class Square(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x * x


def test_aliasing_of_a_square() -> None:
    """cos² at frequency 7 is ½ on H_16 and, sampled on 16 points, ½ + ½ cos at frequency 2."""
    x = torch.arange(16, dtype=torch.float64) / 16
    wave = torch.cos(2 * math.pi * 7 * x)[None, None, :, None].expand(1, 1, 16, 16)
    assert gap(Square(), wave, 32) == pytest.approx(math.sqrt(1 / 2), rel=1e-9)
    assert gap(Square(), banded(32, 7), 64) < 1e-12


def test_linear_operators_have_none_and_convolutions_of_pixels_do() -> None:
    h = banded(16, 7, 4)
    exact = SpectralConvolution(4, 4, 9), WaveletConvolution(4, 2), nn.Conv2d(4, 4, 1)
    for layer in exact:
        assert gap(randomised(layer).double(), h, 32) < 1e-12
    pixels = nn.Conv2d(4, 4, 3, padding=1, padding_mode="circular")
    assert gap(randomised(pixels).double(), h, 32) > 0.3


def test_layers_of_every_network() -> None:
    """Each has its own gap at what it sees; the core's latent grid is the same at 2N."""
    x, snr = banded(32, 15, FIELDS), conditions(2)
    found = {}
    for name, record in NETWORKS.items():
        network = randomised(build_network({"kind": record["kind"]})).double()
        found[name] = layer_gaps(network, x, snr)
        assert found[name].keys() == layer_gaps(network, x, snr).keys()
        assert 0 < network_gap(network, x, snr) < 2
    shaped = found["U-shaped operator"]
    assert list(shaped) == ["core", "lift", "blocks.0", "hidden"]
    assert shaped["core"] == 0 and max(shaped["lift"], shaped["hidden"]) < 1e-12
    for name in ("FNO", "wavelet operator"):
        blocks = [v for layer, v in found[name].items() if layer.startswith("blocks")]
        assert len(blocks) == 4 and 1e-4 < min(blocks) <= max(blocks) < 0.2
    assert {"enter", "down.1", "shrink.0", "attention", "up.1"} <= found["U-Net"].keys()
    assert found["U-Net"]["enter"] > 0.3


def test_points_near_an_edge() -> None:
    """A sine that changes sign between rows 0 and 1, and 32 and 33, of 64: two more on either
    side, also across the border of the picture."""
    x = torch.sin(2 * math.pi * (torch.arange(64) - 0.1) / 64)
    near = near_edges(x[None, None, :, None].expand(1, 1, 64, 64))
    rows = [i for i in range(64) if near[0, 0, i].all()]
    assert rows == [*range(4), *range(30, 36), 62, 63]
    assert not near[0, 0, 10].any()


@pytest.fixture(scope="module")
def run() -> Training:
    train, _ = fields(True)
    plan = Plan((prior_of("bessel", train).to_dict(),), network=SMALL, levels=((16, 2),), batch=4)
    made = Training(plan, train)
    for _ in made.run():
        pass
    return made


@pytest.mark.parametrize("level", [16, 64])
def test_errors_are_those_of_all_bands_and_all_points(run: Training, level: int) -> None:
    held_out = fields(True)[1]
    found = errors(run.averaged(), held_out, level)
    assert found["error"] == pytest.approx(sum(band_errors(run, held_out, level)), rel=1e-5)
    share = float(near_edges(held_out).double().mean())
    assert 0.1 < share < 0.9
    both = share * found["edges"] + (1 - share) * found["elsewhere"]
    assert found["error"] == pytest.approx(both, rel=1e-9)


def record(edges: dict[str, float]) -> dict[str, Any]:
    """A record of three seeds in which a network has these errors near edges, ± 0.001."""
    cells: dict[str, Any] = {}
    for name, error in edges.items():
        for seed in (1, 2, 3):
            spread = 0.0 if name == FILTER else 0.001 * (seed - 2)
            level = {"error": 0.1, "edges": error + spread, "elsewhere": 0.05, "aliasing": 0.02}
            value = {"data": "digits", "network": name, "weights": 1, "steps": 2}
            value |= {"levels": {"32": level, "64": level}, "layers": {"lift": 0.0, "a": 0.1}}
            cells[f"{name}, {seed}"] = {"value": value}
    asked = {"networks": {n: {} for n in NETWORKS}, "data": {"digits": [1, 1]}}
    return {"cells": cells, "inputs": asked | {"levels": [32, 64], "trained": 32}}


def test_a_conclusion_can_be_negative() -> None:
    own = {"FNO": 0.2, "U-shaped operator": 0.199, "U-Net": 0.3, "wavelet operator": 0.25}
    said = Architectures().conclusion(record(own | {FILTER: 0.26}))
    assert "Below that of the FNO by more than two standard deviations: none" in said
    assert "above that of the filter: U-Net at 32, 64." in said
    own["wavelet operator"] = 0.19
    said = Architectures().conclusion(record(own | {FILTER: 0.4}))
    assert "deviations: wavelet operator at 32, 64; above that of the filter: none." in said
    rows = Architectures().rows(record(own | {FILTER: 0.4}))
    assert rows[0]["edges, sd"] == pytest.approx(0.001)
    assert rows[0]["aliasing by layer"] == "lift 0.00%, a 10.00%"


def test_the_networks_are_of_one_size() -> None:
    """Half a million weights each."""
    for network in NETWORKS.values():
        count = sum(p.numel() for p in build_network(network).parameters())
        assert count == pytest.approx(5.3e5, rel=0.03)
