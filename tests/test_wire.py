"""What the page gets equals what the core computed: messages and recordings, byte for byte."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch

from mldemo.data.pictures import pixels
from mldemo.data.statistics import Statistics
from mldemo.diffusion.oracles import GaussianDenoiser
from mldemo.diffusion.sde import Schedule
from mldemo.pipeline import Run, prepare
from mldemo.request import Request
from mldemo.space.priors import Bessel
from mldemo.space.spectral import radial_mean
from mldemo.ui.wire import (
    MAGIC,
    RECORDING,
    data_power,
    decode,
    encode,
    read_recording,
    run_records,
    state_record,
    write_recording,
)


@pytest.fixture(scope="module")
def run() -> Run:
    """A small run with an exact score; needs no checkpoint."""
    generator = torch.Generator().manual_seed(0)
    fields = torch.randn(64, 1, 32, 32, generator=generator).cumsum(-1).tanh() * 0.5
    fields += 0.4 * torch.cos(torch.arange(32) * (2 * torch.pi / 32))  # a mean to speak of
    statistics = Statistics.of(fields)
    request = Request(resolution=16, steps=5, count=3, seed=11, score="gaussian")
    prior, schedule = Bessel(trace=0.2), Schedule()
    denoise = GaussianDenoiser(statistics.mean_at(16), statistics.spectrum(16), prior, schedule)
    return Run(request, prior, statistics, schedule, denoise, torch.device("cpu"), None, [])


def test_a_recording_comes_back_as_it_was_computed(run: Run, tmp_path: Path) -> None:
    """Every picture equals `pixels` of a fresh computation, every spectrum the core's."""
    recording = read_recording(write_recording(run_records(run), tmp_path / "deep" / "run.bin"))
    frames = list(run.frames())
    assert len(recording.frames) == len(frames) == 6
    for i, frame in enumerate(frames):
        np.testing.assert_array_equal(recording.x[i], pixels(frame.x)[:, 0].numpy())
        np.testing.assert_array_equal(recording.x0[i], pixels(frame.x0)[:, 0].numpy())
        np.testing.assert_array_equal(recording.power[i], frame.power.float().numpy())
        assert recording.frames[i]["step"] == frame.step
        readings = recording.frames[i]["readings"]
        assert readings["time"] == frame.time
        assert readings["alpha"] == frame.alpha
        assert readings["sigma"] == frame.sigma
    assert not np.array_equal(recording.x[0], recording.x0[0])
    assert list((tmp_path / "deep").iterdir()) == [tmp_path / "deep" / "run.bin"]


def test_a_run_that_is_coarse_first_goes_over_the_wire(tmp_path: Path) -> None:
    """The head says from which step on the run has its own level; all pictures have its size."""
    request = Request(resolution=16, steps=5, count=2, score="gaussian", coarse_until=0.3)
    recording = read_recording(write_recording(run_records(prepare(request)), tmp_path / "a.bin"))
    change = sum(frame["readings"]["time"] > 0.3 for frame in recording.frames)
    assert recording.head["coarse"] == {"until": 0.3, "resolution": 8, "change": change}
    assert recording.x.shape == recording.x0.shape == (6, 2, 16, 16)


def test_typed_arrays_can_be_laid_over_a_record(run: Run) -> None:
    """The page lays a Float32Array behind the JSON: every array starts at a multiple of four."""
    for meta, arrays in run_records(run):
        raw = encode({**meta, "odd": "x"}, {"one": np.zeros(3, np.uint8), **arrays})
        size, length = np.frombuffer(raw, "<u4", 2)
        assert size == len(raw) - 4
        assert length % 4 == 0
        ((_, found),) = decode(raw)
        for name, array in arrays.items():
            np.testing.assert_array_equal(found[name], array)
            offset = found[name].__array_interface__["data"][0]
            assert (offset - found["one"].__array_interface__["data"][0]) % 4 == 0


@pytest.mark.parametrize(
    "damage",
    [lambda b: b[:-1], lambda b: b"x" + b[1:], lambda b: b[:30], lambda b: b[: len(MAGIC)]],
)
def test_a_damaged_recording_is_refused(run: Run, tmp_path: Path, damage) -> None:
    """Cut short, of another kind, or without a whole header."""
    path = write_recording(run_records(run), tmp_path / "run.bin")
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(ValueError, match=r"run\.bin"):
        read_recording(path)


def test_records_hold_the_pictures(run: Run) -> None:
    """Also in the last state, where the signal to noise ratio is infinite."""
    for frame in run.frames():
        ((meta, arrays),) = decode(encode(*state_record(frame, 2)))
        assert (meta["track"], meta["step"]) == (2, frame.step)
        assert meta["readings"]["sigma"] == frame.sigma
        np.testing.assert_array_equal(arrays["x"], pixels(frame.x)[:, 0].numpy())
        np.testing.assert_array_equal(arrays["power"], frame.power.float().numpy())


def test_the_head_tells_the_levels_of_noise_in_advance(run: Run) -> None:
    """α and σ of every state, and the curves per shell: the map of SNR needs no frame."""
    (head, curves), *rest = run_records(run)
    frames = [meta["readings"] for meta, _ in rest if meta["kind"] == "frame"]
    assert head["alphas"] == [meta["alpha"] for meta in frames]
    assert head["sigmas"] == [meta["sigma"] for meta in frames]
    q = radial_mean(run.prior.eigenvalues(16), 16)
    np.testing.assert_allclose(curves["prior"], q, rtol=1e-6)
    np.testing.assert_allclose(curves["spread"], run.data_power, rtol=1e-6)


def test_the_data_curve_is_where_the_power_of_x_ends(run: Run) -> None:
    """E|x̂_0|² holds the mean: the power of many samples agrees, Λ alone would not."""
    big = Request(resolution=16, steps=40, count=2000, seed=3, score="gaussian")
    many = Run(**{**vars(run), "request": big})
    power = many.result().power
    expected = data_power(many)
    assert torch.allclose(power.double(), expected, rtol=0.15, atol=0)
    assert math.isclose(float(power[1]), float(expected[1]), rel_tol=0.1)


def test_the_recording_that_is_shipped_can_be_read() -> None:
    """Sixteen digits of the learned score that start as noise and end as something else."""
    recording = read_recording(RECORDING)
    assert recording.head["score"] == "learned"
    assert recording.x.shape == (21, 16, 32, 32)
    assert np.abs(recording.x[0].astype(float) - recording.x[-1]).mean() > 20
