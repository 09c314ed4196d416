"""How images become fields, and where they lie on the torus."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from mldemo.space.spectral import resample


@dataclass(frozen=True)
class Preparation:
    """Images resized to `inner`² (bicubic), padded with -1 to `finest`², projected on H_finest.

    Coarser levels are restrictions of that, so the finest level has content at its own
    frequencies and every level shows the same functions. Values 0..255 become [-1, 1]; the
    projection overshoots them.
    """

    inner: int = 56
    finest: int = 64

    def __post_init__(self) -> None:
        """Check the sizes: the border must be a whole number of pixels."""
        if not 1 <= self.inner <= self.finest or (self.finest - self.inner) % 2:
            raise ValueError(
                f"inner must be from 1 to finest, with an even border, got {self.inner} "
                f"and {self.finest}"
            )

    def __call__(self, images: np.ndarray, resolution: int | None = None) -> Tensor:
        """uint8 images (B, h, w) as fields (B, 1, N, N), float32; N = `finest` by default."""
        if images.ndim != 3 or images.size == 0:
            raise ValueError(f"images of shape (count, height, width) needed, got {images.shape}")
        border = (self.finest - self.inner) // 2
        out = []
        for start in range(0, len(images), 1000):
            x = torch.from_numpy(images[start : start + 1000].copy()).float()[:, None] / 127.5 - 1
            shrinks = max(x.shape[-2:]) > self.inner
            size = (self.inner, self.inner)
            x = functional.interpolate(x, size, mode="bicubic", antialias=shrinks)
            x = functional.pad(x, (border,) * 4, value=-1.0)
            out.append(resample(x, resolution or self.finest))
        return torch.cat(out)
