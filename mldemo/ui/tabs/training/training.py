"""Training: coarse to fine and fine only, side by side, with the same CPU time."""

import json
import os
import shutil
import time
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from mldemo.data.pictures import CELLS_TEXT
from mldemo.data.sets import DataSet, SmallMnist, TwoPhaseMaterial
from mldemo.data.sketches import MOST_SKETCHES, Sketches, sketches_from_text
from mldemo.data.statistics import Statistics
from mldemo.request import GUIDANCE, Request
from mldemo.space.priors import PRIORS
from mldemo.training import race
from mldemo.training.loop import Training, export
from mldemo.ui.fields import Choice, Unseen, Whole, seed_field
from mldemo.ui.server.trained import TRAINED, packed
from mldemo.ui.tab import Place, Tab
from mldemo.ui.terms import TERMS
from mldemo.ui.wire import END, Record, frame_record, grey

RECORDING = Path(__file__).parents[2] / "static" / "recordings" / "race.bin"
LANES = (("coarse to fine", "coarse-to-fine"), ("fine only", "fine-only"))
MARKS, EVERY = 30, 0.05  # evaluations of each lane; seconds of training between progress records
MOST_FIELDS = 600  # of the media, which take 5 ms each to draw
DATA = [
    ("handwritten digits", SmallMnist.name),
    ("two-phase media", TwoPhaseMaterial.name),
    ("what you draw", "sketches"),
]
LEVELS = [("16 → 32", "16-32"), ("8 → 32", "8-32"), ("16 → 64", "16-64")]
ON_SPACE = (
    "this Space shows the recorded race only: its cores belong to all visitors. Run the page on "
    "your own machine (python app.py) to train live"
)


def data_of(values: dict[str, Any]) -> DataSet:
    """The data set for the values of the form."""
    if values["data"] == "sketches":
        if not values["sketches"]:
            raise ValueError("draw something first, then press Start")
        return Sketches(sketches_from_text(values["sketches"]))
    return DataSet.known[values["data"]].find()


@lru_cache(maxsize=4)
def _fields(data: str, sketches: str) -> tuple[Tensor, Tensor]:
    """The training fields, and the unseen fields on which the lanes are evaluated."""
    source = data_of({"data": data, "sketches": sketches})
    first = MOST_FIELDS if data == TwoPhaseMaterial.name else None
    return source.fields("train", first=first), source.fields("validation", first=race.VALIDATION)


def command_of(run: Training, data: str, name: str) -> str | None:
    """The command line that trains such a network; None for sketches, which it cannot read."""
    if data not in DataSet.known:
        return None
    plan = run.plan
    levels = ",".join(f"{level}:{steps}" for level, steps in plan.levels)
    options = (
        f"--data {data} --prior {plan.priors[0]['name']} --levels {levels} --batch {plan.batch} "
        f"--learning-rate {plan.learning_rate} --ema {plan.ema} --seed {plan.seed} "
        f"--network '{json.dumps(plan.network)}'"
    )
    return f"python -m mldemo train {options} --name {name} --out race"


def heads(lanes: list[Training], values: dict[str, Any], source: DataSet) -> Iterator[Record]:
    """What stays the same during the race, a head for each lane."""
    calls = 4 + 2 * (race.SOLVER_STEPS + 1)
    steps = sum(run.plan.steps for run in lanes)
    for track, (run, (title, name)) in enumerate(zip(lanes, LANES, strict=True)):
        head = {
            "kind": "head",
            "track": track,
            "device": "cpu",
            "steps": MARKS,
            "records": (steps + len(lanes) * MARKS * calls) // len(lanes),
            "title": title,
            "learns": source.described() if values["data"] != "sketches" else Sketches.title,
            "prior": values["prior"],
            "levels": values["levels"].split("-"),
            "plan": run.plan.levels,
            "batch": run.plan.batch,
            "weights": sum(p.numel() for p in run.denoiser.network.parameters()),
            "budget": values["seconds"],
            "seed": values["seed"],
            "command": command_of(run, values["data"], name),
        }
        yield head, {}


