"""The wire format: a sequence of records, each a small JSON object followed by arrays.

A run is a head (what is constant: number of steps, device, data for the tab), then frames, then an
end. A frame is a step with named readings (`frame_record`); which ones is up to the tab. Several
tracks, each with its own head, may share a playhead.

A record is two little-endian uint32 (bytes that follow the first, bytes of JSON), the JSON padded
with blanks to a multiple of four, then the arrays that its key "arrays" lists as [name, kind,
shape], kind "u1" or "f4", each padded to a multiple of four: the page views them as typed arrays.
A recording is a file with the records of a run, after `MAGIC`.
"""

import json
import math
import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from mldemo.data.pictures import pixels
from mldemo.diffusion.steps import SAMPLERS
from mldemo.pipeline import Frame, Run, prepare
from mldemo.request import SCORES, Request
from mldemo.space.spectral import radial_power
from mldemo.store.files import make_folder, read_bounded, write_bytes
from mldemo.store.manifest import BUNDLE
from mldemo.ui.programs import run_command, run_program

MAGIC = b"MLDEMO3\n"
RECORDING = Path(__file__).parent / "static" / "recordings" / "bessel.bin"
LARGEST_RECORDING = 256 * 2**20
Record = tuple[dict[str, Any], dict[str, np.ndarray]]
END: Record = ({"kind": "end", "last": True}, {})
_KINDS = {"uint8": "u1", "float32": "f4"}


def encode(meta: dict[str, Any], arrays: dict[str, np.ndarray]) -> bytes:
    """One record; arrays are uint8 or float32."""
    listed = [[name, _KINDS[a.dtype.name], list(a.shape)] for name, a in arrays.items()]
    text = json.dumps({**meta, "arrays": listed}, separators=(",", ":"), allow_nan=False).encode()
    text += b" " * (-len(text) % 4)
    body = [text]
    for a in arrays.values():
        body += [a.tobytes(), b"\0" * (-a.nbytes % 4)]
    size = 4 + sum(map(len, body))
    return b"".join([struct.pack("<II", size, len(text)), *body])


def decode(raw: bytes) -> Iterator[tuple[dict[str, Any], dict[str, np.ndarray]]]:
    """The records of a byte string; anything but whole records raises `ValueError`."""
    at = 0
    while at < len(raw):
        try:
            size, length = struct.unpack_from("<II", raw, at)
            end = at + 4 + size
            if end > len(raw) or length > size:
                raise ValueError("cut short")
            meta = json.loads(raw[at + 8 : at + 8 + length])
            at, arrays = at + 8 + length, {}
            for name, kind, shape in meta.pop("arrays"):
                if kind not in _KINDS.values():
                    raise ValueError(f"an array of kind {kind!r}")
                count = math.prod(shape)
                a = np.frombuffer(raw[:end], f"<{kind}", count, at).reshape(shape)
                arrays[name], at = a, at + a.nbytes + -a.nbytes % 4
        except (struct.error, ValueError, KeyError, TypeError) as error:
            raise ValueError(f"damaged records: {error}") from None
        yield meta, arrays
        at = end


def floats(values: Tensor) -> np.ndarray:
    """A tensor as float32 on the CPU."""
    return values.detach().to("cpu", torch.float32).numpy()


def data_power(run: Run) -> Tensor:
    """Radial mean of E|⟨x_0, e_k⟩|² = Λ_k + |⟨m, e_k⟩|², the limit of x_t's power as t -> 0."""
    mean = run.statistics.mean_at(run.request.resolution)
    return run.data_power + radial_power(mean.double()).flatten()


def heading(run: Run, folder: Path) -> dict[str, Any]:
    """What stays the same during a run with checkpoints of a folder, as JSON types."""
    r = run.request
    coarse = {"until": r.coarse_until, "resolution": r.start_resolution, "change": run.change}
    return {
        "device": run.device.type,
        "score": r.score,
        "scoreLabel": SCORES[r.score].description,
        "checkpoint": run.checkpoint,
        "source": run.source,
        "levels": run.trained_levels,
        "prior": r.prior,
        "resolution": r.resolution,
        "coarse": None if r.coarse_until is None else coarse,
        "count": r.count,
        "steps": r.steps,
        "sampler": SAMPLERS[r.sampler].label,
        "seed": r.seed,
        "command": run_command(run, folder),
        "python": run_program(run, folder),
    }


