"""The one list of random streams: everything random is a function of (stream, seed, index, node).

numpy's Philox is counter-based: the key is (seed, index) and the upper half of the counter
(node, stream), so streams and nodes never overlap, and neither do two seeds or indices.
"""

from enum import IntEnum

import numpy as np

LARGEST_SEED = 2**63 - 1


class Stream(IntEnum):
    """What a generator is for. Numbers are never reused: shipped results depend on it."""

    START = 0  # of a sample: its initial noise (one of its keys splits the data sets)
    PATH = 1  # of a sample: its Brownian path; the node is that of the tree
    FILTER = 2  # of a prior: its random Fourier filter
    TRAINING = 3  # of a training step: batch, times, noise
    FAMILY = 4  # of a variation: its parameters
    MATERIAL = 5  # of a sample of the two-phase medium
    FLOOR = 6  # of a draw of real images in place of samples
    CLEAN = 7  # of a sample: the function from which a conditioned run starts
    SKETCH = 8  # of a variation of a sketch: which sketch, and its affine map


def check_seed(seed: int) -> int:
    """Return a seed in [0, 2^63), else raise ``ValueError``."""
    if isinstance(seed, bool) or not isinstance(seed, int | np.integer):
        raise ValueError(f"seed must be a whole number, got {seed!r}")
    if not 0 <= seed <= LARGEST_SEED:
        raise ValueError(f"seed must be from 0 to {LARGEST_SEED}, got {seed}")
    return int(seed)


def generator(stream: Stream, seed: int, index: int = 0, node: int = 0) -> np.random.Generator:
    """The generator of (stream, seed, index, node), at the start of its sequence."""
    bits = np.random.Philox(key=[check_seed(seed), index], counter=[0, 0, node, int(stream)])
    return np.random.Generator(bits)
