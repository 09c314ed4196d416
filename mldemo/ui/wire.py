"""What goes over the wire: a `Frame` as a dict for the page, a whole run as one file.

Pictures are uint8, (count, N, N) in a row, spectra float32 little endian. The page arranges them.
"""

import base64
import json
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from mldemo.checkpoints import BUNDLE
from mldemo.pipeline import Frame, Request, Run, pixels, prepare
from mldemo.samplers import SAMPLERS
from mldemo.spectral import radial_power

MAGIC = b"MLDEMO1\n"
RECORDING = Path(__file__).parent / "recordings" / "bessel.bin"
SCORE_LABELS = {
    "learned": "learned score",
    "gaussian": "exact score of a Gaussian",
    "empirical": "exact score of a few hundred digits",
}


def _bytes(values: Tensor) -> bytes:
    return values.detach().to("cpu", torch.float32).numpy().astype("<f4").tobytes()


def _text(raw: bytes) -> str:
    return base64.b64encode(raw).decode("ascii")


def data_power(run: Run) -> Tensor:
    """Radial mean of E|x̂_0(k)|² = Λ_k + |m̂_k|², where the power of x_t ends as t -> 0."""
    mean = run.statistics.mean_at(run.request.resolution)
    return run.data_power + radial_power(mean.double()).flatten()


def command(run: Run, out: str = "digits.png") -> str:
    """The command line that computes the same pictures."""
    r = run.request
    words = [
        f"python -m mldemo sample --prior {r.prior} --resolution {r.resolution}",
        f"--steps {r.steps} --sampler {r.sampler} --count {r.count} --seed {r.seed}",
        f"--score {r.score}",
    ]
    if run.checkpoint is not None:
        words.append(f"--checkpoint {run.checkpoint}")
    return " ".join([*words, f"--out {out}"])


def heading(run: Run, mode: str) -> dict[str, Any]:
    """What stays the same during a run: labels, sizes, the two curves to compare with.

    mode: "live" or "prerecorded".
    """
    r = run.request
    return {
        "mode": mode,
        "device": run.device.type,
        "score": r.score,
        "scoreLabel": SCORE_LABELS[r.score],
        "checkpoint": run.checkpoint,
        "levels": run.trained_levels,
        "prior": r.prior,
        "resolution": r.resolution,
        "count": r.count,
        "steps": r.steps,
        "sampler": SAMPLERS[r.sampler],
        "seed": r.seed,
        "command": command(run),
        "priorPower": _text(_bytes(run.prior_power)),
        "dataPower": _text(_bytes(data_power(run))),
    }


def _numbers(frame: Frame) -> dict[str, Any]:
    return {
        "step": frame.step,
        "time": frame.time,
        "alpha": frame.alpha,
        "sigma": frame.sigma,
        "calls": frame.calls,
        "ms": frame.step_seconds * 1e3,
    }


def message(frame: Frame, run: str, head: dict[str, Any]) -> dict[str, Any]:
    """One live frame. `run` names the run, so that the page knows when a new one begins.

    `head` goes with every frame: gradio sends only what changed, and no frame is indispensable.
    """
    return _numbers(frame) | {
        "run": run,
        "head": head,
        "x": _text(pixels(frame.x).numpy().tobytes()),
        "x0": _text(pixels(frame.x0).numpy().tobytes()),
        "power": _text(_bytes(frame.power)),
    }


@dataclass(frozen=True)
class Recording:
    """A run read back: x and x0 are uint8 (frames, count, N, N), power (frames, shells)."""

    head: dict[str, Any]
    frames: list[dict[str, Any]]
    power: np.ndarray
    x: np.ndarray
    x0: np.ndarray


def write_recording(run: Run, path: Path) -> Path:
    """Compute a run and write it: magic, header length, JSON header, spectra, x_t, x_0.

    The header's length is a little-endian uint32 and it is padded to a multiple of four, so that
    the page can lay typed arrays over the bytes.
    """
    numbers, power, x, x0 = [], [], [], []
    for frame in run.frames():
        numbers.append(_numbers(frame))
        power.append(_bytes(frame.power))
        x.append(pixels(frame.x).numpy().tobytes())
        x0.append(pixels(frame.x0).numpy().tobytes())
    header = {
        "head": heading(run, "prerecorded"),
        "frames": numbers,
        "shells": len(power[0]) // 4,
    }
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 4)
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(path.name + ".part")
    part.write_bytes(b"".join([MAGIC, struct.pack("<I", len(text)), text, *power, *x, *x0]))
    part.replace(path)
    return path


def record(
    request: Request,
    path: Path = RECORDING,
    folder: Path = BUNDLE,
    device: torch.device | str = "cpu",
) -> Path:
    """Compute a request with the checkpoints of `folder` and write the run to `path`."""
    return write_recording(prepare(request, device, folder), Path(path))


def read_recording(path: Path) -> Recording:
    """Read what `record` wrote; anything else raises `ValueError`."""
    raw = Path(path).read_bytes()
    start = len(MAGIC) + 4
    if not raw.startswith(MAGIC) or len(raw) < start:
        raise ValueError(f"{path} is no recording of mldemo")
    (length,) = struct.unpack("<I", raw[len(MAGIC) : start])
    try:
        header = json.loads(raw[start : start + length])
        head, frames, shells = header["head"], header["frames"], int(header["shells"])
        shape = (len(frames), int(head["count"]), int(head["resolution"]), int(head["resolution"]))
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{path} has a damaged header: {error!r}") from None
    body, spectra, pictures = raw[start + length :], 4 * len(frames) * shells, int(np.prod(shape))
    if len(body) != spectra + 2 * pictures:
        raise ValueError(
            f"{path} holds {len(body)} bytes of frames, its header says {spectra + 2 * pictures}"
        )
    return Recording(
        head=head,
        frames=frames,
        power=np.frombuffer(body, "<f4", len(frames) * shells).reshape(len(frames), shells),
        x=np.frombuffer(body, np.uint8, pictures, spectra).reshape(shape),
        x0=np.frombuffer(body, np.uint8, pictures, spectra + pictures).reshape(shape),
    )
