"""Pictures from outside: what they become, and what is refused before it is decoded."""

import base64
import io
import struct
import zlib

import numpy as np
import pytest
import torch
from PIL import Image

from mldemo.data.pictures import (
    LARGEST_FILE,
    field_from_greys,
    mask_from_text,
    picture_from_text,
    read_picture,
)
from mldemo.space.spectral import resample, to_modes


def encoded(array: np.ndarray, kind: str = "PNG", **options) -> bytes:
    out = io.BytesIO()
    Image.fromarray(array).save(out, kind, **options)
    return out.getvalue()


def png_header(width: int, height: int) -> bytes:
    """A PNG that promises width x height and holds next to nothing."""

    def chunk(name: bytes, body: bytes) -> bytes:
        return (
            struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))
        )

    head = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", head)
        + chunk(b"IDAT", zlib.compress(b""))
        + chunk(b"IEND", b"")
    )


def test_a_wave_keeps_its_frequency_and_amplitude() -> None:
    """cos(2π 3x₁) drawn at 512² has û_(3,0) = ½ on level 16 and nothing else."""
    wave = np.cos(2 * np.pi * 3 * np.arange(512) / 512)
    greys = np.round((wave[:, None] * 0.9 + 1) * 127.5).astype(np.uint8).repeat(512, 1)
    modes = to_modes(field_from_greys(greys, 16))[0, 0].abs()
    assert float(modes[3, 0]) == pytest.approx(0.45, abs=0.005)
    modes[3, 0] = modes[-3, 0] = 0
    assert float(modes.max()) < 0.005


def test_one_picture_is_one_function_on_every_level() -> None:
    greys = np.random.default_rng(0).integers(0, 256, (90, 130), dtype=np.uint8)
    fine = field_from_greys(greys, 64)
    torch.testing.assert_close(resample(fine, 17), field_from_greys(greys, 17), atol=1e-6, rtol=0)
    modes = to_modes(field_from_greys(greys, 128))[0, 0].abs()  # 90 pixels hold |k| up to 45
    assert float(modes[38, 0]) > 0.01 * float(modes[5, 0])


def test_centre_crop_range_and_inversion() -> None:
    """Only the middle square counts; 0 -> -1, 255 -> 1; inversion is the minus sign."""
    greys = np.zeros((40, 100), np.uint8)
    greys[:, 30:70] = 255
    field = field_from_greys(greys, 16)
    torch.testing.assert_close(field, torch.ones(1, 1, 16, 16), atol=1e-5, rtol=0)


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "GIF", "BMP"])
def test_formats(kind: str) -> None:
    array = np.full((30, 20), 100, np.uint8)
    greys = read_picture(encoded(array, kind))
    assert greys.shape == (30, 20)
    assert abs(int(greys[15, 10]) - 100) <= 2


def test_transparency_is_white_and_colours_become_grey() -> None:
    array = np.zeros((4, 4, 4), np.uint8)
    array[:2] = [255, 0, 0, 255]
    greys = read_picture(encoded(array))
    assert greys[3, 0] == 255
    assert greys[0, 0] == 76  # ITU-R 601: 0.299 red


def test_a_telephone_picture_stands_upright() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # rotate by 90°
    raw = encoded(np.zeros((10, 30), np.uint8), "JPEG", exif=exif)
    assert read_picture(raw).shape == (30, 10)


@pytest.mark.parametrize(
    ("raw", "words"),
    [
        (b"", "1 to"),
        (b"x" * (LARGEST_FILE + 1), "bytes"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "known format"),
        (b"GIF89a", "known format|cannot be read"),
        (png_header(60_000, 60_000), "60000 x 60000|cannot be read"),
        (png_header(9000, 10), "9000 x 10"),
        (png_header(6000, 6000), "6000 x 6000"),
        (png_header(64, 64), "cannot be read"),
        (encoded(np.zeros((64, 64), np.uint8))[:60], "cannot be read|known format"),
        ("text", "bytes, got str"),
    ],
)
def test_bad_files_get_one_sentence(raw: bytes, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        read_picture(raw)


@pytest.mark.parametrize(
    "greys",
    [
        np.zeros((4, 4), np.float32),
        np.zeros((4, 4, 3), np.uint8),
        np.zeros((0, 4), np.uint8),
        np.zeros((1, 9000), np.uint8),
        [[1]],
    ],
)
def test_bad_arrays_are_refused(greys: np.ndarray) -> None:
    with pytest.raises(ValueError, match=r"greys must be|at most"):
        field_from_greys(greys, 16)


def text_of(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).decode().rstrip("=")


def test_a_picture_in_a_link() -> None:
    array = np.zeros((64, 64), np.uint8)
    array[20:40] = 255
    text = text_of(encoded(array, "WEBP", lossless=True))
    np.testing.assert_array_equal(picture_from_text(text), array)


@pytest.mark.parametrize("text", ["", "abc", "ab cd", "a" * 1601, "äöüß", "abcde", "abcd"])
def test_bad_picture_texts(text: str) -> None:
    with pytest.raises(ValueError, match=r"base64url|damaged|known format|cannot be read"):
        picture_from_text(text)


@pytest.mark.parametrize("resolution", [8, 27, 32, 64])
def test_a_mask_in_a_link_marks_the_same_region_on_every_level(resolution: int) -> None:
    """Bits of cells, row by row; x_j = j/N lies in cell floor(32 j/N)."""
    cells = np.zeros((32, 32), bool)
    cells[4:, 20:] = True
    mask = mask_from_text(text_of(np.packbits(cells).tobytes()), resolution)
    j = np.arange(resolution) / resolution
    expected = (j[:, None] >= 4 / 32) & (j[None] >= 20 / 32)
    np.testing.assert_array_equal(mask.numpy(), expected)


@pytest.mark.parametrize("text", ["", "A" * 170, "A" * 172, "+" * 171])
def test_bad_mask_texts(text: str) -> None:
    with pytest.raises(ValueError, match="171 characters"):
        mask_from_text(text, 32)
