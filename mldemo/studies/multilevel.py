"""What does coarse-to-fine training save?

Every strategy gets CPU seconds, spent level by level (`strategies`); the cost of a step, measured
once, turns seconds into steps (`trained`). Along the way the averaged weights are validated on
every level, and their samples are judged after each quarter of the time; at the end the denoising
error is given by frequency band. Compared with training on the finest level alone are:

- several sets of levels and splits of the time, one of them also with half and a quarter of it;
- *rate carried*: the peak learning rate is the same on each level, else it halves;
- *rehearsal*: every fourth step goes back to a coarser level;
- *mixed*: from the start every second step on the finest level, the others on coarser ones;
- *adaptive*: slices of time are tried on the next level, which is kept once it lowers the finest
  level's validation loss by at least as much per second as the present one did. The learning rate
  decays once, as a cosine over the whole time.
"""

from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any, ClassVar

from mldemo.studies.strategies import QUICK, STRATEGIES, Strategy, adaptive, in_shares
from mldemo.studies.study import Cells, Record, Study, spread, values
from mldemo.studies.trained import (
    SMALL,
    band_errors,
    bands,
    evaluated,
    fields,
    prior_of,
    samples,
    step_costs,
    validation_loss,
)
from mldemo.training.plan import Plan

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

SECONDS, SECONDS_AT_32 = 240.0, 120.0
POINTS, JUDGED, COUNT, ROUNDS = 8, 4, 500, 8


