"""Data sets as fields on the torus, and what the method needs to know of them.

Images of an IDX folder (MNIST's format), values in [-1, 1], are resized to 56² (bicubic), padded
with -1 to 64² and projected on H_64; coarser levels are restrictions of that, so the finest level
holds real content and every level shows the same functions. The name "material" stands for a data
set without files: random two-phase media, drawn by formula.
"""

import gzip
import struct
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from mldemo.data.materials import Material
from mldemo.space.spectral import multiplicity, radial_power, radius, resample

FINEST_LEVEL, _INNER = 64, 56
MATERIAL = "material"
# The samples of either part of it; the second starts where no training set will ever reach.
MATERIAL_PARTS = {"train": range(7000), "t10k": range(2**32, 2**32 + 1000)}


def read_idx(path: Path) -> np.ndarray:
    """The uint8 array of an IDX file, gzipped or not; a damaged file raises `ValueError`."""
    try:
        raw = path.read_bytes()
        raw = gzip.decompress(raw) if raw[:2] == b"\x1f\x8b" else raw
    except (OSError, EOFError, zlib.error) as error:
        raise ValueError(f"{path} cannot be read: {error}") from None
    rank = raw[3] if len(raw) > 3 and raw[:3] == b"\x00\x00\x08" else 0
    if not 1 <= rank <= 3 or len(raw) < 4 + 4 * rank:
        raise ValueError(f"{path} is not an IDX file of bytes")
    shape = struct.unpack(f">{rank}I", raw[4 : 4 + 4 * rank])
    body = np.frombuffer(raw, np.uint8, offset=4 + 4 * rank)
    if body.size != int(np.prod(shape, dtype=np.int64)):
        raise ValueError(f"{path} promises {shape} bytes but holds {body.size}")
    return body.reshape(shape)


def find_idx(folder: Path, part: str, what: str = "images-idx3") -> Path:
    """The file of an IDX folder, e.g. train-images-idx3-ubyte(.gz); else `ValueError`."""
    for name in (f"{part}-{what}-ubyte.gz", f"{part}-{what}-ubyte"):
        if (folder / name).is_file():
            return folder / name
    raise ValueError(f"{folder} holds no {part}-{what}-ubyte or {part}-{what}-ubyte.gz")


def fields_from_images(images: np.ndarray, resolution: int = FINEST_LEVEL) -> Tensor:
    """uint8 images (B, h, w) as fields (B, 1, N, N) in the conventions above, float32."""
    out = []
    for start in range(0, len(images), 1000):
        x = torch.from_numpy(images[start : start + 1000].copy()).float()[:, None] / 127.5 - 1
        shrinks = max(x.shape[-2:]) > _INNER
        x = functional.interpolate(x, (_INNER, _INNER), mode="bicubic", antialias=shrinks)
        border = (FINEST_LEVEL - _INNER) // 2
        x = functional.pad(x, (border,) * 4, value=-1.0)
        out.append(resample(x, resolution))
    return torch.cat(out)


def load_fields(folder: Path | str, part: str = "train", resolution: int = FINEST_LEVEL) -> Tensor:
    """All images of one part ("train" or "t10k") of an IDX folder as fields (B, 1, N, N)."""
    images = read_idx(find_idx(Path(folder), part))
    if images.ndim != 3 or min(images.shape) < 1:
        raise ValueError(f"images of shape (count, height, width) needed, got {images.shape}")
    return fields_from_images(images, resolution)


def load_data(source: Path | str, part: str = "train", resolution: int = FINEST_LEVEL) -> Tensor:
    """One part ("train" or "t10k") of a data set as fields (B, 1, N, N): what `--data` means.

    `source` is a folder of IDX files, or the name "material" for `Material` with its defaults
    (7,000 and 1,000 samples, 5 ms each); "./material", or any `Path`, is a folder.
    A source or part that does not exist raises `ValueError`.
    """
    if source == MATERIAL:
        if part not in MATERIAL_PARTS:
            raise ValueError(f"part must be one of {', '.join(MATERIAL_PARTS)}, got {part!r}")
        return Material().fields(MATERIAL_PARTS[part], resolution)
    if not Path(source).is_dir():
        raise ValueError(
            f"data folder {str(source)!r} does not exist (nor is it the name {MATERIAL!r})"
        )
    return load_fields(source, part, resolution)


@dataclass(frozen=True)
class Statistics:
    """Mean and radial power spectrum of a data set: what the linear part and the oracles need.

    `mean` is a field (1, 1, 64, 64); `power` holds Λ, the mean over each shell round(|k|) of
    E|x̂_k - m̂_k|², for the shells 0, 1, … that the finest level resolves.
    """

    mean: Tensor
    power: Tensor

    @classmethod
    def of(cls, fields: Tensor) -> "Statistics":
        """Measure them on fields (B, 1, N, N)."""
        mean = fields.double().mean(0, keepdim=True)
        power = torch.zeros_like(radial_power(mean[0, 0]))
        for part in fields.split(1000):
            power += radial_power(part.double() - mean).sum((0, 1))
        return cls(mean.float(), (power / len(fields)).float())

    def mean_at(self, resolution: int) -> Tensor:
        """The mean on level N, (1, 1, N, N)."""
        return resample(self.mean, resolution)

    def spectrum(self, resolution: int) -> Tensor:
        """Λ_k on level N, (N, N//2 + 1) float64.

        Constant on every shell inside the disc |k| < N/2 of the finest level, so that sums over
        Λ are those of the data; beyond it the power law through its upper half goes on.
        """
        known = self.mean.shape[-1] // 2 - 1
        shells = np.arange(known // 4, known + 1)
        power = self.power.double().numpy()
        log_upper = np.log(power[shells].clip(min=1e-30))
        slope = min(float(np.polyfit(np.log(shells), log_upper, 1)[0]), -2.5)  # summable
        r = radius(resolution).numpy()
        shell = r.round().astype(int)
        beyond = power[known] * (r.clip(min=1) / known) ** slope
        spectrum = np.where(shell <= known, power[shell.clip(max=known)], beyond)
        return torch.from_numpy(spectrum) * (multiplicity(resolution) > 0)

    @property
    def variance(self) -> float:
        """E‖x - m‖² = tr Λ over the finest level: the trace to which priors are normalised.

        To seven digits, so that it does not depend on the order in which threads summed.
        """
        n = self.mean.shape[-1]
        return float(f"{(multiplicity(n) * self.spectrum(n)).sum().item():.7g}")
