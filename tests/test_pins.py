"""Output values of every shipped checkpoint: a refactoring that changes one has changed a result.

`python -m tests.test_pins` writes `pins.json` anew, which is right only after a training.
"""

import json
from pathlib import Path

import pytest
import torch

from mldemo.diffusion.samplers import initial_state
from mldemo.store.checkpoints import load_checkpoint
from mldemo.store.manifest import checkpoint_names

PINS = Path(__file__).with_name("pins.json")
RESOLUTIONS = (16, 32)
TIMES = (0.05, 0.3, 0.8)
# On other processors float32 sums come out in another order: 1e-5 was the most between two kinds,
# and every mutation that the pins are for moves some value by more than 1e-2.
TOLERANCE = 3e-4


def values(name: str) -> dict[str, list[float]]:
    """D(x_T, t) at eight points, for every prior of a checkpoint, without guidance."""
    checkpoint, out = load_checkpoint(name), {}
    for prior in checkpoint.priors:
        for n in RESOLUTIONS:
            where = prior, checkpoint.statistics, checkpoint.schedule
            x = initial_state(*where, seed=1, indices=[0], resolution=n)
            points = torch.arange(8) * (n * n // 8) + n // 2 + 3
            for time in TIMES:
                with torch.no_grad():
                    d = checkpoint.denoiser(prior)(x, torch.tensor(time))
                chosen = d.flatten()[points].tolist()
                out[f"{prior.name} {n} {time}"] = [round(v, 6) for v in chosen]
    return out


@pytest.mark.parametrize("name", checkpoint_names())
def test_a_checkpoint_gives_the_values_that_it_gave(name):
    pinned = json.loads(PINS.read_text())[name]
    found = values(name)
    assert found.keys() == pinned.keys()
    for key, row in found.items():
        assert row == pytest.approx(pinned[key], abs=TOLERANCE, rel=0), key


if __name__ == "__main__":
    rows = [f'"{name}": {json.dumps(values(name))}' for name in checkpoint_names()]
    PINS.write_text("{\n" + ",\n".join(rows) + "\n}\n")
