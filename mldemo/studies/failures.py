"""How does coarse-to-fine training fail, how does one see it, and what cures it?

Each failure is one change to a sound run, 16 → 32 with the bessel prior, for the same CPU seconds;
for all but one, the sound run is the cure.

- *bad coarse start*: the coarse level is trained on images of twice the amplitude, which result
  from down-sampling images with another normalisation than the noise (as in the code of
  arXiv 2303.04772); training on the fine level starts from its weights. Cured by correct data;
  for comparison, the fine level alone.
- *too small a network*: a U-shaped operator of width 8 with a core of 16 channels.
- *wrong rate*: a learning rate of 0.05 or 0.00005 in place of 0.002.
- *badly chosen Q*: white noise, which differs from level to level; Matérn noise with s = 3, so
  smooth that the data's high frequencies are never hidden; and the Laplacian, under which the mean
  is never diffused, started from N(0, Q) as if it were. The last is cured by the start
  N(α_T m, α_T²Λ + σ_T²Q).

Reported are the loss on both levels during training, and at the end FID, precision, recall and
the Vendi score of the samples. Losses are comparable under the same Q only.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, ClassVar

from torch import Tensor

from mldemo.space.covariance import Prior
from mldemo.space.priors import Bessel
from mldemo.studies.study import Cells, Record, Study, spread, values
from mldemo.studies.trained import (
    SMALL,
    evaluated,
    fields,
    from_noise,
    prior_of,
    samples,
    step_costs,
    validation_loss,
)
from mldemo.training.loop import Training
from mldemo.training.plan import Plan

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

SECONDS, SHARE, POINTS, COUNT, ROUNDS = 120.0, 0.6, 6, 300, 8
COARSE, FINE = 16, 32
TINY: dict[str, Any] = {"kind": "ushaped", "width": 8, "modes": 6, "core_widths": (16,)}


@dataclass(frozen=True)
class Case:
    """A change to the sound run: to its plan, prior, coarse data or start."""

    name: str
    failure: str
    change: dict[str, Any] = field(default_factory=dict)
    prior: Callable[[Tensor], Prior] = lambda data: prior_of("bessel", data)
    amplitude: float = 1.0  # of the coarse level's data
    coarse: bool = True  # else the fine level alone
    start: str = "data"  # or "noise": N(0, Q)


def _smooth(data: Tensor) -> Prior:
    return Bessel(3.0, trace=prior_of("bessel", data).total)


CASES = (
    Case("sound", "none"),
    Case("coarse data of twice the amplitude", "bad coarse start", amplitude=2.0),
    Case("fine level alone", "bad coarse start", coarse=False),
    Case("width 8, core 16", "too small a network", {"network": TINY}),
    Case("rate 0.05", "wrong rate", {"learning_rate": 0.05}),
    Case("rate 0.00005", "wrong rate", {"learning_rate": 5e-5}),
    Case("white noise", "badly chosen Q", prior=lambda data: prior_of("standard", data)),
    Case("Matérn, s = 3", "badly chosen Q", prior=_smooth),
    Case(
        "Laplacian, start N(0, Q)",
        "badly chosen Q",
        prior=lambda data: prior_of("laplacian", data),
        start="noise",
    ),
    Case("Laplacian", "badly chosen Q", prior=lambda data: prior_of("laplacian", data)),
)


class Failures(Study):
    """Provoked failures, their symptoms and their cures."""

    name: ClassVar[str] = "failures"
    question: ClassVar[str] = "How does coarse-to-fine training fail, and how does one see it?"
    link: ClassVar[str] = "tab=watch&prior=standard&checkpoint=mnist-unet-standard-16&n=32"

    def inputs(self, quick: bool) -> Record:
        """Cases, seconds, data."""
        return {
            "cases": [
                {"name": c.name, "failure": c.failure, "change": c.change, "start": c.start}
                | {"amplitude": c.amplitude, "coarse": c.coarse}
                for c in CASES
            ],
            "seconds": 0.1 if quick else SECONDS,
            "share of the coarse level": SHARE,
            "points": 2 if quick else POINTS,
            "batch": 4 if quick else 48,
            "network": SMALL if quick else {"kind": "ushaped"},
            "count": 8 if quick else COUNT,
            "fields": [len(part) for part in fields(quick)],
        }

    def cells(self, quick: bool) -> Cells:
        """What a step of both networks costs on both levels, then a cell per case and seed."""
        asked, (train, _) = self.inputs(quick), fields(quick)
        base = {"network": asked["network"], "batch": asked["batch"], "rehearsal": 0}

        def plan(case: Case, **more: Any) -> Plan:
            priors = (case.prior(train).to_dict(),)
            return Plan(priors, levels=((COARSE, 1),), **(base | case.change | more))

        def costs() -> dict[str, float]:
            networks = {"own": CASES[0], "tiny": CASES[3]}
            plans = {
                f"{name}, {n}": replace(plan(case), levels=((n, 1),))
                for name, case in networks.items()
                for n in (COARSE, FINE)
            }
            return step_costs(plans, train, 1 if quick else ROUNDS)

        cost = yield "CPU seconds of a step", costs
        for case in CASES:
            size = "tiny" if "network" in case.change else "own"
            by_level = {n: cost[f"{size}, {n}"] for n in (COARSE, FINE)}
            for seed in self.seeds:
                mine = plan(case, seed=seed)
                yield (
                    f"{case.name}, seed {seed}",
                    lambda c=case, p=mine, b=by_level: self._case(asked, c, p, b, quick),
                )

    def _case(
        self, asked: Record, case: Case, plan: Plan, costs: dict[int, float], quick: bool
    ) -> Record:
        train, held_out = fields(quick)
        shares = {COARSE: SHARE, FINE: 1 - SHARE} if case.coarse else {FINE: 1.0}
        levels = {n: max(1, round(asked["seconds"] * s / costs[n])) for n, s in shares.items()}
        run = Training(replace(plan, levels=tuple(levels.items())), train)
        curve, spent = [], 0.0
        every = max(1, run.plan.steps // asked["points"])
        while run.step < run.plan.steps:
            level = run.plan.resolution_of(run.step)
            # the first step on a level makes its data from these; mean and spectrum stay
            run.fields = case.amplitude * train if level == COARSE else train
            run.advance()
            spent += costs[level]
            if run.step % every == 0 or run.step == run.plan.steps:
                found = {str(n): validation_loss(run, held_out, n) for n in (COARSE, FINE)}
                losses = {n: loss if math.isfinite(loss) else None for n, loss in found.items()}
                curve.append({"seconds": spent, "loss": losses})
        draw = from_noise if case.start == "noise" else samples
        images = draw(run, FINE, asked["count"], plan.seed)
        known = all(loss is not None for point in curve for loss in point["loss"].values())
        found = evaluated(images, quick) if known and bool(images.isfinite().all()) else {}
        return {"case": case.name, "failure": case.failure, "curve": curve, **found}

    def rows(self, record: Record) -> list[Record]:
        """A row per case: means and sample deviations over the seeds with finite images."""
        cells = [c for c in values(record).values() if "case" in c]
        out: list[Record] = []
        for case in dict.fromkeys(c["case"] for c in cells):
            mine = [c for c in cells if c["case"] == case]
            ended = [c for c in mine if "fid" in c]
            row: Record = {"case": case, "failure": mine[0]["failure"], "seeds": len(ended)}
            for level in (COARSE, FINE):
                finals = [c["curve"][-1]["loss"][str(level)] for c in ended]
                row[f"loss at {level}"], row[f"loss at {level}, sd"] = _spread(finals)
            for key in ("fid", "precision", "recall", "vendi_features"):
                row[key], row[f"{key}, sd"] = _spread([c[key] for c in ended])
            for key in ("fid", "recall", "vendi_features"):
                row[f"{key}, floor"] = ended[0][f"{key}, floor"] if ended else None
            out.append(row)
        return out

    def conclusion(self, record: Record) -> str:
        """The metrics by which each case differs from the sound run."""
        rows, said = self.rows(record), []
        sound = next(r for r in rows if r["failure"] == "none")
        for row in rows:
            if row is sound:
                continue
            if row["fid"] is None:
                said.append(f"{row['case']}: no finite images")
                continue
            signs = [
                f"{name} {row[key]:.{digits}f} ± {row[f'{key}, sd']:.{digits}f}"
                for name, key, digits in SIGNS[row["failure"] == "badly chosen Q" :]
                if abs(row[key] - sound[key])
                > 2 * (row[f"{key}, sd"] ** 2 + sound[f"{key}, sd"] ** 2) ** 0.5
            ]
            said.append(
                f"{row['case']}: {', '.join(signs) or 'not told apart from the sound run'}"
            )
        own = ", ".join(f"{n} {sound[k]:.{d}f} ± {sound[f'{k}, sd']:.{d}f}" for n, k, d in SIGNS)
        return (
            f"The sound run has {own}. Of the others, what differs by more than two standard "
            f"deviations: {'; '.join(said)}."
        )

    def figure(self, record: Record) -> "Figure":
        """Loss on the fine level along the way, and the FID at the end."""
        from mldemo.studies.figures import line, panels

        figure = panels(f"validation loss at {FINE}²", "FID at the end", x="CPU seconds", log="y")
        for row in self.rows(record):
            cells = [c for c in values(record).values() if c.get("case") == row["case"]]
            ended = [c for c in cells if "fid" in c]
            if not ended:
                continue
            points = list(zip(*(c["curve"] for c in ended), strict=True))
            at = [point[0]["seconds"] for point in points]
            losses = [spread([p["loss"][str(FINE)] for p in point]) for point in points]
            line(figure, 1, row["case"], at, *zip(*losses, strict=True))
            line(figure, 2, row["case"], at[-1:], [row["fid"]], [row["fid, sd"]])
        return figure


SIGNS = (  # the loss first, to be left out where the prior differs
    ("loss", f"loss at {FINE}", 3),
    ("FID", "fid", 1),
    ("precision", "precision", 2),
    ("recall", "recall", 2),
    ("Vendi score", "vendi_features", 1),
)


def _spread(found: list[float]) -> tuple[float | None, float | None]:
    return spread(found) if found else (None, None)
