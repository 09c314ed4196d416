"""Lessons without a browser: texts, formulas and links; where their figures come from."""

import json
import re
from math import inf
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs
from xml.etree import ElementTree

import numpy as np
import pytest
import torch
from ui import number

STATIC = Path(__file__).resolve().parents[1] / "mldemo" / "ui" / "static"
LESSONS = json.loads((STATIC / "lessons.json").read_text("utf-8"))
STEPS = {step["id"]: step for step in LESSONS["steps"]}
VIEW_STATE = {"band"}  # in the URL, but no field


def words(language: str) -> dict[str, Any]:
    """Every word in a language."""
    return json.loads((STATIC / f"lessons.{language}.json").read_text("utf-8"))


# ---------------------------------------------------------------- texts
@pytest.mark.parametrize("language", LESSONS["languages"])
def test_every_step_has_all_parts(language: str) -> None:
    """And nothing else; an answer names one of three options; figures come from the program."""
    text, parts = words(language), {"title", "question", "options", "try", "reveal"}
    assert list(text["steps"]) == list(STEPS)
    assert 6 <= len(STEPS) <= 9
    for ident, step in text["steps"].items():
        assert set(step) == parts | {"formulaSays"}, ident
        flat = [v for part in step.values() for v in ([part] if isinstance(part, str) else part)]
        assert all(isinstance(v, str) and len(v.strip()) > 4 for v in flat), ident
        assert len(set(step["options"])) == 3
        assert STEPS[ident]["answer"] in range(3)
    assert set(text["panel"]["regimes"]) == {"everywhere", "along-noise", "nowhere"}
    learn = STATIC.parent / "tabs" / "learn"
    used = (learn / "learn.js").read_text("utf-8") + (STATIC / "guide.js").read_text("utf-8")
    used += (learn / "maker.js").read_text("utf-8") + (STATIC / "card.js").read_text("utf-8")
    for key in text["words"]:
        assert f"words.{key}" in used or f'words["{key}"]' in used, key


@pytest.mark.parametrize("step", STEPS.values(), ids=STEPS)
def test_formulas_are_mathml(step: dict[str, Any]) -> None:
    """Well-formed, of MathML elements only, each with as many children as it needs."""
    space = "{http://www.w3.org/1998/Math/MathML}"
    root = ElementTree.fromstring(step["formula"])
    assert root.tag == space + "math"
    children = {"mfrac": 2, "msub": 2, "msup": 2, "munder": 2, "msubsup": 3, "msqrt": 1}
    leaves = {"mi", "mo", "mn", "mspace"}
    for e in root.iter():
        name = e.tag.removeprefix(space)
        assert name in leaves | set(children) | {"math", "mrow"}
        assert name not in children or len(e) == children[name]
        assert name not in leaves - {"mspace"} or (e.text and not len(e))


@pytest.mark.parametrize("step", STEPS.values(), ids=STEPS)
def test_links_and_conditions_fit_the_tabs(step: dict[str, Any]) -> None:
    """A step opens a tab with values that it accepts, and waits for something yet to be done."""
    from mldemo.store.manifest import BUNDLE
    from mldemo.ui.app import TABS
    from mldemo.ui.fields import read_all
    from mldemo.ui.tab import Place

    tabs = {t.id: t for t in (make(Place(torch.device("cpu"), BUNDLE)) for make in TABS)}
    query = {key: value[0] for key, value in parse_qs(step["query"]).items()}
    tab = tabs[step["tab"]]
    values = read_all(tab.fields, query)
    assert step["until"]["tab"] == step["tab"]
    conditions = step["until"].get("values", {})
    assert set(conditions) <= {f.name for f in tab.fields} | VIEW_STATE
    for name, condition in conditions.items():
        if isinstance(condition, list):
            field = next(f for f in tab.fields if f.name == name)
            assert all(field.read(v) for v in condition)
            assert str(values[name]) not in condition
        elif "starts" not in condition:
            assert not condition.get("least", -inf) <= values[name] <= condition.get("most", inf)


# ---------------------------------------------------------------- figures in the texts
@pytest.mark.parametrize("language", LESSONS["languages"])
def test_figures_come_from_statistics_and_records(language: str) -> None:
    """Every brace of an answer is filled, with what a dense computation or a record says."""
    from mldemo.diffusion.sde import Schedule
    from mldemo.pipeline import default_statistics
    from mldemo.store.manifest import BUNDLE
    from mldemo.studies.study import RECORDS
    from mldemo.ui.tab import Place
    from mldemo.ui.tabs.learn.learn import facts

    found = facts(Place(torch.device("cpu"), BUNDLE))
    reveals = " ".join(" ".join(step["reveal"]) for step in words(language)["steps"].values())
    assert set(re.findall(r"{(\w+)}", reveals)) == set(found)
    assert facts(Place(torch.device("cpu"), BUNDLE / "nowhere")).keys() == found.keys()

    data = default_statistics()
    spectrum, noise = data.spectrum(64), data.prior("bessel").eigenvalues(64)

    def snr(k: int, time: float, j: int = 0) -> float:
        t = torch.tensor(time, dtype=torch.float64)
        ratio = Schedule().alpha(t) ** 2 / Schedule().sigma(t) ** 2
        return float(ratio * spectrum[k, j] / noise[k, j])

    at_02 = [snr(k, 0.2) for k in range(16)]
    assert found["first"] == f"{at_02[1]:.1f}" and found["fourth"] == f"{at_02[4]:.1f}"
    assert at_02[1] == min(at_02[:9]) and at_02[4] == max(at_02)  # as the text has it
    above = int(found["above"])
    assert min(at_02[: above + 1]) > 1 > at_02[above + 1]
    worst = max(snr(k, 0.9, j) for k in range(-31, 32) for j in range(32))
    assert found["drowned"] == f"{worst:.1g}"

    every = torch.fft.fftfreq(64, 1 / 64)
    near = (every[:, None].square() + torch.arange(32.0).square()).sqrt() < 7.5
    low = spectrum[:, :32][near].sum() + (spectrum[:, 1:32][near[:, 1:]]).sum()
    assert found["share"] == f"{100 * float(low) / data.variance:.0f} %"

    cells = json.loads((RECORDS / "linear.json").read_text("utf-8"))["cells"]
    recorded = cells[f"16, t = {found['compareTime']}"]["value"]
    for name in ("filter", "full covariance", "network"):
        assert float(found[name.split()[0]]) == pytest.approx(sum(recorded[name]) / 3, rel=0.05)
    cells = json.loads((RECORDS / "multilevel.json").read_text("utf-8"))["cells"]
    step = cells["CPU seconds of a step"]["value"]
    assert float(found["cost"]) == pytest.approx(step["64"] / step["16"], abs=0.05)


