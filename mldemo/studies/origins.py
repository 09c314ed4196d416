"""At which noise do the images of a network go wrong, and what does its weight do to them?

Two curves for each network, both FID on level 16:

- *from t*: the reverse run starts from x_t = α x_0 + σ η of unseen digits x_0, so all that happens
  above t is exact; what the FID gains as t grows arises between the two times.
- *weight*: D_g = D_lin + g (D - D_lin) throughout, from t = 1. A network whose own part is a few
  per cent too large at g = 1 already does what guidance does, so networks are compared by their
  curves and not at one g. *Best g*, the weight with the least squared error, tells how far g = 1
  is from the truth at a time.
"""

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from itertools import product
from typing import TYPE_CHECKING, ClassVar

import torch
from torch import Tensor

from mldemo.diffusion.sde import diffuse
from mldemo.editing import denoise_from
from mldemo.pipeline import Run, prepare
from mldemo.request import Request
from mldemo.space.spectral import resample
from mldemo.store.manifest import BUNDLE, manifest_entry, read_manifest
from mldemo.studies.judged import judge
from mldemo.studies.study import Cells, Record, Study, spread, values

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

NETWORKS = ("mnist-family-64", "mnist-large-32", "mnist-large-64")
TIMES = (0.2, 0.3, 0.4, 0.5, 0.6, 0.8, 1.0)
WEIGHTS = (1.0, 1.1, 1.25, 1.4)
LEVEL, COUNT, CHUNK = 16, 1000, 50
JUDGES = ("fid", "fid_second")


