"""Draws of real images in the samples' place: class-matched, so that only the images differ."""

import numpy as np
import torch
from torch import Tensor

from mldemo.space.streams import Stream, generator


def apportion(labels: Tensor, count: int) -> np.ndarray:
    """How many of `count` fall to each class, in proportion to its share of labels (n,).

    By largest remainders (Hamilton's method), so the numbers add up to `count` and each is the
    exact share rounded up or down.
    """
    exact = np.bincount(labels.numpy()) * count / len(labels)
    numbers = np.floor(exact).astype(int)
    rest = np.argsort(numbers - exact, kind="stable")[: count - numbers.sum()]
    numbers[rest] += 1
    return numbers


def matched_draws(
    pool: Tensor, like: Tensor, count: int, draws: int, seed: int = 0
) -> list[Tensor]:
    """Indices into a pool with labels (m,), so many draws of `count` without repetition.

    Every draw has the class proportions of the labels `like` (n,). Two draws of one pool overlap:
    their spread is that of the draw, a little less than that of two pools. `ValueError` if a
    class has too few in the pool.
    """
    numbers = apportion(like, count)
    held = np.bincount(pool.numpy(), minlength=len(numbers))[: len(numbers)]
    if (numbers > held).any():
        shares = np.bincount(like.numpy()) / len(like)
        most = int((held[shares > 0] / shares[shares > 0]).min())
        raise ValueError(
            f"count must be at most about {most}, for the floor is drawn class by class from "
            f"{len(pool)} unseen images, got {count}"
        )
    out = []
    for draw in range(draws):
        rng = generator(Stream.FLOOR, seed, draw)
        parts = [
            rng.choice(np.flatnonzero(pool.numpy() == c), n, replace=False)
            for c, n in enumerate(numbers)
        ]
        out.append(torch.from_numpy(np.concatenate(parts)))
    return out
