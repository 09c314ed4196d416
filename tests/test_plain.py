"""The denoiser of the paper's first experiment: the network predicts the noise, nothing else."""

import pytest
import torch
from conftest import TINY
from torch import Tensor, nn

from mldemo.data.sets import TwoPhaseMaterial
from mldemo.data.statistics import Statistics
from mldemo.diffusion.sde import Schedule, diffuse
from mldemo.space.noise import unit_modes
from mldemo.space.spectral import to_field, to_modes
from mldemo.studies.plain import PlainDenoiser
from mldemo.studies.trained import trained
from mldemo.training.plan import Plan

FIELDS = TwoPhaseMaterial().fields("train", 16, first=8)


class Knows(nn.Module):
    """A network that answers with a field, and remembers what it was asked."""

    def __init__(self, answer: Tensor) -> None:
        super().__init__()
        self.answer = answer

    def forward(self, fields: Tensor, snr: Tensor) -> Tensor:
        self.asked = fields, snr
        return self.answer


@pytest.mark.parametrize("prior", ["standard", "bessel"])
def test_who_knows_the_noise_knows_the_image(prior: str) -> None:
    """F = η gives D = x_0 and loss 0; F = 0 gives the loss ‖η‖²."""
    statistics, times = Statistics.of(FIELDS), torch.linspace(0.1, 0.9, 8)
    noise = statistics.prior(prior)
    white = unit_modes(1, range(8), 16)
    root = noise.eigenvalues(16).sqrt().float()
    eta = to_field(root * white, 16)
    network = Knows(eta)
    denoiser = PlainDenoiser(network, noise, statistics, Schedule())
    x = diffuse(Schedule(), FIELDS, eta, times)
    torch.testing.assert_close(denoiser(x, times), FIELDS, rtol=0, atol=1e-3)
    assert denoiser.loss(to_modes(FIELDS), white, times).abs().max() < 1e-10
    fields, snr = network.asked
    torch.testing.assert_close(fields[:, :1], x, rtol=0, atol=1e-5)
    assert (snr == snr[:, :1]).all() and (snr[:-1, 0] > snr[1:, 0]).all()  # the time alone
    silent = PlainDenoiser(Knows(torch.zeros_like(eta)), noise, statistics, Schedule())
    expected = eta.square().mean((1, 2, 3))
    torch.testing.assert_close(silent.loss(to_modes(FIELDS), white, times), expected)


def test_it_is_trained_and_averaged_as_itself() -> None:
    prior = Statistics.of(FIELDS).prior("standard").to_dict()
    run = trained(Plan((prior,), network=TINY, levels=((16, 2),), batch=4), FIELDS, PlainDenoiser)
    assert type(run.denoiser) is type(run.averaged()) is PlainDenoiser and run.step == 2
