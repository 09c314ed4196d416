"""A prior and a sampler that are one class each, here, and are served everywhere.

The classes are defined in this file and nowhere mentioned besides. As a program (in a process of
its own, so that other tests meet the shipped ones alone) it asks the command line, the API and the
live page for them, and prints what they answered.
"""

import contextlib
import io
import json
import os
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from torch import Tensor

from mldemo import PRIORS, SAMPLERS, Request, prepare
from mldemo.diffusion.sde import per_sample, reverse_drift
from mldemo.diffusion.steps import Sampler, Step
from mldemo.pipeline import default_statistics
from mldemo.space.covariance import EXPONENT, Parameter, Prior
from mldemo.space.spectral import multiplicity, radius

N = 16


class Gauss(Prior):
    """q_k ∝ exp(-(|k|/9)²): analytic functions. Not a shipped prior."""

    name: ClassVar[str] = "gauss"
    written: ClassVar[str] = "qₖ ∝ exp(−(|k|/9)²)"

    @property
    def reason(self) -> str:
        return "a Gaussian sum converges"

    def _shape(self, resolution: int) -> Tensor:
        return torch.exp(-((radius(resolution) / 9) ** 2))

    def _shape_trace(self) -> float:
        return float((multiplicity(255) * self._shape(255)).sum())


@dataclass(frozen=True)
class Steep(Gauss):
    """With a parameter that people may choose."""

    name: ClassVar[str] = "steep"
    written: ClassVar[str] = "qₖ ∝ exp(−s(|k|/9)²), s = {exponent:g}"
    adjustable: ClassVar[tuple[Parameter, ...]] = (EXPONENT,)
    exponent: float = 1.5

    def _shape(self, resolution: int) -> Tensor:
        return torch.exp(-self.exponent * (radius(resolution) / 9) ** 2)


class Trapezoid(Sampler):
    """The probability flow in t by the explicit trapezoid of its own drift: two calls a step."""

    name, label, order = "trapezoid", "Trapezoid in t", 2
    calls_per_step = 2
    source = "any textbook"

    def step(self, at: Step) -> Tensor:
        def slope(x: Tensor, x0: Tensor, time: float) -> Tensor:
            t = torch.tensor(time, dtype=torch.float64)
            beta = per_sample(at.schedule.beta(t), x)
            return (reverse_drift(at.schedule, x, x0, t) + beta * 0.5 * x) / 2

        h = at.here.time - at.ahead.time
        first = slope(at.x, at.x0, at.here.time)
        guess = at.x + h * first
        second = slope(guess, at.denoise_ahead(guess), at.ahead.time)
        return at.x + h * (first + second) / 2


if __name__ != "__main__":  # other tests of the same process meet the shipped ones alone
    for kind, names in ((PRIORS, ("gauss", "steep")), (SAMPLERS, ("trapezoid",))):
        for name in names:
            kind.pop(name)


def command_line(*words: str) -> dict[str, Any]:
    """The JSON line of a command, and what it wrote."""
    from mldemo.cli import cli

    with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(io.StringIO()) as out:
        file = str(Path(folder) / "a.npy")
        cli.main([*words, "--out", file], standalone_mode=False)
        return json.loads(out.getvalue()) | {"sum": float(np.abs(np.load(file)).sum())}


def live(address: str, query: str) -> list[Any]:
    """The records of a live run, without their arrays."""
    import httpx

    from mldemo.ui.wire import decode

    raw = httpx.get(f"{address}/mldemo/live/{query}", timeout=120).content
    return [
        meta | {"finite": all(np.isfinite(a).all() for a in arrays.values())}
        for meta, arrays in decode(raw)
    ]


