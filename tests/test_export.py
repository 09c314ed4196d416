"""Exported networks, compared with eager ones; and that a step waits for nothing on its device.

`meta` stands for an accelerator: what strays to the CPU, or asks for a value, is an error there.
"""

import io
from typing import Any

import onnxruntime
import pytest
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from mldemo.networks import build_network
from mldemo.networks.blocks import CONDITIONS, FIELDS
from mldemo.pipeline import prepare
from mldemo.request import Request
from mldemo.space import spectral
from mldemo.space.priors import Bessel
from mldemo.training.loop import Training
from mldemo.training.plan import Plan
from tests.test_networks import randomised

RECORDS = {
    "ushaped": {"kind": "ushaped", "width": 8, "modes": 3, "core_widths": [8, 16]},
    "fno": {"kind": "fno", "width": 8, "modes": 3, "depth": 2},
    "unet": {"kind": "unet", "widths": [8, 16]},
    "wavelet": {"kind": "wavelet", "width": 8, "scales": 2, "depth": 2},
}
each_network = pytest.mark.parametrize("kind", list(RECORDS))
each_level = pytest.mark.parametrize("n", [16, 32, 64])
# torch.onnx copies a tree, and torch.compile makes an autograd Function, as torch itself calls
# deprecated
pytestmark = [
    pytest.mark.filterwarnings("ignore:.*LeafSpec.*:FutureWarning"),
    pytest.mark.filterwarnings("ignore:.*should not be instantiated.*:DeprecationWarning"),
]


def case(kind: str, n: int, batch: int = 3) -> tuple[nn.Module, tuple[Tensor, Tensor]]:
    generator = torch.Generator().manual_seed(n + batch)
    x = torch.randn(batch, FIELDS, n, n, generator=generator)
    snr = 2 * torch.rand(batch, CONDITIONS, generator=generator) - 1
    network = randomised(build_network(RECORDS[kind]), scale=0.5)
    return network.eval().requires_grad_(False), (x, snr)


def close(found: Tensor, expected: Tensor) -> None:
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-5 * float(expected.abs().max()))


def onnx_values(module: nn.Module, inputs: tuple[Tensor, ...]) -> Tensor:
    """What ONNX Runtime makes of a module."""
    program: Any = torch.onnx.export(module, inputs, dynamo=True, verbose=False)
    file = io.BytesIO()
    program.save(file)
    session = onnxruntime.InferenceSession(file.getvalue(), providers=["CPUExecutionProvider"])
    names = [i.name for i in session.get_inputs()]
    feed = dict(zip(names, (x.numpy() for x in inputs), strict=True))
    return torch.from_numpy(session.run(None, feed)[0])


@each_network
@each_level
def test_an_exported_network_has_the_values_of_the_eager_one(kind: str, n: int) -> None:
    """`torch.export`, for any batch and before any eager call; the eager network is none the
    worse: what it keeps for the next call is no stand-in of the tracer."""
    network, inputs = case(kind, n)
    batch = torch.export.Dim("batch", min=1, max=64)
    program = torch.export.export(network, inputs, dynamic_shapes=({0: batch}, {0: batch}))
    close(program.module()(*inputs), network(*inputs))
    _, more = case(kind, n, batch=5)
    close(program.module()(*more), network(*more))


@pytest.mark.parametrize(
    ("kind", "n"),
    [
        *(("ushaped", n) for n in (16, 32, 64)),
        *((kind, 32) for kind in RECORDS if kind != "ushaped"),
    ],
)
def test_onnx_runtime_computes_what_the_network_does(kind: str, n: int) -> None:
    network, inputs = case(kind, n)
    close(onnx_values(network, inputs), network(*inputs))


def test_the_whole_denoiser_is_exported_and_compiled() -> None:
    """The shipped checkpoint as a denoiser, FFTs and all: `torch.export`, ONNX Runtime, and
    `torch.compile`, the network alone in one graph."""
    run = prepare(Request(resolution=16))
    x, time = run.start([0, 1, 2]), torch.tensor([0.3, 0.1, 0.8])
    denoise: Any = run.denoise
    denoise._levels.clear()
    with torch.no_grad():
        program = torch.export.export(denoise, (x, time))
        expected = denoise(x, time)
        close(program.module()(x, time), expected)
        close(onnx_values(denoise, (x, time)), expected)
        close(torch.compile(denoise, backend="eager")(x, time), expected)
    network, inputs = case("ushaped", 16)
    compiled = torch.compile(network, backend="eager", fullgraph=True, dynamic=False)
    close(compiled(*inputs), network(*inputs))


class Crossings(TorchDispatchMode):
    """Every operation that reads a tensor of the CPU and writes one of `meta`, or the reverse."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def __torch_dispatch__(  # type: ignore[override]
        self, func: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        out = func(*args, **(kwargs or {}))
        leaves = [v for v in tree_leaves((args, kwargs, out)) if isinstance(v, Tensor)]
        if len({v.device.type for v in leaves}) > 1:
            self.found.append(f"{func} {[tuple(v.shape) for v in leaves]}")
        return out


def test_a_training_step_waits_for_nothing() -> None:
    """The second step on a level: what crosses to the device is its batch alone — data, ζ, times
    and two spectra —, and no value is asked for (`meta` has none and raises)."""
    fields = torch.randn(20, 1, 16, 16, generator=torch.Generator().manual_seed(0))
    prior = Bessel(trace=0.2).to_dict()
    for kind, record in RECORDS.items():
        plan = Plan((prior,), network=record, levels=((16, 4),), batch=4)
        run = Training(plan, fields, "meta")
        run.advance()
        with Crossings() as crossings:
            run.advance()
        assert len(crossings.found) == 5, (kind, crossings.found)
        assert all("_to_copy" in line for line in crossings.found)


def test_norms_and_spectra_copy_no_constant() -> None:
    modes = torch.zeros(2, 1, 16, 9, dtype=torch.complex64, device="meta")

    def ask() -> None:
        spectral.squared_norm(modes, 16)
        spectral.radial_mean(modes.real, 16)
        spectral.shift(modes, torch.zeros(2, 2, device="meta"))
        spectral.radial_power(spectral.to_field(modes, 16))

    ask()
    with Crossings() as crossings:
        ask()
    assert not crossings.found


@pytest.mark.skipif(not torch.cuda.is_available(), reason="CUDA graphs need a CUDA device")
@each_network
@each_level
def test_a_network_is_captured_whole(kind: str, n: int) -> None:
    """Replayed on new inputs, a CUDA graph of the network gives what the network gives."""
    network, inputs = case(kind, n)
    network, held = network.cuda(), [v.cuda() for v in inputs]
    with torch.no_grad():
        stream = torch.cuda.Stream()
        with torch.cuda.stream(stream):
            for _ in range(3):
                network(*held)
        torch.cuda.synchronize()
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            out = network(*held)
        for v in held:
            v.copy_(v.flip(0))
        graph.replay()
        torch.testing.assert_close(out, network(*held), rtol=1e-3, atol=1e-3)


@each_network
@pytest.mark.parametrize("where", [0, 1, 2])
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_other_precisions_are_refused_in_a_sentence(
    kind: str, where: int, dtype: torch.dtype
) -> None:
    """Fields, log-SNRs or weights of another precision than the rest."""
    network, inputs = case(kind, 16)
    parts: list[Any] = [*inputs, network]
    parts[where] = parts[where].to(dtype)
    with pytest.raises(ValueError, match=r"must be .*float.*: convert them"):
        parts[2](*parts[:2])
