"""The error of a sampler after n steps, and the error of a coarser level.

Three parts, all with exact scores:

- *Gaussian data* (the digits' mean and spectrum): every sampler is affine, so the law that n steps
  generate is known in closed form, and so is its distance W2² = ‖Δm‖² + Σ(√a - √b)² from the data
  and from the sampler's own limit n → ∞. The latter excludes the error that the last denoising at
  t = 1e-3 leaves.
- *A mixture of digits*: the strong error ‖x_n - x_∞‖ on one path of the noise.
- *Discretisation*: W2(η, η_N)² = Σ_{k ∉ H_N} q_k; for the priors with q_k ~ |k|^{-2s},
  W2 ~ N^{-(s-1)}.
"""

import math
import time
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from mldemo.diffusion.marginal import Marginal
from mldemo.diffusion.oracles import EmpiricalDenoiser, MixtureDenoiser
from mldemo.diffusion.samplers import LARGEST_STEPS, brownian_fields, sample
from mldemo.diffusion.sde import END, FIRST, Schedule
from mldemo.diffusion.steps import SAMPLERS, check_sampler
from mldemo.pipeline import default_statistics, prepare
from mldemo.request import Request
from mldemo.space.covariance import Prior
from mldemo.space.diagonal import Diagonal
from mldemo.space.noise import unit_modes
from mldemo.space.priors import Laplacian
from mldemo.space.spectral import multiplicity, squared_norm, to_field, to_modes
from mldemo.store.manifest import BUNDLE, read_manifest
from mldemo.studies.study import Cells, Record, Study, spread, values

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

STEPS = (5, 8, 10, 14, 20, 28, 40, 56, 80, 112, 160, 224, 320)
MIXTURE_STEPS = (10, 14, 20, 28, 40, 56, 80, 112, 160, 224)
REFERENCE = "adams"  # where the flow leads: with many steps it has the least error
GRIDS = (8, 12, 16, 24, 32, 48, 64, 96, 128, 192, 256)
EXPONENTS = (1.1, 1.5, 2.0, 3.0)


def slope(errors: Sequence[float], numbers: Sequence[float]) -> float:
    """The least-squares slope of log error against log number."""
    return float(np.polyfit(np.log(numbers), np.log(errors), 1)[0])


@dataclass(frozen=True)
class GaussianProblem:
    """Data N(m, Λ) on one level and a prior: the law of every sampler is then known exactly.

    `mean` is a field (1, 1, N, N), `spectrum` Λ_k (N, N//2 + 1), both float64. Samplers start from
    N(α_T m, α_T²Λ + σ_T²q).
    """

    mean: Tensor
    spectrum: Tensor
    prior: Prior
    schedule: Schedule = Schedule()

    @property
    def resolution(self) -> int:
        """N."""
        return self.mean.shape[-1]

    @property
    def noise(self) -> Tensor:
        """q_k."""
        return self.prior.eigenvalues(self.resolution)

    def _at(self, t: float) -> Marginal:
        data, noise = Diagonal(self.spectrum), Diagonal(self.noise)
        return Marginal.at(self.schedule, torch.tensor(t, dtype=torch.float64), data, noise)

    def start_variance(self) -> Tensor:
        """v_k = α²Λ_k + σ²q_k at T."""
        return self._at(END).variance.values[0, 0]

    def generated(self, sampler: str, steps: int) -> tuple[Tensor, Tensor]:
        """Mean (field) and variance per mode of what `steps` steps of the sampler return.

        A sampler is affine in every mode and in every increment of the noise, with coefficients
        that depend on (Λ_k, q_k) alone. So it is run on one number for each such pair, in rows
        that give the response to the mean, to x_T, and to each increment by itself.
        """
        pairs, which = torch.unique(
            torch.stack([self.spectrum, self.noise]).flatten(1), dim=1, return_inverse=True
        )
        kicks = self._run(sampler, steps, pairs, 0)[1]
        rows = self._run(sampler, steps, pairs, kicks)[0][:, 0, 0]
        mean, gain, added = rows[0], rows[1], rows[2:].square().sum(0)

        def unfold(values: Tensor) -> Tensor:
            return values[which].reshape(self.spectrum.shape)

        field = to_field(to_modes(self.mean) * unfold(mean), self.resolution)
        return field, unfold(gain**2) * self.start_variance() + unfold(added)

    def _run(self, sampler: str, steps: int, pairs: Tensor, kicks: int) -> tuple[Tensor, int]:
        """The rows at the end, (2 + kicks, 1, 1, K), and the number of increments used.

        Row 0 has data mean 1 and starts from α_T. The other rows have data mean 0: row 1 starts
        from 1, row 2 + j starts from 0 and gets increment j alone.
        """
        spectrum, noise = pairs
        x = torch.zeros(2 + kicks, 1, 1, pairs.shape[1], dtype=torch.float64)
        mean = torch.zeros_like(x)
        mean[0] = 1.0
        x[0], x[1] = float(self._at(END).alpha), 1.0
        asked = 0

        def denoise(y: Tensor, t: Tensor) -> Tensor:
            model = Marginal.at(self.schedule, t, Diagonal(spectrum), Diagonal(noise))
            return mean + model.gain.on_modes(y - model.alpha * mean)

        def increment(start: float, end: float) -> Tensor:
            nonlocal asked
            kick = torch.zeros_like(x)
            if kicks:
                kick[2 + asked] = (noise * (end - start)).sqrt()
            asked += 1
            return kick

        last = _last(sample(denoise, x, sampler, steps, self.schedule, increment))
        return last, asked

    def limit_variance(self) -> Tensor:
        """The variance for n → ∞: v_k at 1e-3 after the last denoising. The mean is then m."""
        model = self._at(FIRST)
        return (model.gain @ model.gain @ model.variance).values[0, 0]

    def distance(self, mean: Tensor, variance: Tensor, target: Tensor) -> float:
        """W2 between N(mean, variance) and N(m, target)."""
        gap = squared_norm(to_modes(mean - self.mean), self.resolution).sum()
        weight = multiplicity(self.resolution)
        return math.sqrt(float(gap + (weight * (variance.sqrt() - target.sqrt()) ** 2).sum()))

    def errors(self, sampler: str, steps: int) -> dict[str, float]:
        """W2 to the data and to the sampler's limit, in units of √tr Λ."""
        mean, variance = self.generated(sampler, steps)
        unit = math.sqrt(float((multiplicity(self.resolution) * self.spectrum).sum()))
        return {
            "w2": self.distance(mean, variance, self.spectrum) / unit,
            "to_limit": self.distance(mean, variance, self.limit_variance()) / unit,
        }


