"""How many calls of the network does a sampler need? The learned score beside the exact one.

FID of the network's images against the number of calls, guidance 1, on level 32; beside it the
error W₂/√trΛ of the same sampler with the same number of steps and the exact score of a Gaussian
with the data's spectrum. The paper's Euler-Maruyama with 200 and 1,000 steps is the reference.
"""

from typing import TYPE_CHECKING, ClassVar

import torch

from mldemo.diffusion.steps import SAMPLERS
from mldemo.pipeline import prepare
from mldemo.request import Request
from mldemo.store.manifest import BUNDLE, manifest_entry, read_manifest
from mldemo.studies.gaussian_law import bundled_gaussian
from mldemo.studies.judged import judge
from mldemo.studies.study import Cells, Record, Study, spread, values

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

LEVEL, COUNT, CHUNK = 32, 1000, 50
STEPS = (5, 10, 20, 40)
PAPER = {200: 3, 1000: 1}  # steps of Euler-Maruyama: how many seeds


class Samplers(Study):
    """Quality against calls, sampler by sampler."""

    name: ClassVar[str] = "samplers"
    question: ClassVar[str] = "How many calls of the network does a sampler need?"
    link: ClassVar[str] = "tab=solvers&sampler=dpmpp2m&error=w2&against=calls"
    why_fewer_seeds: ClassVar[str] = (
        "three seeds, but one for the paper's 1,000 steps, which take as long as all else"
    )

    def inputs(self, quick: bool) -> Record:
        """Level, steps, how many images, the judge, the checkpoint by its sha256."""
        checkpoint = read_manifest(BUNDLE)["default"]
        return {
            "level": 16 if quick else LEVEL,
            "steps": list(STEPS[:1] if quick else STEPS),
            "paper": {} if quick else {str(k): v for k, v in PAPER.items()},
            "count": 32 if quick else COUNT,
            "judged by": judge(quick).described,
            "checkpoint": checkpoint,
            "sha256": manifest_entry(checkpoint)["sha256"],
        }

    def cells(self, quick: bool) -> Cells:
        """A cell per sampler, step count and seed."""
        asked = self.inputs(quick)
        wanted = [(name, n, len(self.seeds)) for name in SAMPLERS for n in asked["steps"]]
        wanted += [("euler", int(n), seeds) for n, seeds in asked["paper"].items()]
        for name, steps, count in wanted:
            for seed in self.seeds[:count]:
                yield (
                    f"{name}, {steps} steps, seed {seed}",
                    lambda a=name, b=steps, c=seed: self._measured(asked, a, b, c, quick),
                )

    def _measured(self, asked: Record, sampler: str, steps: int, seed: int, quick: bool) -> Record:
        request = Request(
            resolution=asked["level"], sampler=sampler, steps=steps, seed=seed, guidance=1.0
        )
        run, parts = prepare(request), []
        for first in range(0, asked["count"], CHUNK):
            parts.append(run.result(range(first, min(first + CHUNK, asked["count"]))).x0)
        found = judge(quick).evaluate(torch.cat(parts))
        exact = bundled_gaussian(resolution=asked["level"]).errors(sampler, steps)
        return {
            "sampler": sampler,
            "steps": steps,
            "calls": SAMPLERS[sampler].calls(steps),
            "fid": found["metrics"]["fid"],
            "fid_second": found["metrics"]["fid_second"],
            "exact": exact["w2"],
            "floor": found["floor"]["fid"],
            "floor_sd": found["floor_sd"]["fid"],
        }

    def rows(self, record: Record) -> list[Record]:
        """A row per sampler and step count: means and sample deviations over the seeds."""
        cells = list(values(record).values())
        out: list[Record] = []
        for key in dict.fromkeys((c["sampler"], c["steps"], c["calls"]) for c in cells):
            mine = [c for c in cells if (c["sampler"], c["steps"], c["calls"]) == key]
            row: Record = dict(zip(("sampler", "steps", "calls"), key, strict=True))
            for name in ("fid", "fid_second"):
                row[name], row[f"{name}, sd"] = spread([c[name] for c in mine])
            row |= {"seeds": len(mine), "exact score, W2": mine[0]["exact"]}
            out.append(row | {"floor": mine[0]["floor"], "floor, sd": mine[0]["floor_sd"]})
        return out

    def conclusion(self, record: Record) -> str:
        """The best FID, and the fewest calls that are as good as the default by both judges."""
        asked, rows = record["inputs"], self.rows(record)
        best = min(rows, key=lambda r: r["fid"])
        ours = [r for r in rows if r["sampler"] == Request.sampler and r["steps"] <= Request.steps]
        default = max(ours, key=lambda r: r["steps"])
        judges = ("fid", "fid_second")
        near = [r for r in rows if all(r[judge] <= default[judge] for judge in judges)]
        fewest = min(near, key=lambda r: r["calls"])

        def said(r: Record) -> str:
            spread = ", one seed" if r["seeds"] == 1 else f" ± {r['fid, sd']:.2f}"
            label = SAMPLERS[r["sampler"]].label
            return f"{label} with {r['calls']:,} calls ({r['fid']:.2f}{spread})"

        return (
            f"FID of {asked['count']:,} samples at {asked['level']}² without guidance, which is "
            "higher than that of more samples. "
            f"The lowest is that of {said(best)}. The default is {said(default)}; the fewest "
            f"calls that are as good by both judges are those of {said(fewest)}. "
            f"The floor is {best['floor']:.2f} ± {best['floor, sd']:.2f}."
        )

    def figure(self, record: Record) -> "Figure":
        """FID and the exact score's error against calls, a line per sampler."""
        from mldemo.studies.figures import line, panels

        titles = ("FID of the network", "exact Gaussian score: W₂/√tr Λ")
        figure, rows = panels(*titles, x="calls of the network", log="xy"), self.rows(record)
        for name in dict.fromkeys(r["sampler"] for r in rows):
            mine = [r for r in rows if r["sampler"] == name]
            calls, label = [r["calls"] for r in mine], SAMPLERS[name].label
            line(figure, 1, label, calls, [r["fid"] for r in mine], [r["fid, sd"] for r in mine])
            line(figure, 2, label, calls, [r["exact score, W2"] for r in mine])
        return figure
