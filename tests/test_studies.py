"""Studies: how they run, resume and go stale; what convergence and solutions measure."""

import csv
import io
import json
import math
from itertools import islice, pairwise
from typing import ClassVar
from urllib.parse import parse_qsl

import plotly.graph_objects as go
import pytest
import torch
from click.testing import CliRunner

from mldemo.cli import cli
from mldemo.diffusion.oracles import GaussianDenoiser
from mldemo.diffusion.sde import Schedule
from mldemo.pipeline import default_statistics
from mldemo.space.priors import Bessel, Laplacian, Standard
from mldemo.store.manifest import BUNDLE
from mldemo.studies import convergence, figures, provenance, report, solutions
from mldemo.studies.study import Study, read_record, studies, values
from mldemo.ui import tab as tab_module
from mldemo.ui.app import TABS
from mldemo.ui.fields import read_all
from mldemo.ui.tab import Place


class Doubling(Study):
    """A study that counts what it computes."""

    name: ClassVar[str] = "doubling"
    question: ClassVar[str] = "Is 2x = x + x?"
    link: ClassVar[str] = "tab=watch"
    computed: ClassVar[list[int]] = []

    def inputs(self, quick):
        return {"numbers": [1, 2] if quick else [1, 2, 3]}

    def cells(self, quick):
        total = 0
        for x in self.inputs(quick)["numbers"]:

            def made(x=x, t=total):
                return self.computed.append(x) or {"twice": 2 * x, "before": t}

            total += (yield f"x = {x}", made)["twice"]

    def conclusion(self, record):
        return f"{len(values(record))} numbers were doubled."

    def rows(self, record):
        return [{"cell": name, **cell} for name, cell in values(record).items()]

    def figure(self, record):
        return go.Figure(go.Scatter(y=[row["twice"] for row in self.rows(record)]))

    @property
    def code(self):
        return "a digest"


@pytest.fixture
def doubling(tmp_path, monkeypatch):
    monkeypatch.setattr("mldemo.studies.study.RECORDS", tmp_path)
    monkeypatch.setattr("mldemo.studies.study.versions", lambda: {})
    Doubling.computed.clear()
    return Doubling()


def test_a_record_holds_inputs_results_and_what_they_support(doubling, tmp_path) -> None:
    assert [name for name, _ in doubling.run()] == ["x = 1", "x = 2", "x = 3"]
    record = read_record(tmp_path / "doubling.json")
    assert [cell["twice"] for cell in values(record).values()] == [2, 4, 6]
    assert record["conclusion"] == "3 numbers were doubled."
    assert record["command"] == "python -m mldemo study run doubling"
    assert record["seeds"] == [1, 2, 3] and record["inputs"] == {"numbers": [1, 2, 3]}
    assert doubling.state(record) == "current"
    assert doubling.state(record | {"code": "another"}) == "stale"


def test_a_stopped_study_goes_on_with_the_next_cell(doubling, tmp_path) -> None:
    list(islice(doubling.run(), 2))
    half = read_record(tmp_path / "doubling.json")
    assert doubling.state(half) == "unfinished"
    assert [name for name, _ in doubling.run(resume=True)] == ["x = 3"]
    assert Doubling.computed == [1, 2, 3]
    whole = values(read_record(tmp_path / "doubling.json"))
    assert [cell["before"] for cell in whole.values()] == [0, 2, 6]  # kept cells count too
    list(doubling.run(resume=False))
    assert Doubling.computed == [1, 2, 3, 1, 2, 3]


def test_other_inputs_are_not_mixed_into_a_record(doubling, tmp_path) -> None:
    list(doubling.run(quick=True))
    with pytest.raises(ValueError, match="another inputs"):
        list(doubling.run(resume=True))
    (tmp_path / "doubling.json").write_text("[]")
    with pytest.raises(ValueError, match="no record of a study"):
        list(doubling.run(resume=True))


def test_reports_are_a_line_a_table_and_a_figure(doubling, tmp_path) -> None:
    list(doubling.run())
    rows = report.conclusions().splitlines()
    assert [row for row in rows if "3 numbers were doubled." in row and "doubling" in row]
    written = [path for path in report.export(tmp_path / "out") if path.stem == "doubling"]
    assert [path.suffix for path in written] == [".csv", ".html"]
    table = list(csv.DictReader(io.StringIO(written[0].read_text())))
    assert [row["twice"] for row in table] == ["2", "4", "6"]
    page = written[1].read_text()
    assert "plotly" in page and 'src="http' not in page


