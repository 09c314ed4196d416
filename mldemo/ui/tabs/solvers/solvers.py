"""Solvers: error against steps with exact scores, recorded for all samplers and live for one."""

from collections.abc import Iterator
from functools import lru_cache
from typing import Any

from mldemo.diffusion.steps import SAMPLERS, Sampler
from mldemo.request import SCORES, Request
from mldemo.space.priors import PRIORS
from mldemo.studies.gaussian_law import STEPS, bundled_gaussian, gaussian_curve
from mldemo.studies.solvers import Solvers, slope, tail
from mldemo.studies.study import read_record, spread, values
from mldemo.ui.fields import Choice
from mldemo.ui.programs import curve_program, folder_argument
from mldemo.ui.tab import Place, Tab
from mldemo.ui.tabs.watch.watch import resolution_field, sampler_field
from mldemo.ui.terms import TERMS
from mldemo.ui.wire import END, Record, frame_record


@lru_cache(maxsize=1)
def recorded() -> dict[str, Any] | None:
    """The part of the study's record that the tab's script draws; None if it is not finished."""
    study = Solvers()
    if not study.record_path.is_file():
        return None
    record = read_record(study.record_path)
    if study.state(record) == "unfinished":
        return None
    cells, asked = values(record), record["inputs"]
    samplers = {}
    for name, sampler in SAMPLERS.items():
        if f"Gaussian, {name}" not in cells:
            continue  # newer than the record
        exact, seconds = cells[f"Gaussian, {name}"], cells[f"seconds, {name}"]
        each = [cells[f"mixture, {name}, seed {seed}"] for seed in record["seeds"]]
        strong = [
            rows[0] | {"error": spread([row["error"] for row in rows])[0]}
            for rows in zip(*each, strict=True)
        ]
        samplers[name] = {
            "label": sampler.label,
            "said": described(sampler),
            "order": sampler.order,
            "gaussian": exact,
            "gaussian_slope": tail(exact, "to_limit", 40),
            "mixture": strong,
            "mixture_slope": tail(strong, "error", 80),
            "seconds_20_steps": seconds,
            "seconds_per_call": seconds / sampler.calls(Request.steps),
        }
    levels, far = asked["levels"], asked["levels"].index(32)
    rows = [
        {"exponent": s, "w2": w2, "slope": slope(w2[far:], levels[far:]), "theory": -(s - 1)}
        for s in asked["exponents"]
        for w2 in [cells[f"discretisation, s = {s:g}"]]
    ]
    discretisation = {"levels": levels, "rows": rows}
    found = {"setting": asked, "samplers": samplers, "discretisation": discretisation}
    return found | {"stale": study.state(record) == "stale"}


def described(sampler: Sampler) -> str:
    """A sampler's properties, in sentences."""
    calls = sampler.calls_per_step
    noise = "new noise in every step" if sampler.stochastic else "no noise after the start"
    return (
        f"{sampler.label}: order {sampler.order}, {calls} call{'s' * (calls > 1)} of the network "
        f"a step, {noise}. {sampler.source}."
    )


def source(values: dict[str, Any], place: Place) -> Iterator[Record]:
    """The W2 errors of one sampler, computed now: a frame per step count."""
    sampler, prior, n = values["sampler"], values["prior"], values["n"]
    problem = f"bundled_gaussian({prior!r}, {n}{folder_argument(place.folder)})"
    curve = f"list(gaussian_curve({problem}, {sampler!r}))"
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
            "command": "python -m mldemo study run solvers",
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