def spectra(run: Run) -> dict[str, np.ndarray]:
    """Constant curves of a run by shell: q_k of the prior, E|⟨x_0, e_k⟩|² and Λ_k of the data."""
    curves = {"prior": run.prior_power, "data": data_power(run), "spread": run.data_power}
    return {name: floats(curve) for name, curve in curves.items()}


def grey(field: Tensor) -> np.ndarray:
    """Fields (B, 1, N, N) as uint8 (B, N, N)."""
    return pixels(field)[:, 0].numpy()


def frame_record(
    step: int, arrays: dict[str, np.ndarray], readings: dict[str, float], track: int = 0
) -> Record:
    """A step with its readings, finite numbers by name; `track` tells runs apart."""
    return {"kind": "frame", "track": track, "step": step, "readings": readings}, arrays


def state_record(frame: Frame, track: int = 0, **more: float) -> Record:
    """One solver state: time, α, σ, network calls and milliseconds; x_t, x̂_0, the power of x_t."""
    readings = {"time": frame.time, "alpha": frame.alpha, "sigma": frame.sigma}
    readings |= {"calls": frame.calls, "ms": frame.step_seconds * 1e3, **more}
    arrays = {"power": floats(frame.power), "x": grey(frame.x), "x0": grey(frame.x0)}
    return frame_record(frame.step, arrays, readings, track)


def head_record(run: Run, folder: Path, **more: Any) -> Record:
    """The first record of a sampling run."""
    levels = {"alphas": run.alphas, "sigmas": run.sigmas}
    return {"kind": "head", **heading(run, folder), **levels, **more}, spectra(run)


def run_records(run: Run, folder: Path = BUNDLE, **more: Any) -> Iterator[Record]:
    """The records of a whole run: its head, extended by `more`, its frames, the end."""
    yield head_record(run, folder, **more)
    for frame in run.frames():
        yield state_record(frame)
    yield END


@dataclass(frozen=True)
class Recording:
    """A run read back: x and x0 are uint8 (frames, count, N, N), power (frames, shells)."""

    head: dict[str, Any]
    frames: list[dict[str, Any]]
    power: np.ndarray
    x: np.ndarray
    x0: np.ndarray


def write_recording(records: Iterable[Record], path: Path) -> Path:
    """Compute all records, then write `MAGIC` and the records to a file."""
    make_folder(path.parent)
    write_bytes(path, b"".join([MAGIC, *(encode(*record) for record in records)]))
    return path


def record(
    request: Request,
    path: Path = RECORDING,
    folder: Path = BUNDLE,
    device: torch.device | str = "cpu",
) -> Path:
    """Compute a request with the checkpoints of `folder` and write the run to `path`."""
    return write_recording(run_records(prepare(request, device, folder), folder), Path(path))


def read_records(path: Path) -> Iterator[Record]:
    """Read what `write_recording` wrote; anything else raises `ValueError`."""
    raw = read_bounded(Path(path), LARGEST_RECORDING)
    if not raw.startswith(MAGIC):
        raise ValueError(f"{path} is no recording of mldemo")
    return decode(raw[len(MAGIC) :])


def read_recording(path: Path) -> Recording:
    """Read what `record` wrote; anything else raises `ValueError`."""
    records = read_records(path)
    try:
        (head, _), *rest = records
        if head["kind"] != "head" or rest[-1][0]["kind"] != "end":
            raise ValueError("no head or no end")
        frames = [(meta, arrays) for meta, arrays in rest if meta["kind"] == "frame"]
        stacked = {name: np.stack([a[name] for _, a in frames]) for name in ("power", "x", "x0")}
    except (ValueError, KeyError, IndexError) as error:
        raise ValueError(f"{path} is damaged: {error}") from None
    return Recording(head=head, frames=[meta for meta, _ in frames], **stacked)
