"""Does a network work on levels where it was never trained?

Every network is trained on 16 alone, for the same CPU seconds, and then judged on 16, 32, 64 and
128. The paper's experiment 1 does this for an FNO with the standard prior, whose noise differs
from level to level: here the *plain FNO*, which predicts the noise from the state and the time
alone (`plain`). It is compared with the bessel prior, whose noise is the same function on all
levels, and with three networks that are preconditioned by the closed-form filter: the FNO, the
U-shaped operator, and a U-Net, whose convolutions shrink with the grid. The filter is known on
every level: where such a network adds nothing, the images that are judged are the filter's.

Quality is judged on the frequencies of level 32 at most; the error of the spectrum, in decibels,
is that of each level's own highest octave.
"""

from dataclasses import replace
from typing import TYPE_CHECKING, ClassVar

from mldemo.diffusion.denoiser import Denoiser
from mldemo.studies.plain import PlainDenoiser
from mldemo.studies.study import Cells, Record, Study, spread, values
from mldemo.studies.trained import (
    SMALL_OF,
    evaluated,
    fields,
    prior_of,
    samples,
    step_costs,
    trained,
)
from mldemo.training.plan import Plan

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

SECONDS, COUNT, ROUNDS = 120.0, 300, 8
TRAINED, LEVELS = 16, (16, 32, 64, 128)
PLAIN = "plain FNO"
KINDS = {PLAIN: "fno", "FNO": "fno", "U-shaped operator": "ushaped", "U-Net": "unet"}
PRIORS = ("standard", "bessel")
QUICK = {name: SMALL_OF[kind] for name, kind in KINDS.items()}


class ZeroShot(Study):
    """Quality by level of networks that were trained on a single one."""

    name: ClassVar[str] = "zero-shot"
    question: ClassVar[str] = "Does a network work on levels where it was never trained?"
    link: ClassVar[str] = (
        "tab=watch&n=32&checkpoint=mnist-unet-standard-16&prior=standard&guidance=1"
    )

    def inputs(self, quick: bool) -> Record:
        """Networks, priors, seconds, levels, data."""
        networks = QUICK if quick else {name: {"kind": kind} for name, kind in KINDS.items()}
        return {
            "networks": networks,
            "priors": list(PRIORS),
            "seconds": 0.1 if quick else SECONDS,
            "batch": 4 if quick else 48,
            "levels": list(LEVELS[:2] if quick else LEVELS),
            "count": 8 if quick else COUNT,
            "fields": [len(part) for part in fields(quick)],
        }

    def cells(self, quick: bool) -> Cells:
        """What a step of each network costs, then a cell per network, prior and seed."""
        asked, (train, _) = self.inputs(quick), fields(quick)
        plans = {}
        for kind, network in asked["networks"].items():
            for prior in PRIORS:
                spectra = (prior_of(prior, train).to_dict(),)
                more = {"network": network, "batch": asked["batch"]}
                plans[f"{kind}, {prior}"] = Plan(spectra, levels=((TRAINED, 1),), **more)
        by_kind = {kind: plans[f"{kind}, {PRIORS[0]}"] for kind in asked["networks"]}
        cost = yield (
            "CPU seconds of a step",
            lambda: step_costs(by_kind, train, 1 if quick else ROUNDS),
        )
        for name, plan in plans.items():
            steps = max(1, round(asked["seconds"] / cost[name.rpartition(", ")[0]]))
            for seed in self.seeds:
                mine = replace(plan, seed=seed, levels=((TRAINED, steps),))
                yield f"{name}, seed {seed}", lambda n=name, p=mine: self._by_level(n, p, quick)

    def _by_level(self, name: str, plan: Plan, quick: bool) -> Record:
        asked, found = self.inputs(quick), {}
        network, prior = name.rsplit(", ", 1)
        denoising = PlainDenoiser if network == PLAIN else Denoiser
        run = trained(plan, fields(quick)[0], denoising)
        for level in asked["levels"]:
            images = samples(run, level, asked["count"], plan.seed)
            found[str(level)] = evaluated(images, quick)
        return {"network": network, "prior": prior, "steps": run.step, "levels": found}

    def rows(self, record: Record) -> list[Record]:
        """A row per network, prior and level: means and sample deviations over the seeds."""
        cells = [c for c in values(record).values() if "network" in c]
        out: list[Record] = []
        for network, prior in dict.fromkeys((c["network"], c["prior"]) for c in cells):
            mine = [c for c in cells if (c["network"], c["prior"]) == (network, prior)]
            for level in mine[0]["levels"]:
                found = [c["levels"][level] for c in mine]
                row: Record = {"network": network, "prior": prior, "level": int(level)}
                for key in ("fid", "fid_second", "recall", "octave, dB"):
                    row[key], row[f"{key}, sd"] = spread([f[key] for f in found])
                out.append(row | {"floor": found[0]["fid, floor"], "steps": mine[0]["steps"]})
        return out

    def conclusion(self, record: Record) -> str:
        """The FID on the training level and on the finest."""
        rows, said = self.rows(record), []
        finest = max(record["inputs"]["levels"])
        for network in record["inputs"]["networks"]:
            parts = []
            for prior in record["inputs"]["priors"]:
                mine = [r for r in rows if (r["network"], r["prior"]) == (network, prior)]
                at = {r["level"]: f"{r['fid']:.1f} ± {r['fid, sd']:.1f}" for r in mine}
                parts.append(f"{at[TRAINED]} at {TRAINED} and {at[finest]} at {finest} ({prior})")
            said.append(f"{network}: {'; '.join(parts)}")
        return f"FID after training at {TRAINED} alone. {'. '.join(said)}."

    def figure(self, record: Record) -> "Figure":
        """FID and the error of the highest octave against the level."""
        from mldemo.studies.figures import line, panels

        figure = panels("FID", "power of the highest octave, dB", x="level N", log="x")
        figure.update_yaxes(type="log", rangemode="normal", col=1)
        rows = self.rows(record)
        for network, prior in dict.fromkeys((r["network"], r["prior"]) for r in rows):
            mine = [r for r in rows if (r["network"], r["prior"]) == (network, prior)]
            for panel, key in enumerate(("fid", "octave, dB"), 1):
                columns = ([r[k] for r in mine] for k in ("level", key, f"{key}, sd"))
                line(figure, panel, f"{network}, {prior}", *columns)
        figure.update_xaxes(tickvals=record["inputs"]["levels"])
        return figure
