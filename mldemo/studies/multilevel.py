"""What does coarse-to-fine training save?

Every strategy gets CPU seconds, spent level by level (`trained`: the cost of a step is measured
once and turns seconds into steps). Along the way the averaged weights are validated on every level
and at each quarter of its time their samples are judged; at the end the error is told by bands of
frequency. A strategy is compared with training on the finest level alone for as long:

- which levels, which split of the time, the same in a half and a quarter of the time;
- *rate carried*: the peak learning rate is the same on each level, else it halves;
- *rehearsal*: every fourth step goes back to a coarser level;
- *mixed*: from the start every second step on the finest level, the others on coarser ones;
- *adaptive*: a slice of time is tried on the next level, which is kept once it lowers the
  finest level's validation loss by more per second than the present one did. The learning rate
  falls once, as a cosine over the whole time.
"""

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from torch import Tensor

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
from mldemo.training.loop import Training
from mldemo.training.plan import Plan

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

SECONDS, SECONDS_AT_32 = 240.0, 120.0
POINTS, JUDGED, SLICES, COUNT, ROUNDS = 8, 4, 16, 500, 8


@dataclass(frozen=True)
class Strategy:
    """Shares of the CPU time by level, coarse to fine; `change` is what differs in the plan.

    part: the share of the study's seconds that it gets.
    """

    name: str
    shares: dict[int, float]
    change: dict[str, Any] = field(default_factory=dict)
    part: float = 1.0
    adaptive: bool = False

    @property
    def finest(self) -> int:
        """The level that it is for."""
        return max(self.shares)


FULL = {16: 0.5, 32: 0.3, 64: 0.2}
STRATEGIES = (
    Strategy("64 alone", {64: 1.0}),
    Strategy("32 → 64", {32: 0.7, 64: 0.3}),
    Strategy("16 → 64", {16: 0.7, 64: 0.3}),
    Strategy("16 → 32 → 64", FULL),
    Strategy("8 → 16 → 32 → 64", {8: 0.2, 16: 0.35, 32: 0.25, 64: 0.2}),
    Strategy("16 → 32 → 64, half the time", FULL, part=0.5),
    Strategy("16 → 32 → 64, a quarter of the time", FULL, part=0.25),
    Strategy("16 → 32 → 64, a third each", {16: 1 / 3, 32: 1 / 3, 64: 1 / 3}),
    Strategy("16 → 32 → 64, most on the finest", {16: 0.2, 32: 0.3, 64: 0.5}),
    Strategy("16 → 32 → 64, rate carried", FULL, {"carried": 1.0}),
    Strategy("16 → 32 → 64, rehearsal", FULL, {"rehearsal": 4}),
    Strategy("mixed", {16: 0.0, 32: 0.0, 64: 1.0}, {"rehearsal": 2, "carried": 1.0}),
    Strategy("adaptive", FULL, adaptive=True),
    Strategy("32 alone", {32: 1.0}),
    Strategy("16 → 32", {16: 0.6, 32: 0.4}),
)
QUICK = (
    Strategy("32 alone", {32: 1.0}),
    Strategy("16 → 32", {16: 0.6, 32: 0.4}),
    Strategy("mixed", {16: 0.0, 32: 1.0}, {"rehearsal": 2, "carried": 1.0}),
    Strategy("adaptive", {16: 0.6, 32: 0.4}, adaptive=True),
)


@dataclass(frozen=True)
class Budgeted(Plan):
    """A plan whose levels are appended as it goes: one warm-up, one fall over `seconds`.

    costs: CPU seconds of a step by level.
    """

    seconds: float = 1.0
    costs: tuple[tuple[int, float], ...] = ()

    def spent(self, step: int) -> float:
        """CPU seconds of the steps before this one."""
        costs, total = dict(self.costs), 0.0
        for resolution, steps in self.levels:
            taken = min(step, steps)
            total, step = total + taken * costs[resolution], step - taken
        return total

    def rate(self, step: int) -> float:
        """Warmed up over the first twentieth of the time, then down to 0.02 of the peak."""
        done = min(1.0, self.spent(step) / self.seconds)
        fall = 0.02 + 0.98 * 0.5 * (1 + np.cos(np.pi * done))
        return float(self.learning_rate * min(1.0, 20 * done + 0.01) * fall)


