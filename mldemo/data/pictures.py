"""Users' pictures, uploaded or drawn, as fields on the torus; fields as grey pixels.

A picture is converted to grey, cropped to the centre square, scaled to [-1, 1] and to 256², then
projected on H_N: it is one function on every level, as data and noise are. It is not periodic;
where opposite borders differ the restriction rings (Gibbs), which only matching borders avoid.
"""

import base64
import io
import re
import warnings

import numpy as np
import torch
from PIL import Image, ImageOps, UnidentifiedImageError
from torch import Tensor

from mldemo.space.spectral import FINEST, check_resolution, resample

LARGEST_FILE = 5_000_000  # bytes
LARGEST_SIDE, LARGEST_PIXELS = 8192, 25_000_000
CELLS = 32  # per side of a mask in a link
CELLS_TEXT = 171  # characters of base64url that such a mask takes
FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "BMP")


def pixels(field: Tensor) -> Tensor:
    """Fields (..., N, N) as uint8 greys: [-1, 1] -> 0..255, clipped."""
    return ((field + 1) * 127.5).round().clamp(0, 255).to(torch.uint8)


def read_picture(raw: bytes) -> np.ndarray:
    """The first frame of a PNG, JPEG, WebP, GIF or BMP file as uint8 greys (h, w).

    Transparent pixels are put on white; EXIF rotation is applied. Size, format and pixel count are
    checked before anything is decoded; a bad file raises `ValueError`.
    """
    if not isinstance(raw, bytes | bytearray | memoryview):
        raise ValueError(f"a picture must come as bytes, got {type(raw).__name__}")
    if not 0 < len(raw) <= LARGEST_FILE:
        raise ValueError(f"a picture file may have 1 to {LARGEST_FILE} bytes, got {len(raw)}")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")  # Pillow warns of decompression bombs and damaged files
            with Image.open(io.BytesIO(raw), formats=FORMATS) as image:
                _check_size(*image.size)
                upright = ImageOps.exif_transpose(image).convert("RGBA")
    except UnidentifiedImageError:
        raise ValueError(f"this is no picture in a known format: {', '.join(FORMATS)}") from None
    except (OSError, SyntaxError, EOFError, Warning, Image.DecompressionBombError) as error:
        raise ValueError(f"the picture cannot be read: {str(error)[:200]}") from None
    paper = Image.new("RGBA", upright.size, "white")
    return np.asarray(Image.alpha_composite(paper, upright).convert("L"))


def _check_size(width: int, height: int) -> None:
    if not (
        1 <= min(width, height)
        and max(width, height) <= LARGEST_SIDE
        and width * height <= LARGEST_PIXELS
    ):
        raise ValueError(
            f"a picture may have at most {LARGEST_SIDE} pixels per side and {LARGEST_PIXELS} in "
            f"all, got {width} x {height}"
        )


def field_from_greys(greys: np.ndarray, resolution: int) -> Tensor:
    """uint8 greys (h, w) as a field (1, 1, N, N), float32: 0 -> -1, 255 -> 1, centre square."""
    check_resolution(resolution)
    if not isinstance(greys, np.ndarray) or greys.dtype != np.uint8 or greys.ndim != 2:
        what = getattr(greys, "dtype", type(greys).__name__)
        raise ValueError(f"greys must be a uint8 array (h, w), got {what} {np.shape(greys)}")
    height, width = greys.shape
    _check_size(width, height)
    side = min(height, width)
    top, left = (height - side) // 2, (width - side) // 2
    square = Image.fromarray(np.ascontiguousarray(greys[top : top + side, left : left + side]))
    scaled = square.convert("F").resize((FINEST, FINEST), Image.Resampling.BICUBIC)
    field = torch.from_numpy(np.asarray(scaled, dtype=np.float32) / 127.5 - 1)
    return resample(field[None, None], resolution)


def picture_from_text(text: str) -> np.ndarray:
    """uint8 greys from base64url text of a small picture file, as a link carries it."""
    if not re.fullmatch(r"[A-Za-z0-9_-]{4,1600}", text):
        raise ValueError(
            "a picture in a link must be 4 to 1600 characters of base64url, "
            f"got {len(text)} characters"
        )
    try:
        raw = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
    except ValueError:
        raise ValueError("the picture in the link is damaged") from None
    return read_picture(raw)


def mask_from_text(text: str, resolution: int) -> Tensor:
    """A boolean mask (N, N) from base64url text of 32 x 32 bits, row by row, high bit first.

    Point x_j = j/N takes the bit of the cell of side 1/32 that it lies in.
    """
    cell = np.arange(check_resolution(resolution)) * CELLS // resolution
    return torch.from_numpy(cells_from_text(text)[np.ix_(cell, cell)])


def cells_from_text(text: str) -> np.ndarray:
    """32 x 32 booleans from 171 characters of base64url."""
    if not re.fullmatch(f"[A-Za-z0-9_-]{{{CELLS_TEXT}}}", text):
        raise ValueError(
            f"a mask must be {CELLS_TEXT} characters of base64url ({CELLS} x {CELLS} bits), "
            f"got {len(text)} characters"
        )
    bits = np.unpackbits(np.frombuffer(base64.urlsafe_b64decode(text + "="), np.uint8))
    return bits.reshape(CELLS, CELLS).astype(bool)
