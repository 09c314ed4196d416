"""README and the pages beside the code: their size, their links, their figures against records."""

import json
import re
import tomllib
from itertools import pairwise
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest
import torch
from click.testing import CliRunner

from mldemo.cli import cli
from mldemo.metrics.zoo import Records
from mldemo.request import GUIDANCE
from mldemo.store.manifest import BUNDLE, read_manifest
from mldemo.studies.evaluated import ROWS, Evaluated

ROOT = Path(__file__).resolve().parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "mldemo").rglob("*.md"))]


def read(path: Path) -> str:
    return path.read_text("utf-8")


def test_the_readme_is_short() -> None:
    assert len((ROOT / "README.md").read_bytes()) <= 12_288


def test_the_table_of_results_is_that_of_the_command() -> None:
    """README's tables are what `evaluate --all --table` prints, from the records."""
    block = re.search(r"<!-- results -->\n(.*)\n<!-- /results -->", read(ROOT / "README.md"), re.S)
    assert block
    said = CliRunner().invoke(cli, ["evaluate", "--all", "--table"])
    assert said.exit_code == 0
    parts = said.stdout.split("\n\n")
    assert block[1] == next(b for a, b in pairwise(parts) if "test images of mnist;" in a)
    record = Evaluated().record()
    assert record is not None
    floors: dict[tuple[int, int], set[str]] = {}
    fids: dict[tuple, dict[float, float]] = {}
    for row in record["evaluations"]:
        column = row["resolution"], row["count"]
        spread = f"{row['floor']['fid']:.1f} ± {row['floor_sd']['fid']:.1f}"
        floors.setdefault(column, set()).add(spread)
        cell = row["checkpoint"], row["prior"], *column
        fids.setdefault(cell, {})[row["guidance"]] = row["metrics"]["fid"]
    assert all(len(found) == 1 for found in floors.values())
    pairs = [found for found in fids.values() if len(found) == 2]
    assert sum(found[1.25] >= found[1.0] for found in pairs) == 2
    assert "FID falls below in all places but two" in " ".join(read(ROOT / "README.md").split())


def test_every_weight_that_the_manifest_proposes_is_in_readme() -> None:
    found = re.findall(r"`([a-z0-9-]+)` [^`]+`--guidance ([0-9.]+)`", read(ROOT / "README.md"))
    files = read_manifest(BUNDLE)["files"]
    said = {name: float(weight) for name, weight in found if name in files}
    assert said == {k: entry["guidance"] for k, entry in files.items() if "guidance" in entry}


def test_clothes_are_best_at_the_weight_that_readme_says() -> None:
    """On every level the energy distance is lower there."""
    name = "fashion-bessel-32"
    assert read_manifest(BUNDLE)["files"][name]["guidance"] == 1
    found: dict[int, dict[float, float]] = {}
    for row in Records(ROWS).of_files(BUNDLE):
        if row["checkpoint"] == name:
            level = found.setdefault(row["resolution"], {})
            level[row["guidance"]] = row["metrics"]["energy_distance"]
    assert found.keys() == {16, 32, 64}
    assert all(level[1.0] < level[GUIDANCE] for level in found.values())


def test_where_images_go_wrong_is_that_of_the_record() -> None:
    """The share of the excess FID that arises above t = 0.4, of the networks of `origins`."""
    from mldemo.studies.origins import Origins
    from mldemo.studies.study import read_record

    study = Origins()
    rows = [row for row in study.rows(read_record(study.record_path)) if row["g"] == 1]
    shares = []
    for name in {row["network"] for row in rows}:
        fids = {row["from t"]: row["fid"] for row in rows if row["network"] == name}
        shares.append((fids[1] - fids[0.4]) / (fids[1] - rows[0]["floor"]))
    said = f"{100 * min(shares):.0f} to {100 * max(shares):.0f} % of what lies above the floor"
    assert len(shares) == 3 and said in read(ROOT / "README.md")


