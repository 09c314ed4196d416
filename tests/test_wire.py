"""What the page gets equals what the core computed: messages and recordings, byte for byte."""

import base64
import json
import math
import shlex
from pathlib import Path

import numpy as np
import pytest
import torch

from mldemo.data import Statistics
from mldemo.oracles import GaussianDenoiser
from mldemo.pipeline import Request, Run, pixels
from mldemo.priors import Bessel
from mldemo.sde import Schedule
from mldemo.spectral import radial_mean
from mldemo.ui.wire import (
    RECORDING,
    data_power,
    heading,
    message,
    read_recording,
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
    recording = read_recording(write_recording(run, tmp_path / "deep" / "run.bin"))
    frames = list(run.frames())
    assert len(recording.frames) == len(frames) == 6
    for i, frame in enumerate(frames):
        np.testing.assert_array_equal(recording.x[i], pixels(frame.x)[:, 0].numpy())
        np.testing.assert_array_equal(recording.x0[i], pixels(frame.x0)[:, 0].numpy())
        np.testing.assert_array_equal(recording.power[i], frame.power.float().numpy())
        assert recording.frames[i]["step"] == frame.step
        assert recording.frames[i]["time"] == frame.time
        assert recording.frames[i]["alpha"] == frame.alpha
        assert recording.frames[i]["sigma"] == frame.sigma
    assert not np.array_equal(recording.x[0], recording.x0[0])
    assert recording.head["mode"] == "prerecorded"
    assert list((tmp_path / "deep").iterdir()) == [tmp_path / "deep" / "run.bin"]


def test_typed_arrays_can_be_laid_over_a_recording(run: Run, tmp_path: Path) -> None:
    """The page puts a Float32Array at byte 12 + length: that must be a multiple of four."""
    raw = write_recording(run, tmp_path / "run.bin").read_bytes()
    length = int.from_bytes(raw[8:12], "little")
    assert length % 4 == 0
    json.loads(raw[12 : 12 + length])


@pytest.mark.parametrize("damage", [lambda b: b[:-1], lambda b: b"x" + b[1:], lambda b: b[:30]])
def test_a_damaged_recording_is_refused(run: Run, tmp_path: Path, damage) -> None:
    """Cut short, of another kind, or without a whole header."""
    path = write_recording(run, tmp_path / "run.bin")
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(ValueError, match=r"run\.bin"):
        read_recording(path)


def test_a_message_is_plain_json_and_holds_the_pictures(run: Run) -> None:
    """Also in the last state, where the signal to noise ratio is infinite."""
    head = heading(run, "live")
    for frame in run.frames():
        value = message(frame, "abc", head)
        json.loads(json.dumps(value, allow_nan=False))
        grey = np.frombuffer(base64.b64decode(value["x"]), np.uint8).reshape(3, 16, 16)
        np.testing.assert_array_equal(grey, pixels(frame.x)[:, 0].numpy())
        power = np.frombuffer(base64.b64decode(value["power"]), "<f4")
        np.testing.assert_array_equal(power, frame.power.float().numpy())
    prior = np.frombuffer(base64.b64decode(head["priorPower"]), "<f4")
    np.testing.assert_allclose(prior, radial_mean(run.prior.eigenvalues(16), 16), rtol=1e-6)


def test_the_data_curve_is_where_the_power_of_x_ends(run: Run) -> None:
    """E|x̂_0|² holds the mean: the power of many samples agrees, Λ alone would not."""
    big = Request(resolution=16, steps=40, count=2000, seed=3, score="gaussian")
    many = Run(**{**vars(run), "request": big})
    power = many.result().power
    expected = data_power(many)
    assert torch.allclose(power.double(), expected, rtol=0.15, atol=0)
    assert math.isclose(float(power[1]), float(expected[1]), rel_tol=0.1)


def test_the_copied_command_names_every_choice(run: Run) -> None:
    """What the command line needs to compute the same pictures."""
    words = shlex.split(heading(run, "live")["command"])
    assert words[:4] == ["python", "-m", "mldemo", "sample"]
    options = dict(zip(words[4::2], words[5::2], strict=True))
    assert options == {
        "--prior": "bessel",
        "--resolution": "16",
        "--steps": "5",
        "--sampler": "dpmpp2m",
        "--count": "3",
        "--seed": "11",
        "--score": "gaussian",
        "--out": "digits.png",
    }


def test_the_recording_that_is_shipped_can_be_read() -> None:
    """Sixteen digits of the learned score that start as noise and end as something else."""
    recording = read_recording(RECORDING)
    assert recording.head["score"] == "learned"
    assert recording.x.shape == (21, 16, 32, 32)
    assert np.abs(recording.x[0].astype(float) - recording.x[-1]).mean() > 20