class Multilevel(Study):
    """Validation loss and quality against CPU time, strategy by strategy."""

    name: ClassVar[str] = "multilevel"
    question: ClassVar[str] = "What does coarse-to-fine training save?"
    link: ClassVar[str] = "tab=watch&n=64&checkpoint=mnist-family-64"

    def inputs(self, quick: bool) -> Record:
        """Strategies, seconds, data, the plan that they share."""
        return {
            "strategies": [
                {"name": s.name, "shares": {str(k): v for k, v in s.shares.items()}}
                | {"change": s.change, "part": s.part, "adaptive": s.adaptive}
                for s in self._strategies(quick)
            ],
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
        """What every plan shares; its priors and levels come with the data."""
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
        first = {f"{finest} alone", "32 → 64", "16 → 32 → 64", "16 → 32", "mixed", "adaptive"}
        for row in (r for r in rows if r["level"] == finest):
            cells = [c for c in values(record).values() if c.get("strategy") == row["strategy"]]
            name = row["strategy"]
            for column, along in ((1, losses), (2, fids)):
                points = list(zip(*(along(c) for c in cells), strict=False))
                at = [spread([seconds for seconds, _ in point])[0] for point in points]
                means = [spread([value for _, value in point]) for point in points]
                line(figure, column, name, at, *zip(*means, strict=True), shown=name in first)
        return figure


def in_shares(
    plan: Plan,
    strategy: Strategy,
    costs: dict[int, float],
    seconds: float,
    points: int,
    train: Tensor,
) -> Iterator[tuple[float, Training]]:
    """Train by the shares of a strategy; the CPU seconds spent and the run, at `points` times."""
    levels = tuple(
        (n, max(1, round(seconds * share / costs[n]))) for n, share in strategy.shares.items()
    )
    if plan.rehearsal:  # coarser steps are cheaper: as many as cost the same
        levels = as_dear(replace(plan, levels=levels), costs, seconds)
    run = Training(replace(plan, levels=levels), train)
    spent, due = 0.0, 1
    while run.step < run.plan.steps:
        spent += costs[run.plan.resolution_of(run.step)]
        run.advance()
        if spent >= due * seconds / points * (1 - 1e-9) or run.step == run.plan.steps:
            due = int(spent / seconds * points * (1 + 1e-9)) + 1
            yield spent, run


def as_dear(plan: Plan, costs: dict[int, float], seconds: float) -> tuple[tuple[int, int], ...]:
    """The plan's levels with the steps of the last stretched until it costs `seconds`."""
    *before, (finest, steps) = plan.levels
    for _ in range(4):  # the cost is all but linear in the steps
        whole = replace(plan, levels=(*before, (finest, steps)))
        each = [costs[whole.resolution_of(step)] for step in range(whole.steps)]
        last = sum(each[-steps:])
        steps = max(1, round(steps * (seconds - sum(each[:-steps])) / last))
    return (*before, (finest, steps))


def adaptive(
    plan: Plan,
    strategy: Strategy,
    costs: dict[int, float],
    seconds: float,
    train: Tensor,
    held_out: Tensor,
) -> Iterator[tuple[float, Training]]:
    """Train on the coarsest level and leave each when the next one gains more per second."""
    levels = sorted(strategy.shares)
    steps = {n: max(1, round(seconds / SLICES / costs[n])) for n in levels}
    shared = {f.name: getattr(plan, f.name) for f in dataclasses.fields(plan)}
    shared |= {"levels": ((levels[0], steps[levels[0]]),), "seconds": seconds}
    budgeted = Budgeted(**shared, costs=tuple(costs.items()))
    run = Training(budgeted, train)
    loss = validation_loss(run, held_out, levels[-1])
    present, at, gain = 0, 0, 0.0  # indices of levels: where it is, and where this slice is spent
    while True:
        before = budgeted.spent(run.step)
        while run.step < run.plan.steps:
            run.advance()
        spent = budgeted.spent(run.step)
        now = validation_loss(run, held_out, levels[-1])
        found, loss = (loss - now) / (spent - before), now
        yield spent, run
        if spent >= seconds * (1 - 0.5 / SLICES):
            return
        if at > present:  # a slice was tried there
            present = at if found >= gain else present
            at = present
        else:
            gain, at = found, min(present + 1, len(levels) - 1)
        left = max(1, round((seconds - spent) / costs[levels[at]]))
        more = (levels[at], min(steps[levels[at]], left))
        run.plan = budgeted = replace(budgeted, levels=(*budgeted.levels, more))


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
