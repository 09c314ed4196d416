"""The study of where images go wrong, with denoisers whose answers are known."""

from dataclasses import dataclass
from typing import Any

import pytest
import torch
from torch import Tensor

from mldemo.diffusion.oracles import GaussianDenoiser
from mldemo.diffusion.sde import Schedule
from mldemo.pipeline import default_statistics, prepare
from mldemo.request import Request
from mldemo.studies import origins
from mldemo.studies.study import read_record, studies


@dataclass(frozen=True)
class Known:
    """A run whose denoiser answers g · `gain` · x_0, whatever it is asked."""

    request: Request
    clean: Tensor
    gain: float
    schedule: Schedule = Schedule()

    def denoise(self, x: Tensor, _: Tensor) -> Tensor:
        return self.request.guidance * self.gain * self.clean[: len(x)]


@pytest.mark.parametrize("gain", [0.5, 1.0, 1.25])
def test_the_best_weight_undoes_a_wrong_amplitude(
    gain: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """D_lin = 0 and D = a x_0: the least squared error is at g = 1/a, at every t."""
    clean = torch.randn(20, 1, 16, 16, generator=torch.Generator().manual_seed(3))

    def known(request: Request, *_: Any) -> Known:
        return Known(request, clean, gain)

    monkeypatch.setattr(origins, "prepare", known)
    found = origins._best_weight(Request(), clean, torch.zeros_like(clean), 0.5)
    assert found == pytest.approx(1 / gain, rel=1e-5)


def test_a_run_from_a_small_time_keeps_the_digit_and_a_late_one_does_not() -> None:
    """With the exact Gaussian score the change grows with t from nothing to all the variance."""
    n, statistics = 16, default_statistics()
    run = prepare(Request(resolution=n, score="gaussian"))
    assert isinstance(run.denoise, GaussianDenoiser)
    clean = statistics.prior("matched").draw(1, range(64), n)  # has the spectrum of the digits
    clean = clean * (statistics.variance / clean.var()) ** 0.5 + statistics.mean_at(n)
    noise = run.prior.draw(2, range(64), n)
    moved = [
        float((origins._last(run, clean, noise, t) - clean).square().mean())
        for t in (0.02, 0.3, 1.0)
    ]
    assert moved == sorted(moved)
    assert moved[0] < 0.05 * statistics.variance < statistics.variance < moved[2]


def test_the_shipped_record_says_what_texts_say() -> None:
    """Images go wrong above t = 0.4, and FID falls with the weight of every network at first."""
    study = studies()["origins"]
    rows = study.rows(read_record(study.record_path))
    for network in origins.NETWORKS:
        mine = {(r["from t"], r["g"]): r for r in rows if r["network"] == network}
        fid = {point: row["fid"] for point, row in mine.items()}
        assert fid[0.4, 1.0] - fid[0.2, 1.0] < 0.25 * (fid[1.0, 1.0] - fid[0.2, 1.0])
        assert fid[1.0, 1.1] < fid[1.0, 1.0]
