"""What is copied from the page: programs that run as they stand, commands that mean the same."""

import shlex
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from mldemo.cli.sampling import noise, sample
from mldemo.pipeline import default_statistics, prepare
from mldemo.request import Request
from mldemo.store.manifest import BUNDLE
from mldemo.ui.app import TABS
from mldemo.ui.programs import INSTALL, pinned, program, run_command, run_program
from mldemo.ui.tab import Place, source_of

PLACE = Place(torch.device("cpu"), BUNDLE)
QUERIES = [
    ("watch", {"score": "gaussian", "n": "16", "count": "4", "steps": "3"}),
    ("resolution", {"score": "gaussian", "finest": "32", "steps": "3"}),
    ("priors", {"priors": "laplacian.bessel", "n": "16"}),
    ("priors", {"priors": "laplacian.bessel", "s": "0.9", "n": "16"}),
    ("forward", {"score": "gaussian", "n": "16", "count": "1", "steps": "3"}),
    ("forward", {"kind": "extend", "score": "gaussian", "n": "16", "count": "4", "steps": "3"}),
    ("solvers", {"n": "8", "sampler": "ddim"}),
    ("learn", {}),
]


def head_of(tab: str, query: dict[str, str], place: Place = PLACE) -> dict:
    made = next(t for t in (make(place) for make in TABS) if t.id == tab)
    return next(iter(source_of(made, place)(query)))[0]


@pytest.mark.parametrize(("tab", "query"), QUERIES)
def test_every_tab_s_program_runs_and_writes_a_picture(
    tab: str, query: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Alone in a namespace of its own, unless there is nothing to draw; it says how to install."""
    python = head_of(tab, query)["python"]
    monkeypatch.chdir(tmp_path)
    exec(python, {})
    pictures = [np.asarray(Image.open(path).convert("L")) for path in tmp_path.glob("*.png")]
    if python.startswith("# none"):
        assert not pictures
        return
    assert python.startswith(INSTALL)
    (picture,) = pictures
    assert picture.std() > 10


@pytest.mark.parametrize(("tab", "query"), [q for q in QUERIES if q[0] not in ("learn", "priors")])
def test_programs_name_the_page_s_own_folder(
    tab: str, query: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And read it: without the folder they fail, with it they run."""
    folder = tmp_path / "a folder's name"
    folder.symlink_to(BUNDLE)
    head = head_of(tab, query, Place(torch.device("cpu"), folder))
    if "sample" in (head["command"] or ""):
        words = shlex.split(head["command"])
        assert words[words.index("--checkpoints") + 1] == str(folder)
    monkeypatch.chdir(tmp_path)
    folder.rename(tmp_path / "away")
    default_statistics.cache_clear()
    with pytest.raises(ValueError, match=r"holds no manifest\.json"):
        exec(head["python"], {})
    (tmp_path / "away").rename(folder)
    exec(head["python"], {})


def test_commands_for_noise_name_the_page_s_own_folder(tmp_path: Path) -> None:
    (tmp_path / "own").symlink_to(BUNDLE)
    place = Place(torch.device("cpu"), tmp_path / "own")
    lines = head_of("priors", {"priors": "laplacian.bessel", "n": "16"}, place)["command"]
    assert [line.split()[-2:] for line in lines.splitlines()] == [
        ["--checkpoints", str(tmp_path / "own")]
    ] * 2
    assert "--checkpoints" not in head_of("priors", {"priors": "laplacian.bessel"})["command"]


def test_the_program_of_a_record_draws_its_figure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """As a page that asks nobody for anything, under the sentence that the record supports."""
    head = head_of("evidence", {"study": "linear"})
    monkeypatch.chdir(tmp_path)
    exec(head["python"], {})
    page = (tmp_path / "linear.html").read_text("utf-8")
    assert all(trace["name"] in page for trace in head["figure"]["data"])
    assert 'src="http' not in page
    (said,) = [one["conclusion"] for one in head["every"] if one["name"] == "linear"]
    assert capsys.readouterr().out.strip() == said


def request_of(command: str) -> Request:
    """What the command line makes of a command."""
    words = shlex.split(command)
    assert words[:4] == ["python", "-m", "mldemo", "sample"]
    options = sample.make_context("sample", words[4:]).params
    for name in ("out", "device", "folder", "data"):
        del options[name]
    return Request(**options)


@pytest.mark.parametrize(
    "request_",
    [
        Request(score="gaussian"),
        Request("laplacian", 16, 5, "heun", 3, 11, "gaussian", exponent=1.3),
        Request("bessel", 8, 2, count=1, score="gaussian", exponent=1.7, kappa=11.5),
        Request(resolution=16, steps=2, guidance=1.0),
        Request(resolution=16, steps=2, score="gaussian", coarse_until=0.2),
    ],
)
def test_command_and_program_make_the_same_request(request_: Request) -> None:
    """Every choice is there, the prior's shape and the checkpoint that was found too."""
    run = prepare(request_)
    scope: dict = {}
    exec(
        next(x for x in run_program(run, BUNDLE).splitlines() if x.startswith("request")),
        globals(),
        scope,
    )
    assert scope["request"] == request_of(run_command(run, BUNDLE)) == pinned(run)
    assert pinned(run).shape == request_.shape
    assert pinned(run).checkpoint == run.checkpoint
    assert (run.checkpoint is None) == (request_.score != "learned")


def test_the_priors_commands_draw_the_same_priors() -> None:
    """With their exponent and correlation length."""
    query = {"priors": "laplacian.bessel.standard", "s": "1.7", "length": "0.5", "n": "16"}
    lines = head_of("priors", query)["command"].splitlines()
    found = [noise.make_context("noise", shlex.split(line)[4:]).params for line in lines]
    assert [p["prior"] for p in found] == ["laplacian", "bessel", "standard"]
    assert [p["exponent"] for p in found] == [1.7, 1.7, None]
    assert found[1]["kappa"] == pytest.approx(4 * np.pi)
    assert found[0]["kappa"] is None


def test_a_program_imports_what_it_names_and_nothing_else() -> None:
    assert program("x = [torch.ones(n) for n in range(3)]").splitlines()[1:-2] == ["import torch"]
    assert "from mldemo import Request, prepare\n" in program("prepare(Request())")