def test_the_race_is_as_its_lesson_tells(tmp_path: Path) -> None:
    """Every figure is the recording's, and so is what the words say of them."""
    from mldemo.ui.tabs.learn.recorded_race import NO_RACE, race_facts
    from mldemo.ui.tabs.training.training import RECORDING
    from mldemo.ui.wire import MAGIC, decode

    found = race_facts()
    assert race_facts(tmp_path / "nowhere") == NO_RACE and NO_RACE.keys() == found.keys()
    records = [meta for meta, _ in decode(RECORDING.read_bytes().removeprefix(MAGIC))]
    heads = [m for m in records if m["kind"] == "head"]
    assert [h["title"] for h in heads] == ["coarse to fine", "fine only"]
    assert [h["levels"] for h in heads] == [["16", "32"]] * 2
    assert found["raceSeconds"] == str(heads[0]["budget"])
    frames = [m for m in records if m["kind"] == "frame"]
    coarse, fine = ([m["readings"] for m in frames if m["track"] == i] for i in (0, 1))
    errors = np.array([[m["error"] for m in lane] for lane in (coarse, fine)])
    seconds = np.array([m["seconds"] for m in coarse])
    said = [number(found[name]) / 100 for name in ("raceCoarse", "raceFine")]
    assert said == pytest.approx(errors[:, -1], abs=5e-4)
    draw = abs(errors[0, -1] - errors[1, -1]) < 0.02 * errors[:, -1].min()
    assert draw and STEPS["race"]["answer"] == 2  # the verdict of the tab
    ahead = errors[1] > errors[0]
    early = int(np.argmax(errors[1] - errors[0]))
    said = [number(found[name]) / 100 for name in ("raceEarlyCoarse", "raceEarlyFine")]
    assert said == pytest.approx(errors[:, early], abs=5e-4)
    assert number(found["raceEarly"]) == pytest.approx(seconds[early], abs=0.05)
    passed = int(np.argmax(np.abs(seconds - number(found["racePassed"])) < 0.06))
    assert ahead[1:passed].all() and not ahead[passed:].any()  # and behind from there on
    assert 1 < early < passed < 0.25 * len(seconds)
    behind = errors[0] - errors[1]
    switch = next(i for i, m in enumerate(coarse) if m["level"] == 32)
    assert behind[-1] < 0.5 * behind[switch]  # on the fine grid it catches up
    steps = [[m["steps"] for m in lane] for lane in (coarse, fine)]
    ratio = steps[0][switch - 1] / steps[1][switch - 1]  # in equal seconds
    assert number(found["raceCost"]) == pytest.approx(ratio, abs=0.06)
    assert [found["raceSteps"], found["raceFineSteps"]] == [f"{lane[-1]:,}" for lane in steps]


def test_a_race_that_skipped_marks_or_was_never_passed_has_its_facts(tmp_path: Path) -> None:
    """A step that takes longer than an interval skips a mark; then only common marks count."""
    from mldemo.ui.tabs.learn.recorded_race import NO_RACE, race_facts
    from mldemo.ui.tabs.training.training import RECORDING
    from mldemo.ui.wire import MAGIC, decode, encode

    path, raw = tmp_path / "race.bin", [MAGIC]
    for meta, arrays in decode(RECORDING.read_bytes().removeprefix(MAGIC)):
        if meta["kind"] == "frame":
            if (meta["track"], meta["step"]) in ((0, 7), (1, 9), (1, 10)):
                continue
            meta["readings"]["error"] = 0.5 + 0.3 * meta["track"] - 0.01 * meta["step"]
        raw.append(encode(meta, arrays))
    path.write_bytes(b"".join(raw))
    found = race_facts(path)
    assert (found["raceCoarse"], found["raceFine"]) == ("20.0 %", "50.0 %")
    assert found["racePassed"] == NO_RACE["racePassed"]


def test_an_unfinished_record_leaves_words(tmp_path: Path) -> None:
    """`study run` rewrites a record cell by cell; meanwhile the page starts all the same."""
    from mldemo.ui.tabs.learn.learn import NO_RECORD, recorded_facts

    begun = tmp_path / "begun.json"
    begun.write_text(json.dumps({"inputs": {}, "cells": {}}))
    whole, words = recorded_facts(), recorded_facts(begun, tmp_path / "none.json")
    assert words == NO_RECORD and words.keys() == whole.keys()
    assert all(float(whole[name]) > 0 for name in whole)
    mixed = recorded_facts(multilevel=begun)
    assert mixed == whole | {"cost": NO_RECORD["cost"]}
