"""Which network learns best, on its training level and off it, and which is best at edges?

An FNO, the U-shaped operator, a U-Net and a wavelet neural operator, of half a million weights
each, are trained on 32 alone for the same CPU seconds, on digits and on two-phase media, whose
edges are sharp. They are judged by E‖D(x_t, t) - x_0‖², the error of denoising unseen fields, on
16, 32 and 64: as a whole, near edges and elsewhere. A point is near an edge if a sign change of
x_0 is at most 1/32 away in the maximum norm, on the grid of 64 points per side, on which the
errors of all levels are compared. The closed-form filter, which all four add to, is judged too.

Aliasing is the relative change of a network's output when its band-limited input is sampled on
twice as many points per side; that of every layer is measured on 32 (`aliasing`).
"""

from dataclasses import replace
from functools import lru_cache
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import Tensor
from torch.nn import functional

from mldemo.data.sets import DataSet, Mnist, SmallMnist, TwoPhaseMaterial
from mldemo.diffusion.denoiser import Denoiser
from mldemo.space.spectral import resample
from mldemo.studies.aliasing import layer_gaps, network_gap, seen
from mldemo.studies.judged import FewMedia
from mldemo.studies.study import Cells, Record, Study, spread, values
from mldemo.studies.trained import (
    SMALL_OF,
    denoising_gaps,
    noised,
    parts_of,
    prior_of,
    step_costs,
    trained,
)
from mldemo.training.loop import Training
from mldemo.training.plan import Plan

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

SECONDS, ROUNDS, ALIASED = 180.0, 8, 16
TRAINED, LEVELS = 32, (16, 32, 64)
NEAR = 1 / 32  # of an edge, where the torus has length 1
NETWORKS: dict[str, dict[str, Any]] = {
    "FNO": {"kind": "fno", "width": 20, "modes": 8},
    "U-shaped operator": {"kind": "ushaped", "width": 24, "core_widths": (32, 64)},
    "U-Net": {"kind": "unet"},
    "wavelet operator": {"kind": "wavelet", "width": 20},
}
FILTER = "filter alone"
SOURCES: dict[str, tuple[type[DataSet], type[DataSet]]] = {
    "digits": (Mnist, SmallMnist),
    "two-phase media": (TwoPhaseMaterial, FewMedia),
}
ERRORS = {"error": "whole", "edges": "near edges", "elsewhere": "elsewhere"}


@lru_cache(maxsize=4)
def data_of(name: str, quick: bool) -> tuple[Tensor, Tensor]:
    """Fields to train on and held-out fields of a data set, at 64."""
    return parts_of(SOURCES[name][quick].find(), quick)


def near_edges(fields: Tensor, distance: float = NEAR) -> Tensor:
    """The points of fields (B, 1, N, N) within `distance` of a sign change, in the maximum norm.

    A sign change lies between two neighbours on the torus, both of which are at distance 0.
    """
    sign, found = fields > 0, torch.zeros_like(fields)
    for axis in (-2, -1):
        for step in (1, -1):
            found[sign != sign.roll(step, axis)] = 1
    r = round(distance * fields.shape[-1])
    padded = functional.pad(found, (r, r, r, r), mode="circular")
    return functional.max_pool2d(padded, 2 * r + 1, stride=1) > 0


def errors(denoiser: Denoiser, held_out: Tensor, level: int) -> dict[str, float]:
    """The mean square of D(x_t, t) - x_0 over all points, over those near edges, over the rest."""
    gaps = resample(denoising_gaps(denoiser, held_out, level), held_out.shape[-1]).double()
    near = near_edges(held_out)
    parts = gaps, gaps[near], gaps[~near]
    return {name: float(p.square().mean()) for name, p in zip(ERRORS, parts, strict=True)}


