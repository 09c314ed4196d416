"""What makes samples good per CPU second: one change to the recipe at a time.

Every variant is trained on level 16 for the time that so many CPU seconds of the recipe are. What
its step costs is measured in turn with a step of the recipe, since a busy machine changes both.
Then its samples are held against the test data, as trained and with the default guidance.
"""

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from statistics import median
from typing import Any

import torch
from torch import Tensor

from mldemo.data import Statistics, load_data
from mldemo.metrics.evaluation import Reference
from mldemo.pipeline import default_prior
from mldemo.plan import Plan
from mldemo.priors import PRIORS
from mldemo.request import GUIDANCE
from mldemo.studies.multilevel import keep, samples, step_costs
from mldemo.training import Training

LEVEL = 16
SAVE_EVERY, LAST = 200, 200  # steps between states; steps over which the loss is averaged
NETWORKS: dict[str, dict[str, Any]] = {  # what differs from the default network
    "width 24": {"width": 24},
    "width 48": {"width": 48},
    "7 modes": {"modes": 7},
    "1 Fourier block": {"depth": 1},
    "3 Fourier blocks": {"depth": 3},
    "core 48-96": {"core_widths": (48, 96)},
    "core 96-192": {"core_widths": (96, 192)},
    "core on points": {"core_patch": 1},
    "U-Net": {"kind": "unet"},
    "FNO": {"kind": "fno"},
}
PLANS: dict[str, dict[str, Any]] = {  # what differs from the default plan
    "recipe": {},
    "another seed": {"seed": 1},
    "batch 24": {"batch": 24},
    "batch 96": {"batch": 96},
    "rate 0.001": {"learning_rate": 1e-3},
    "rate 0.004": {"learning_rate": 4e-3},
    "EMA 0.998": {"ema": 0.998},
    "EMA 0.9995": {"ema": 0.9995},
    "times uniform": {"decisive": 0.0},
    "times 0.9 decisive": {"decisive": 0.9},
    "shifts by a pixel": {"shift": 1 / 32},  # of the digits as they were, 28 on 32
}
FAMILY, VARIATIONS = "six priors and 252 around them", 252
NAMES = (*PLANS, *NETWORKS, FAMILY)


def plan_of(name: str, statistics: Statistics) -> Plan:
    """The plan of a variant, one step long; its first prior is bessel."""
    changes: dict[str, Any] = dict(PLANS.get(name, {}))
    if name in NETWORKS:
        changes["network"] = {"kind": "ushaped"} | NETWORKS[name]
    others = [p for p in PRIORS if p != "bessel"] if name == FAMILY else []
    if others:
        changes["variations"] = VARIATIONS
    priors = tuple(default_prior(p, statistics).to_dict() for p in ("bessel", *others))
    return Plan(priors=priors, levels=((LEVEL, 1),), **changes)


def relative_cost(plan: Plan, base: Plan, fields: Tensor, steps: int = 15) -> float:
    """CPU time of a step of `plan` in units of one of `base`: the median of steps in turn."""
    runs, ratios = [Training(p, fields) for p in (plan, base)], []
    for run in runs:
        run.plan = replace(run.plan, levels=((LEVEL, steps + 1),))
        run.advance()
    for _ in range(steps):
        before = [run.seconds for run in runs]
        one, other = (run.advance().seconds - b for run, b in zip(runs, before, strict=True))
        ratios.append(one / other)
    return median(ratios)


def _budget(statistics: Statistics, fields: Tensor, seconds: float, state: Path | None) -> float:
    """How many steps of the recipe the CPU seconds buy."""
    known = state / "recipe.budget.json" if state else None
    if known and known.exists():
        return json.loads(known.read_text("utf-8"))
    budget = seconds / step_costs(plan_of("recipe", statistics), fields, [LEVEL], steps=12)[LEVEL]
    keep(known, budget)
    return budget


def study(
    source: str,
    seconds: float,
    count: int,
    names: tuple[str, ...] = NAMES,
    state: Path | None = None,
) -> Iterator[tuple[str, Any]]:
    """A part of the record per variant; finished ones in the folder `state` are not repeated."""
    unknown = sorted(set(names) - set(NAMES))
    if unknown:
        raise ValueError(f"a variant must be one of {', '.join(NAMES)}, got {unknown[0]!r}")
    fields, reference = load_data(source), Reference.of(source)
    statistics = Statistics.of(fields)
    yield "recipe_steps", (budget := _budget(statistics, fields, seconds, state))
    for name in names:
        slug = name.replace(" ", "-")
        kept = state / f"{slug}.json" if state else None
        if kept and kept.exists():
            yield name, json.loads(kept.read_text("utf-8"))
            continue
        part = _variant(plan_of(name, statistics), fields, budget, reference, count, state, slug)
        keep(kept, part)
        yield name, part


def _variant(
    plan: Plan,
    fields: Tensor,
    budget: float,
    reference: Reference,
    count: int,
    state: Path | None,
    slug: str,
) -> dict[str, Any]:
    known = state / f"{slug}.steps.json" if state else None
    if known and known.exists():
        steps = json.loads(known.read_text("utf-8"))
    else:
        base = Plan(priors=plan.priors[:1], levels=plan.levels)
        steps = max(1, round(budget / relative_cost(plan, base, fields)))
        keep(known, steps)
    run = Training(replace(plan, levels=((LEVEL, steps),)), fields)
    file = state / f"{slug}.state.safetensors" if state else None
    if file and file.exists():
        run.resume(file)
    losses = [progress.loss for progress in run.run(file, SAVE_EVERY)][-LAST:]
    found = {g: reference.evaluate(samples(run, LEVEL, count, g)) for g in (1.0, GUIDANCE)}
    if file:
        file.unlink(missing_ok=True)
    return {
        "steps": steps,
        "cpu_seconds": round(run.seconds, 1),
        "loss": round(sum(losses) / len(losses), 4) if losses else None,
        "parameters": sum(p.numel() for p in run.denoiser.network.parameters()),
        "fid": {f"{g:g}": round(r["metrics"]["fid"], 2) for g, r in found.items()},
        "fid_ratio": {f"{g:g}": round(r["fid_ratio"], 2) for g, r in found.items()},
        "threads": torch.get_num_threads(),
    }