def test_what_the_aim_would_take_is_that_of_the_record() -> None:
    """The images fitted to, the images and hours to come within 3 of the floor, the shipped's."""
    from mldemo.studies.scaling import Scaling
    from mldemo.studies.study import read_record

    study = Scaling()
    record = read_record(study.record_path)
    *own, shipped = [row for row in study.rows(record) if row["size"] == "light"]
    needed = study._laws(record)["light"].images_for(own[0]["floor"] + 3)
    hours = needed * own[-1]["CPU hours"] / own[-1]["images"]
    asked = record["inputs"]["images"]["light"]
    page = " ".join(read(ROOT / "README.md").split())
    assert f"fitted to {asked[0]:,} to {asked[-1]:,} training images" in page
    assert f"some {needed / 1e6:.0f} million, {hours:.0f} hours of a core (`scaling`)" in page
    assert "the shipped one saw a million there" in page
    assert shipped["images"] == pytest.approx(1e6, rel=0.05)


def test_the_header_is_that_of_a_space() -> None:
    """A Space reads it: the installed gradio, a Python that is allowed, a file that exists."""
    yaml = pytest.importorskip("yaml")
    header = yaml.safe_load(read(ROOT / "README.md").split("---\n")[1])
    pinned = dict(
        line.split("==") for line in read(ROOT / "requirements.txt").splitlines() if "==" in line
    )
    assert header["sdk"] == "gradio" and header["sdk_version"] == pinned["gradio"]
    assert (ROOT / header["app_file"]).is_file()
    assert header["license"] == "mit"
    wanted = tomllib.loads(read(ROOT / "pyproject.toml"))["project"]["requires-python"]
    assert tuple(map(int, header["python_version"].split("."))) >= (3, 11) and wanted == ">=3.11"


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.relative_to(ROOT).as_posix())
def test_links_lead_somewhere(page: Path) -> None:
    """To files of the repository, and to values that the tabs accept."""
    from mldemo.store.manifest import BUNDLE
    from mldemo.ui.app import TABS
    from mldemo.ui.fields import read_all
    from mldemo.ui.tab import Place

    links = re.findall(r"\]\(([^)\s]+)\)", read(page))
    for link in links:
        if not link.startswith("http"):
            assert (page.parent / link.split("#")[0]).exists(), link
    opened = [urlsplit(x) for x in links if x.startswith("http://127.0.0.1:7860/?")]
    if not opened:
        return
    tabs = {t.id: t for t in (make(Place(torch.device("cpu"), BUNDLE)) for make in TABS)}
    steps = json.loads(read(ROOT / "mldemo" / "ui" / "static" / "lessons.json"))["steps"]
    for url in opened:
        query = {key: value[0] for key, value in parse_qs(url.query).items()}
        assert query.pop("lesson", None) in {None, *(step["id"] for step in steps)}
        view = {"present", "step"}  # of the page and its player, not of the tab
        tab = tabs[query.pop("tab", "learn")]
        read_all(tab.fields, {key: value for key, value in query.items() if key not in view})


def test_the_bounds_of_serving_are_those_of_the_code() -> None:
    from mldemo.machine import MOST_AT_ONCE
    from mldemo.ui.server.schedule import MOST, MOST_LONG
    from mldemo.ui.server.shared import MOST_OF_ADDRESS, MOST_OF_PAGE

    words = " ".join(read(ROOT / "mldemo" / "ui" / "server" / "README.md").split())
    assert f"{MOST} hold a place, {MOST_OF_ADDRESS} of them from one address" in words
    assert f"{MOST_LONG} of them long; a page follows {MOST_OF_PAGE}" in words
    assert MOST_AT_ONCE == 4 and "Four runs at most are computed at a time" in words


def test_readme_names_every_study() -> None:
    from mldemo.studies.study import studies

    said = re.search(r"^Each \[study\].*?$(?=\n\n)", read(ROOT / "README.md"), re.M | re.S)
    assert said
    shipped = [n for n, one in studies().items() if one.__module__.startswith("mldemo.")]
    assert re.findall(r"`([a-z-]+)`", said[0]) == shipped