class Multilevel(Study):
    """Validation loss and quality against CPU time, strategy by strategy."""

    name: ClassVar[str] = "multilevel"
    question: ClassVar[str] = "What does coarse-to-fine training save?"
    link: ClassVar[str] = "tab=watch&n=64&checkpoint=mnist-family-64"

    def inputs(self, quick: bool) -> Record:
        """Strategies, seconds, data, the options that all plans share."""
        return {
            "strategies": [asdict(strategy) for strategy in self._strategies(quick)],
            "seconds": {"64": SECONDS, "32": 0.4 if quick else SECONDS_AT_32},
            "fields": [len(part) for part in fields(quick)],
            "plan": self._base(quick),
            "points": 2 if quick else POINTS,
            "judged": 2 if quick else JUDGED,
            "count": 8 if quick else COUNT,
        }

    def _strategies(self, quick: bool) -> tuple[Strategy, ...]:
        return QUICK if quick else STRATEGIES

    def _base(self, quick: bool) -> dict[str, Any]:
        """The options that all plans share, without priors and levels."""
        small = {"batch": 4, "network": SMALL}
        return {"rehearsal": 0} | (small if quick else {"batch": 48})

    def cells(self, quick: bool) -> Cells:
        """What a step costs on each level, then a cell per strategy and seed."""
        asked = self.inputs(quick)
        prior = prior_of("bessel", fields(quick)[0]).to_dict()
        base = Plan(priors=(prior,), levels=((32, 1),), **self._base(quick))
        strategies = self._strategies(quick)
        levels = sorted({level for s in strategies for level in s.shares})

        def costs() -> dict[str, float]:
            plans = {str(n): replace(base, levels=((n, 1),)) for n in levels}
            return step_costs(plans, fields(quick)[0], 1 if quick else ROUNDS)

        cost = yield "CPU seconds of a step", costs
        by_level = {int(n): seconds for n, seconds in cost.items()}
        for strategy in strategies:
            for seed in self.seeds:
                plan = replace(base, seed=seed, **strategy.change)
                yield (
                    f"{strategy.name}, seed {seed}",
                    lambda s=strategy, p=plan: self._trained(asked, s, p, by_level, quick),
                )

    def _trained(
        self, asked: Record, strategy: Strategy, plan: Plan, costs: dict[int, float], quick: bool
    ) -> Record:
        train, held_out = fields(quick)
        seconds = strategy.part * asked["seconds"][str(strategy.finest)]
        levels = sorted({level for s in self._strategies(quick) for level in s.shares})
        levels = [level for level in levels if level <= strategy.finest]
        if strategy.adaptive:
            steps = adaptive(plan, strategy, costs, seconds, train, held_out)
        else:
            steps = in_shares(plan, strategy, costs, seconds, asked["points"], train)

        def judged() -> Record:
            return evaluated(samples(run, strategy.finest, asked["count"], plan.seed), quick)

        curve: list[Record] = []
        due, parts = 1, asked["judged"]
        for spent, run in steps:
            loss = {str(n): validation_loss(run, held_out, n) for n in levels}
            curve.append({"seconds": spent, "loss": loss})
            if due < parts and spent >= due * seconds / parts * (1 - 1e-9):
                due += 1
                curve[-1]["fid"] = judged()["fid"]
        end = judged()
        curve[-1]["fid"] = end["fid"]
        return {
            "strategy": strategy.name,
            "finest": strategy.finest,
            "levels": [list(level) for level in run.plan.levels],
            "curve": curve,
            "bands": band_errors(run, held_out, strategy.finest),
            **end,
        }

    def rows(self, record: Record) -> list[Record]:
        """A row per strategy: means and sample deviations over the seeds."""
        cells = [c for c in values(record).values() if "strategy" in c]
        out: list[Record] = []
        for name in dict.fromkeys(c["strategy"] for c in cells):
            mine = [c for c in cells if c["strategy"] == name]
            finest = mine[0]["finest"]
            alone = [c for c in cells if c["strategy"] == f"{finest} alone"]
            row: Record = {"strategy": name, "level": finest}
            row["CPU seconds"] = mine[0]["curve"][-1]["seconds"]
            row["loss"], row["loss, sd"] = spread([losses(c)[-1][1] for c in mine])
            for key in ("fid", "fid_second", "recall", "vendi_features"):
                row[key], row[f"{key}, sd"] = spread([c[key] for c in mine])
            for key, along in (("loss", losses), ("FID", fids)):
                target, _ = spread([along(c)[-1][1] for c in alone])
                times = [t for c in mine if (t := time_to(along(c), target)) is not None]
                name = f"seconds to the {key} of one level"
                row[name], row[f"{name}, sd"] = spread(times) if times else (None, None)
                row[f"seeds that reach the {key}"] = len(times)
            for i, (low, high) in enumerate(bands(finest)):
                label = f"error at {low} ≤ |k|" + (f" < {high}" if high < finest else "")
                row[label], row[f"{label}, sd"] = spread([c["bands"][i] for c in mine])
            out.append(row)
        return same_keys(out)

    def conclusion(self, record: Record) -> str:
        """The best strategy for each finest level, and what it saves."""
        said, rows = [], self.rows(record)
        for finest in dict.fromkeys(r["level"] for r in rows):
            mine = [r for r in rows if r["level"] == finest]
            alone = next(r for r in mine if r["strategy"] == f"{finest} alone")
            others = [r for r in mine if r is not alone]
            whole = [r for r in others if r["CPU seconds"] > 0.9 * alone["CPU seconds"]]
            best = min(whole, key=lambda r: r["fid"])
            words = (
                f"At {finest}, {_pm(best, 'fid')} is the lowest FID after "
                f"{alone['CPU seconds']:.0f} CPU seconds ({best['strategy']}), against "
                f"{_pm(alone, 'fid')} of {finest} alone; the losses are {_pm(best, 'loss', 3)} "
                f"and {_pm(alone, 'loss', 3)}"
            )
            seeds = len(record["seeds"])
            for key in ("loss", "FID"):
                name = f"seconds to the {key} of one level"
                first = [r for r in others if r[f"seeds that reach the {key}"] == seeds]
                if first:
                    row = min(first, key=lambda r: r[name])
                    share, error = (row[k] / alone["CPU seconds"] for k in (name, f"{name}, sd"))
                    words += (
                        f". The final {key} of {finest} alone is reached first by "
                        f"{row['strategy']}, in {share:.2f} ± {error:.2f} of the time"
                    )
                else:
                    words += (
                        f". No other reaches the final {key} of {finest} alone with every seed"
                    )
            quarter = [r for r in others if r["CPU seconds"] < 0.3 * alone["CPU seconds"]]
            for row in quarter:
                does = "is" if row["fid"] <= alone["fid"] else "is not"
                words += (
                    f". With a quarter of the time {row['strategy'].split(',')[0]} has FID "
                    f"{_pm(row, 'fid')}: the single level's final FID {does} reached"
                )
            said.append(words)
        return ". ".join(said) + "."

    def figure(self, record: Record) -> "Figure":
        """Loss and FID at the finest level against CPU seconds."""
        from mldemo.studies.figures import line, panels

        rows = self.rows(record)
        finest = max(r["level"] for r in rows)
        titles = (f"validation loss at {finest}²", f"FID at {finest}²")
        figure = panels(*titles, x="CPU seconds", log="y")
        first = {f"{finest} alone", "16 → 64", "16 → 32 → 64", "16 → 32", "mixed", "adaptive"}
        for row in (r for r in rows if r["level"] == finest):
            cells = [c for c in values(record).values() if c.get("strategy") == row["strategy"]]
            name = row["strategy"]
            for column, along in ((1, losses), (2, fids)):
                points = list(zip(*(along(c) for c in cells), strict=False))
                at = [spread([seconds for seconds, _ in point])[0] for point in points]
                means = [spread([value for _, value in point]) for point in points]
                line(figure, column, name, at, *zip(*means, strict=True), shown=name in first)
        return figure


Along = list[tuple[float, float]]


def losses(cell: Record) -> Along:
    """(CPU seconds, validation loss at the finest level) along a cell's training."""
    return [(point["seconds"], point["loss"][str(cell["finest"])]) for point in cell["curve"]]


def fids(cell: Record) -> Along:
    """(CPU seconds, FID at the finest level) along a cell's training."""
    return [(point["seconds"], point["fid"]) for point in cell["curve"] if "fid" in point]


def time_to(along: Along, target: float) -> float | None:
    """CPU seconds until a curve is at or below a target, linear between its points."""
    before = None
    for now in along:
        if now[1] <= target:
            if before is None or before[1] == now[1]:
                return now[0]
            share = (before[1] - target) / (before[1] - now[1])
            return before[0] + share * (now[0] - before[0])
        before = now
    return None


def same_keys(rows: list[Record]) -> list[Record]:
    """Rows with every key of any of them; None where one has none."""
    keys = dict.fromkeys(key for row in rows for key in row)
    return [{key: row.get(key) for key in keys} for row in rows]


def _pm(row: Record, key: str, digits: int = 1) -> str:
    return f"{row[key]:.{digits}f} ± {row[f'{key}, sd']:.{digits}f}"
