"""Spectral conventions, held against dense Fourier matrices and loops over the whole plane."""

import numpy as np
import pytest
import torch
from torch import Tensor

from mldemo.space import spectral

SIZES = [8, 9]


def white(resolution: int, count: int = 3, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    shape = (count, 1, resolution, resolution)
    return torch.randn(shape, generator=generator, dtype=torch.float64)


def plane(resolution: int) -> list[tuple[int, int]]:
    """All k with |k₁|, |k₂| < N/2, the definition of H_N."""
    axis = [k for k in range(-resolution, resolution) if 2 * abs(k) < resolution]
    return [(a, b) for a in axis for b in axis]


def points(resolution: int) -> np.ndarray:
    """The grid x_j = j/N as (N², 2)."""
    axis = np.arange(resolution) / resolution
    return np.stack(np.meshgrid(axis, axis, indexing="ij"), -1).reshape(-1, 2)


def coefficient(field: Tensor, k: tuple[int, int]) -> complex:
    """û_k = N⁻² Σ_j u(x_j) e^{-2πi k·x_j}, the definition."""
    u = field.reshape(-1).numpy()
    return complex((u * np.exp(-2j * np.pi * points(field.shape[-1]) @ np.array(k))).mean())


def kernel_matrix(source: int, target: int, values: dict[tuple[int, int], float]) -> np.ndarray:
    """The dense (target², source²) matrix of u -> Σ_k μ_k û_k e_k, by explicit cosines."""
    difference = points(target)[:, None, :] - points(source)[None, :, :]
    out = np.zeros(difference.shape[:2])
    for k, value in values.items():
        out += value * np.cos(2 * np.pi * difference @ np.array(k))
    return out / source**2


@pytest.mark.parametrize("n", SIZES)
def test_modes_are_the_defining_sum_and_nyquist_is_masked(n: int) -> None:
    field = white(n, 1)[0, 0]
    modes = spectral.to_modes(field)
    k1, k2 = spectral.frequencies(n)
    for i in range(n):
        for j in range(n // 2 + 1):
            k = int(k1[i, j]), int(k2[i, j])
            inside = 2 * abs(k[0]) < n and 2 * abs(k[1]) < n
            expected = coefficient(field, k) if inside else 0.0
            assert complex(modes[i, j]) == pytest.approx(expected, abs=1e-14), k


@pytest.mark.parametrize("n", SIZES)
def test_field_is_the_sum_of_its_modes(n: int) -> None:
    """Σ_k û_k e_k over the whole plane, with û_{-k} = conj û_k."""
    modes = spectral.to_modes(white(n, 1)[0, 0])
    total = np.zeros(n * n, dtype=complex)
    for k1, k2 in plane(n):
        value = complex(modes[k1, k2]) if k2 >= 0 else complex(modes[-k1, -k2]).conjugate()
        total += value * np.exp(2j * np.pi * points(n) @ np.array([k1, k2]))
    assert np.abs(total.imag).max() < 1e-13
    field = spectral.to_field(modes, n).reshape(-1).numpy()
    np.testing.assert_allclose(field, total.real, atol=1e-13)


@pytest.mark.parametrize("n", SIZES)
def test_multiplicity_counts_the_whole_plane(n: int) -> None:
    count = spectral.multiplicity(n)
    assert float(count.sum()) == len(plane(n))
    even = {k: np.cos(k[0] + 3 * k[1]) for k in plane(n)}
    k1, k2 = spectral.frequencies(n)
    assert float((count * torch.cos(k1 + 3 * k2)).sum()) == pytest.approx(sum(even.values()))


@pytest.mark.parametrize("source", [8, 9, 12])
@pytest.mark.parametrize("target", [8, 9, 13])
def test_resample_is_its_dense_matrix(source: int, target: int) -> None:
    field = white(source)
    kept = dict.fromkeys(plane(min(source, target)), 1.0)
    expected = field.reshape(3, -1).numpy() @ kernel_matrix(source, target, kept).T
    ours = spectral.resample(field, target).reshape(3, -1).numpy()
    np.testing.assert_allclose(ours, expected, atol=1e-13)


@pytest.mark.parametrize("n", SIZES)
def test_multiplier_is_its_dense_matrix(n: int) -> None:
    k1, k2 = spectral.frequencies(n)
    multiplier = 1 / (1 + k1**2 + 2 * k2**2) + 0.1 * torch.cos(k1 * k2)
    values = {k: 1 / (1 + k[0] ** 2 + 2 * k[1] ** 2) + 0.1 * np.cos(k[0] * k[1]) for k in plane(n)}
    expected = white(n).reshape(3, -1).numpy() @ kernel_matrix(n, n, values).T
    ours = spectral.apply_multiplier(white(n), multiplier).reshape(3, -1).numpy()
    np.testing.assert_allclose(ours, expected, atol=1e-13)


@pytest.mark.parametrize(("coarse", "fine"), [(8, 9), (9, 16), (16, 32), (15, 64), (8, 256)])
def test_restriction_undoes_prolongation(coarse: int, fine: int) -> None:
    """restrict(prolong(u)) = u on H_N, and the constant 1 restricts to 1."""
    u = spectral.resample(white(coarse), coarse)  # a function of H_coarse
    back = spectral.resample(spectral.resample(u, fine), coarse)
    torch.testing.assert_close(back, u, atol=1e-14, rtol=1e-13)
    one = spectral.resample(torch.ones(1, 1, fine, fine, dtype=torch.float64), coarse)
    torch.testing.assert_close(one, torch.ones_like(one), atol=1e-14, rtol=0)


def test_levels_are_nested() -> None:
    """H_16 ⊂ H_32: prolongation is the same function, so it agrees on the shared grid points."""
    u = spectral.resample(white(16), 16)
    fine = spectral.resample(u, 32)
    torch.testing.assert_close(fine[..., ::2, ::2], u, atol=1e-14, rtol=1e-13)
    torch.testing.assert_close(
        spectral.squared_norm(spectral.to_modes(fine), 32),
        spectral.squared_norm(spectral.to_modes(u), 16),
    )


def test_restriction_in_two_steps_is_restriction() -> None:
    u = white(64)
    direct = spectral.resample(u, 15)
    for between in (16, 31, 32):
        twice = spectral.resample(spectral.resample(u, between), 15)
        torch.testing.assert_close(twice, direct, atol=1e-14, rtol=1e-13)


@pytest.mark.parametrize("n", [8, 9, 32])
def test_parseval(n: int) -> None:
    """‖u‖² = Σ_k |û_k|² is the mean of squares on the grid, for u in H_N."""
    u = spectral.resample(white(n), n)
    norm = spectral.squared_norm(spectral.to_modes(u), n)
    torch.testing.assert_close(norm, u.square().mean((-2, -1)), rtol=1e-13, atol=0)


@pytest.mark.parametrize("n", [8, 9, 16])
def test_radial_power_is_the_shell_average_over_the_whole_plane(n: int) -> None:
    field = white(n, 1)[0, 0]
    full = np.fft.fft2(field.numpy()) / n**2
    shells: dict[int, list[float]] = {}
    for k1, k2 in plane(n):
        shells.setdefault(round(float(np.hypot(k1, k2))), []).append(abs(full[k1, k2]) ** 2)
    expected = [np.mean(shells[s]) for s in range(len(shells))]
    np.testing.assert_allclose(spectral.radial_power(field).numpy(), expected, rtol=1e-12)


def test_radial_mean_ignores_nyquist_and_has_no_empty_shell() -> None:
    """The mean of a constant is that constant on every shell; what stands at Nyquist is no part
    of any of them."""
    for n in range(spectral.SMALLEST, 65):
        outside = spectral.multiplicity(n) == 0
        values = torch.where(outside, 1e9, 3.0).to(torch.float64)
        mean = spectral.radial_mean(values, n)
        torch.testing.assert_close(mean, torch.full_like(mean, 3.0))


@pytest.mark.parametrize("n", [8, 9, 16])
def test_a_shift_moves_the_function(n: int) -> None:
    """By whole grid steps it is torch.roll, row by row its own; by any other way it is undone by
    its opposite, and the same on every level."""
    generator = torch.Generator().manual_seed(0)
    field = spectral.resample(torch.randn(2, 1, n, n, generator=generator).double(), n)
    modes = spectral.to_modes(field)
    steps = torch.tensor([[1, -2], [0, 3]])
    moved = spectral.to_field(spectral.shift(modes, steps / n), n)
    for u, v, (a, b) in zip(field, moved, steps.tolist(), strict=True):
        torch.testing.assert_close(v, u.roll((a, b), (-2, -1)), rtol=1e-6, atol=1e-6)
    offsets = torch.tensor([[0.123, -0.4], [0.01, 0.2]], dtype=torch.float64)
    there = spectral.shift(modes, offsets)
    torch.testing.assert_close(spectral.shift(there, -offsets), modes)
    fine = spectral.shift(spectral.resample_modes(modes, n, 2 * n), offsets)
    torch.testing.assert_close(spectral.resample_modes(fine, 2 * n, n), there)


def test_layout_follows_the_input() -> None:
    """float32 in, float32 out; leading axes are free."""
    field = white(12).float().reshape(3, 12, 12)
    out = spectral.resample(field, 20)
    assert out.dtype == torch.float32
    double = spectral.resample(field.double(), 20)
    torch.testing.assert_close(out.double(), double, atol=1e-6, rtol=0)


@pytest.mark.parametrize("bad", [7, 257, 0, -16, True, 16.0, "16", None, float("nan")])
def test_resolutions_out_of_range_are_refused(bad: object) -> None:
    with pytest.raises(ValueError, match=r"resolution must be .*" + repr(bad).strip("'")):
        spectral.check_resolution(bad)  # type: ignore[arg-type]
    assert spectral.check_resolution(8) == 8
    assert spectral.check_resolution(256) == 256
