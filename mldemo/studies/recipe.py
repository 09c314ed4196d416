"""What makes samples good per CPU second: one change to the recipe at a time.

Every variant is trained on level 16 for the time that so many CPU seconds of the recipe are. What
its step costs is measured in turn with a step of the recipe, since a busy machine changes both;
where nothing changes the cost, it gets as many steps. Then its samples are compared with
validation data, as trained and with the default guidance, and so is its loss, with the recipe's
times and prior for all. (In runs so short the decay of the averaged weights is still warming up:
to vary it changes nothing.)
"""

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from statistics import median
from typing import Any

from torch import Tensor

from mldemo.data.sets import open_data
from mldemo.data.statistics import Statistics
from mldemo.metrics.evaluation import Reference
from mldemo.pipeline import default_prior
from mldemo.request import GUIDANCE
from mldemo.space.priors import PRIORS
from mldemo.store.files import read_json
from mldemo.studies.multilevel import VALIDATION, keep, samples, step_costs, validation_loss
from mldemo.training.loop import Training
from mldemo.training.plan import Plan

LEVEL = 16
SAVE_EVERY = 200  # steps between states
# What the study starts from: the recipe before its findings became the defaults.
BATCH = 48
NETWORK = {"kind": "ushaped", "modes": 12, "depth": 2, "core_widths": (64, 128)}
NETWORKS: dict[str, dict[str, Any]] = {  # what differs from that network
    "width 24": {"width": 24},
    "width 48": {"width": 48},
    "7 modes": {"modes": 7},
    "1 Fourier block": {"depth": 1},
    "3 Fourier blocks": {"depth": 3},
    "core 48-96": {"core_widths": (48, 96)},
    "core 96-192": {"core_widths": (96, 192)},
    "core on points": {"core_patch": 1},
    "1 Fourier block, 8 modes, core 48-96": {"depth": 1, "modes": 8, "core_widths": (48, 96)},
    "U-Net": {"kind": "unet"},
    "FNO": {"kind": "fno"},
}
PLANS: dict[str, dict[str, Any]] = {  # what differs from the default plan and that batch
    "recipe": {},
    "another seed": {"seed": 1},
    "batch 24": {"batch": 24},
    "batch 96": {"batch": 96},
    "rate 0.001": {"learning_rate": 1e-3},
    "rate 0.004": {"learning_rate": 4e-3},
    "times uniform": {"decisive": 0.0},
    "times 0.9 decisive": {"decisive": 0.9},
    "shifts by a pixel": {"shift": 1 / 32},  # of the digits as they were, 28 on 32
}
FAMILY, VARIATIONS = "six priors and 252 around them", 252
NAMES = (*PLANS, *NETWORKS, FAMILY)


def plan_of(name: str, statistics: Statistics) -> Plan:
    """The plan of a variant, one step long; its first prior is bessel."""
    changes: dict[str, Any] = {"batch": BATCH, "network": NETWORK} | PLANS.get(name, {})
    if name in NETWORKS:
        other = NETWORKS[name]
        changes["network"] = other if "kind" in other else NETWORK | other
    others = [p for p in PRIORS if p != "bessel"] if name == FAMILY else []
    if others:
        changes["variations"] = VARIATIONS
    priors = tuple(default_prior(p, statistics).to_dict() for p in ("bessel", *others))
    return Plan(priors=priors, levels=((LEVEL, 1),), **changes)


def relative_cost(plan: Plan, base: Plan, fields: Tensor, steps: int = 15) -> float:
    """CPU time of a step of `plan` in units of one of `base`: the median of steps in turn."""
    cost = ("network", "batch", "priors", "variations", "shift")
    if all(getattr(plan, key) == getattr(base, key) for key in cost):
        return 1.0
    levels = ((LEVEL, steps + 1),)
    runs = [Training(replace(p, levels=levels), fields) for p in (plan, base)]
    ratios = []
    for step in range(steps + 1):
        before = [run.seconds for run in runs]
        one, other = (run.advance().seconds - b for run, b in zip(runs, before, strict=True))
        if step:  # the first is slower
            ratios.append(one / other)
    return median(ratios)


def study(
    source: str,
    seconds: float,
    count: int,
    names: tuple[str, ...] = NAMES,
    state: Path | None = None,
) -> Iterator[tuple[str, Any]]:
    """A part of the record per variant; finished ones in the folder `state` are not repeated.

    A state of other settings raises `ValueError`.
    """
    unknown = sorted(set(names) - set(NAMES))
    if unknown:
        raise ValueError(f"a variant must be one of {', '.join(NAMES)}, got {unknown[0]!r}")
    settings = [Path(source).name, seconds, count]
    if _kept(state, "settings", lambda: settings) != settings:
        raise ValueError(f"{state} belongs to other settings: remove it or choose another folder")
    data = open_data(source)
    fields, test = data.fields("train"), data.fields("validation", LEVEL, VALIDATION)
    base = plan_of("recipe", Statistics.of(fields))
    reference = Reference.of(source, part="validation")
    budget = _kept(
        state, "budget", lambda: seconds / step_costs(base, fields, [LEVEL], steps=12)[LEVEL]
    )
    yield "recipe_steps", budget
    for name in names:
        slug, plan = name.replace(" ", "-"), plan_of(name, Statistics.of(fields))

        def steps(plan: Plan = plan) -> int:
            return max(1, round(budget / relative_cost(plan, base, fields)))

        def result(slug: str = slug, plan: Plan = plan) -> dict[str, Any]:
            longer = replace(plan, levels=((LEVEL, _kept(state, f"{slug}.steps", steps)),))
            run = Training(longer, fields)
            file = state / f"{slug}.state.safetensors" if state else None
            if file and file.exists():
                run.resume(file)
            for _ in run.run(file, SAVE_EVERY):
                pass
            return measured(run, test, reference, count)

        yield name, _kept(state, slug, result)
        if state:
            (state / f"{slug}.state.safetensors").unlink(missing_ok=True)


def _kept(state: Path | None, name: str, compute: Callable[[], Any]) -> Any:
    """What the state holds under a name, or else is computed now and kept there."""
    path = state / f"{name}.json" if state else None
    if path and path.exists():
        return read_json(path)
    value = compute()
    keep(path, value)
    return value


def measured(run: Training, test: Tensor, reference: Reference, count: int) -> dict[str, Any]:
    """Steps, time and quality of a finished run."""
    found = {g: reference.evaluate(samples(run, LEVEL, count, g)) for g in (1.0, GUIDANCE)}
    return {
        "steps": run.step,
        "cpu_seconds": round(run.seconds, 1),
        "parameters": sum(p.numel() for p in run.denoiser.network.parameters()),
        "validation_loss": round(validation_loss(run, test), 4),
        "fid": {f"{g:g}": round(r["metrics"]["fid"], 2) for g, r in found.items()},
        "fid_ratio": {f"{g:g}": round(r["fid_ratio"], 2) for g, r in found.items()},
    }
