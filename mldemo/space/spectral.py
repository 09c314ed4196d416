"""Fourier conventions: how a field becomes modes and back.

A field is a real function on the torus [0,1)^2 sampled at x_j = j/N, shape (..., N, N). Its modes
are û_k = N^-2 Σ_j u(x_j) e^{-2πi k·x_j}, kept on the half plane k₂ ≥ 0 in the layout of
``torch.fft.rfft2``: shape (..., N, N//2 + 1). Level N is H_N = span{e_k : |k₁|, |k₂| < N/2}; the
Nyquist row and column of an even grid are zero, so that H_16 ⊂ H_32 ⊂ H_64 exactly.
"""

import math
from collections.abc import Callable
from functools import lru_cache, wraps
from typing import Any, TypeVar, cast

import torch
from torch import Tensor
from torch.utils._python_dispatch import _disable_current_modes

LEVELS = (8, 16, 32, 64, 128, 256)
SMALLEST, FINEST = LEVELS[0], LEVELS[-1]
Compute = TypeVar("Compute", bound=Callable[..., Any])


def outside_modes(compute: Compute) -> Compute:
    """Make a function return ordinary tensors, whatever mode it is called in.

    A tensor created in inference mode cannot take part in a backward pass, and one created while
    a network is traced (`torch.export`, `torch.compile`) is a placeholder without values: neither
    may be cached for later calls. To `torch.compile` the result is a constant of the graph.
    """

    @wraps(compute)
    def ordinary(*args: Any) -> Any:
        with _disable_current_modes(), torch.inference_mode(False), torch.no_grad():
            return compute(*args)

    return _traced_as_constant(cast(Compute, ordinary))


def _traced_as_constant(function: Compute) -> Compute:
    # as `torch.compiler.assume_constant_result` does, which takes a second to import the compiler
    setattr(function, "_dynamo_marked_constant", True)  # noqa: B010
    return function


def constant(compute: Compute) -> Compute:
    """Cache the results of a function of hashable arguments, called by `outside_modes`."""
    kept = lru_cache(maxsize=256)(outside_modes(compute))

    # the cache is outermost: leaving the modes at every call costs 3 % of an FNO's step at 16²
    @wraps(compute)
    def found(*args: Any) -> Any:
        return kept(*args)

    return _traced_as_constant(cast(Compute, found))


def check_resolution(resolution: int) -> int:
    """Return the number of grid points per side if 8 ≤ N ≤ 256, else raise ``ValueError``."""
    if isinstance(resolution, bool) or not isinstance(resolution, int):
        raise ValueError(f"resolution must be a whole number, got {resolution!r}")
    if not SMALLEST <= resolution <= FINEST:
        raise ValueError(f"resolution must be from {SMALLEST} to {FINEST}, got {resolution}")
    return resolution


def check_precision(field: Tensor) -> Tensor:
    """Return fields of float32 or float64, else raise ``ValueError``.

    Half precision has no FFT on a CPU.
    """
    if field.dtype not in (torch.float32, torch.float64):
        raise ValueError(f"fields must be float32 or float64, got {field.dtype}: convert them")
    return field


def bandwidth(resolution: int) -> int:
    """The largest |k|∞ in H_N: 7 at N = 16, 4 at N = 9."""
    return (resolution - 1) // 2


