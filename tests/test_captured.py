"""Captured steps and calls: the same numbers as ordinary ones; on a GPU, where there is one."""

from pathlib import Path

import pytest
import torch
from torch import Tensor

from mldemo.data.sets import IdxFolder
from mldemo.diffusion.captured import EAGER, MOST_GRAPHS, CapturedDenoiser, Graph, captured
from mldemo.networks.blocks import coordinates
from mldemo.pipeline import default_checkpoint, prepare
from mldemo.request import Request
from mldemo.training.captured import CapturedTraining
from mldemo.training.loop import Training
from mldemo.training.plan import Plan
from tests.test_export import Crossings
from tests.test_training import FAMILY, tensors_of

needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
DEVICES = ["cpu", pytest.param("cuda", marks=needs_gpu)]
each_device = pytest.mark.parametrize("device", DEVICES)


@pytest.fixture
def fields(idx_folder: Path) -> Tensor:
    return IdxFolder(idx_folder).fields()[:50]


class SameNoise(Training):
    """An ordinary training with the draws of a captured one."""

    def __init__(self, other: CapturedTraining) -> None:
        super().__init__(other.plan, other.fields, other.device)
        self.other = other

    def _batch(self, resolution: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        self.other.step = self.step
        draws, _ = self.other._captured(resolution)
        self.other._draw(draws)
        return self.other._inputs(draws, resolution)


@each_device
@pytest.mark.parametrize("shift", [0.0, 0.05])
def test_captured_steps_are_those_of_the_ordinary_training(
    fields: Tensor, tiny_plan: dict, device: str, shift: float
) -> None:
    """Two levels, rehearsal, several priors, a rate that changes at every step."""
    plan = Plan(**tiny_plan | FAMILY | {"shift": shift, "levels": ((8, 12), (16, 12))})
    run = CapturedTraining(plan, fields, device)
    found = list(run.run())
    ordinary = SameNoise(CapturedTraining(plan, fields, device))
    expected = list(ordinary.run())
    for a, b in zip(found, expected, strict=True):
        assert (a.step, a.level, a.resolution, a.learning_rate, a.finished_level) == (
            *(b.step, b.level, b.resolution, b.learning_rate, b.finished_level),
        )
        torch.testing.assert_close(a.loss, b.loss, rtol=1e-3, atol=1e-5)
    near = 2e-3 if device == "cpu" else 3e-2  # cuDNN's convolutions use TF32
    ours, theirs = tensors_of(run), tensors_of(ordinary)
    start = tensors_of(CapturedTraining(plan, fields, device))
    for key, value in theirs.items():
        moved = (value - start[key]).norm() if key in start else value.norm()
        assert (ours[key] - value).norm() <= near * moved + 1e-5, key


@each_device
def test_a_resumed_captured_training_goes_on(
    fields: Tensor, tiny_plan: dict, tmp_path: Path, device: str
) -> None:
    plan = Plan(**tiny_plan | FAMILY | {"levels": ((8, 8), (16, 8))})
    whole = CapturedTraining(plan, fields, device)
    losses = [float(p.loss) for p in whole.run()]
    first = CapturedTraining(plan, fields, device)
    for progress in first.run(tmp_path / "s.safetensors", save_every=5):
        if progress.step == 11:
            break
    again = first if device == "cpu" else CapturedTraining(plan, fields, device)
    again.resume(tmp_path / "s.safetensors")
    assert again.step == 10
    assert [float(p.loss) for p in again.run()] == pytest.approx(losses[10:], rel=1e-3)


def test_seconds_count_the_time_between_captured_steps(
    fields: Tensor, tiny_plan: dict, tmp_path: Path
) -> None:
    now = [100.0]
    run = CapturedTraining(Plan(**tiny_plan), fields, "cpu", clock=lambda: now[0])
    for _ in range(3):
        run.advance()
        now[0] += 10
    assert run.seconds == 20
    run.save(tmp_path / "s.safetensors")
    again = CapturedTraining(Plan(**tiny_plan), fields, "cpu", clock=lambda: now[0])
    again.resume(tmp_path / "s.safetensors")
    again.advance()
    now[0] += 5
    again.advance()
    assert again.seconds == 25


def on_meta(fields: Tensor, tiny_plan: dict, monkeypatch: pytest.MonkeyPatch) -> CapturedTraining:
    """A training whose tensors have no values: reading one raises."""

    class OfTheHost(torch.Generator):  # `meta` has none
        def __new__(cls, _: torch.device) -> torch.Generator:
            return super().__new__(cls)

    with monkeypatch.context() as patch:
        patch.setattr(torch, "Generator", OfTheHost)
        return CapturedTraining(Plan(**tiny_plan), fields, "meta")


def test_a_captured_step_waits_for_nothing(
    fields: Tensor, tiny_plan: dict, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After the first step nothing is read from the device and nothing of the host is used."""
    run = on_meta(fields, tiny_plan, monkeypatch)
    draws, _ = run._captured(8)
    run._compute(draws, 8)
    with Crossings() as crossings:
        run._compute(draws, 8)
    assert not crossings.found


@pytest.mark.parametrize("fault", ["reads", "brings"])
def test_a_step_that_waits_is_noticed(
    fields: Tensor, tiny_plan: dict, monkeypatch: pytest.MonkeyPatch, fault: str
) -> None:
    """A loss that is read, and one that a constant of the host is added to."""
    run = on_meta(fields, tiny_plan, monkeypatch)
    objective = run._objective

    def faulty(*inputs: Tensor) -> Tensor:
        loss = objective(*inputs)
        return loss * loss.item() if fault == "reads" else loss + torch.zeros(1).to("meta").sum()

    monkeypatch.setattr(run, "_objective", faulty)
    draws, _ = run._captured(8)
    if fault == "reads":
        with pytest.raises(RuntimeError, match="meta"):
            run._compute(draws, 8)
        return
    with Crossings() as crossings:
        run._compute(draws, 8)
    assert crossings.found


@each_device
def test_captured_calls_are_those_of_the_denoiser(device: str) -> None:
    """Several shapes in turn, each often enough to be replayed, and no result changes later."""
    run = prepare(Request(resolution=16), "cpu")
    denoiser = run.denoise
    assert isinstance(denoiser, torch.nn.Module)
    denoiser = denoiser.to(device)
    called, seen = CapturedDenoiser(denoiser), []
    with torch.no_grad():
        for i in range(12):
            x = run.start(list(range(1 + i % 2))).to(device)
            time = torch.tensor(1.0 - 0.08 * i, device=device)
            seen.append((called(x, time), denoiser(x, time)))
    denoiser.to("cpu")
    for a, b in seen:
        torch.testing.assert_close(a, b, rtol=1e-3, atol=1e-3)


def test_a_graph_holds_what_it_reads() -> None:
    """Inputs and the constants of caches, which may drop them; nothing that a call makes."""
    run = prepare(Request(resolution=16), "cpu")
    x, time = run.start([0]), torch.tensor(0.5)
    assert isinstance(run.denoise, torch.nn.Module)
    denoise = run.denoise
    graphs = [Graph(lambda: denoise(x, time), x.device) for _ in range(2)]
    with torch.no_grad():
        for graph in graphs:
            for _ in range(EAGER):
                graph()
    held, again = ({id(v) for v in graph.held} for graph in graphs)
    assert held == again
    level = denoise.level(16, x.dtype, x.device)
    constants = {id(level.mean), id(coordinates(16, x.dtype, x.device))}
    assert {id(x), id(time)} | constants <= held


def test_graphs_are_bounded_and_kept() -> None:
    run = prepare(Request(resolution=16))
    called = captured(run.denoise)
    assert called is captured(run.denoise)
    with torch.no_grad():
        for i in range(MOST_GRAPHS + 2):
            called(run.start(list(range(1 + i))), torch.tensor(0.5))
    assert len(called._graphs) <= MOST_GRAPHS


def test_gradients_go_through_the_denoiser_itself() -> None:
    run = prepare(Request(resolution=16))
    x = run.start([0]).requires_grad_()
    captured(run.denoise)(x, torch.tensor(0.5)).sum().backward()
    assert x.grad is not None
    assert float(x.grad.abs().max()) > 0


@needs_gpu
def test_a_run_on_a_gpu_is_the_run_on_the_cpu() -> None:
    """Every frame of a run; convolutions in TF32 agree to about 1e-4."""
    checkpoint = default_checkpoint("bessel", "cpu")
    request = Request(resolution=32, steps=8, count=4, checkpoint=checkpoint)
    pairs = zip(prepare(request, "cpu").frames(), prepare(request, "cuda").frames(), strict=True)
    for a, b in pairs:
        assert float((a.x0 - b.x0).norm() / a.x0.norm()) < 5e-3
