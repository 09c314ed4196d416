"""The study of the recipe, small: what a variant changes, budgets, and going on after a stop."""

from dataclasses import asdict, replace
from itertools import islice
from pathlib import Path

import pytest
import torch

from mldemo.data.sets import IdxFolder
from mldemo.data.statistics import Statistics
from mldemo.networks import build_network
from mldemo.studies import recipe
from mldemo.training.loop import Training


@pytest.mark.parametrize("name", recipe.NAMES)
def test_a_variant_changes_one_thing(name: str) -> None:
    """Its name's; the network can be built, and samples are drawn with the prior bessel."""
    generator = torch.Generator().manual_seed(0)
    statistics = Statistics.of(torch.randn(20, 1, 64, 64, generator=generator))
    plan, base = (asdict(recipe.plan_of(n, statistics)) for n in (name, "recipe"))
    build_network(plan["network"])
    assert plan["priors"][0]["name"] == "bessel"
    changed = {key for key in base if plan[key] != base[key]}
    if name == "recipe":
        assert not changed
    elif name == recipe.FAMILY:
        assert changed == {"priors", "variations"}
        assert len({prior["name"] for prior in plan["priors"]}) == 6
    else:
        assert len(changed) == 1


def test_budgets_and_a_stop(
    idx_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """2 s buy 8 steps of the recipe, or 4 of a variant that costs twice as much. A run that was
    stopped goes on where its state was written, and a variant that is done is not trained again.
    """
    monkeypatch.setattr(recipe, "step_costs", lambda *_, **__: {recipe.LEVEL: 0.25})
    monkeypatch.setattr(recipe, "relative_cost", lambda *_: 2.0)
    monkeypatch.setattr(recipe, "SAVE_EVERY", 2)
    small = {"U-Net": {"kind": "unet", "widths": (8,)}, "FNO": {"kind": "fno", "width": 8}}
    monkeypatch.setattr(recipe, "NETWORKS", small)
    steps: list[int] = []
    advance, fail_at = Training.advance, [3]

    def counted(run: Training):
        if run.step in fail_at:
            raise KeyboardInterrupt
        steps.append(run.step)
        return advance(run)

    monkeypatch.setattr(Training, "advance", counted)
    arguments = str(idx_folder), 2.0, 16, tuple(small), tmp_path
    with pytest.raises(KeyboardInterrupt):
        list(recipe.study(*arguments))
    fail_at.clear()
    (_, budget), (name, first) = islice(recipe.study(*arguments), 2)
    assert budget == 8
    assert name == "U-Net" and first["steps"] == 4
    assert steps == [0, 1, 2, 2, 3]
    assert first["cpu_seconds"] > 0 and first["fid"]["1"] > 0 and first["fid"]["1.25"] > 0
    again = dict(recipe.study(*arguments))
    assert again["U-Net"] == first
    assert steps[5:] == [0, 1, 2, 3]
    assert not list(tmp_path.glob("*.state.safetensors"))


def test_a_variant_that_there_is_not() -> None:
    """The names are listed."""
    with pytest.raises(ValueError, match=r"one of recipe, another seed.*got 'nothing'"):
        list(recipe.study("anywhere", 1.0, 16, ("nothing",)))


def test_costs_are_relative_to_the_recipe(idx_folder: Path) -> None:
    """A plan costs as much as itself, and three times the batch more than twice that."""
    fields = IdxFolder(idx_folder).fields()
    base = recipe.plan_of("recipe", Statistics.of(fields))
    base = replace(base, network={"kind": "unet", "widths": (16,)})
    assert 0.7 < recipe.relative_cost(base, base, fields) < 1.4
    assert recipe.relative_cost(replace(base, batch=144), base, fields) > 1.5
