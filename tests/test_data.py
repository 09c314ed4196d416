"""Reading data and measuring them, held against known arrays and exact sums."""

import gzip
import struct
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn import functional

from mldemo.data import fields as data
from mldemo.data.fields import (
    Statistics,
    fields_from_images,
    find_idx,
    load_data,
    load_fields,
    read_idx,
)
from mldemo.data.materials import Material
from mldemo.space import spectral
from mldemo.space.noise import unit_modes
from mldemo.space.priors import Matched

ARRAY = np.arange(2 * 3 * 5, dtype=np.uint8).reshape(2, 3, 5)
RAW = b"\x00\x00\x08\x03" + struct.pack(">3I", 2, 3, 5) + ARRAY.tobytes()


@pytest.mark.parametrize("packed", [False, True])
def test_idx_is_read_back(tmp_path: Path, packed: bool) -> None:
    path = tmp_path / "file"
    path.write_bytes(gzip.compress(RAW) if packed else RAW)
    np.testing.assert_array_equal(read_idx(path), ARRAY)


def test_labels_are_read_too(idx_folder: Path) -> None:
    labels = read_idx(find_idx(idx_folder, "train", "labels-idx1"))
    assert labels.shape == (300,)
    assert set(labels) == {0, 1, 2, 3}


PACKED = gzip.compress(RAW)
DAMAGED = {
    "empty": b"",
    "cut in the magic": RAW[:3],
    "cut in the header": RAW[:9],
    "cut in the body": RAW[:-1],
    "too long": RAW + b"\x00",
    "another magic": b"\x00\x00\x0d" + RAW[3:],
    "rank 9": b"\x00\x00\x08\x09" + RAW[4:],
    "huge shape": b"\x00\x00\x08\x03" + struct.pack(">3I", *(3 * [2**32 - 1])) + RAW[16:],
    "html": b"<html>not found</html>",
    "cut gzip": PACKED[:-9],
    "gzip of nothing like it": gzip.compress(b"hello"),
    "gzip with a flipped byte": PACKED[:12] + bytes([PACKED[12] ^ 0xFF]) + PACKED[13:],
    "gzip with a wrong check sum": PACKED[:-8] + b"\x00\x00\x00\x00" + PACKED[-4:],
}


@pytest.mark.parametrize("raw", DAMAGED.values(), ids=DAMAGED.keys())
def test_damaged_files_raise_one_kind_of_error_that_names_them(tmp_path: Path, raw: bytes) -> None:
    path = tmp_path / "train-images-idx3-ubyte"
    path.write_bytes(raw)
    with pytest.raises(ValueError, match="train-images-idx3-ubyte"):
        read_idx(path)


def test_missing_files_and_wrong_shapes_are_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="holds no train-images-idx3-ubyte"):
        load_fields(tmp_path)
    flat = b"\x00\x00\x08\x01" + struct.pack(">I", 30) + ARRAY.tobytes()
    (tmp_path / "train-images-idx3-ubyte").write_bytes(flat)
    with pytest.raises(ValueError, match=r"\(count, height, width\) needed, got \(30,\)"):
        load_fields(tmp_path)
    with pytest.raises(ValueError, match="cannot be read"):
        read_idx(tmp_path / "nowhere")


def test_fields_follow_the_conventions(idx_folder: Path) -> None:
    """28² → 56² bicubic, padded with -1 to 64², projected on H_64: by hand for one image. Every
    level is a restriction of it."""
    images = read_idx(find_idx(idx_folder, "t10k"))
    fields = load_fields(idx_folder, "t10k")
    assert fields.shape == (60, 1, 64, 64)
    image = torch.from_numpy(images[7].copy()).double()[None, None] / 255 * 2 - 1
    by_hand = -torch.ones(1, 1, 64, 64, dtype=torch.float64)
    by_hand[..., 4:60, 4:60] = functional.interpolate(image, scale_factor=2, mode="bicubic")
    spectrum = np.fft.fft2(by_hand[0, 0].numpy())
    spectrum[32, :] = spectrum[:, 32] = 0
    np.testing.assert_allclose(fields[7, 0].numpy(), np.fft.ifft2(spectrum).real, atol=1e-5)
    for n in (16, 27, 32):
        coarse = load_fields(idx_folder, "t10k", n)
        torch.testing.assert_close(coarse, spectral.resample(fields, n), atol=1e-5, rtol=0)


def test_black_is_minus_one_and_white_is_one() -> None:
    black = fields_from_images(np.zeros((1, 28, 28), np.uint8), 16)
    torch.testing.assert_close(black, -torch.ones_like(black))
    white = fields_from_images(np.full((1, 40, 30), 255, np.uint8), 64)
    share = (56 / 64) ** 2
    assert float(white.mean()) == pytest.approx(2 * share - 1, abs=1e-5)


def test_order_and_count_survive_the_thousands() -> None:
    """Images are resized in parts of 1,000: the last of 1,003 is still the last."""
    images = np.zeros((1003, 4, 4), np.uint8)
    images[1002] = 255
    means = fields_from_images(images, 8).mean((1, 2, 3))
    assert int(means.argmax()) == 1002
    assert len(means) == 1003