def source(values: dict[str, Any], place: Place) -> Iterator[Record]:
    """The records of a live race; on a Space, whose cores are shared, raises `ValueError`."""
    if "SPACE_ID" in os.environ:
        raise ValueError(ON_SPACE)
    data_of(values)  # invalid data are refused at once
    return raced(values)


def raced(values: dict[str, Any]) -> Iterator[Record]:
    """Train both lanes: heads, a frame for each mark with progress between, the checkpoints."""
    yield _sign("reading the data")
    data = data_of(values)
    fields, unseen = _fields(values["data"], values["sketches"])
    prior = Statistics.of(fields).prior(values["prior"])
    levels = [int(level) for level in values["levels"].split("-")]
    lanes: list[Training] = []
    making = race.runs(fields, prior, levels, values["seconds"], values["seed"])
    while not lanes:
        yield _sign("measuring what a step costs")
        try:
            next(making)
        except StopIteration as made:
            lanes = made.value
    yield from heads(lanes, values, data)
    judge = race.Judge(unseen, levels[-2:], values["seed"], GUIDANCE)
    filters: dict[int, float] = {}  # the error of the untrained lanes
    last = time.monotonic()
    for mark in race.race(lanes, judge, values["seconds"], MARKS):
        if mark is not None:
            yield _frame(mark, filters.setdefault(mark.lane, mark.error))
        elif time.monotonic() - last > EVERY:
            yield _sign("", lanes)
        else:
            continue
        last = time.monotonic()
    yield _kept(lanes, data.name)
    yield END


def _sign(words: str, lanes: list[Training] | None = None) -> Record:
    """A progress record: what is being done, or how far the lanes are."""
    reached = [[run.step, round(run.seconds, 2)] for run in lanes or []]
    return {"kind": "sign", "text": words, "lanes": reached}, {}


def _frame(mark: race.Mark, filter_error: float) -> Record:
    arrays = {f"at{n}": grey(x) for n, x in mark.samples.items()}
    readings = {
        "seconds": mark.seconds,
        "steps": mark.step,
        "level": mark.level,
        "pixels": mark.pixels,
        "error": mark.error / filter_error,
    }
    return frame_record(mark.number, arrays, readings, mark.lane)


def _kept(lanes: list[Training], data: str) -> Record:
    """The checkpoints: kept on the server for Watch, and as a ZIP file for the visitor."""
    folder = TRAINED.begin()
    try:
        for run, (_, name) in zip(lanes, LANES, strict=True):
            export(run, folder, name, data)
        packet = np.frombuffer(packed(folder), np.uint8)
        training = TRAINED.keep(folder)
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    names = [f"{training}-{name}" for _, name in LANES]
    return {"kind": "trained", "names": names}, {"zip": packet}


def recorded(values: dict[str, Any]) -> Iterator[Record]:
    """The records of a race that a recording keeps: all but progress and checkpoints."""
    everything = raced(values | {"sketches": ""})
    return (record for record in everything if record[0]["kind"] in ("head", "frame", "end"))


def tab(place: Place) -> Tab:
    """The tab; the recorded race plays until a live one is started."""
    options = [(name, name) for name in PRIORS]
    return Tab(
        id="training",
        title="Training",
        fields=(
            Choice(
                "data",
                "What is learned",
                SmallMnist.name,
                DATA,
                why=TERMS["race-data"],
            ),
            Choice(
                "levels",
                "Coarse to fine on",
                "16-32",
                LEVELS,
                why=TERMS["race-levels"],
            ),
            Whole(
                "seconds",
                "CPU seconds for each lane",
                40,
                10,
                60,
                why=TERMS["race-seconds"],
            ),
            Choice(
                "prior",
                "Prior",
                Request.prior,
                options,
                menu=True,
                why=TERMS["prior"],
                lesser=True,
            ),
            seed_field(Request.seed, lesser=True),
        ),
        unseen=(Unseen("sketches", MOST_SKETCHES * CELLS_TEXT),),
        source=source,
        props={
            "recording": f"recordings/{RECORDING.name}" if RECORDING.is_file() else None,
            "most": MOST_SKETCHES,
        },
        alone=True,
    )
