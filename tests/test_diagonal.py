"""One contract for every diagonal operator, against dense matrices: priors and what is derived."""

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from mldemo.diffusion.marginal import Marginal
from mldemo.diffusion.sde import Schedule
from mldemo.space import spectral
from mldemo.space.diagonal import NEGLIGIBLE, Diagonal
from mldemo.space.priors import PRIORS, Matched

TIME = torch.tensor(0.35, dtype=torch.float64)
LEVELS = (8, 9)


def prior(name: str, n: int) -> Diagonal:
    return Diagonal(PRIORS[name]().eigenvalues(n))


def model(name: str, n: int) -> Marginal:
    data = Diagonal(Matched(1.8, 2.0, trace=0.5).eigenvalues(n))
    return Marginal.at(Schedule(), TIME, data, prior(name, n))


def dense(a: Diagonal, n: int) -> np.ndarray:
    """A on the pixels, Σ_k a_k e_k e_k*, entry by entry from cosines: no FFT."""
    values = a.values.reshape(a.values.shape[-2:])
    m, axis = spectral.bandwidth(n), np.arange(n) / n
    x = np.stack(np.meshgrid(axis, axis, indexing="ij"), -1).reshape(-1, 2)
    apart, out = x[:, None] - x[None], np.zeros((n * n, n * n))
    for k1 in range(-m, m + 1):
        for k2 in range(-m, m + 1):
            value = float(values[k1, k2] if k2 >= 0 else values[-k1, -k2])
            out += value * np.cos(2 * np.pi * apart @ np.array([k1, k2]))
    return out / n**2


def basis(n: int) -> Tensor:
    return torch.eye(n * n, dtype=torch.float64).reshape(-1, 1, n, n)


def matrix(fields: Tensor) -> np.ndarray:
    return fields.flatten(1).numpy().T


DERIVED = {
    **{f"Q of {name}": (lambda n, name=name: prior(name, n)) for name in PRIORS},
    **{f"v under {name}": (lambda n, name=name: model(name, n).variance) for name in PRIORS},
    **{f"filter under {name}": (lambda n, name=name: model(name, n).gain) for name in PRIORS},
    **{f"S under {name}": (lambda n, name=name: model(name, n).posterior) for name in PRIORS},
    "inverse": lambda n: model("bessel", n).inverse,
    "root": lambda n: prior("laplacian", n).root(),
    "sum": lambda n: prior("fno", n) + 2.0 * prior("laplacian", n),
    "product": lambda n: prior("bessel", n) @ prior("matched", n),
}
every_operator = pytest.mark.parametrize("make", DERIVED.values(), ids=DERIVED)
every_level = pytest.mark.parametrize("n", LEVELS)


@every_operator
@every_level
def test_contract(make, n: int) -> None:
    """apply, on_modes, root, colour, inverse, +, c·, @, trace: each is that of the matrix."""
    a, e = make(n), basis(n)
    d = dense(a, n)
    scale = np.abs(d).max()

    def close(ours: Tensor, expected: np.ndarray, size: float = scale) -> None:
        np.testing.assert_allclose(matrix(ours), expected, atol=1e-12 * max(size, 1e-30))

    close(a.apply(e), d)
    close(spectral.to_field(a.on_modes(spectral.to_modes(e)), n), d)
    root = matrix(a.root().apply(e))
    np.testing.assert_allclose(root @ root, d, atol=1e-12 * scale)
    colour = matrix(spectral.to_field(a.colour(spectral.to_modes(e)), n))
    np.testing.assert_allclose(colour @ colour.T, d, atol=1e-12 * scale)
    close((a + a).apply(e), 2 * d)
    close((torch.tensor(0.3, dtype=torch.float64) * a).apply(e), 0.3 * d)
    close((a @ a).apply(e), d @ d, scale**2)
    assert float(a.trace()) == pytest.approx(np.trace(d) * 1, rel=1e-12)
    inverse = matrix(a.inverse().apply(e))
    reach = 1e-11 * max(1.0, np.abs(inverse).max() * scale)
    np.testing.assert_allclose(d @ inverse @ d, d, atol=reach * scale)
    np.testing.assert_allclose(inverse @ d @ inverse, inverse, atol=reach * np.abs(inverse).max())
    assert np.linalg.eigvalsh(d).min() > -1e-12 * scale


@pytest.mark.parametrize("name", PRIORS)
@every_level
def test_the_gaussian_model_is_bayes_rule(name: str, n: int) -> None:
    """v = α²Λ + σ²Q, gain = αΛv⁻¹ and S = Λ - αΛv⁻¹αΛ, by dense pseudo-inverses."""
    m = model(name, n)
    alpha, sigma = float(m.alpha), float(m.sigma)
    data, noise = dense(m.data, n), dense(m.noise, n)
    v = alpha**2 * data + sigma**2 * noise
    gain = alpha * data @ np.linalg.pinv(v, rtol=1e-12, hermitian=True)
    np.testing.assert_allclose(dense(m.variance, n), v, atol=1e-14)
    np.testing.assert_allclose(dense(m.gain, n), gain, atol=1e-10)
    np.testing.assert_allclose(dense(m.posterior, n), data - alpha * gain @ data, atol=1e-10)
    assert alpha**2 + sigma**2 == pytest.approx(1)


def test_one_operator_for_each_sample() -> None:
    """Times (B,): row b is the model at its own time."""
    times = torch.tensor([0.1, 0.6], dtype=torch.float64)
    data, noise = Diagonal(Matched().eigenvalues(8)), prior("bessel", 8)
    both = Marginal.at(Schedule(), times, data, noise)
    for i, t in enumerate(times):
        alone = Marginal.at(Schedule(), t, data, noise)
        for ours, expected in ((both.gain, alone.gain), (both.posterior, alone.posterior)):
            torch.testing.assert_close(ours.values[i : i + 1], expected.values, rtol=0, atol=0)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_inverse_knows_what_is_negligible(dtype: torch.dtype) -> None:
    """Finite in single precision for every spectrum, 0 at and below the threshold."""
    tiny = torch.finfo(torch.float32).tiny / 64  # a denormal, whose reciprocal overflows
    values = torch.tensor([0.0, tiny, NEGLIGIBLE / 2, NEGLIGIBLE * 2, 1.0], dtype=dtype)
    inverse = Diagonal(values).inverse().values
    assert inverse.isfinite().all()
    assert inverse[:3].tolist() == [0, 0, 0]
    torch.testing.assert_close(inverse[3:] * values[3:], torch.ones(2, dtype=dtype))


def test_like_follows_a_field() -> None:
    a = prior("bessel", 8).like(torch.zeros(1, 1, 8, 8))
    assert a.values.dtype == torch.float32 and math.isclose(
        float(a.trace()), PRIORS["bessel"]().level_trace(8), rel_tol=1e-6
    )