class Architectures(Study):
    """Error on and off the training level, near edges and elsewhere, and aliasing."""

    name: ClassVar[str] = "architectures"
    question: ClassVar[str] = "Which network learns best, and which is best at edges?"
    link: ClassVar[str] = "tab=watch&n=64&checkpoint=material-bessel-64"

    def inputs(self, quick: bool) -> Record:
        """Networks, data, seconds, levels."""
        return {
            "networks": {
                name: SMALL_OF[record["kind"]] if quick else record
                for name, record in NETWORKS.items()
            },
            "data": {name: [len(part) for part in data_of(name, quick)] for name in SOURCES},
            "seconds": 0.1 if quick else SECONDS,
            "batch": 4 if quick else 48,
            "trained": TRAINED,
            "levels": list(LEVELS),
            "near": NEAR,
            "aliased": 4 if quick else ALIASED,
        }

    def cells(self, quick: bool) -> Cells:
        """What a step of each network costs, then a cell per data set, network and seed."""
        asked = self.inputs(quick)
        priors = {d: prior_of("bessel", data_of(d, quick)[0]).to_dict() for d in SOURCES}

        def plan(data: str, network: str) -> Plan:
            more = {"network": asked["networks"][network], "batch": asked["batch"]}
            return Plan((priors[data],), levels=((TRAINED, 1),), **more)

        def costs() -> dict[str, float]:
            data = next(iter(SOURCES))
            plans = {network: plan(data, network) for network in NETWORKS}
            return step_costs(plans, data_of(data, quick)[0], 1 if quick else ROUNDS)

        cost = yield "CPU seconds of a step", costs
        for data in SOURCES:
            base = plan(data, next(iter(NETWORKS)))
            yield f"{data}, {FILTER}", lambda d=data, p=base: self._filter(asked, d, p, quick)
            for network in NETWORKS:
                steps = max(1, round(asked["seconds"] / cost[network]))
                for seed in self.seeds:
                    mine = replace(plan(data, network), seed=seed, levels=((TRAINED, steps),))
                    yield (
                        f"{data}, {network}, seed {seed}",
                        lambda d=data, n=network, p=mine: self._trained(asked, d, n, p, quick),
                    )

    def _filter(self, asked: Record, data: str, plan: Plan, quick: bool) -> Record:
        train, held_out = data_of(data, quick)
        denoiser = Training(plan, train).averaged(guidance=0.0)
        found = {str(n): errors(denoiser, held_out, n) for n in asked["levels"]}
        return {"data": data, "network": FILTER, "levels": found}

    def _trained(self, asked: Record, data: str, name: str, plan: Plan, quick: bool) -> Record:
        train, held_out = data_of(data, quick)
        run = trained(plan, train)
        denoiser, found, by_layer = run.averaged(), {}, {}
        network, few = denoiser.network, held_out[: asked["aliased"]]
        for n in asked["levels"]:
            _, x, times = noised(denoiser, few, n)
            told = seen({"F": network}, lambda x=x, t=times: denoiser(x, t))["F"]
            found[str(n)] = errors(denoiser, held_out, n)
            found[str(n)]["aliasing"] = network_gap(network, *told)
            if n == TRAINED:
                by_layer = layer_gaps(network, *told)
        return {
            "data": data,
            "network": name,
            "weights": sum(p.numel() for p in network.parameters()),
            "steps": run.step,
            "levels": found,
            "layers": by_layer,
        }

    def rows(self, record: Record) -> list[Record]:
        """A row per data set, network and level: means and sample deviations over the seeds.

        The aliasing of every layer is in the rows of the training level.
        """
        cells = [c for c in values(record).values() if "network" in c]
        out: list[Record] = []
        for data, network in dict.fromkeys((c["data"], c["network"]) for c in cells):
            mine = [c for c in cells if (c["data"], c["network"]) == (data, network)]
            for level in mine[0]["levels"]:
                found = [c["levels"][level] for c in mine]
                row: Record = {"data": data, "network": network, "level": int(level)}
                for key in (*ERRORS, "aliasing"):
                    known = [f[key] for f in found if key in f]
                    row[key], row[f"{key}, sd"] = spread(known) if known else (None, None)
                shares = _by_layer(mine) if int(level) == record["inputs"]["trained"] else {}
                row["aliasing by layer"] = ", ".join(f"{k} {v:.2%}" for k, v in shares.items())
                out.append(row | {key: mine[0].get(key) for key in ("weights", "steps")})
        return out

    def conclusion(self, record: Record) -> str:
        """Who is better near edges than the FNO, who is worse than the filter, who aliases."""
        rows, asked = self.rows(record), record["inputs"]
        levels, networks = asked["levels"], list(asked["networks"])
        found = {(r["data"], r["network"], r["level"]): r for r in rows}
        said = []
        for data in asked["data"]:
            own = {n: [found[data, n, level] for level in levels] for n in (*networks, FILTER)}
            at = {n: found[data, n, asked["trained"]] for n in own}
            figures = [f"{n} {_pm(row)}" for n, row in at.items()]
            first = networks[0]
            ahead = {
                n: [r["level"] for r, s in zip(own[n], own[first], strict=True) if _below(r, s)]
                for n in networks[1:]
            }
            behind = {
                n: [r["level"] for r, s in zip(own[n], own[FILTER], strict=True) if _below(s, r)]
                for n in networks
            }
            said.append(
                f"{data.capitalize()}, squared error near edges there: "
                f"{', '.join(figures)}. Below that of the {first} by more than two standard "
                f"deviations: {_named(ahead)}; above that of the filter: {_named(behind)}."
            )
            aliasing = [f"{n} {at[n]['aliasing']:.1%}" for n in networks]
            said.append(f"Aliasing from there to the double: {', '.join(aliasing)}.")
        return f"Trained at {asked['trained']} for equal CPU seconds. {' '.join(said)}"

    def figure(self, record: Record) -> "Figure":
        """Error near edges and aliasing by level; aliasing by layer."""
        from mldemo.studies.figures import line, panels

        rows, asked = self.rows(record), record["inputs"]
        *_, sharp = asked["data"]
        titles = [f"edges, {data}" for data in asked["data"]]
        titles += [f"aliasing, {sharp}", f"its layers at {asked['trained']}"]
        figure = panels(*titles, x="level N", log="xy")
        for network in (*asked["networks"], FILTER):
            for panel, data in enumerate((*asked["data"], sharp), 1):
                key = "aliasing" if panel == 3 else "edges"
                mine = [r for r in rows if (r["data"], r["network"]) == (data, network)]
                columns = ([r[k] for r in mine] for k in ("level", key, f"{key}, sd"))
                if mine[0][key] is not None:
                    line(figure, panel, network, *columns)
            cells = [c for c in values(record).values() if c.get("network") == network]
            shares = _by_layer([c for c in cells if c["data"] == sharp])
            # the rounding errors of exact layers would stretch the axis
            inexact = {i: s for i, s in enumerate(shares.values(), 1) if s > 1e-5}
            if inexact:
                line(figure, 4, network, list(inexact), list(inexact.values()))
        figure.update_xaxes(tickvals=asked["levels"])
        figure.update_xaxes(title_text="layer", type="linear", tickvals=None, col=4)
        return figure


def _by_layer(cells: list[Record]) -> dict[str, float]:
    """The mean aliasing of each layer over the runs of one network."""
    names = cells[0].get("layers", {})
    return {name: spread([c["layers"][name] for c in cells])[0] for name in names}


def _below(row: Record, other: Record) -> bool:
    deviation = (row["edges, sd"] ** 2 + other["edges, sd"] ** 2) ** 0.5
    return other["edges"] - row["edges"] > 2 * deviation


def _named(levels: dict[str, list[int]]) -> str:
    """The networks that have any levels, with these levels; "none" if there are none."""
    found = [f"{n} at {', '.join(map(str, where))}" for n, where in levels.items() if where]
    return "; ".join(found) or "none"


def _pm(row: Record) -> str:
    deviation = "" if row["network"] == FILTER else f" ± {row['edges, sd']:.4f}"
    return f"{row['edges']:.4f}{deviation}"
