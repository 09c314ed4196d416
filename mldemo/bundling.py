"""The derived files of the bundle: generated digits, prerecorded runs, sample sheets."""

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from mldemo.data.pictures import pixels
from mldemo.images import sheet, write_image
from mldemo.pipeline import GENERATED_DIGITS, prepare
from mldemo.request import GUIDANCE, Request
from mldemo.store.checkpoints import FORMAT
from mldemo.store.manifest import (
    checkpoint_names,
    manifest_entry,
    prior_names,
    read_manifest,
    write_file,
)
from mldemo.ui import wire
from mldemo.ui.tab import Place
from mldemo.ui.tabs.training import training

DIGITS, DIGITS_SEED, DIGITS_LEVEL = 400, 2303, 32


def make(folder: Path, device: torch.device) -> Iterator[Path]:
    """Write the derived files; the digits get a manifest entry, the runs lie beside the page."""
    yield generate_digits(folder, device)
    yield from draw_sheets(folder, device)
    request = Request(checkpoint=read_manifest(folder)["default"])
    wire.record(request, wire.RECORDING, folder)
    yield wire.RECORDING
    yield record_race(folder)


def record_race(folder: Path) -> Path:
    """Record the race that the tab Training opens with, which takes a minute and a half."""
    values = {f.name: f.default for f in training.tab(Place(torch.device("cpu"), folder)).fields}
    return wire.write_recording(training.recorded(values), training.RECORDING)


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


def draw_sheets(folder: Path, device: torch.device) -> Iterator[Path]:
    """sheets/NAME-PRIOR.png for every checkpoint and each prior that it was trained with."""
    for name in checkpoint_names(folder):
        for prior in prior_names(manifest_entry(name, folder)):
            yield draw_levels(name, prior, folder, device)


def draw_levels(
    name: str, prior: str, folder: Path, device: torch.device, count: int = 12, seed: int = 1
) -> Path:
    """Samples of one seed at 16, 32, 64 and 128, a row each, with the weight the page proposes."""
    rows, weight = [], manifest_entry(name, folder).get("guidance", GUIDANCE)
    for resolution in (16, 32, 64, 128):
        request = Request(
            prior, resolution, count=count, seed=seed, checkpoint=name, guidance=weight
        )
        tiles = pixels(prepare(request, device, folder).result().x0[:, 0])
        rows.append(np.asarray(sheet(tiles, columns=count, side=128)))
    path = folder / "sheets" / f"{name}-{prior}.png"
    path.parent.mkdir(exist_ok=True)
    write_image(path, Image.fromarray(np.vstack(rows)))
    return path
