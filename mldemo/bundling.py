"""What the bundle derives from its default checkpoint: digits, a picture, the prerecorded run."""

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from mldemo.checkpoints import FORMAT, read_manifest, write_file
from mldemo.images import sheet, write_image
from mldemo.pipeline import GENERATED_DIGITS, Request, pixels, prepare

DIGITS, DIGITS_SEED, DIGITS_LEVEL = 400, 2303, 32


def make(folder: Path, device: torch.device) -> Iterator[Path]:
    """Write all three; the digits are entered into the manifest, the run lies beside the page."""
    yield generate_digits(folder, device)
    yield draw_levels(folder, device)
    from mldemo.ui import wire

    request = Request(checkpoint=read_manifest(folder)["default"])
    wire.record(request, wire.RECORDING, folder)
    yield wire.RECORDING


def generate_digits(folder: Path, device: torch.device) -> Path:
    """Fields (400, 1, 32, 32), half precision: the finite data set of the empirical score."""
    name = read_manifest(folder)["default"]
    request = Request(
        resolution=DIGITS_LEVEL, count=DIGITS, seed=DIGITS_SEED, steps=30, checkpoint=name
    )
    run = prepare(request, device, folder)
    parts = [run.result(range(i, min(i + 50, DIGITS))).x0 for i in range(0, DIGITS, 50)]
    origin = {"generated_by": name, "seed": DIGITS_SEED, "steps": request.steps}
    return write_file(
        folder,
        GENERATED_DIGITS,
        "fields",
        {"fields": torch.cat(parts).half()},
        {"mldemo": json.dumps({"format": FORMAT, **origin})},
        origin,
    )


def draw_levels(folder: Path, device: torch.device, count: int = 12, seed: int = 1) -> Path:
    """NAME.png: one seed at 16, 32, 64 and 128, a row each."""
    name = read_manifest(folder)["default"]
    rows = []
    for resolution in (16, 32, 64, 128):
        request = Request(resolution=resolution, count=count, seed=seed, checkpoint=name)
        tiles = pixels(prepare(request, device, folder).result().x0[:, 0])
        rows.append(np.asarray(sheet(tiles, columns=count, side=128)))
    path = folder / f"{name}.png"
    write_image(path, Image.fromarray(np.vstack(rows)))
    return path
