"""Coupled noise: one (seed, sample index) is one random function, on every level.

White noise is given by its modes ζ_k, E|ζ_k|² = 1, ζ_{-k} = conj ζ_k. They are drawn in the order
of the shells |k|∞ = 0, 1, 2, …, sample by sample, from numpy's counter-based Philox generator. The
modes of H_N are then the first (2m + 1)² numbers of a sequence that does not depend on N
(m = (N-1)//2), so P_N ζ_M = ζ_N bit for bit without ever drawing the finest level, and a sample's
noise depends neither on the batch it is in nor on the device it is copied to.
"""

import math
from collections.abc import Sequence
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from mldemo.space.spectral import bandwidth
from mldemo.space.streams import Stream, check_seed, generator


@lru_cache(maxsize=64)
def shell_order(resolution: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Positions of the numbers of a shell-ordered sequence in the rfft2 layout.

    The half plane H⁺ = {k₂ > 0} ∪ {k₂ = 0, k₁ > 0} of H_N is listed shell by shell. Pair j of the
    sequence (numbers 2j + 1 and 2j + 2; number 0 belongs to k = 0) goes to
    ``rows[j], columns[j]``. The third array holds the j with k₂ = 0; their conjugates go to the
    rows of the fourth, in column 0.
    """
    m = bandwidth(resolution)
    pairs = [
        (max(abs(k1), k2), k2, k1)
        for k1 in range(-m, m + 1)
        for k2 in range(m + 1)
        if k2 > 0 or k1 > 0
    ]
    pairs.sort()
    k1 = np.array([p[2] for p in pairs], dtype=np.int64)
    k2 = np.array([p[1] for p in pairs], dtype=np.int64)
    mirrored = np.flatnonzero(k2 == 0)
    return k1 % resolution, k2, mirrored, (-k1[mirrored]) % resolution


def _modes(numbers: np.ndarray, resolution: int) -> np.ndarray:
    """Arrange shell-ordered standard normals (B, (2m+1)²) as modes (B, 1, N, N//2 + 1)."""
    rows, columns, mirrored, opposite = shell_order(resolution)
    out = np.zeros((len(numbers), 1, resolution, resolution // 2 + 1), dtype=np.complex128)
    out[:, 0, 0, 0] = numbers[:, 0]
    pair = (numbers[:, 1::2] + 1j * numbers[:, 2::2]) * np.sqrt(0.5)
    out[:, 0, rows, columns] = pair
    out[:, 0, opposite, 0] = pair[:, mirrored].conj()
    return out


def unit_modes(
    seed: int,
    indices: Sequence[int],
    resolution: int,
    dtype: torch.dtype = torch.float32,
    device: torch.device | str = "cpu",
    stream: Stream = Stream.START,
) -> Tensor:
    """White-noise modes ζ of the samples (seed, index), shape (B, 1, N, N//2 + 1), complex.

    `dtype` is the real type of the fields they belong to; streams are independent. Restricting
    the result to a coarser level gives exactly the result for that level.
    """
    count = (2 * bandwidth(resolution) + 1) ** 2
    numbers = np.stack([generator(stream, seed, int(i)).standard_normal(count) for i in indices])
    modes = torch.from_numpy(_modes(numbers, resolution))
    return modes.to(dtype.to_complex()).to(device)


def _bridge(
    left: float, w_left: np.ndarray, right: float, w_right: np.ndarray, t: float, draw: np.ndarray
) -> np.ndarray:
    """W_t given W at both ends: N(the chord, (t - left)(right - t)/(right - left))."""
    share = (t - left) / (right - left)
    return w_left + share * (w_right - w_left) + math.sqrt(share * (right - t)) * draw


class BrownianPath:
    """Brownian motions W_t, 0 ≤ t ≤ 1, in white-noise modes: E|W_t,k|² = t, W_0 = 0.

    The path of a sample is a function of (seed, index) alone, so it can be evaluated with any
    step count and on any level: coarse increments are sums of fine ones, and levels are coupled
    as in `unit_modes`. It is Lévy's construction, a binary tree: an inner point of an interval is
    drawn from the Brownian bridge over it, with random numbers that depend on that point alone.
    Intervals are halved `depth` times in √t, in which the samplers' grids are well spread; W_t is
    then drawn from the bridge over the last one. This is exact in law if at most one queried time
    lies inside each interval of length 2^-depth in √t, as for every grid of up to 1,000 steps in
    t or in log-SNR.

    Successive queries share most of their ancestors, which are cached, so a sampling loop costs a
    few draws per step.
    """

    def __init__(
        self, seed: int, indices: Sequence[int], resolution: int, depth: int = 13
    ) -> None:
        if not 1 <= depth <= 30:
            raise ValueError(f"depth must be from 1 to 30, got {depth}")
        self.seed, self.indices = check_seed(seed), [int(i) for i in indices]
        self.resolution, self.depth = resolution, depth
        self._count = (2 * bandwidth(resolution) + 1) ** 2
        self._trail: list[tuple[int, np.ndarray]] = []  # (node, value) down to the last queried t
        self._end = self._draw(1)

    def _draw(self, node: int) -> np.ndarray:
        each = [generator(Stream.PATH, self.seed, i, node) for i in self.indices]
        return np.stack([rng.standard_normal(self._count) for rng in each])

    def _numbers(self, time: float) -> np.ndarray:
        if not 0.0 <= time <= 1.0:
            raise ValueError(f"time must be from 0 to 1, got {time}")
        left, right = 0.0, 1.0
        w_left, w_right = np.zeros_like(self._end), self._end
        node = 1  # the interval's number in the tree; its mid-point draws from 2^(depth+1) + node
        for level in range(self.depth):
            if time in (left, right):
                break
            middle = ((math.sqrt(left) + math.sqrt(right)) / 2) ** 2
            if level < len(self._trail) and self._trail[level][0] == node:
                w_middle = self._trail[level][1]
            else:
                draw = self._draw((1 << (self.depth + 1)) + node)
                w_middle = _bridge(left, w_left, right, w_right, middle, draw)
                self._trail[level:] = [(node, w_middle)]
            if time < middle:
                right, w_right, node = middle, w_middle, 2 * node
            else:
                left, w_left, node = middle, w_middle, 2 * node + 1
        if time == left:
            return w_left
        if time == right:
            return w_right
        return _bridge(left, w_left, right, w_right, time, self._draw((1 << 40) + node))

    def increment(
        self,
        start: float,
        end: float,
        dtype: torch.dtype = torch.float32,
        device: torch.device | str = "cpu",
    ) -> Tensor:
        """W_end - W_start as modes (B, 1, N, N//2 + 1), variance |end - start| per mode."""
        modes = torch.from_numpy(
            _modes(self._numbers(end) - self._numbers(start), self.resolution)
        )
        return modes.to(dtype.to_complex()).to(device)
