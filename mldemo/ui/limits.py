"""Limits on one visitor's runs, tighter than those of the core."""

from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from mldemo.diffusion.steps import SAMPLERS
from mldemo.request import Request, request_from
from mldemo.ui.server.schedule import RATE

MOST_IMAGES, MOST_STEPS, FINEST_LIVE = 16, 200, 128
MOST_WORK = 2**26  # network calls x pixels x images; 100 steps of Heun at 128² with 16 images fit
CALL = 2**12  # pixel evaluations that take as long as a call on the smallest grid


def checked(values: dict[str, Any], finest: int = FINEST_LIVE) -> Request:
    """A validated request within these limits; any other raises `ValueError`."""
    request = request_from(values)
    for name, value, bound in (
        ("count", request.count, MOST_IMAGES),
        ("steps", request.steps, MOST_STEPS),
        ("resolution", request.resolution, finest),
    ):
        if value > bound:
            raise ValueError(f"{name} must be at most {bound} on this page, got {value}")
    check_work(request.work)
    return request


def check_work(work: int) -> None:
    """Refuse more than `MOST_WORK` pixel evaluations."""
    if work > MOST_WORK:
        raise ValueError(
            f"this asks for {work} pixel evaluations, the bound on this page is {MOST_WORK}: "
            "lower resolution, steps or count"
        )


def kind_of(values: Mapping[str, Any]) -> tuple[str, ...]:
    """What, besides its size, determines how long a run takes: score, network, editing method."""
    return tuple(str(values.get(name, "")) for name in ("score", "checkpoint", "method"))


def size_of(values: Mapping[str, Any]) -> float:
    """An estimate of the pixel evaluations of a run, from values that are not validated yet.

    Network calls × (pixels × images + `CALL`, the fixed cost of a call); for a race, the number
    that takes as long as its two trainings together.
    """

    def most(*names: str) -> float:
        found = [1.0]
        for name in names:
            with suppress(ValueError, TypeError):  # the run itself will report the error
                found.append(min(float(values.get(name, "")), 1e9))
        return max(found)

    if "seconds" in values:
        return 2 * most("seconds") / RATE
    sampler = SAMPLERS.get(str(values.get("sampler")), SAMPLERS[Request.sampler])
    calls = most("steps") * sampler.calls_per_step
    return calls * (most("n", "finest", "resolution") ** 2 * most("count") + CALL)
