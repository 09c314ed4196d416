"""What does it save to denoise high noise on a coarse level, and what does it cost?

A run on level N starts on level N/2 and changes level at some time (`Request.coarse_until`), when
the missing modes are drawn from their Gaussian law. Two measurements for every such time:

- *exact*: with the score of a Gaussian with the data's spectrum, the distance of the images from
  those of the run that is fine throughout, in units of √tr Λ. In continuous time it is 0; what
  remains is due to the step of order 1 that a multistep method takes after the change.
- *learned*: FID of the network's images and their CPU time, guidance 1.
"""

import time
from dataclasses import replace
from typing import TYPE_CHECKING, ClassVar

import torch

from mldemo.pipeline import prepare
from mldemo.request import Request
from mldemo.store.manifest import BUNDLE, manifest_entry, read_manifest
from mldemo.studies.convergence import coupled_distance
from mldemo.studies.judged import judge
from mldemo.studies.study import Cells, Record, Study, spread, values

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

LEVELS = ((16, 32), (32, 64))
UNTIL = (1.0, 0.8, 0.6, 0.5, 0.4, 0.3, 0.2, 0.1)  # 1: fine throughout
COUNT, CHUNK = 1000, 50


class MultilevelSampling(Study):
    """Quality and CPU time against the time at which the level changes."""

    name: ClassVar[str] = "multilevel-sampling"
    question: ClassVar[str] = "Does it pay to denoise high noise on a coarse level?"
    link: ClassVar[str] = "tab=resolution&finest=64&show=x0"

    def inputs(self, quick: bool) -> Record:
        """Levels, times, how many images, the checkpoint by its sha256."""
        checkpoint = read_manifest(BUNDLE)["default"]
        return {
            "levels": [list(pair) for pair in (LEVELS[:1] if quick else LEVELS)],
            "until": list(UNTIL[::4] if quick else UNTIL),
            "count": 32 if quick else COUNT,
            "steps": 4 if quick else Request.steps,
            "judged by": judge(quick).described,
            "checkpoint": checkpoint,
            "sha256": manifest_entry(checkpoint)["sha256"],
        }

    def cells(self, quick: bool) -> Cells:
        """A cell per level, time and seed, so that a stopped run loses little."""
        asked = self.inputs(quick)
        for coarse, fine in asked["levels"]:
            for until in asked["until"]:
                for seed in self.seeds:
                    levels = coarse, fine
                    yield (
                        f"{coarse} → {fine}, until {until:g}, seed {seed}",
                        lambda n=levels, u=until, s=seed: self._measured(asked, n, u, s, quick),
                    )

    def _measured(
        self, asked: Record, levels: tuple[int, int], until: float, seed: int, quick: bool
    ) -> Record:
        fine = Request(resolution=levels[1], steps=asked["steps"], guidance=1.0, seed=seed)
        request = replace(fine, coarse_until=None if until >= 1 else until)
        few = range(16)
        exact = [prepare(replace(r, score="gaussian")) for r in (fine, request)]
        gap = coupled_distance(*(run.result(few).x0 for run in exact))
        run = prepare(request)
        run.result(few)  # computes constants before the clock starts
        parts, start = [], time.process_time()
        for first in range(0, asked["count"], CHUNK):
            indices = range(first, min(first + CHUNK, asked["count"]))
            parts.append(run.result(indices).x0)
        seconds = time.process_time() - start
        found = judge(quick).evaluate(torch.cat(parts))
        return {
            "levels": list(levels),
            "until": until,
            "seed": seed,
            "exact": gap / run.statistics.variance**0.5,
            "cpu_seconds": seconds,
            "fid": found["metrics"]["fid"],
            "fid_second": found["metrics"]["fid_second"],
            "floor": found["floor"]["fid"],
            "floor_sd": found["floor_sd"]["fid"],
        }

    def rows(self, record: Record) -> list[Record]:
        """A row per pair of levels and time: means and sample deviations over the seeds."""
        out: list[Record] = []
        cells = list(values(record).values())
        for levels in record["inputs"]["levels"]:
            for until in record["inputs"]["until"]:
                mine = [c for c in cells if c["levels"] == levels and c["until"] == until]
                row: Record = {"from": levels[0], "to": levels[1], "until": until}
                for key in ("exact", "fid", "fid_second", "cpu_seconds"):
                    row[key], row[f"{key}, sd"] = spread([c[key] for c in mine])
                out.append(row | {"floor": mine[0]["floor"], "floor, sd": mine[0]["floor_sd"]})
        return out

    def conclusion(self, record: Record) -> str:
        """The latest change that costs no FID beyond the seeds' spread, and the time it takes.

        Both judges must agree: the second one sees what the first is blind to.
        """
        said = []
        rows = self.rows(record)
        for coarse, fine in record["inputs"]["levels"]:
            mine = [r for r in rows if r["from"] == coarse]
            whole = next(r for r in mine if r["until"] == 1)
            bound = {k: whole[k] + max(whole[f"{k}, sd"], 0.1) for k in ("fid", "fid_second")}
            free = [r for r in mine if all(r[k] <= b for k, b in bound.items())]
            last = min(free, key=lambda r: r["until"])
            share = last["cpu_seconds"] / whole["cpu_seconds"]
            fid, before = (
                " and ".join(f"{r[k]:.2f} ± {r[f'{k}, sd']:.2f}" for k in bound)
                for r in (last, whole)
            )
            said.append(
                f"{coarse} → {fine}: staying on the coarse level until t = {last['until']:g} has "
                f"FID {fid} by the two judges against {before}, in {share:.2f} of the CPU time"
            )
        return "; ".join(said) + "."

    def figure(self, record: Record) -> "Figure":
        """FID on the left, share of the CPU time on the right, against the time of the change."""
        from mldemo.studies.figures import line, panels

        figure = panels("FID, guidance 1", "CPU time / fine only", x="coarse until t")
        for coarse, fine in record["inputs"]["levels"]:
            mine = [r for r in self.rows(record) if r["from"] == coarse]
            whole = next(r for r in mine if r["until"] == 1)["cpu_seconds"]
            until, name = [r["until"] for r in mine], f"{coarse} → {fine}"
            line(figure, 1, name, until, [r["fid"] for r in mine], [r["fid, sd"] for r in mine])
            shares = ([r[k] / whole for r in mine] for k in ("cpu_seconds", "cpu_seconds, sd"))
            line(figure, 2, name, until, *shares)
        return figure