def test_a_digest_follows_code_and_nothing_else(tmp_path, monkeypatch) -> None:
    package = tmp_path / "mldemo"
    (package / "store").mkdir(parents=True)
    monkeypatch.setattr(provenance, "PACKAGE", package)
    monkeypatch.setattr(provenance, "find_spec", lambda name: True)

    def digest(top: str, below: str = "X = 1\n", files: str = "Y = 1\n") -> str:
        for name, text in (("top", top), ("below", below), ("store/files", files)):
            (package / f"{name}.py").write_text(text)
        provenance.code_hash.cache_clear()
        return provenance.code_hash("mldemo.top")

    imports = "from mldemo.below import X\nfrom mldemo.store.files import Y\n"
    code = f'"""Words."""\n{imports}\n\ndef f():\n    return X\n'
    said = (
        "class One(Study):\n    question: str = 'why?'\n    def rows(self):\n        return {}\n"
    )
    first = digest(code)
    assert digest(code.replace("Words", "Other words").replace("\n\n\n", "\n# why\n\n")) == first
    assert digest(code.replace("return X", "return -X")) != first
    assert digest(code, "X = 2\n") != first
    assert digest(code, "X = 1\n# a comment\n") == first
    assert digest(code, files="Y = 2\n") == first
    # what a study says of a record is no result; the same in any other class is
    studied = digest(said.format(1))
    assert digest(said.format(2).replace("why", "what")) == studied
    assert digest(said.format(1).replace("rows", "cells")) != studied
    other = said.replace("Study", "Table")
    assert digest(other.format(1)) != digest(other.format(2))
    provenance.code_hash.cache_clear()


def test_every_study_is_listed_with_the_state_of_its_record() -> None:
    lines = CliRunner().invoke(cli, ["study", "list"], catch_exceptions=False).output.splitlines()
    shipped = {name for name, one in studies().items() if name != "doubling"}
    assert {"convergence", "solutions"} <= shipped
    for name in shipped:
        (line,) = [x for x in lines if x.startswith(f"{name}: ")]
        assert line.endswith(("[current]", "[stale]", "[unfinished]", "[no record]"))


@pytest.mark.parametrize("name", [n for n in studies() if n != "doubling"])
def test_records_have_three_seeds_or_say_why_not(name) -> None:
    one = studies()[name]
    assert len(one.seeds) >= 3 or one.why_fewer_seeds
    if one.record_path.is_file():
        record = read_record(one.record_path)
        assert not record["quick"] and record["conclusion"] == one.conclusion(record)
        assert one.rows(record) and one.figure(record).data
        assert record["question"] == one.question


