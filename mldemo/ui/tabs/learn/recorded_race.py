"""Figures of the recorded race that a lesson quotes."""

from pathlib import Path

from mldemo.ui.tabs.training.training import RECORDING
from mldemo.ui.wire import read_records

Readings = list[dict[str, float]]  # of one lane, at the marks that both have
NO_RACE = {
    "raceSeconds": "the",
    "raceCoarse": "about as much",
    "raceFine": "the rest",
    "raceEarly": "a few",
    "raceEarlyCoarse": "less",
    "raceEarlyFine": "more",
    "racePassed": "some",
    "raceCost": "little more than one",
    "raceSteps": "some more",
    "raceFineSteps": "fewer",
}


def lanes(path: Path = RECORDING) -> tuple[int, Readings, Readings]:
    """CPU seconds of a lane, and the readings of coarse to fine and of fine only.

    A missing or damaged recording raises `ValueError`.
    """
    budget, found = 0, ({}, {})
    for meta, _ in read_records(path):
        if meta["kind"] == "head":
            budget = meta["budget"]
        elif meta["kind"] == "frame":
            found[meta["track"]][meta["step"]] = meta["readings"]
    both = sorted(found[0].keys() & found[1].keys())  # a slow step skips a mark
    if not both:
        raise ValueError(f"{path} holds no race of two lanes")
    coarse, fine = ([lane[mark] for mark in both] for lane in found)
    return budget, coarse, fine


def race_facts(path: Path = RECORDING) -> dict[str, str]:
    """Errors at the end and at the first lane's largest lead, when it is passed, steps, costs."""
    try:
        budget, coarse, fine = lanes(path)
    except ValueError:  # no recording: the text does without these figures
        return NO_RACE
    lead = [b["error"] - a["error"] for a, b in zip(coarse, fine, strict=True)]
    early = lead.index(max(lead))
    passed = next((i for i in range(early, len(lead)) if lead[i] < 0), None)
    last = max(i for i, mark in enumerate(coarse) if mark["level"] == coarse[0]["level"])
    # both lanes at the same mark, as the machine's speed may vary
    cost = seconds_a_step(fine[last]) / seconds_a_step(coarse[last])
    return {
        "raceSeconds": f"{budget}",
        "raceCoarse": percent(coarse[-1]),
        "raceFine": percent(fine[-1]),
        "raceEarly": f"{coarse[early]['seconds']:.1f}",
        "raceEarlyCoarse": percent(coarse[early]),
        "raceEarlyFine": percent(fine[early]),
        "racePassed": NO_RACE["racePassed"]
        if passed is None
        else f"{coarse[passed]['seconds']:.1f}",
        "raceCost": f"{cost:.1f}",
        "raceSteps": f"{coarse[-1]['steps']:,}",
        "raceFineSteps": f"{fine[-1]['steps']:,}",
    }


def percent(mark: dict[str, float]) -> str:
    """The error of a lane in units of the filter's, as the tab Training writes it."""
    return f"{100 * mark['error']:.1f} %"


def seconds_a_step(mark: dict[str, float]) -> float:
    """Mean seconds per step up to a mark."""
    return mark["seconds"] / mark["steps"]