class Origins(Study):
    """FID against the time from which the network is at work, and against its weight."""

    name: ClassVar[str] = "origins"
    question: ClassVar[str] = "At which noise do images go wrong?"
    link: ClassVar[str] = "tab=forward&t=0.5&n=16"

    def inputs(self, quick: bool) -> Record:
        """Networks by their sha256, level, times, weights, how many images, the judge."""
        names = [read_manifest(BUNDLE)["default"]] if quick else NETWORKS
        return {
            "networks": {name: manifest_entry(name)["sha256"] for name in names},
            "prior": Request.prior,
            "sampler": Request.sampler,
            "steps": 4 if quick else Request.steps,
            "level": 16 if quick else LEVEL,
            "times": list(TIMES[2::4] if quick else TIMES),
            "weights": list(WEIGHTS[:2] if quick else WEIGHTS),
            "count": 32 if quick else COUNT,
            "judged by": judge(quick).described,
        }

    def cells(self, quick: bool) -> Cells:
        """A cell per network, (time, weight) and seed."""
        asked = self.inputs(quick)
        points = [(t, 1.0) for t in asked["times"]]
        points += [(1.0, g) for g in asked["weights"] if g != 1]
        for network, (t, g), seed in product(asked["networks"], points, self.seeds):
            yield (
                f"{network}, from t = {t:g}, g = {g:g}, seed {seed}",
                partial(self._measured, asked, network, t, g, seed, quick),
            )

    def _measured(
        self, asked: Record, network: str, t: float, g: float, seed: int, quick: bool
    ) -> Record:
        n, count = asked["level"], asked["count"]
        request = Request(
            asked["prior"], n, asked["steps"], asked["sampler"], guidance=g, checkpoint=network
        )
        run, reference = prepare(request), judge(quick)
        drawn = reference.draws(count)[seed % len(reference.draws(count))]
        clean = resample(reference.unseen[drawn], n)
        noise = run.prior.draw(seed, range(count), n)
        parts = [
            _last(run, x, eta, t)
            for x, eta in zip(clean.split(CHUNK), noise.split(CHUNK), strict=True)
        ]
        found = reference.evaluate(torch.cat(parts))
        return {
            "network": network,
            "from t": t,
            "g": g,
            **{name: found["metrics"][name] for name in JUDGES},
            "best g": _best_weight(request, clean, noise, t),
            "floor": found["floor"]["fid"],
            "floor_sd": found["floor_sd"]["fid"],
        }

    def rows(self, record: Record) -> list[Record]:
        """A row per network, time and weight: means and sample deviations over the seeds."""
        out: list[Record] = []
        keys = ("network", "from t", "g")
        cells = list(values(record).values())
        for point in dict.fromkeys(tuple(c[k] for k in keys) for c in cells):
            mine = [c for c in cells if tuple(c[k] for k in keys) == point]
            row: Record = dict(zip(keys, point, strict=True))
            for name in (*JUDGES, "best g"):
                row[name], row[f"{name}, sd"] = spread([c[name] for c in mine])
            out.append(row | {"floor": mine[0]["floor"], "floor, sd": mine[0]["floor_sd"]})
        return out

    def conclusion(self, record: Record) -> str:
        """How much of the excess arises above which t, and what the weight does to the rest."""
        said = []
        rows = self.rows(record)
        for network in record["inputs"]["networks"]:
            plain = [r for r in _rows_of(rows, network) if r["g"] == 1]
            whole, late = max(plain, key=_time), min(plain, key=_time)
            excess = whole["fid"] - late["fid"]
            half = next(r for r in plain if r["fid"] - late["fid"] >= excess / 2)
            least = min((r for r in _rows_of(rows, network) if r["from t"] == 1), key=_fid)
            said.append(
                f"{network}: FID {late['fid']:.2f} from t = {late['from t']:g} and "
                f"{whole['fid']:.2f} ± {whole['fid, sd']:.2f} from 1, half of the difference by "
                f"t = {half['from t']:g}; the least over the weights is {least['fid']:.2f} at "
                f"g = {least['g']:g}"
            )
        floor = rows[0]["floor"]
        return f"{'; '.join(said)}. The floor is {floor:.2f} ± {rows[0]['floor, sd']:.2f}."

    def figure(self, record: Record) -> "Figure":
        """FID against the time from which the network is at work, and against its weight."""
        from mldemo.studies.figures import line, panels

        figure = panels("FID, real digits until t, g = 1", "FID, weight g", x="time t", log="y")
        figure.update_xaxes(title_text="weight g", col=2)
        for network in record["inputs"]["networks"]:
            mine = _rows_of(self.rows(record), network)
            for panel, key, fixed in ((1, "from t", "g"), (2, "g", "from t")):
                shown = sorted((r for r in mine if r[fixed] == 1), key=lambda r, k=key: r[k])
                fid, sd = ([r[name] for r in shown] for name in ("fid", "fid, sd"))
                line(figure, panel, network, [r[key] for r in shown], fid, sd)
        return figure


def _rows_of(rows: Sequence[Record], network: str) -> list[Record]:
    return [row for row in rows if row["network"] == network]


def _time(row: Record) -> float:
    return row["from t"]


def _fid(row: Record) -> float:
    return row["fid"]


def _last(run: Run, clean: Tensor, noise: Tensor, t: float) -> Tensor:
    """What the reverse run makes of clean fields that are noised to the time t."""
    r = run.request
    *_, last = denoise_from(run.denoise, clean, noise, t, r.sampler, r.steps, run.schedule)
    return last.x0


def _best_weight(request: Request, clean: Tensor, noise: Tensor, t: float) -> float:
    """The g that minimises E‖D_lin + g (D - D_lin) - x_0‖² at the time t."""
    time = torch.tensor(t, dtype=torch.float64)
    filter_only, network = (prepare(replace(request, guidance=g)) for g in (0.0, 1.0))
    x = diffuse(network.schedule, clean, noise, time)
    with torch.no_grad():
        linear, learned = (
            torch.cat([run.denoise(part, time) for part in x.split(CHUNK)]).double()
            for run in (filter_only, network)
        )
    added, missing = learned - linear, clean - linear
    return float((added * missing).sum() / added.square().sum())