def test_a_source_is_a_folder_or_the_material(
    idx_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The material's parts share no sample; a folder of that name is reached by its path."""
    assert torch.equal(load_data(str(idx_folder), "t10k", 16), load_fields(idx_folder, "t10k", 16))
    train, test = data.MATERIAL_PARTS["train"], data.MATERIAL_PARTS["t10k"]
    assert len(train) == 7000 and len(test) == 1000 and not set(train) & set(test)
    monkeypatch.setitem(data.MATERIAL_PARTS, "train", train[:3])
    monkeypatch.setitem(data.MATERIAL_PARTS, "t10k", test[:2])
    assert torch.equal(load_data("material"), Material().fields([0, 1, 2]))
    assert torch.equal(load_data("material", "t10k", 16), Material().fields(test[:2], 16))
    monkeypatch.chdir(tmp_path)
    for missing in (Path("material"), "./material", tmp_path / "none"):
        with pytest.raises(ValueError, match=r"data folder '.*' does not exist"):
            load_data(missing)
    (tmp_path / "material").mkdir()
    with pytest.raises(ValueError, match="material holds no train-images-idx3-ubyte"):
        load_data("./material")
    with pytest.raises(ValueError, match="part must be one of train, t10k, got 'all'"):
        load_data("material", "all")


def synthetic(n: int, reach: float, count: int = 40) -> torch.Tensor:
    """Fields whose modes lie in the disc |k| < reach, with a mean of their own; Λ ~ |k|^-4."""
    modes = Matched(2.0, 1.0).colour(unit_modes(3, range(count), n, torch.float64))
    disc = spectral.radius(n) < reach
    mean = Matched().colour(unit_modes(4, [0], n, torch.float64))
    return spectral.to_field((modes + mean) * disc, n)


@pytest.mark.parametrize("n", [16, 64])
def test_trace_of_the_spectrum_is_the_variance_of_the_data(n: int) -> None:
    """tr Λ = E‖x - m‖² for data inside the disc that the shells resolve, so that the power law
    beyond it is 0; by numpy on the pixels."""
    fields = synthetic(n, n / 2 - 1.5)
    statistics = Statistics.of(fields)
    direct = fields.numpy().var(0).mean()
    assert statistics.variance == pytest.approx(direct, rel=1e-6)


def test_mean_and_power_are_those_of_the_data() -> None:
    """Mean by numpy; each shell's power by a sum over the whole plane; more than one part."""
    n, fields = 16, synthetic(16, 20, 1100)
    statistics = Statistics.of(fields)
    mean = fields.numpy().mean(0)
    np.testing.assert_allclose(statistics.mean[0].numpy(), mean, atol=1e-6)
    modes = np.fft.fft2(fields.numpy()[:, 0] - mean[0]) / n**2
    power = (np.abs(modes) ** 2).mean(0)
    frequency = np.fft.fftfreq(n, 1 / n)
    shell = np.hypot(frequency[:, None], frequency[None, :]).round()
    banded = (np.abs(frequency[:, None]) < n / 2) & (np.abs(frequency[None, :]) < n / 2)
    expected = [power[banded & (shell == s)].mean() for s in range(len(statistics.power))]
    np.testing.assert_allclose(statistics.power.numpy(), expected, rtol=1e-5)
    restricted = spectral.resample(fields, 9).mean(0, keepdim=True).float()
    torch.testing.assert_close(statistics.mean_at(9), restricted, atol=1e-5, rtol=0)


def test_spectrum_is_one_function_of_k_on_every_level() -> None:
    """The level N sees the spectrum of 128, restricted; below N/2 the measured shells; above, a
    power law in |k| whose sum over Z² is finite (exponent below -2)."""
    statistics = Statistics.of(synthetic(32, 30))
    fine = statistics.spectrum(128)
    for n in (8, 9, 16, 32, 64):
        torch.testing.assert_close(statistics.spectrum(n), spectral.resample_modes(fine, 128, n))
    r = spectral.radius(128)
    assert not fine[spectral.multiplicity(128) == 0].any()
    known = (r.round() <= 15) & (spectral.multiplicity(128) > 0)
    shells = statistics.power.double()[r[known].round().long()]
    torch.testing.assert_close(fine[known], shells)
    beyond = (r.round() > 15) & (spectral.multiplicity(128) > 0)
    x, y = r[beyond].log().numpy(), fine[beyond].log().numpy()
    slope, height = np.polyfit(x, y, 1)
    np.testing.assert_allclose(y, slope * x + height, atol=1e-9)  # exactly a power law
    assert slope < -2
    assert slope == pytest.approx(-4, abs=0.3)  # what the synthetic data have
    at_edge = float(np.exp(slope * np.log(15) + height))
    assert at_edge == pytest.approx(float(statistics.power[15]), rel=1e-6)


def test_flat_and_empty_spectra_stay_summable() -> None:
    """White data: the exponent is held at -2.5, below -2. Constant data have no power at all."""
    white = spectral.to_field(unit_modes(1, range(50), 16, torch.float64), 16)
    fine = Statistics.of(white).spectrum(256)
    assert float(fine[100, 0] / fine[50, 0]) == pytest.approx(2**-2.5, rel=1e-6)
    constant = Statistics.of(torch.ones(3, 1, 16, 16))
    assert constant.variance == 0
    assert not constant.spectrum(64).any()
