"""Do the processes on level N converge as N grows? Noise, exact and learned reverse process.

Between levels N and 2N, three distances, each with one seed on both levels:

- *forward, closed form*: W₂ between the noise of both levels; both are diagonal in Fourier modes,
  so W₂² = Σ_{k ∈ H_2N} (√q_k(2N) - √q_k(N))², with q = 0 beyond a level. For q_k ~ |k|^{-2s} only
  the modes that level N lacks contribute, and W₂ ~ N^{-(s-1)}.
- *forward, coupled*: √E‖η_2N - η_N‖² over draws of one seed.
- *reverse*: √E‖x_0(2N) - x_0(N)‖² of coupled runs, with the exact score of a Gaussian with the
  data's spectrum, and with the learned score.

White noise has q_k = 1/N²: from level to level every √q_k halves while there are four times as
many modes, and the distance does not decrease at all.
"""

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, ClassVar

import torch
from torch import Tensor

from mldemo.pipeline import default_statistics, prepare
from mldemo.request import Request
from mldemo.space.covariance import Prior
from mldemo.space.priors import PRIORS, Bessel, Laplacian
from mldemo.space.spectral import LEVELS, multiplicity, resample, resample_modes
from mldemo.store.manifest import BUNDLE, manifest_entry, read_manifest
from mldemo.studies.study import Cells, Record, Study, values

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

EXPONENTS = (1.1, 1.5, 2.0, 3.0)
DRAWS, IMAGES, STEPS = 32, 8, 20


def noise_distance(prior: Prior, coarse: int, fine: int) -> float:
    """W₂ between the prior's noise on two levels, in L² of the torus."""
    low = resample_modes(prior.eigenvalues(coarse).to(torch.complex128), coarse, fine).real
    gap = (prior.eigenvalues(fine).sqrt() - low.clamp(min=0).sqrt()) ** 2
    return math.sqrt(float((multiplicity(fine) * gap).sum()))


def coupled_distance(coarse: Tensor, fine: Tensor) -> float:
    """√E‖fine - coarse‖² over a batch of fields on two levels."""
    gap = fine.double() - resample(coarse.double(), fine.shape[-1])
    return math.sqrt(float(gap.square().mean()))


def slopes(distances: Sequence[float]) -> list[float]:
    """How fast distances fall from one pair of levels to the next: -log₂ of their ratios."""
    return [-math.log2(b / a) if a > 0 and b > 0 else math.inf for a, b in pairwise(distances)]


