"""The public names of the package: `from mldemo import Request` finds them here."""

from mldemo.diffusion.oracles import EmpiricalDenoiser, GaussianDenoiser, MixtureDenoiser
from mldemo.diffusion.samplers import State, sample
from mldemo.diffusion.sde import Schedule
from mldemo.diffusion.steps import SAMPLERS
from mldemo.pipeline import Frame, prepare
from mldemo.request import Request
from mldemo.space.covariance import Prior
from mldemo.space.noise import BrownianPath, unit_modes
from mldemo.space.priors import (
    PRIORS,
    Bessel,
    Combined,
    FourierFilter,
    Laplacian,
    Matched,
    Standard,
)

__all__ = [
    "PRIORS",
    "SAMPLERS",
    "Bessel",
    "BrownianPath",
    "Combined",
    "EmpiricalDenoiser",
    "FourierFilter",
    "Frame",
    "GaussianDenoiser",
    "Laplacian",
    "Matched",
    "MixtureDenoiser",
    "Prior",
    "Request",
    "Schedule",
    "Standard",
    "State",
    "prepare",
    "sample",
    "unit_modes",
]
