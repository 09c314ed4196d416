"""Fields as files: .npy, contact sheets, animations. Each file appears whole or not at all."""

import math
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from mldemo.data.pictures import pixels
from mldemo.store.files import write_whole

SIDE = 64  # smaller tiles of a sheet are enlarged to about this many screen pixels


def sheet(
    tiles: Tensor, columns: int | None = None, side: int = SIDE, gap: int = 2
) -> Image.Image:
    """One grey contact sheet of uint8 tiles (B, N, N), by default as square as possible.

    Every pixel of a tile becomes a block, so that a tile has about `side` screen pixels.
    """
    count, n = len(tiles), tiles.shape[-1]
    columns = columns or math.ceil(math.sqrt(count))
    rows = math.ceil(count / columns)
    scale = max(1, side // n)
    pitch = n * scale + gap
    canvas = np.full((rows * pitch + gap, columns * pitch + gap), 64, np.uint8)
    big = tiles.numpy().repeat(scale, 1).repeat(scale, 2)
    for i, tile in enumerate(big):
        top, left = gap + i // columns * pitch, gap + i % columns * pitch
        canvas[top : top + n * scale, left : left + n * scale] = tile
    return Image.fromarray(canvas)


def write_image(path: Path, image: Image.Image) -> None:
    """Write a picture as .png."""
    write_whole(path, lambda file: image.save(file, "PNG", optimize=True))


def write_fields(path: Path, parts: list[Tensor]) -> None:
    """Write fields (B, 1, N, N) as float32 .npy (B, N, N), unclipped, or as a .png sheet."""
    fields = torch.cat(parts)[:, 0]
    if path.suffix.lower() == ".npy":
        write_whole(path, lambda file: np.save(file, fields.numpy().astype(np.float32)))
    else:
        write_image(path, sheet(pixels(fields)))


def write_gif(path: Path, frames: list[tuple[Tensor, Tensor]], seconds: float = 0.12) -> None:
    """Write pairs (x_t, x_0) of uint8 (B, 1, N, N) as an animation that pauses at its end."""
    pictures = []
    for pair in frames:
        left, right = (np.asarray(sheet(tiles[:, 0])) for tiles in pair)
        pictures.append(Image.fromarray(np.hstack([left, right])))
    first, *rest = pictures
    times = [int(1000 * seconds)] * len(rest) + [2000]
    options = {"save_all": True, "append_images": rest, "duration": times, "loop": 0}
    write_whole(path, lambda file: first.save(file, "GIF", **options))
