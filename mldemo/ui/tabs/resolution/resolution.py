"""Resolution: one function on many grids under one playhead, with trace-class and white noise."""

from collections.abc import Iterator
from typing import Any

from torch import Tensor

from mldemo.pipeline import Frame, Run, checkpoints_for
from mldemo.request import Request
from mldemo.space.priors import PRIORS, Standard
from mldemo.space.spectral import LEVELS, resample
from mldemo.ui.fields import Choice, seed_field
from mldemo.ui.limits import check_work, checked
from mldemo.ui.programs import grid_program
from mldemo.ui.tab import Place, Tab
from mldemo.ui.tabs.watch.watch import names, sampler_field, steps_field
from mldemo.ui.terms import TERMS
from mldemo.ui.wire import END, Record, grey, head_record, state_record

COARSE_TO_FINE = LEVELS[1:]
WHICH = [("learned where there is a checkpoint", "learned"), ("Gaussian, exact", "gaussian")]
PLAIN = 1  # a seed whose digit is recognisable on every grid


def mismatch(fine: Tensor, coarse: Tensor) -> float:
    """‖P_N x_M - x_N‖/‖x_N‖ for x_M (B, 1, M, M) and x_N (B, 1, N, N), M ≥ N."""
    low = resample(fine, coarse.shape[-1])
    return float((low - coarse).norm() / coarse.norm().clamp(min=1e-30))


def requests(values: dict[str, Any], place: Place) -> list[Request]:
    """One request per prior and level, coarse to fine; white noise in the second half."""
    levels = [n for n in COARSE_TO_FINE if n <= values["finest"]]
    common = {key: values[key] for key in ("steps", "sampler", "seed")} | {"count": 1}
    out = []
    for prior in (values["prior"], Standard.name):
        learned = names(place) and checkpoints_for(prior, place.folder)
        score = "learned" if learned and values["score"] == "learned" else "gaussian"
        for n in levels:
            wanted = {**common, "prior": prior, "resolution": n, "score": score}
            out.append(checked(wanted, LEVELS[-1]))
    check_work(sum(request.work for request in out))
    return out


def source(values: dict[str, Any], place: Place) -> Iterator[Record]:
    """All levels step by step; each frame is compared with the one on the level below."""
    runs: list[Run] = []
    for request in requests(values, place):
        runs.append(place.prepare(request))
    levels = len(runs) // 2
    python = grid_program(runs, place.folder)
    for track, run in enumerate(runs):
        yield head_record(
            run, place.folder, track=track, tracks=len(runs), per_row=levels, python=python
        )
    streams, coarser = [run.frames() for run in runs], None
    for _ in range(runs[0].request.steps + 1):
        for track, stream in enumerate(streams):
            frame = next(stream)
            coarser = None if track % levels == 0 else coarser
            yield compared(frame, coarser, track)
            coarser = frame
    yield END


def compared(frame: Frame, coarser: Frame | None, track: int) -> Record:
    """A frame with its restriction to the level below and the mismatch with the frame there."""
    gaps, lower = {}, {}
    if coarser is not None:
        for key in ("x", "x0"):
            fine, coarse = getattr(frame, key), getattr(coarser, key)
            gaps[f"gap_{key}"] = mismatch(fine, coarse)
            lower[f"low_{key}"] = grey(resample(fine, coarse.shape[-1]))
    meta, arrays = state_record(frame, track, **gaps)
    return meta, arrays | lower


def tab(place: Place) -> Tab:
    """The tab; the first prior is any but white noise."""
    options = [(name, name) for name in PRIORS if name != Standard.name]
    return Tab(
        id="resolution",
        title="Resolution",
        fields=(
            Choice(
                "prior",
                "Prior beside white noise",
                Request.prior,
                options,
                menu=True,
                why=TERMS["prior-above"],
            ),
            Choice("score", "Score", "learned", WHICH, why=TERMS["score-of-grids"], lesser=True),
            Choice(
                "finest",
                "Finest level",
                128,
                [(str(n), n) for n in COARSE_TO_FINE[1:]],
                why=TERMS["finest"],
            ),
            sampler_field(),
            steps_field(12, 50),
            seed_field(PLAIN),
        ),
        source=source,
    )
