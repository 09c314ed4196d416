"""Where does the reverse equation have a strong solution? What grows with N, and what does not.

The reverse SDE on H_N has a unique strong solution for each N. In the limit a Lipschitz denoiser
gives one in L², since the drift ½βx - β(x - αD)/σ² is Lipschitz as soon as D is; a constant that
grows with N decides nothing by itself. Measured at a few times t, level by level:

- *Gaussian*: D is affine; its Lipschitz constant is max_k αΛ_k/v_k, v_k = α²Λ_k + σ²q_k.
- *two functions* f, g with |f_k - g_k|² = |k|^{-2a} under q_k = |k|^{-2s}:
  Lip D = (α/4σ²) ‖Δ‖ ‖Q⁻¹Δ‖ (`two_point_lipschitz`), bounded iff a > 2s + 1.
- *learned*: the largest singular value of ∂D/∂x at points x_t of the forward process, by power
  iteration with a transposed and a central-difference product: a lower bound of the constant.
- *paths*: √E‖Y_0(2N) - Y_0(N)‖² of Euler-Maruyama runs that follow one Brownian path on both
  levels; a strong solution in the limit makes it tend to 0.
"""

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import Tensor

from mldemo.diffusion.marginal import Marginal
from mldemo.diffusion.samplers import Denoise
from mldemo.diffusion.sde import Schedule
from mldemo.pipeline import default_statistics, prepare
from mldemo.request import Request
from mldemo.space.diagonal import Diagonal
from mldemo.space.priors import PRIORS
from mldemo.space.spectral import multiplicity, radius
from mldemo.store.manifest import BUNDLE, manifest_entry, read_manifest
from mldemo.studies.convergence import coupled_distance
from mldemo.studies.study import Cells, Record, Study, values

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

LEVELS = (16, 32, 64, 128)
TIMES = (0.1, 0.3, 0.6)
TWO_POINTS = ((1.5, 3.0), (1.5, 4.5))  # (s, a): Lip D unbounded in N, then bounded
IMAGES, ITERATIONS, STEPS = 4, 20, 100


def two_point_lipschitz(s: float, a: float, resolution: int, time: float) -> float:
    """(α/4σ²) ‖Δ‖ ‖Q⁻¹Δ‖ on level N for |Δ_k|² = |k|^{-2a}, q_k = |k|^{-2s}, k ≠ 0."""
    r, t, schedule = radius(resolution), torch.tensor(time, dtype=torch.float64), Schedule()
    weight = torch.where(r > 0, multiplicity(resolution), 0.0)
    delta = float((weight * r.clamp(min=1) ** (-2 * a)).sum())
    whitened = float((weight * r.clamp(min=1) ** (4 * s - 2 * a)).sum())
    return float(schedule.alpha(t) / (4 * schedule.sigma(t) ** 2)) * math.sqrt(delta * whitened)


def local_lipschitz(denoise: Denoise, x: Tensor, time: Tensor, iterations: int) -> Tensor:
    """The largest singular value of ∂D/∂x at each field of x (B, 1, N, N), shape (B,).

    Power iteration on JᵀJ: Jv from central differences of relative step 1e-2, Jᵀw by a backward
    pass. The iterates increase towards the value, so the result is a lower bound.
    """
    generator = torch.Generator().manual_seed(0)
    v = torch.randn(x.shape, generator=generator, dtype=x.dtype)
    size = torch.zeros(len(x))
    for _ in range(iterations):
        v = v / _norm(v)
        h = 1e-2 * _norm(x)
        with torch.no_grad():
            w = (denoise(x + h * v, time) - denoise(x - h * v, time)) / (2 * h)
        size = _norm(w).flatten()
        y = x.detach().requires_grad_()
        (v,) = torch.autograd.grad(denoise(y, time), y, w)
    return size


def _norm(field: Tensor) -> Tensor:
    """‖u‖ of each field, (B, 1, 1, 1)."""
    return field.square().mean((1, 2, 3), keepdim=True).sqrt()


