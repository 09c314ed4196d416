"""Solvers: error against steps with exact scores, recorded for all samplers and live for one."""

import json
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any

from mldemo.diffusion.steps import SAMPLERS
from mldemo.request import SCORES
from mldemo.space.priors import PRIORS
from mldemo.studies.solvers import STEPS, bundled_gaussian, gaussian_curve
from mldemo.ui.fields import Choice
from mldemo.ui.programs import curve_program
from mldemo.ui.tab import Place, Tab
from mldemo.ui.tabs.watch.watch import resolution_field, sampler_field
from mldemo.ui.terms import TERMS
from mldemo.ui.wire import END, Record, frame_record

RECORD = Path(__file__).with_name("solvers.json")


@lru_cache(maxsize=1)
def recorded(path: Path = RECORD) -> dict[str, Any] | None:
    """The record of `python -m mldemo study solvers`, or None if it was not shipped."""
    return json.loads(path.read_text("utf-8")) if path.is_file() else None


def source(values: dict[str, Any], place: Place) -> Iterator[Record]:
    """The W2 errors of one sampler, computed now: a frame per step count."""
    sampler, prior, n = values["sampler"], values["prior"], values["n"]
    curve = f"list(gaussian_curve(bundled_gaussian({prior!r}, {n}), {sampler!r}))"
    yield (
        {
            "kind": "head",
            "device": "cpu",  # in double precision, which not every GPU has
            "steps": len(STEPS) - 1,
            "scoreLabel": SCORES["gaussian"].description,
            "sampler": sampler,
            "label": SAMPLERS[sampler].label,
            "prior": prior,
            "resolution": n,
            "command": "python -m mldemo study solvers --out solvers.json",
            "python": curve_program(curve, "steps", ("w2", "to_limit")),
        },
        {},
    )
    problem = bundled_gaussian(prior, n, place.folder)
    for step, point in enumerate(gaussian_curve(problem, sampler)):
        yield frame_record(step, {}, point)
    yield END


def tab(place: Place) -> Tab:
    """The tab; its curve is computed as soon as it is opened."""
    return Tab(
        id="solvers",
        title="Solvers",
        fields=(
            sampler_field(lesser=False),
            Choice(
                "prior",
                "Prior",
                "bessel",
                [(p, p) for p in PRIORS],
                menu=True,
                why=TERMS["prior"],
            ),
            resolution_field(8, 16, 32, 64),
        ),
        source=source,
        props={"study": recorded()},
        eager=True,
        start="Compute",
    )
