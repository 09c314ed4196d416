"""What the bundle derives from its default checkpoint: generated digits, the prerecorded run."""

import json
from collections.abc import Iterator
from pathlib import Path

import torch

from mldemo.checkpoints import FORMAT, read_manifest, write_file
from mldemo.pipeline import GENERATED_DIGITS, Request, prepare

DIGITS, DIGITS_SEED, DIGITS_LEVEL = 400, 2303, 32


def make(folder: Path, device: torch.device) -> Iterator[Path]:
    """Write both; the digits are entered into the manifest, the run lies beside the page."""
    yield generate_digits(folder, device)
    from mldemo.ui import wire

    yield wire.record(Request(checkpoint=read_manifest(folder)["default"]), folder=folder)


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
