"""Diagonal operators on a level: Fourier multipliers with eigenvalues a_k = a_{-k} ≥ 0."""

from dataclasses import dataclass

import torch
from torch import Tensor

from mldemo.space.spectral import apply_multiplier, multiplicity

NEGLIGIBLE = 1e-30


@dataclass(frozen=True, eq=False)
class Diagonal:
    """A e_k = a_k e_k on level N; `values` holds the a_k, real, (..., N, N//2 + 1), 0 at Nyquist.

    Leading axes, if any, are batch axes: one operator for all samples, or one for each.
    """

    values: Tensor

    def __add__(self, other: "Diagonal") -> "Diagonal":
        """A + B."""
        return Diagonal(self.values + other.values)

    def __matmul__(self, other: "Diagonal") -> "Diagonal":
        """A B, which is B A."""
        return Diagonal(self.values * other.values)

    def __rmul__(self, factor: Tensor | float) -> "Diagonal":
        """C A, for a number or one number a sample, (B, 1, 1, 1)."""
        return Diagonal(factor * self.values)

    def root(self) -> "Diagonal":
        """√A."""
        return Diagonal(self.values.sqrt())

    def inverse(self) -> "Diagonal":
        """The pseudo-inverse: 1/a_k, and 0 where a_k ≤ 1e-30.

        Modes outside the band have a_k = 0, as do modes without data and noise. In single
        precision 1/a overflows below 3e-39, and products of an eigenvalue with an inverse must
        not come close to that; 1e-30 is far below every eigenvalue that matters here.
        """
        return Diagonal(torch.where(self.values > NEGLIGIBLE, 1 / self.values, 0.0))

    def on_modes(self, modes: Tensor) -> Tensor:
        """A u for the modes of u."""
        return self.values * modes

    def colour(self, white: Tensor) -> Tensor:
        """√A ζ for modes of white noise: modes of N(0, A)."""
        return self.values.sqrt() * white

    def apply(self, field: Tensor) -> Tensor:
        """A u for fields (..., N, N)."""
        return apply_multiplier(field, self.values)

    def trace(self) -> Tensor:
        """Σ_k a_k over H_N: the variance of a pixel of N(0, A)."""
        n = self.values.shape[-2]
        return (multiplicity(n).to(self.values) * self.values).sum((-2, -1))

    def like(self, field: Tensor) -> "Diagonal":
        """The operator with the dtype and on the device of a real tensor."""
        return Diagonal(self.values.to(field.device, field.dtype))