@constant
def frequencies(resolution: int) -> tuple[Tensor, Tensor]:
    """Integer frequencies (k₁, k₂) of the half plane, float64, each (N, N//2 + 1)."""
    n = resolution
    k1 = torch.fft.fftfreq(n, 1 / n, dtype=torch.float64).round()
    k2 = torch.arange(n // 2 + 1, dtype=torch.float64)
    first, second = torch.meshgrid(k1, k2, indexing="ij")
    return first.contiguous(), second.contiguous()


@constant
def multiplicity(resolution: int) -> Tensor:
    """How many modes of the whole plane each half-plane mode represents: 1, 2, or 0 (Nyquist).

    Σ_k f_k over H_N equals ``(multiplicity(N) * f).sum()`` for every even f. Float64.
    """
    k1, k2 = frequencies(resolution)
    m = bandwidth(resolution)
    weight = torch.where(k2 > 0, 2.0, 1.0)
    return torch.where((k1.abs() <= m) & (k2 <= m), weight, 0.0).to(torch.float64)


@constant
def radius(resolution: int) -> Tensor:
    """The Euclidean |k| of every half-plane mode, float64, (N, N//2 + 1)."""
    k1, k2 = frequencies(resolution)
    return torch.hypot(k1, k2)


@constant
def _placed(
    compute: Callable[[int], Tensor], resolution: int, dtype: torch.dtype, device: torch.device
) -> Tensor:
    """A constant of level N, cached on a device: a copy at every call would synchronise."""
    return compute(resolution).to(device, dtype)


@constant
def _band_mask(resolution: int) -> Tensor:
    return multiplicity(resolution) > 0


def to_modes(field: Tensor) -> Tensor:
    """Modes of the projection of a field on H_N: (..., N, N) -> (..., N, N//2 + 1)."""
    mask = _placed(_band_mask, field.shape[-1], check_precision(field).dtype, field.device)
    return torch.fft.rfft2(field, norm="forward") * mask


def to_field(modes: Tensor, resolution: int) -> Tensor:
    """The real field with these modes: (..., N, N//2 + 1) -> (..., N, N)."""
    return torch.fft.irfft2(modes, s=(resolution, resolution), norm="forward")


def resample_modes(modes: Tensor, source: int, target: int) -> Tensor:
    """Modes on level `source` as modes on level `target`: truncated or zero-padded."""
    m = bandwidth(min(source, target))
    out = modes.new_zeros((*modes.shape[:-2], target, target // 2 + 1))
    out[..., : m + 1, : m + 1] = modes[..., : m + 1, : m + 1]
    if m:
        out[..., -m:, : m + 1] = modes[..., -m:, : m + 1]
    return out


def resample(field: Tensor, resolution: int) -> Tensor:
    """Restrict to a coarser level (keep low modes) or prolong to a finer one (pad with zeros).

    restrict(prolong(u)) = u for u in H_N. At the field's own resolution it projects on H_N.
    """
    source = field.shape[-1]
    return to_field(resample_modes(to_modes(field), source, resolution), resolution)


def apply_multiplier(field: Tensor, multiplier: Tensor) -> Tensor:
    """Σ_k μ_k û_k e_k for a real even μ of shape (..., N, N//2 + 1)."""
    return to_field(to_modes(field) * multiplier, field.shape[-1])


def _frequency_pair(resolution: int) -> Tensor:
    return torch.stack(frequencies(resolution))


def shift(modes: Tensor, offsets: Tensor) -> Tensor:
    """Modes û_k e^{-2πik·δ} of u(x - δ): exact on every level, for any δ in units of the torus.

    modes (B, 1, N, N//2 + 1), offsets (B, 2).
    """
    k1, k2 = _placed(_frequency_pair, modes.shape[-2], offsets.dtype, offsets.device)
    first, second = offsets[:, :, None, None, None].unbind(1)
    phase = -2 * math.pi * (first * k1 + second * k2)
    return modes * torch.polar(torch.ones_like(phase), phase).to(modes.dtype)


def squared_norm(modes: Tensor, resolution: int) -> Tensor:
    """‖u‖² = Σ_k |û_k|², the mean of squares on the grid; sums the last two axes."""
    weight = _placed(multiplicity, resolution, modes.real.dtype, modes.device)
    return (weight * (modes.real**2 + modes.imag**2)).sum((-2, -1))


@constant
def _shells(resolution: int) -> Tensor:
    """The shell round(|k|) of every mode, flat; 0 for those outside the band."""
    return torch.where(_band_mask(resolution), radius(resolution).round(), 0.0).long().flatten()


@constant
def _shell_sizes(resolution: int) -> Tensor:
    return torch.bincount(_shells(resolution), multiplicity(resolution).flatten())


def radial_mean(values: Tensor, resolution: int) -> Tensor:
    """Mean of an even function of k over each shell round(|k|).

    (..., N, N//2 + 1) -> (..., shells), shells 0, 1, 2, …; those beyond `bandwidth(N)`
    contain only modes in the corners of the band.
    """
    like = values.dtype, values.device
    size = _placed(_shell_sizes, resolution, *like)
    flat = (values * _placed(multiplicity, resolution, *like)).flatten(-2)
    total = flat.new_zeros((*flat.shape[:-1], len(size)))
    total.index_add_(-1, _placed(_shells, resolution, torch.long, values.device), flat)
    return total / size


def radial_power(field: Tensor) -> Tensor:
    """Radial power spectrum: the mean of |û_k|² over each shell round(|k|), (..., shells)."""
    modes = to_modes(field)
    return radial_mean(modes.real**2 + modes.imag**2, field.shape[-1])
