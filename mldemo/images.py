"""Fields as files: .npy, contact sheets, animations. Each file appears whole or not at all."""

import math
import os
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from mldemo.pipeline import pixels

SIDE = 64  # a tile of a sheet has at least this many screen pixels


def sheet(tiles: Tensor, gap: int = 2) -> Image.Image:
    """uint8 tiles (B, N, N) as one grey contact sheet, as square as it gets."""
    count, n = len(tiles), tiles.shape[-1]
    columns = math.ceil(math.sqrt(count))
    rows = math.ceil(count / columns)
    scale = max(1, SIDE // n)
    pitch = n * scale + gap
    canvas = np.full((rows * pitch + gap, columns * pitch + gap), 64, np.uint8)
    big = tiles.numpy().repeat(scale, 1).repeat(scale, 2)
    for i, tile in enumerate(big):
        top, left = gap + i // columns * pitch, gap + i % columns * pitch
        canvas[top : top + n * scale, left : left + n * scale] = tile
    return Image.fromarray(canvas)


def write_fields(path: Path, parts: list[Tensor]) -> None:
    """Fields (B, 1, N, N) as float32 .npy (B, N, N), unclipped, or as a .png sheet."""
    fields = torch.cat(parts)[:, 0]
    part = path.with_name(path.name + ".part")
    with part.open("wb") as file:
        if path.suffix.lower() == ".npy":
            np.save(file, fields.numpy().astype(np.float32))
        else:
            sheet(pixels(fields)).save(file, "PNG")
    os.replace(part, path)


def write_gif(path: Path, frames: list[tuple[Tensor, Tensor]], seconds: float = 0.12) -> None:
    """Pairs (x_t, x_0) of uint8 (B, 1, N, N) as an animation; the last frame stays longer."""
    pictures = []
    for pair in frames:
        left, right = (np.asarray(sheet(tiles[:, 0])) for tiles in pair)
        pictures.append(Image.fromarray(np.hstack([left, right])))
    milliseconds = [int(1000 * seconds)] * (len(pictures) - 1) + [2000]
    part = path.with_name(path.name + ".part")
    first, *rest = pictures
    first.save(part, "GIF", save_all=True, append_images=rest, duration=milliseconds, loop=0)
    os.replace(part, path)