def answers() -> dict[str, Any]:
    """What the command line, the API and the page say of the three classes."""
    from gradio_client import Client

    from mldemo.ui import build_app

    small = ("--resolution", str(N), "--count", "2", "--steps", "4")
    out: dict[str, Any] = {
        "sample": command_line("sample", "--prior", "gauss", *small),
        "noise": command_line("noise", "--prior", "gauss", "--resolution", str(N), "--count", "2"),
        "sampler": command_line("sample", "--sampler", "trapezoid", *small),
    }
    demo = build_app()
    _, address, _ = demo.launch(prevent_thread_lock=True, server_name="127.0.0.1", quiet=True)
    address = address.rstrip("/")
    try:
        client = Client(address, verbose=False)
        options = {"resolution": N, "count": 2, "steps": 4}
        out["api"] = client.predict(prior="gauss", **options, api_name="/sample")
        out["api sampler"] = client.predict(sampler="trapezoid", **options, api_name="/sample")
        out["api spectrum"] = client.predict(
            prior="gauss", resolution=N, api_name="/prior_spectrum"
        )
        out["priors"] = live(address, f"priors?priors=gauss.steep.laplacian&n={N}&s=2")
        out["watch"] = live(address, f"watch?prior=gauss&sampler=trapezoid&n={N}&count=4&steps=4")
        out["solvers"] = live(address, "solvers?sampler=trapezoid&n=8&prior=gauss")
        out["forward"] = live(address, f"forward?prior=gauss&n={N}&count=1&steps=4")
        out["config"] = json.dumps(demo.config)
    finally:
        demo.close()
    run = prepare(Request(prior="gauss", resolution=N, count=2, steps=4))
    out["expected"] = float(run.result().x0.abs().sum())
    out["trace"] = default_statistics().variance
    return out


@pytest.fixture(scope="module")
def told() -> dict[str, Any]:
    """Asked once, in a fresh process in which the classes are defined before anything else."""
    command = [sys.executable, "-W", "ignore", __file__]
    root = Path(__file__).resolve().parents[1]
    here = os.environ | {"PYTHONPATH": str(root)}
    done = subprocess.run(command, env=here, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.splitlines()[-1])


def test_a_prior_is_one_class(told: dict[str, Any]) -> None:
    """The command line samples it with a learned score, and prints its own trace."""
    for answer in (told["sample"], told["api"]):
        assert "family" in answer["checkpoint"]
        assert answer["prior"] == {"name": "gauss", "trace": told["trace"]}
    assert told["sample"]["sum"] == pytest.approx(told["expected"], rel=1e-4)
    assert told["noise"]["trace_class"] and told["noise"]["continuum_trace"] == told["trace"]
    assert told["api spectrum"]["shell_mean"][1] > told["api spectrum"]["shell_mean"][5] > 0


def test_the_page_shows_a_prior_that_is_one_class(told: dict[str, Any]) -> None:
    """Card, formula, verdict and a learned sample; a choice in the forms; every other tab too."""
    cards = {r["name"]: r for r in told["priors"] if r["kind"] == "prior"}
    assert cards["gauss"]["formula"] == "qₖ ∝ exp(−(|k|/9)²)"
    assert cards["gauss"]["reason"] == "a Gaussian sum converges" and cards["gauss"]["trace_class"]
    assert "s = 2" in cards["steep"]["formula"]
    assert next(r["count"] for r in told["priors"] if r["kind"] == "sample") == 4
    for tab in ("priors", "watch", "solvers", "forward"):
        kinds = [r["kind"] for r in told[tab]]
        assert kinds[-1] == "end" and "error" not in kinds, told[tab][-1]
        assert all(r["finite"] for r in told[tab])
    assert "checkpoint" in told["watch"][0] and "family" in told["watch"][0]["checkpoint"]
    assert "Exponent s (laplacian, bessel, combined, steep)" in json.dumps(
        json.loads(told["config"]), ensure_ascii=False
    )


def test_a_sampler_is_one_class(told: dict[str, Any]) -> None:
    """Calls are counted by its own facts; the page names it."""
    assert told["sampler"]["sampler"] == "trapezoid"
    assert told["sampler"]["network_calls"] == told["api sampler"]["network_calls"] == 7
    assert "Trapezoid in t" in told["config"]
    assert told["watch"][0]["sampler"] == "Trapezoid in t"
    assert told["solvers"][0]["label"] == "Trapezoid in t"


def test_the_shipped_ones_are_alone_here() -> None:
    assert list(PRIORS) == ["standard", "laplacian", "bessel", "fno", "combined", "matched"]
    assert list(SAMPLERS) == ["dpmpp2m", "adams", "ddim", "heun", "euler"]


if __name__ == "__main__":
    print(json.dumps(answers()))
