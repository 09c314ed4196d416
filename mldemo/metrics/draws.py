"""Draws of real images to replace samples, matched to the classes of the test images."""

import numpy as np
import torch
from torch import Tensor

from mldemo.space.streams import Stream, generator


def apportion(labels: Tensor, count: int) -> np.ndarray:
    """Divide `count` among the classes in proportion to their shares of the labels (n,).

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
    """Several draws of `count` indices into a pool with labels (m,), each without replacement.

    Every draw has the class proportions of the labels `like` (n,). Draws from one pool overlap, so
    their spread is a little smaller than that of draws from independent pools. `ValueError` if the
    pool has too few images of a class.
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
