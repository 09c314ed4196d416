"""Which noise makes the best images, and why did the inverse Laplacian fail in the paper?

One network per prior is trained 16 → 32 for the same CPU seconds: first the Laplacian and the FNO
prior (the paper's experiment 2), then all six, then Matérn noise for several exponents s. Samples
are judged by quality, diversity and spectrum.

What is special about the paper's Laplacian is tested one change at a time, s = 1.1:

- *start N(0, Q)*: the reverse process starts as if the data were forgotten; the mean, where
  q_0 = 0, is then never generated. Uses the networks of *laplacian*, which starts from
  N(α_T m, α_T²Λ + σ_T²Q).
- *scale*: a trace four times that of the data, or a quarter of it.
- *factor N missing*: on the finer level the noise has a quarter of its variance, as when N is
  left out of N · ifft2(√q ⊙ fft2(ξ)) with q unchanged.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar

from torch import Tensor

from mldemo.space.covariance import Prior
from mldemo.space.priors import PRIORS, Bessel
from mldemo.studies.study import Cells, Record, Study, spread, values
from mldemo.studies.trained import (
    SMALL,
    evaluated,
    fields,
    from_noise,
    prior_of,
    samples,
    step_costs,
    trained,
)
from mldemo.training.loop import Training
from mldemo.training.plan import Plan

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

SECONDS, SHARE, COUNT, ROUNDS = 120.0, 0.6, 300, 8
COARSE, FINE = 16, 32
EXPONENTS = (1.05, 1.1, 1.5, 2.0, 3.0)


@dataclass(frozen=True)
class Case:
    """A prior on the coarse level and, if different, another on the fine one."""

    name: str
    prior: Callable[[Tensor], Prior]
    fine: Callable[[Tensor], Prior] | None = None
    ablation: bool = False


def _laplacian(scale: float) -> Callable[[Tensor], Prior]:
    def made(data: Tensor) -> Prior:
        prior = prior_of("laplacian", data)
        return replace(prior, trace=scale * prior.total)

    return made


def _named(name: str) -> Callable[[Tensor], Prior]:
    return lambda data: prior_of(name, data)


def _matern(s: float) -> Callable[[Tensor], Prior]:
    return lambda data: Bessel(s, trace=prior_of("bessel", data).total)


ORDER = ("laplacian", "fno", *(name for name in PRIORS if name not in ("laplacian", "fno")))
CASES = (
    *(Case(name, _named(name)) for name in ORDER),
    *(Case(f"bessel, s = {s:g}", _matern(s)) for s in EXPONENTS),
    Case("laplacian, 4 × the trace", _laplacian(4.0), ablation=True),
    Case("laplacian, the trace / 4", _laplacian(0.25), ablation=True),
    Case("laplacian, factor N missing", _laplacian(1.0), _laplacian(0.25), ablation=True),
)
START = "laplacian, start N(0, Q)"
KEYS = (
    *("fid", "fid_second", "energy_distance", "sliced_wasserstein"),
    *("precision", "recall", "vendi_features", "octave, dB"),
)


class Priors(Study):
    """A network per prior, and changes to the Laplacian one at a time."""

    name: ClassVar[str] = "priors"
    question: ClassVar[str] = (
        "Which noise makes the best images, and why did the paper's Laplacian fail?"
    )
    link: ClassVar[str] = "tab=priors&priors=laplacian.fno.bessel.standard&s=1.1"

    def inputs(self, quick: bool) -> Record:
        """Priors, seconds, data."""
        train = fields(quick)[0]
        return {
            "priors": {case.name: case.prior(train).to_dict() for case in self._cases(quick)},
            "seconds": 0.1 if quick else SECONDS,
            "share of the coarse level": SHARE,
            "batch": 4 if quick else 48,
            "network": SMALL if quick else {"kind": "ushaped"},
            "count": 8 if quick else COUNT,
            "fields": [len(part) for part in fields(quick)],
        }

    def _cases(self, quick: bool) -> tuple[Case, ...]:
        return (CASES[0], CASES[2], CASES[-1]) if quick else CASES

    def cells(self, quick: bool) -> Cells:
        """What a step costs on both levels, then a cell per prior and seed."""
        asked, (train, _) = self.inputs(quick), fields(quick)
        base: dict[str, Any] = {"network": asked["network"], "batch": asked["batch"]}
        levels = {"coarse": COARSE, "fine": FINE}

        def plan(prior: Prior, level: int, steps: int = 1, **more: Any) -> Plan:
            return Plan((prior.to_dict(),), levels=((level, steps),), **base, **more)

        def costs() -> dict[str, float]:
            plans = {name: plan(prior_of("bessel", train), n) for name, n in levels.items()}
            return step_costs(plans, train, 1 if quick else ROUNDS)

        cost = yield "CPU seconds of a step", costs
        shares = {"coarse": SHARE, "fine": 1 - SHARE}
        steps = {n: max(1, round(asked["seconds"] * shares[n] / cost[n])) for n in levels}
        for case in self._cases(quick):
            coarse, fine = case.prior(train), (case.fine or case.prior)(train)
            for seed in self.seeds:
                plans = (
                    plan(coarse, COARSE, steps["coarse"], seed=seed),
                    plan(fine, FINE, steps["fine"], seed=seed, learning_rate=1e-3),
                )
                yield (
                    f"{case.name}, seed {seed}",
                    lambda c=case, p=plans: self._judged(asked, c, p, quick),
                )

    def _judged(self, asked: Record, case: Case, plans: tuple[Plan, Plan], quick: bool) -> Record:
        train = fields(quick)[0]
        first = trained(plans[0], train)
        run = Training(plans[1], train)
        run.begin_with(first.average.module.state_dict())
        for _ in run.run():
            pass
        arguments = run, FINE, asked["count"], plans[0].seed
        found = {case.name: evaluated(samples(*arguments), quick)}
        if case.name == "laplacian":
            found[START] = evaluated(from_noise(*arguments), quick)
        return {"found": found, "ablation": case.ablation}

    def rows(self, record: Record) -> list[Record]:
        """A row per prior: means and sample deviations over the seeds."""
        cells = [c for c in values(record).values() if "found" in c]
        out: list[Record] = []
        for name in dict.fromkeys(name for c in cells for name in c["found"]):
            mine = [c["found"][name] for c in cells if name in c["found"]]
            row: Record = {"prior": name}
            for key in KEYS:
                row[key], row[f"{key}, sd"] = spread([found[key] for found in mine])
            for key in ("fid", "recall", "vendi_features"):
                row[f"{key}, floor"] = mine[0][f"{key}, floor"]
            out.append(row)
        return out

    def conclusion(self, record: Record) -> str:
        """The order of the priors, and what each change to the Laplacian does."""
        rows = {r["prior"]: r for r in self.rows(record)}

        def said(name: str) -> str:
            return f"{rows[name]['fid']:.1f} ± {rows[name]['fid, sd']:.1f} ({name})"

        six = sorted((n for n in rows if n in PRIORS), key=lambda n: rows[n]["fid"])
        matern = [said(n) for n in rows if n.startswith("bessel, s = ")]
        changed = [said(n) for n in rows if n.startswith("laplacian, ")]
        parts = [f"FID by prior, the best first: {', '.join(map(said, six))}"]
        parts += [f"Matérn noise by its exponent: {', '.join(matern)}"] if matern else []
        parts.append(f"the Laplacian changed: {', '.join(changed)}")
        return "; ".join(parts) + "."

    def figure(self, record: Record) -> "Figure":
        """FID against recall, a mark for each prior; FID against the exponent of Matérn noise."""
        from mldemo.studies.figures import line, panels

        def columns(rows: list[Record], x: str) -> list[list[float]]:
            return [[row[key] for row in rows] for key in (x, "fid", "fid, sd")]

        figure = panels("FID against recall", "FID against s", x="recall")
        figure.update_xaxes(title_text="exponent s", col=2)
        figure.update_yaxes(rangemode="normal")
        matern: list[Record] = []
        for row in self.rows(record):
            name, _, s = row["prior"].partition(", s = ")
            if s:
                matern.append(row | {"s": float(s)})
            else:
                line(figure, 1, name, *columns([row], "recall"), shown=name != START)
        for panel, x in enumerate(("recall", "s") if matern else (), 1):
            line(figure, panel, "bessel, by its exponent", *columns(matern, x))
        return figure
