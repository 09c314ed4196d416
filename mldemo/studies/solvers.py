"""The error of a sampler after n steps, and the error of a coarser level.

Three parts, all with exact scores:

- *Gaussian data* (the digits' mean and spectrum): W2 from the data and the sampler's limit, in
  closed form (`gaussian_law`).
- *A mixture of digits*: the error on one path of the noise (`strong_error`).
- *Discretisation*: W2(η, η_N)² = Σ_{k ∉ H_N} q_k; for the priors with q_k ~ |k|^{-2s},
  W2 ~ N^{-(s-1)}.
"""

import math
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from mldemo.diffusion.samplers import LARGEST_STEPS
from mldemo.diffusion.sde import Schedule
from mldemo.diffusion.steps import SAMPLERS
from mldemo.pipeline import prepare
from mldemo.request import Request
from mldemo.space.covariance import Prior
from mldemo.space.priors import Laplacian
from mldemo.store.manifest import BUNDLE, read_manifest
from mldemo.studies.gaussian_law import STEPS, bundled_gaussian, gaussian_curve
from mldemo.studies.strong_error import MIXTURE_STEPS, StrongErrors, bundled_mixture
from mldemo.studies.study import Cells, Record, Study, spread, values

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

GRIDS = (8, 12, 16, 24, 32, 48, 64, 96, 128, 192, 256)
EXPONENTS = (1.1, 1.5, 2.0, 3.0)


def slope(errors: Sequence[float], numbers: Sequence[float]) -> float:
    """The least-squares slope of log error against log number."""
    return float(np.polyfit(np.log(numbers), np.log(errors), 1)[0])


def discretisation(prior: Prior, levels: Sequence[int] = GRIDS) -> list[float]:
    """W2(η, η_N)/√tr Q = √(1 - tr_N Q / tr Q) on each level."""
    return [math.sqrt(max(0.0, 1 - prior.level_trace(n) / prior.total)) for n in levels]


def seconds_per_run(sampler: str, folder: Path = BUNDLE) -> float:
    """CPU seconds of a default run, 20 steps at 32², of the default checkpoint: best of three.

    CPU time, so that other work on the machine does not count; with one thread it equals the
    waiting time on an idle machine.
    """
    run = prepare(Request(sampler=sampler), folder=folder)
    best = math.inf
    for _ in range(3):
        start = time.process_time()
        run.result()
        best = min(best, time.process_time() - start)
    return best


def tail(rows: list[dict[str, Any]], key: str, first: int) -> dict[str, Any]:
    """The measured slope over the points with at least `first` steps."""
    chosen = [r for r in rows if r["steps"] >= first]
    return {
        "slope": slope([r[key] for r in chosen], [r["steps"] for r in chosen]),
        "from": chosen[0]["steps"],
        "to": chosen[-1]["steps"],
    }


class Solvers(Study):
    """Exact errors of every sampler, what a step costs, and what a level leaves out."""

    name: ClassVar[str] = "solvers"
    question: ClassVar[str] = "How far from the truth is a sampler after n steps?"
    link: ClassVar[str] = "tab=solvers&error=to_limit"

    def inputs(self, quick: bool) -> Record:
        """Level, prior, steps, samples, the checkpoint that the data's spectrum comes from."""
        problem = bundled_gaussian()
        return {
            "resolution": problem.resolution,
            "prior": problem.prior.to_dict(),
            "schedule": {"beta_min": Schedule().beta_min, "beta_max": Schedule().beta_max},
            "data": read_manifest(BUNDLE)["default"],
            "steps": STEPS[::3] if quick else STEPS,
            "mixture steps": (10, 20, 40) if quick else MIXTURE_STEPS,
            "samples": 4 if quick else 8,
            "finest": 160 if quick else LARGEST_STEPS,
            "levels": GRIDS,
            "exponents": EXPONENTS,
        }

    def cells(self, quick: bool) -> Cells:
        """Per sampler the exact curve, the strong error of each seed and the time of a run."""
        asked = self.inputs(quick)
        problem, mixture = bundled_gaussian(), bundled_mixture()
        for name in SAMPLERS:
            steps = asked["steps"]
            yield f"Gaussian, {name}", lambda n=name, s=steps: list(gaussian_curve(problem, n, s))
        for seed in self.seeds:
            strong = StrongErrors(mixture, asked["samples"], asked["finest"], seed)
            for name in SAMPLERS:
                yield (
                    f"mixture, {name}, seed {seed}",
                    lambda n=name, e=strong: list(e.curve(n, asked["mixture steps"])),
                )
        for name in SAMPLERS:
            yield f"seconds, {name}", lambda n=name: seconds_per_run(n)
        for s in EXPONENTS:
            yield f"discretisation, s = {s:g}", lambda s=s: discretisation(Laplacian(s))

    def rows(self, record: Record) -> list[Record]:
        """A row per sampler and step count: the exact errors, and the strong one by seed."""
        cells, out = values(record), []
        for name in SAMPLERS:
            strong = [
                {row["steps"]: row["error"] for row in cells[f"mixture, {name}, seed {seed}"]}
                for seed in record["seeds"]
            ]
            for row in cells[f"Gaussian, {name}"]:
                errors = [found[row["steps"]] for found in strong if row["steps"] in found]
                mean, sd = spread(errors) if errors else (None, None)
                more = {"strong error": mean, "strong error, sd": sd}
                seconds = cells[f"seconds, {name}"] / SAMPLERS[name].calls(Request.steps)
                more["CPU seconds of a call"] = seconds
                out.append({"sampler": name, **row, **more})
        return out

    def conclusion(self, record: Record) -> str:
        """The measured slopes beside the nominal orders."""
        cells, first = values(record), 40 if not record["quick"] else 10
        said = []
        for name, sampler in SAMPLERS.items():
            exact = tail(cells[f"Gaussian, {name}"], "to_limit", first)["slope"]
            said.append(f"{sampler.label} {-exact:.2f} (order {sampler.order})")
        far = GRIDS.index(32)
        worst = max(
            abs(slope(cells[f"discretisation, s = {s:g}"][far:], GRIDS[far:]) + (s - 1))
            for s in EXPONENTS
        )
        return (
            f"With exact scores the error falls with the number of steps as fast as the order of "
            f"the sampler says: {', '.join(said)}. What level N leaves out of the noise falls as "
            f"N^-(s-1) to within {worst:.2f} in the exponent: no number of steps brings it back."
        )

    def figure(self, record: Record) -> "Figure":
        """The exact error and the strong one against calls, a line per sampler."""
        from mldemo.studies.figures import line, panels

        titles = ("W₂/√tr Λ to infinitely many steps", "on one path of the noise")
        figure, rows = panels(*titles, x="calls of the network", log="xy"), self.rows(record)
        for name, sampler in SAMPLERS.items():
            mine = [r for r in rows if r["sampler"] == name]
            line(figure, 1, sampler.label, *([r[k] for r in mine] for k in ("calls", "to_limit")))
            mine = [r for r in mine if r["strong error"] is not None]
            columns = ("calls", "strong error", "strong error, sd")
            line(figure, 2, sampler.label, *([r[k] for r in mine] for k in columns))
        return figure