def _last(states: Iterator[Any]) -> Tensor:
    return deque(states, maxlen=1)[0].x


def bundled_gaussian(
    prior: str = "bessel", resolution: int = 32, folder: Path = BUNDLE
) -> GaussianProblem:
    """The digits' mean and spectrum with a prior's default parameters."""
    statistics = default_statistics(folder)
    mean, spectrum = statistics.mean_at(resolution).double(), statistics.spectrum(resolution)
    return GaussianProblem(mean, spectrum, statistics.prior(prior))


def gaussian_curve(
    problem: GaussianProblem, sampler: str, steps: Sequence[int] = STEPS
) -> Iterator[dict[str, Any]]:
    """One point per step count: steps, calls, w2, to_limit."""
    for n in steps:
        yield {"steps": n, "calls": check_sampler(sampler).calls(n), **problem.errors(sampler, n)}


def bundled_mixture(folder: Path = BUNDLE, components: int = 10) -> MixtureDenoiser:
    """Gaussians on level 32 around generated digits, each with half of the data's spectrum."""
    statistics = default_statistics(folder)
    digits = prepare(Request(score="empirical"), folder=folder).denoise
    assert isinstance(digits, EmpiricalDenoiser)
    means = digits.fields[:components].double()
    weights = torch.full((components,), 1 / components, dtype=torch.float64)
    spectrum = 0.5 * statistics.spectrum(Request.resolution)
    prior = statistics.prior(Request.prior)
    return MixtureDenoiser(means, weights, spectrum, prior)


@dataclass
class StrongErrors:
    """The strong error ‖x_n - x_∞‖ of every sampler on one mixture, with coupled noise.

    Every run starts from the same draw of N(0, Q) and, if it is stochastic, follows the same
    Brownian path. x_∞ is a run with `finest` steps: of the same sampler if it is stochastic, else
    of `REFERENCE`, since the deterministic ones share one flow.
    """

    denoise: MixtureDenoiser
    count: int = 8
    finest: int = 480
    seed: int = 7

    def __post_init__(self) -> None:
        """Draw the start."""
        n = self.denoise.means.shape[-1]
        self._indices = list(range(self.count))
        white = unit_modes(self.seed, self._indices, n, torch.float64)
        self._start = to_field(self.denoise.prior.colour(white), n)
        self._references: dict[str, Tensor] = {}

    def end(self, sampler: str, steps: int) -> Tensor:
        """The result of `steps` steps from the start."""
        path, prior = None, self.denoise.prior
        if SAMPLERS[sampler].stochastic:
            n = self._start.shape[-1]
            path = brownian_fields(prior, self.seed, self._indices, n, dtype=torch.float64)
        return _last(
            sample(self.denoise, self._start, sampler, steps, self.denoise.schedule, path)
        )

    def curve(
        self, sampler: str, steps: Sequence[int] = MIXTURE_STEPS
    ) -> Iterator[dict[str, Any]]:
        """One point per step count, relative to √(E‖x_∞‖²).

        `error` is the median over the samples, `rms` the root mean square, which a single sample
        that ends at another digit dominates.
        """
        finest = sampler if check_sampler(sampler).stochastic else REFERENCE
        if finest not in self._references:
            self._references[finest] = self.end(finest, self.finest)
        reference = self._references[finest]
        unit = reference.square().mean().sqrt()
        for n in steps:
            gap = (self.end(sampler, n) - reference).square().mean((1, 2, 3)).sqrt() / unit
            yield {
                "steps": n,
                "calls": check_sampler(sampler).calls(n),
                "error": float(gap.median()),
                "rms": float(gap.square().mean().sqrt()),
            }


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
