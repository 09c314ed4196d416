"""Requests are checked, runs do what the samplers do, the core stays free of the page."""

import re
import subprocess
import sys
from dataclasses import fields, replace
from pathlib import Path

import pytest
import torch

from mldemo.data.pictures import pixels
from mldemo.diffusion.oracles import GaussianDenoiser
from mldemo.diffusion.steps import SAMPLERS
from mldemo.machine import choose_device
from mldemo.pipeline import prepare
from mldemo.request import LARGEST_WORK, Request, request_from
from mldemo.space.priors import PRIORS
from mldemo.space.spectral import radial_power, resample
from mldemo.space.streams import LARGEST_SEED

ROOT = Path(__file__).resolve().parents[1]


def test_the_core_imports_neither_page_nor_network() -> None:
    """In a fresh process; this is what keeps `import mldemo` and `python app.py` quick."""
    names = ("gradio", "neuralop", "wandb")
    code = f"import sys, mldemo; print([m for m in {names} if m in sys.modules])"
    answer = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert answer.stdout.strip() == "[]"


def test_the_page_does_not_load_the_compiler() -> None:
    """It takes a second, and only who compiles needs it."""
    code = "import sys; from mldemo.ui import build_app; print('torch._dynamo' in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code], cwd=ROOT, capture_output=True, text=True
    )
    assert done.stdout.strip() == "False", done.stderr


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"prior": "pink"}, "one of standard, .*, got 'pink'"),
        ({"prior": ["bessel"]}, "prior must be one of"),
        ({"prior": None}, "prior must be one of"),
        ({"resolution": 7}, "from 8 to 256, got 7"),
        ({"resolution": 32.5}, "whole number, got 32.5"),
        ({"resolution": True}, "whole number, got True"),
        ({"resolution": float("nan")}, "whole number, got nan"),
        ({"steps": 0}, "from 1 to 1000, got 0"),
        ({"steps": 10**30}, "from 1 to 1000"),
        ({"guidance": -0.1}, "guidance must be from 0 to 3, got -0.1"),
        ({"guidance": 10**400}, "guidance must be from 0 to 3, got 1000"),
        ({"guidance": float("nan")}, "guidance must be from 0 to 3, got nan"),
        ({"guidance": "1"}, "guidance must be a number, got '1'"),
        ({"guidance": True}, "guidance must be a number, got 'True'"),
        ({"coarse_until": "0.2"}, "coarse_until must be a number, got '0.2'"),
        ({"coarse_until": True}, "coarse_until must be a number, got 'True'"),
        (
            {"coarse_until": float("nan")},
            "coarse_until must be above 0.001 and at most 1, got nan",
        ),
        ({"coarse_until": 1e-3}, "coarse_until must be above 0.001 and at most 1, got 0.001"),
        ({"coarse_until": 1.01}, "coarse_until must be above 0.001 and at most 1, got 1.01"),
        ({"coarse_until": 10**400}, "coarse_until must be above 0.001 and at most 1, got 1000"),
        ({"coarse_until": 0.2, "resolution": 14}, "an even resolution from 16 to 256, got 14"),
        ({"coarse_until": 0.2, "resolution": 33}, "an even resolution from 16 to 256, got 33"),
        ({"coarse_until": 0.2, "prior": "standard"}, "on both levels, the standard prior changes"),
        ({"sampler": "magic"}, "one of dpmpp2m, .*, got 'magic'"),
        ({"count": 5000}, "from 1 to 4096, got 5000"),
        ({"count": None}, "whole number, got None"),
        ({"seed": -1}, "from 0 to 9223372036854775807, got -1"),
        ({"seed": "7"}, "whole number, got '7'"),
        ({"score": "x" * 10**6}, "score must be one of learned, gaussian, empirical"),
        ({"checkpoint": 3}, "checkpoint must be a name"),
        ({"checkpoint": ""}, "checkpoint must be a name"),
        ({"exponent": 10**400}, "exponent must be smaller"),
        ({"count": 4096, "resolution": 256, "steps": 1000}, f"the bound is {LARGEST_WORK}"),
        ({"colour": "red"}, "has no colour"),
    ],
)
def test_bad_requests_name_value_and_bound(options: dict, words: str) -> None:
    with pytest.raises(ValueError, match=words) as error:
        request_from(options)
    assert len(str(error.value)) < 400


def test_whole_floats_are_whole_numbers() -> None:
    assert request_from({"steps": 20.0, "seed": 0.0}) == Request(steps=20, seed=0)


CHANGED = (
    Request(),
    Request(prior="laplacian", exponent=1.7, seed=LARGEST_SEED, score="gaussian"),
    Request(exponent=2.0, kappa=10, resolution=64, steps=5, sampler="euler", count=3, guidance=1),
    Request(checkpoint="my 'own' one; rm -rf"),
    Request(resolution=16, coarse_until=1),
)


