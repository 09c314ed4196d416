"""What would it take to come near the floor?

Networks of both sizes are trained on level 16 for the priors of the shipped ones, with more and
more images, and judged as in README's table: FID of samples under the default prior, by the
page's sampler, at g = 1. What lies above a perfect sampler is fitted by a power law,

    FID = p + a n^(-b),

with n images seen in training and p the score of the perfect sampler (`floors`): a line through
the logarithms. It tells how many images would bring FID down to the aim, if it went on to hold.
The shipped network of each size, trained on a GPU with more images than any here, is judged too,
and tells how far the law holds beyond the points that it was fitted to. It was trained once, so
its spread is that of samples; batches are larger there, and the large one saw level 32 as well.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, ClassVar

import numpy as np
import torch

from mldemo.networks.sizes import SIZES
from mldemo.pipeline import run_of
from mldemo.request import Request
from mldemo.store.checkpoints import Checkpoint, load_checkpoint
from mldemo.store.manifest import manifest_entry
from mldemo.studies.floors import perfect_scores
from mldemo.studies.judged import data_of, judge
from mldemo.studies.study import Cells, Record, Study, spread, values
from mldemo.studies.trained import SMALL, trained
from mldemo.training.plan import Plan

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

LEVEL, COUNT, CHUNK, BATCH = 16, 2000, 50, 96
IMAGES = {"light": (25_000, 100_000, 400_000), "large": (25_000, 100_000)}
RATES = {"light": 2e-3, "large": 1.5e-3}  # those of the shipped networks
SHIPPED = {"light": "mnist-family-16", "large": "mnist-large-32"}
AIMS = {"light": 3.0, "large": 1.5}  # FID above the floor
JUDGES = ("fid", "fid_second")
FURTHEST = 1e10  # images, to which the figure draws a law


@dataclass(frozen=True)
class PowerLaw:
    """p + a n^(-b) with a > 0: the score after n training images, falling to p if b > 0."""

    limit: float
    factor: float
    exponent: float

    @classmethod
    def of(cls, images: Sequence[int], scores: Sequence[float], limit: float) -> "PowerLaw":
        """The least squares of log(score - limit) against log n; scores at the limit raise."""
        excess = np.array(scores) - limit
        if (excess <= 0).any():
            raise ValueError(f"scores must be above {limit:g}, got {min(scores):g}")
        slope, intercept = np.polyfit(np.log(images), np.log(excess), 1)
        return cls(limit, float(np.exp(intercept)), -float(slope))

    def score(self, images: float) -> float:
        """The value p + a n^(-b)."""
        return self.limit + self.factor * images**-self.exponent

    def images_for(self, score: float) -> float:
        """The n with p + a n^(-b) = score > p; infinite if the law does not fall."""
        if self.exponent <= 0:
            return float("inf")
        with np.errstate(over="ignore"):
            return float(np.exp(np.log(self.factor / (score - self.limit)) / self.exponent))


class Scaling(Study):
    """FID against the number of training images, for both sizes."""

    name: ClassVar[str] = "scaling"
    question: ClassVar[str] = "What would it take to come near the floor?"
    link: ClassVar[str] = "tab=watch&n=16&count=16&steps=20&guidance=1"

    def inputs(self, quick: bool) -> Record:
        """Sizes with their images, rates and shipped networks, the plan, level, count, judge."""
        sizes = ["light"] if quick else list(IMAGES)
        record = load_checkpoint(SHIPPED["light"]).record
        perfect = perfect_scores().get((data_of(quick).name, LEVEL, COUNT), {"fid": (0.0, 0.0)})
        return {
            "images": {size: (12, 240) if quick else IMAGES[size] for size in sizes},
            "networks": {size: SMALL if quick else SIZES[size] for size in sizes},
            "learning rates": {size: RATES[size] for size in sizes},
            "shipped": {size: SHIPPED[size] for size in sizes},
            "sha256": {size: manifest_entry(SHIPPED[size])["sha256"] for size in sizes},
            "priors": record["priors"],
            "variations": record["variations"],
            "batch": 12 if quick else BATCH,
            "sampler": Request.sampler,
            "steps": 4 if quick else Request.steps,
            "level": LEVEL,
            "count": 32 if quick else COUNT,
            "perfect": perfect["fid"],
            "aims": {size: AIMS[size] for size in sizes},
            "judged by": judge(quick).described,
        }

    def cells(self, quick: bool) -> Cells:
        """For each seed, a cell per shipped network, then one per size and number of images."""
        asked = self.inputs(quick)
        for seed in self.seeds:
            for size, name in asked["shipped"].items():
                yield f"{name}, seed {seed}", partial(self._shipped, asked, size, seed, quick)
            for size, images in asked["images"].items():
                for n in images:
                    yield (
                        f"{size}, {n} images, seed {seed}",
                        partial(self._trained, asked, size, n, seed, quick),
                    )

    def _shipped(self, asked: Record, size: str, seed: int, quick: bool) -> Record:
        model = load_checkpoint(asked["shipped"][size])
        steps = sum(steps for _, steps in model.record["levels"])
        seen = {"size": size, "images": steps * model.record["batch"], "shipped": True}
        return seen | self._scores(asked, model, seed, quick)

    def _trained(self, asked: Record, size: str, images: int, seed: int, quick: bool) -> Record:
        plan = Plan(
            priors=tuple(asked["priors"]),
            variations=asked["variations"],
            network=asked["networks"][size],
            levels=((asked["level"], round(images / asked["batch"])),),
            batch=asked["batch"],
            learning_rate=asked["learning rates"][size],
            seed=seed,
        )
        run = trained(plan, data_of(quick).fields("train", asked["level"]))
        record = {"levels": plan.levels, "variations": plan.variations}
        own = run.averaged().network, run.family.priors[: len(plan.priors)]
        model = Checkpoint(size, *own, run.statistics, plan.schedule, record, "bundle")
        seen = {"size": size, "images": plan.steps * plan.batch, "shipped": False}
        hours = {"CPU hours": run.seconds / 3600}
        return seen | hours | self._scores(asked, model, seed, quick)

    def _scores(self, asked: Record, model: Checkpoint, seed: int, quick: bool) -> Record:
        """FID by both maps of samples under the default prior, with the floor."""
        level, count = asked["level"], asked["count"]
        sampler = asked["sampler"]
        request = Request(
            resolution=level, steps=asked["steps"], sampler=sampler, seed=seed, guidance=1.0
        )
        run = run_of(request, model)
        parts = [run.result(few.tolist()).x0 for few in torch.arange(count).split(CHUNK)]
        found = judge(quick).evaluate(torch.cat(parts))
        scores = {name: found["metrics"][name] for name in JUDGES}
        return scores | {"floor": found["floor"]["fid"], "floor_sd": found["floor_sd"]["fid"]}

    def rows(self, record: Record) -> list[Record]:
        """A row per size and number of images: means and sample deviations over the seeds."""
        out: list[Record] = []
        for size, law in self._laws(record).items():
            own = [c for c in values(record).values() if c["size"] == size]
            for shipped, images in sorted({(c["shipped"], c["images"]) for c in own}):
                mine = [c for c in own if (c["shipped"], c["images"]) == (shipped, images)]
                place = "as shipped" if shipped else "here"
                row: Record = {"size": size, "trained": place, "images": images}
                for name in JUDGES:
                    row[name], row[f"{name}, sd"] = spread([c[name] for c in mine])
                row["law"] = law.score(images)
                hours = [c["CPU hours"] for c in mine if not shipped]
                row["CPU hours"] = spread(hours)[0] if hours else None
                out.append(row | {"floor": mine[0]["floor"], "floor, sd": mine[0]["floor_sd"]})
        return out

    def _laws(self, record: Record, seed: int | None = None) -> dict[str, PowerLaw]:
        """The law of each size, fitted to all seeds or to one."""
        found, out = values(record), {}
        for size in record["inputs"]["images"]:
            mine = [
                cell
                for name, cell in found.items()
                if cell["size"] == size and not cell["shipped"]
                if seed is None or name.endswith(f"seed {seed}")
            ]
            images, scores = ([c[key] for c in mine] for key in ("images", "fid"))
            out[size] = PowerLaw.of(images, scores, record["inputs"]["perfect"][0])
        return out

    def conclusion(self, record: Record) -> str:
        """FID by images, the exponents, the images that the aims would take."""
        asked, rows, said = record["inputs"], self.rows(record), []
        for size, law in self._laws(record).items():
            *mine, shipped = [r for r in rows if r["size"] == size]
            each = [self._laws(record, seed)[size] for seed in record["seeds"]]
            exponent = spread([one.exponent for one in each])
            aim = shipped["floor"] + asked["aims"][size]
            needed = sorted(one.images_for(aim) for one in each)
            hours = mine[-1]["CPU hours"] / mine[-1]["images"]
            scores = [f"{_pm(r)} after {r['images']:,} images" for r in mine]
            said.append(
                f"The {size} network has FID {', '.join(scores)}; the excess over a perfect "
                f"sampler falls as n^-b, b = {exponent[0]:.2f} ± {exponent[1]:.2f}. The shipped "
                f"one has {_pm(shipped)} (one training, so the spread is that of samples) after "
                f"{_millions(shipped['images'])}, where the law says {shipped['law']:.1f}. "
                f"The aim, {aim:.1f}, would take {_millions(law.images_for(aim))} "
                f"({_millions(needed[0])} to {_millions(needed[-1])} by single seeds), "
                f"{hours * law.images_for(aim):,.0f} hours of this core."
            )
        return f"Trained at {asked['level']}², sampled with g = 1. {' '.join(said)}"

    def figure(self, record: Record) -> "Figure":
        """FID against images for both maps; the laws, on to the aims."""
        from mldemo.studies.figures import line, panels

        asked, rows = record["inputs"], self.rows(record)
        titles = ("FID", "FID, second map")
        figure = panels(*titles, x="training images", log="xy")
        for size, law in self._laws(record).items():
            for place, name in (("here", size), ("as shipped", f"{size}, as shipped")):
                mine = [r for r in rows if (r["size"], r["trained"]) == (size, place)]
                images = [r["images"] for r in mine]
                for panel, key in enumerate(JUDGES, 1):
                    bars = [r[f"{key}, sd"] for r in mine]
                    line(figure, panel, name, images, [r[key] for r in mine], bars)
            aim = rows[0]["floor"] + asked["aims"][size]
            last = min(law.images_for(aim), FURTHEST)
            reach = np.geomspace(asked["images"][size][0], last, 9).tolist()
            line(figure, 1, f"{size}, law to the aim", reach, [law.score(n) for n in reach])
        return figure


def _pm(row: Record) -> str:
    return f"{row['fid']:.1f} ± {row['fid, sd']:.1f}"


def _millions(images: float) -> str:
    two_digits = float(f"{images / 1e6:.2g}")
    return f"{two_digits:,g} million"
