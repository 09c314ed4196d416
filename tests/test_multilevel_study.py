"""The study of coarse-to-fine training, small: budgets, curves, and going on after a stop."""

import json
from itertools import islice
from pathlib import Path

import pytest
import torch
from PIL import Image

from mldemo.diffusion.denoiser import Denoiser
from mldemo.studies import multilevel
from mldemo.training.loop import Training


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two strategies on levels 8 and 16, costs given: the step counts are then known."""
    monkeypatch.setattr(multilevel, "FINEST", 16)
    monkeypatch.setattr(multilevel, "POINTS", 2)
    monkeypatch.setattr(multilevel, "VALIDATION", 8)
    shares = {"8 → 16": {8: 0.5, 16: 0.5}, "16 alone": {16: 1.0}}
    monkeypatch.setattr(multilevel, "STRATEGIES", shares)
    monkeypatch.setattr(multilevel, "step_costs", lambda *_: {8: 1.0, 16: 2.0, 32: 4.0, 64: 8.0})


def test_budgets_curves_and_a_stop(
    small: None, idx_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """8 s buy 4 steps at 8 and 2 at 16, or 4 at 16. Stopped after the first strategy, the study
    goes on with the second and does not repeat the first."""
    parts = multilevel.study(str(idx_folder), 8.0, 16, tmp_path)
    first = dict(islice(parts, 2))
    assert [list(level) for level in first["8 → 16"]["levels"]] == [[8, 4], [16, 2]]
    assert [point["step"] for point in first["8 → 16"]["curve"]] == [3, 6]
    spent = [point["cpu_seconds"] for point in first["8 → 16"]["curve"]]
    assert 0 < spent[0] < spent[1]
    assert [p.get("fid_ratio", 0) > 1 for p in first["8 → 16"]["curve"]] == [False, True]
    parts.close()

    steps: list[int] = []
    advance = Training.advance

    def counted(run: Training):
        steps.append(run.step)
        return advance(run)

    monkeypatch.setattr(Training, "advance", counted)
    again = dict(multilevel.study(str(idx_folder), 8.0, 16, tmp_path))
    assert again["8 → 16"] == json.loads(json.dumps(first["8 → 16"]))
    assert again["16 alone"]["levels"] == ((16, 4),)
    assert steps == [0, 1, 2, 3]
    multilevel.plot(again, tmp_path / "curves.png")
    with Image.open(tmp_path / "curves.png") as picture:
        assert picture.size == (900, 340) and len(set(picture.convert("L").tobytes())) > 20


def test_validation_is_that_of_the_averaged_weights(idx_folder: Path) -> None:
    """An untrained network adds nothing, so the loss is the target's norm; it is the same again,
    and follows the average, not the weights."""
    from mldemo.data.sets import IdxFolder
    from mldemo.space.priors import Bessel
    from mldemo.training.plan import Plan

    fields = IdxFolder(idx_folder).fields()
    plan = Plan(priors=(Bessel(trace=0.2).to_dict(),), levels=((16, 2),), batch=4)
    run, test = Training(plan, fields), fields[:8]
    loss = multilevel.validation_loss(run, test)
    assert loss == multilevel.validation_loss(run, test)
    silent = Denoiser(torch.nn.Module(), run.denoiser.prior, run.statistics, run.plan.schedule)
    silent.network.forward = lambda x, snr: torch.zeros_like(x[:, :1])  # type: ignore[method-assign]
    run.average.module = silent.network
    assert multilevel.validation_loss(run, test) == pytest.approx(loss, rel=1e-6)
    with torch.no_grad():
        run.denoiser.network.project.weight.add_(1.0)  # type: ignore[union-attr,operator]
    assert multilevel.validation_loss(run, test) == pytest.approx(loss, rel=1e-6)