@pytest.mark.parametrize("name", [n for n in studies() if n != "doubling"])
def test_the_quick_run_is_the_same_code(name, tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", str(torch.get_num_threads()))  # a worker's, not all
    out = tmp_path / "record.json"
    arguments = ["study", "run", name, "--quick", "--out", str(out)]
    answer = CliRunner().invoke(cli, arguments, catch_exceptions=False)
    assert answer.exit_code == 0
    record = read_record(out)
    assert json.loads(answer.output.splitlines()[-1])["conclusion"] == record["conclusion"]
    assert studies()[name].rows(record) and studies()[name].figure(record).data


def test_a_quick_run_never_replaces_a_shipped_record() -> None:
    answer = CliRunner().invoke(cli, ["study", "run", "convergence", "--quick"])
    assert "--quick needs --out" in str(answer.exception)


def test_noise_distances_are_those_of_the_modes() -> None:
    """Laplacian, s = 2: the tail sum. White noise: (1 - ½)² of the old modes and the new ones."""
    prior = Laplacian(2.0, trace=1.0)
    tail = prior.level_trace(32) - prior.level_trace(16)
    assert convergence.noise_distance(prior, 16, 32) == pytest.approx(math.sqrt(tail), rel=1e-9)
    old, new = 15**2, 31**2 - 15**2
    white = math.sqrt(old * (1 / 16 - 1 / 32) ** 2 + new / 32**2)
    assert convergence.noise_distance(Standard(), 16, 32) == pytest.approx(white, rel=1e-9)


@pytest.mark.parametrize("prior", [Laplacian(2.0), Laplacian(3.0), Bessel(2.0), Bessel(3.0)])
def test_slopes_are_those_of_theory_from_level_16_up(prior) -> None:
    levels = (16, 32, 64, 128, 256)
    found = [convergence.noise_distance(prior, a, b) for a, b in pairwise(levels)]
    for slope in convergence.slopes(found):
        assert slope == pytest.approx(prior.exponent - 1, abs=0.1)


def test_coupled_noise_has_the_distance_of_the_closed_form() -> None:
    prior = Bessel(1.5)
    draws = [prior.draw(5, range(64), n, torch.float64) for n in (16, 32)]
    expected = convergence.noise_distance(prior, 16, 32)
    assert convergence.coupled_distance(*draws) == pytest.approx(expected, rel=0.05)


def test_the_largest_singular_value_is_that_of_the_gaussian_denoiser() -> None:
    """There D is affine and its Lipschitz constant is the largest gain αΛ/v."""
    statistics, n, t = default_statistics(), 16, torch.tensor(0.3, dtype=torch.float64)
    prior = statistics.prior("bessel")
    spectrum = statistics.spectrum(n)
    denoise = GaussianDenoiser(statistics.mean_at(n), spectrum, prior)
    alpha, sigma = (float(f(t)) for f in (Schedule().alpha, Schedule().sigma))
    v = alpha**2 * spectrum + sigma**2 * prior.eigenvalues(n)
    gain = float(torch.where(v > 0, alpha * spectrum / v, 0.0).max())
    x = prior.draw(3, range(2), n)
    found = solutions.local_lipschitz(denoise, x, t.float(), 60)
    assert found.tolist() == pytest.approx([gain, gain], rel=0.02)


def test_every_figure_has_a_run_on_the_page_that_shows_it() -> None:
    """The link's values are those that its tab accepts."""
    tabs = {t.id: t for t in (make(Place(torch.device("cpu"), BUNDLE)) for make in TABS)}
    for name, one in studies().items():
        query = dict(parse_qsl(one.link, strict_parsing=True))
        tab = tabs[query.pop("tab")]
        fields = {f.name for f in tab.fields}
        read_all(tab.fields, {k: v for k, v in query.items() if k in fields})
        script = (tab_module.TABS / tab.id / f"{tab.id}.js").read_text()
        for key in query.keys() - fields:  # what its script keeps
            assert f'view.get("{key}")' in script, (name, key)


@pytest.mark.parametrize("name", [n for n in studies() if n != "doubling"])
def test_a_figure_places_every_mark(name: str) -> None:
    """On an axis of numbers a word has no place, and on a logarithmic one no number below 0."""
    study = studies()[name]
    figure = study.figure(read_record(study.record_path))
    for trace in figure.data:
        for key, reference, placed in (("x", trace.xaxis, trace.x), ("y", trace.yaxis, trace.y)):
            axis = figure.layout[f"{key}axis{(reference or key)[1:]}"]
            assert axis.type in ("linear", "log")
            assert all(math.isfinite(v) and (v > 0 or axis.type == "linear") for v in placed)


def test_no_two_lines_of_a_figure_look_alike() -> None:
    """Not even those of one colour, in dash or mark; the first shown have all the colours."""
    figure = figures.panels("all", x="N")
    shown = [i in (0, 1, 8, 10, 15) for i in range(40)]
    for i, seen in enumerate(shown):
        figures.line(figure, 1, f"{i}", [1, 2], [3.0, 4.0], shown=seen)
    looks = [(t.line.color, t.line.dash, t.marker.symbol) for t in figure.data]
    assert len(set(looks)) == len(looks)
    assert {look[0] for look, seen in zip(looks, shown, strict=True) if seen} == {*figures.COLOURS}
    for colour in figures.COLOURS:
        mine = [look for look in looks[:16] if look[0] == colour]
        assert len({dash for _, dash, _ in mine}) == len({mark for *_, mark in mine}) == len(mine)


def test_a_study_without_a_finished_record_is_named(doubling, tmp_path) -> None:
    names = {one.name for one in report.unrecorded()}
    assert names == {*studies()}  # the folder is empty
    for cells, unfinished in ((1, True), (None, False)):
        list(islice(doubling.run(), cells))
        assert ("doubling" in {one.name for one in report.unrecorded()}) is unfinished


def test_lines_of_one_name_look_alike_and_bars_are_what_is_given() -> None:
    figure = figures.panels("left", "right", x="N", log="y")
    figures.line(figure, 1, "a", [1, 2], [3.0, 4.0], [0.1, None])
    figures.line(figure, 1, "b", [1, 2], [5.0, 6.0], shown=False)
    figures.line(figure, 2, "a", [1, 2], [7.0, 8.0], [0.2, 0.2])
    a, b, again = figure.data
    assert a.error_y.array == (0.1, 0.0) and b.error_y.array is None
    assert (
        (a.line, a.marker, a.meta)
        == (again.line, again.marker, again.meta)
        != (
            b.line,
            b.marker,
            b.meta,
        )
    )
    assert (a.showlegend, again.showlegend, b.visible) == (True, False, "legendonly")
    assert (a.xaxis, again.xaxis) == ("x", "x2") and figure.layout.yaxis2.type == "log"
