"""Hand-drawn sketches as a data set: a few, each turned, stretched and moved at random.

A sketch is 32 x 32 cells of ink or paper, small enough for a link.
"""

import math
from collections.abc import Sequence
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from mldemo.data.pictures import CELLS, CELLS_TEXT, cells_from_text
from mldemo.data.sets import DataSet, check_part
from mldemo.space.spectral import resample
from mldemo.space.streams import Stream, generator

MOST_SKETCHES = 8
_GRID = 128  # on which a variation is drawn before it is projected
SHIFT, TURN, STRETCH = 0.09, 0.25, 1.25  # maxima: of the torus's side, in radians, factor per axis


def sketches_from_text(text: str) -> np.ndarray:
    """Booleans (S, 32, 32) from the texts of 1 to 8 sketches, one after another.

    Anything else, and a sketch without ink, raises `ValueError`.
    """
    count, rest = divmod(len(text), CELLS_TEXT)
    if rest or not 1 <= count <= MOST_SKETCHES:
        raise ValueError(
            f"sketches must be 1 to {MOST_SKETCHES} times {CELLS_TEXT} characters, "
            f"got {len(text)} characters"
        )
    parts = (text[i * CELLS_TEXT : (i + 1) * CELLS_TEXT] for i in range(count))
    cells = np.stack([cells_from_text(part) for part in parts])
    if not cells.any((1, 2)).all():
        raise ValueError("a sketch is empty: draw something on it or leave it out")
    return cells


class Sketches(DataSet):
    """Variations of sketches (S, 32, 32): ink is 1, paper -1, on H_N for N up to 64.

    Variation i depends on (seed, i) only: one of the sketches, turned by at most 0.25 rad, scaled
    along each axis by a factor from 1/1.25 to 1.25, moved by at most 0.09 of the torus's side.
    """

    title: ClassVar[str] = "sketches"
    credit: ClassVar[str] = "drawn by hand, moved and stretched at random"
    samples: ClassVar[dict[str, range]] = {
        "train": range(1000),
        "validation": range(2**31, 2**31 + 100),
        "test": range(2**32, 2**32 + 100),
    }

    def __init__(self, cells: np.ndarray, seed: int = 0) -> None:
        if cells.ndim != 3 or cells.shape[1:] != (CELLS, CELLS) or len(cells) == 0:
            raise ValueError(f"sketches (S, {CELLS}, {CELLS}) needed, got {cells.shape}")
        self.name, self.seed = "sketches", seed
        ink = torch.from_numpy(cells.astype(np.float32))[:, None]
        # smooth: the steps between cells are not part of the drawing
        self._ink = functional.interpolate(ink, (_GRID, _GRID), mode="bicubic").clamp(0, 1)

    def _variation(self, index: int) -> tuple[int, Tensor]:
        """Which sketch, and the affine map (2, 3) from the result to it, both in [-1, 1]²."""
        rng = generator(Stream.SKETCH, self.seed, index)
        chosen = int(rng.integers(len(self._ink)))
        angle = rng.uniform(-TURN, TURN)
        scale = np.exp(rng.uniform(-math.log(STRETCH), math.log(STRETCH), 2))
        move = 2 * rng.uniform(-SHIFT, SHIFT, 2)
        turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
        linear = turn / scale
        return chosen, torch.from_numpy(np.column_stack([linear, -linear @ move])).float()

    def count(self, part: str) -> int:
        """How many variations a part holds."""
        check_part(part)
        return len(self.samples[part])

    def fields(
        self, part: str = "train", resolution: int | None = None, first: int | None = None
    ) -> Tensor:
        """A part, or its `first` fields."""
        check_part(part)
        indices: Sequence[int] = self.samples[part][:first]
        drawn, maps = zip(*map(self._variation, indices), strict=True)
        out = []
        for start in range(0, len(indices), 200):
            batch = slice(start, start + 200)
            ink = self._ink[list(drawn[batch])]
            grid = functional.affine_grid(torch.stack(maps[batch]), list(ink.shape), False)
            moved = functional.grid_sample(ink, grid, align_corners=False)
            out.append(resample(2 * moved - 1, resolution or self.finest))
        return torch.cat(out)