class Convergence(Study):
    """Distances between levels, forward and reverse."""

    name: ClassVar[str] = "convergence"
    question: ClassVar[str] = "Do noise and generated images converge as the grid is refined?"
    link: ClassVar[str] = "tab=resolution&score=gaussian&prior=bessel&finest=128"

    def inputs(self, quick: bool) -> Record:
        """Levels, priors, draws, and the checkpoint by its sha256."""
        checkpoint = read_manifest(BUNDLE)["default"]
        return {
            "levels": list(self._levels(quick)),
            "exponents": list(EXPONENTS),
            "draws": DRAWS,
            "images": 2 if quick else IMAGES,
            "steps": 4 if quick else STEPS,
            "priors": list(self._priors()),
            "checkpoint": checkpoint,
            "sha256": manifest_entry(checkpoint)["sha256"],
        }

    def _levels(self, quick: bool) -> tuple[int, ...]:
        return LEVELS[:4] if quick else LEVELS

    def _priors(self) -> dict[str, Prior]:
        """The priors with their defaults, and two families by exponent."""
        statistics = default_statistics()
        known = {name: statistics.prior(name) for name in PRIORS}
        trace = statistics.variance
        for s in EXPONENTS:
            known[f"laplacian s = {s:g}"] = Laplacian(s, trace=trace)
            known[f"bessel s = {s:g}"] = Bessel(s, trace=trace)
        return known

    def cells(self, quick: bool) -> Cells:
        """Per prior the noise, and per prior and score the reverse process."""
        levels = self._levels(quick)
        asked = self.inputs(quick)
        for name, prior in self._priors().items():
            yield f"noise, {name}", lambda prior=prior: self._noise(prior, levels)
        for score in ("gaussian", "learned"):
            for name in PRIORS:
                request = {"prior": name, "score": score, "count": asked["images"]}
                request["steps"] = asked["steps"]
                yield f"reverse, {score}, {name}", lambda r=request: self._reverse(r, levels)

    def _noise(self, prior: Prior, levels: Sequence[int]) -> Record:
        exact = [noise_distance(prior, a, b) for a, b in pairwise(levels)]
        indices = range(DRAWS)
        coupled = []
        for seed in self.seeds:
            draws = [prior.draw(seed, indices, n, torch.float64) for n in levels]
            coupled.append([coupled_distance(a, b) for a, b in pairwise(draws)])
        theory = prior.exponent - 1 if isinstance(prior, Laplacian | Bessel) else None
        # a filter of finite rank is resolved exactly from some level on, where every distance is 0
        finite = [s if math.isfinite(s) else None for s in slopes(exact)]
        return {"exact": exact, "coupled": coupled, "slopes": finite, "theory": theory}

    def _reverse(self, asked: Record, levels: Sequence[int]) -> Record:
        rows = []
        for seed in self.seeds:
            ends = [prepare(Request(seed=seed, resolution=n, **asked)).result().x0 for n in levels]
            rows.append([coupled_distance(a, b) for a, b in pairwise(ends)])
        return {"coupled": rows}

    def conclusion(self, record: Record) -> str:
        """Slopes at s = 2 and 3, white noise, and how the learned process behaves."""
        cells = values(record)
        worst = max(
            abs(slope - cells[f"noise, {name}"]["theory"])
            for name in (f"{kind} s = {s:g}" for kind in ("laplacian", "bessel") for s in (2, 3))
            for slope in cells[f"noise, {name}"]["slopes"][1:]
        )
        white = cells["noise, standard"]["exact"]
        learned = cells["reverse, learned, bessel"]["coupled"]
        first, last = (sum(row[i] for row in learned) / len(learned) for i in (0, -1))
        return (
            "From level 16 up the noise of Laplacian and Matérn priors with s = 2 and 3 converges "
            f"at the rate N^-(s-1) of theory to within {worst:.2f} in the exponent; white noise "
            f"keeps a distance of {min(white):.2f} to {max(white):.2f} between successive levels "
            f"and does not converge. Images of the learned reverse process under the bessel prior "
            f"differ by {first:.3f} between the first two levels and by {last:.3f} between the "
            "last two."
        )

    def rows(self, record: Record) -> list[Record]:
        """A row per process, prior and pair of levels: mean and sample deviation over seeds."""
        cells, levels, out = values(record), record["inputs"]["levels"], []
        for name, cell in cells.items():
            for i, of_seeds in enumerate(zip(*cell["coupled"], strict=True)):
                found = torch.tensor(of_seeds, dtype=torch.float64)
                exact = cell["exact"][i] if "exact" in cell else None
                out.append(
                    {
                        "process": name,
                        "level": levels[i],
                        "next level": levels[i + 1],
                        "closed form": exact,
                        "coupled, mean": float(found.mean()),
                        "coupled, sd": float(found.std()),
                    }
                )
        return out

    def figure(self, record: Record) -> "Figure":
        """Distance to the next level against the level: noise on the left, images on the right."""
        from mldemo.studies.figures import line, panels

        titles = ("noise: distance to the next level", "images: distance to the next level")
        figure = panels(*titles, x="level N", log="xy")
        rows, first = self.rows(record), ("standard", "laplacian", "bessel", "bessel s = 3")
        for process in record["cells"]:
            mine = [row for row in rows if row["process"] == process]
            kind, _, name = process.partition(", ")
            panel = 1 if kind == "noise" else 2
            name = name.removeprefix("learned, ")
            if name.startswith("gaussian"):
                name = name.removeprefix("gaussian, ") + ", exact score"
            x, y, sd = (
                [row[k] for row in mine] for k in ("level", "coupled, mean", "coupled, sd")
            )
            line(figure, panel, name, x, y, sd, shown=name in first)
        figure.update_xaxes(tickvals=record["inputs"]["levels"])
        return figure