@pytest.mark.parametrize("request_", CHANGED, ids=str)
def test_repr_is_python_for_what_differs_from_the_defaults(request_: Request) -> None:
    """Every field that was changed, and no other."""
    assert eval(repr(request_), {"Request": Request}) == request_
    changed = [f.name for f in fields(Request) if getattr(request_, f.name) != f.default]
    assert re.findall(r"[(\s](\w+)=", repr(request_)) == changed


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_a_run_yields_every_state(tiny_bundle: Path, sampler: str) -> None:
    """steps + 1 frames; calls as the request promised; power is that of the field shown."""
    request = Request(sampler=sampler, steps=5, count=3, resolution=16, checkpoint="tiny")
    frames = list(prepare(request, folder=tiny_bundle).frames())
    assert [f.step for f in frames] == list(range(6))
    assert frames[-1].calls == request.calls
    assert frames[0].time == 1.0 and frames[-1].time == 0.0
    assert torch.equal(frames[-1].x, frames[-1].x0)
    for f in frames:
        torch.testing.assert_close(f.power, radial_power(f.x).mean((0, 1)))
    times = [f.time for f in frames]
    assert times == sorted(times, reverse=True)


def test_guidance_reaches_the_denoiser_of_this_run_alone(tiny_bundle: Path) -> None:
    """0 is the Gaussian score; another run of the same checkpoint keeps its own weight."""
    options = {"resolution": 16, "steps": 4, "count": 2}
    runs = {g: prepare(Request(guidance=g, **options), folder=tiny_bundle) for g in (0.0, 1.0, 2)}
    run = runs[0.0]
    linear = GaussianDenoiser(
        run.statistics.mean_at(16), run.statistics.spectrum(16), run.prior, run.schedule
    )
    exact = replace(run, denoise=linear).result().x0
    none, plain, twice = (run.result().x0 for run in runs.values())
    torch.testing.assert_close(none, exact, rtol=0, atol=2e-5)
    assert (plain - exact).abs().max() > 1e-3 and (twice - plain).abs().max() > 1e-3


@pytest.mark.parametrize("sampler", ["dpmpp2m", "euler"])
def test_a_sample_does_not_depend_on_its_batch(tiny_bundle: Path, sampler: str) -> None:
    """Index 3 alone against index 3 among five."""
    request = Request(sampler=sampler, steps=4, count=5, resolution=16, checkpoint="tiny")
    run = prepare(request, folder=tiny_bundle)
    alone, among = run.result([3]).x0[0], run.result().x0[3]
    torch.testing.assert_close(alone, among, rtol=0, atol=2e-5)
    assert (among - run.result().x0[2]).abs().max() > 0.1


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_one_seed_is_one_function_on_every_level(tiny_bundle: Path, sampler: str) -> None:
    """With the Gaussian score, exactly: the run at 64 restricted to 16 is the run at 16."""
    options = {"score": "gaussian", "sampler": sampler, "steps": 6, "count": 2}
    fine, coarse = (
        prepare(Request(resolution=n, **options), folder=tiny_bundle).result().x0 for n in (64, 16)
    )
    torch.testing.assert_close(resample(fine, 16), coarse, rtol=0, atol=2e-5)


@pytest.mark.parametrize("prior", PRIORS)
def test_exact_scores_work_for_every_prior(
    tiny_bundle: Path, idx_folder: Path, prior: str
) -> None:
    """The empirical score ends on a datum; the Gaussian one on something finite that varies."""
    from mldemo.data.sets import IdxFolder

    request = Request(prior=prior, score="empirical", resolution=16, count=3, steps=12)
    x = prepare(request, folder=tiny_bundle, data=idx_folder).result().x0
    data = IdxFolder(idx_folder).fields("train", 16)
    nearest = torch.cdist(x.flatten(1), data.flatten(1)).min(1).values
    assert nearest.max() < 1e-2 * 16
    request = Request(prior=prior, score="gaussian", resolution=16, count=3)
    x = prepare(request, folder=tiny_bundle).result().x0
    assert x.isfinite().all() and 0.05 < x.std() < 1.5


def test_learned_score_without_checkpoint_says_what_works(tiny_bundle: Path) -> None:
    with pytest.raises(ValueError, match="work without one: gaussian, empirical"):
        prepare(Request(prior="laplacian"), folder=tiny_bundle)
    with pytest.raises(ValueError, match="trained with bessel, not with laplacian"):
        prepare(Request(prior="laplacian", checkpoint="tiny"), folder=tiny_bundle)
    with pytest.raises(ValueError, match="there are: tiny"):
        prepare(Request(checkpoint="nope"), folder=tiny_bundle)


def test_seed_range_reaches_its_bound(tiny_bundle: Path) -> None:
    request = Request(score="gaussian", seed=LARGEST_SEED, resolution=8, count=1, steps=1)
    assert prepare(request, folder=tiny_bundle).result().x0.isfinite().all()


def test_pixels_clip_and_round() -> None:
    grey = pixels(torch.tensor([-7.0, -1.0, 0.0, 1.0, 1.4]))
    assert grey.tolist() == [0, 0, 128, 255, 255]


def test_absent_devices_are_named() -> None:
    assert choose_device("cpu") == torch.device("cpu")
    with pytest.raises(ValueError, match="one of auto, cpu, cuda, mps, got 'tpu'"):
        choose_device("tpu")
    if not torch.cuda.is_available():
        with pytest.raises(ValueError, match="cuda is not available here; there is: cpu"):
            choose_device("cuda")


def test_networks_are_imported_without_wandb() -> None:
    """And it can be imported afterwards, or be there before."""
    after = "import sys, mldemo.networks; assert 'wandb' not in sys.modules; import wandb"
    before = "import sys, wandb, mldemo.networks; assert sys.modules['wandb'] is wandb"
    for program in (after, before):
        subprocess.run([sys.executable, "-c", program], cwd=ROOT, check=True, timeout=120)