class Solutions(Study):
    """Lipschitz constants and paths, level by level."""

    name: ClassVar[str] = "solutions"
    question: ClassVar[str] = "Where does the reverse equation have a strong solution?"
    link: ClassVar[str] = "tab=learn&s=1.5&a=3"

    def inputs(self, quick: bool) -> Record:
        """Levels, times, the two-point examples, the checkpoint by its sha256."""
        checkpoint = read_manifest(BUNDLE)["default"]
        return {
            "levels": list(LEVELS[:2] if quick else LEVELS),
            "times": list(TIMES),
            "two points": [list(pair) for pair in TWO_POINTS],
            "images": IMAGES,
            "iterations": 3 if quick else ITERATIONS,
            "steps": 4 if quick else STEPS,
            "checkpoint": checkpoint,
            "sha256": manifest_entry(checkpoint)["sha256"],
        }

    def cells(self, quick: bool) -> Cells:
        """Closed forms first, then per prior the learned constant and the paths."""
        asked = self.inputs(quick)
        for s, a in TWO_POINTS:
            name = f"two functions, s = {s:g}, a = {a:g}"
            yield name, lambda s=s, a=a: self._two_points(s, a, asked)
        for prior in PRIORS:
            yield f"Gaussian, {prior}", lambda p=prior: self._gaussian(p, asked)
        for prior in PRIORS:
            yield f"learned, {prior}", lambda p=prior: self._learned(p, asked)
        for score in ("gaussian", "learned"):
            for prior in PRIORS:
                name = f"path, {score}, {prior}"
                yield name, lambda p=prior, s=score: self._paths(p, s, asked)

    def _two_points(self, s: float, a: float, asked: Record) -> Record:
        rows = [[two_point_lipschitz(s, a, n, t) for t in TIMES] for n in asked["levels"]]
        return {"lipschitz": [rows]}

    def _gaussian(self, name: str, asked: Record) -> Record:
        statistics, schedule = default_statistics(), Schedule()
        prior, rows = statistics.prior(name), []
        times = torch.tensor(TIMES, dtype=torch.float64)
        for n in asked["levels"]:
            data, noise = Diagonal(statistics.spectrum(n)), Diagonal(prior.eigenvalues(n))
            gain = Marginal.at(schedule, times, data, noise).gain
            rows.append(gain.values.amax((1, 2, 3)).tolist())
        return {"lipschitz": [rows]}

    def _learned(self, name: str, asked: Record) -> Record:
        out = []
        for seed in self.seeds:
            rows = []
            for n in asked["levels"]:
                request = Request(prior=name, resolution=n, count=IMAGES, seed=seed, guidance=1.0)
                run = prepare(request)
                clean = run.result().x0
                noise = run.prior.draw(seed + 1000, range(IMAGES), n)
                row = []
                for time in TIMES:
                    t = torch.tensor(time, dtype=torch.float64)
                    alpha, sigma = (float(f(t)) for f in (run.schedule.alpha, run.schedule.sigma))
                    x = alpha * clean + sigma * noise
                    found = local_lipschitz(run.denoise, x, t.float(), asked["iterations"])
                    row.append(float(found.max()))
                rows.append(row)
            out.append(rows)
        return {"lipschitz": out}

    def _paths(self, name: str, score: str, asked: Record) -> Record:
        out = []
        for seed in self.seeds:
            request: dict[str, Any] = {"prior": name, "score": score, "seed": seed}
            request |= {"count": IMAGES, "sampler": "euler", "steps": asked["steps"]}
            ends = [prepare(Request(resolution=n, **request)).result().x0 for n in asked["levels"]]
            out.append([coupled_distance(a, b) for a, b in pairwise(ends)])
        return {"distance": out}

    def conclusion(self, record: Record) -> str:
        """How the constants change from the coarsest level to the finest."""
        cells, levels = values(record), record["inputs"]["levels"]
        grows, stays = (
            _growth(cells[f"two functions, s = {s:g}, a = {a:g}"]) for s, a in TWO_POINTS
        )
        learned = [f"{_growth(cells[f'learned, {p}']):.2g} ({p})" for p in PRIORS]
        ends = {p: _mean(cells[f"path, learned, {p}"]["distance"]) for p in PRIORS}
        falls = [f"{row[-1] / row[0]:.2g} ({p})" for p, row in ends.items()]
        return (
            f"From N = {levels[0]} to {levels[-1]} the two-function example's Lipschitz constant "
            f"grows by a factor of {grows:.3g} where a < 2s + 1 and of {stays:.3g} where "
            f"a > 2s + 1. That of the learned denoiser changes by {', '.join(learned)}. Under one "
            "Brownian path, the distance between images on successive levels changes over these "
            f"levels by {', '.join(falls)}. These are constants on finite levels: bounded ones "
            "agree with a strong solution in the limit, growing ones decide nothing."
        )

    def rows(self, record: Record) -> list[Record]:
        """A row per cell and level (and time): mean and sample deviation over seeds."""
        out: list[Record] = []
        levels = record["inputs"]["levels"]
        for name, cell in values(record).items():
            for i, n in enumerate(levels):
                if "lipschitz" in cell:
                    for j, time in enumerate(record["inputs"]["times"]):
                        found = [rows[i][j] for rows in cell["lipschitz"]]
                        out.append(_row(name, n, time, "Lipschitz constant", found))
                elif i + 1 < len(levels):
                    found = [row[i] for row in cell["distance"]]
                    out.append(_row(name, n, None, "distance to next level", found))
        return out

    def figure(self, record: Record) -> "Figure":
        """Constants at t = 0.3 on the left, distances of paths on the right, against N."""
        from mldemo.studies.figures import line, panels

        middle = record["inputs"]["times"][1]
        titles = (f"Lipschitz constant of D at t = {middle:g}", "one path, two levels: distance")
        figure = panels(*titles, x="level N", log="xy")
        rows, first = self.rows(record), ("two", "learned, standard", "learned, bessel")
        for cell in record["cells"]:
            mine = [r for r in rows if r["cell"] == cell and r["time"] in (None, middle)]
            name = cell.removeprefix("path, ").replace("gaussian", "Gaussian")
            x, y, sd = ([row[k] for row in mine] for k in ("level", "mean", "sd"))
            panel = 2 if cell.startswith("path") else 1
            line(figure, panel, name, x, y, sd, shown=name.startswith(first))
        figure.update_xaxes(tickvals=record["inputs"]["levels"])
        return figure


def _mean(rows: Sequence[Sequence[float]]) -> list[float]:
    return [sum(column) / len(rows) for column in zip(*rows, strict=True)]


def _growth(cell: Record) -> float:
    """The ratio of the last level to the first (means over seeds), at the time of the largest."""
    first = _mean([rows[0] for rows in cell["lipschitz"]])
    last = _mean([rows[-1] for rows in cell["lipschitz"]])
    return max(b / a for a, b in zip(first, last, strict=True))


def _row(cell: str, level: int, time: float | None, what: str, found: list[float]) -> Record:
    several = torch.tensor(found, dtype=torch.float64)
    sd = float(several.std()) if len(found) > 1 else None
    base = {"cell": cell, "level": level, "time": time, "quantity": what}
    return base | {"mean": float(several.mean()), "sd": sd}