def test_every_study_is_described_and_no_other() -> None:
    """With its question, and its record where there is one."""
    from mldemo.studies.study import studies

    page = read(ROOT / "mldemo" / "studies" / "README.md")
    entries = re.findall(r"^- `([a-z-]+)`: (.+?)(?=^- |^$)", page, re.M | re.S)
    shipped = {n: one for n, one in studies().items() if one.__module__.startswith("mldemo.")}
    assert [name for name, _ in entries] == list(shipped)
    for name, words in entries:
        assert words.startswith(shipped[name].question)
        assert (f"(records/{name}.json)" in words) == shipped[name].record_path.is_file(), name


def test_the_exercises_speak_of_recorded_figures() -> None:
    """Exercise 4: the mean of a digit; exercise 5: steps of equal error."""
    from mldemo.pipeline import default_statistics
    from mldemo.space.spectral import to_modes

    text = read(ROOT / "mldemo" / "ui" / "tabs" / "learn" / "lecturers.md")
    data = default_statistics()
    mean = float(to_modes(data.mean_at(64).double())[..., 0, 0].real)
    spread = float(data.spectrum(64)[0, 0].sqrt())
    assert f"{mean:.2f} ± {spread:.2f}".replace("-", "−") in text
    from mldemo.studies.solvers import Solvers
    from mldemo.studies.study import read_record, values

    cells = values(read_record(Solvers().record_path))
    w2 = {
        name: {row["steps"]: row["w2"] for row in cells[f"Gaussian, {name}"]}
        for name in ("ddim", "dpmpp2m")
    }
    goal = w2["ddim"][160]
    first = min(steps for steps, error in w2["dpmpp2m"].items() if error <= goal)
    assert f"{first} steps do (relative W₂ {w2['dpmpp2m'][first]:.3f} against {goal:.3f})" in text


def test_an_exercise_speaks_of_the_recorded_race() -> None:
    """Exercise 7: steps at the last mark on the coarse level, and in all."""
    from mldemo.ui.tabs.learn.recorded_race import lanes

    text = " ".join(read(ROOT / "mldemo" / "ui" / "tabs" / "learn" / "lecturers.md").split())
    _, coarse, fine = lanes()
    last = max(i for i, mark in enumerate(coarse) if mark["level"] == 16)
    a, b = coarse[last]["steps"], fine[last]["steps"]
    assert f"have taken {a} and {b} steps in equal time, so c₃₂/c₁₆ = {a / b:.2f}" in text
    assert f"and {(1 + a / b) / 2:.2f} times as many are expected" in text
    a, b = coarse[-1]["steps"], fine[-1]["steps"]
    assert f"In all they are {a:,} against {b:,}, {a / b:.2f} times" in text


def test_the_plan_for_lecturers_has_every_lesson_by_its_number() -> None:
    steps = json.loads(read(ROOT / "mldemo" / "ui" / "static" / "lessons.json"))["steps"]
    text = read(ROOT / "mldemo" / "ui" / "tabs" / "learn" / "lecturers.md")
    named = re.findall(r"\[lesson (\d+)\]\(\S+\?lesson=([a-z-]+)&", text)
    assert named == [(str(i + 1), step["id"]) for i, step in enumerate(steps)]
    spans = [tuple(map(int, m)) for m in re.findall(r"^\| (\d+)–(\d+) \|", text, re.M)]
    assert all(a[1] == b[0] for a, b in pairwise(spans)) and spans[-1][1] == 45


def test_a_sample_from_noise_without_a_mean_has_mean_zero() -> None:
    """Exercise 4: with q_0 = 0 and the start N(0, Q) the mean is 0 to rounding."""
    from dataclasses import replace

    from mldemo.diffusion.samplers import sample
    from mldemo.pipeline import prepare
    from mldemo.request import Request

    run = prepare(Request(prior="laplacian", resolution=16, count=4, steps=10))
    wrong = run.prior.draw(7, range(4), 16)
    *_, last = sample(run.denoise, wrong, "dpmpp2m", 10)
    assert last.x0.mean((-3, -2, -1)).abs().max() < 1e-3
    right = prepare(replace(run.request, seed=8)).result().x0
    assert right.mean((-3, -2, -1)).max() < -0.6
