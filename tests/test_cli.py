"""Every command with good and with bad input: files, one JSON line, exit codes, sentences."""

import json
import shlex
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from mldemo.cli import main
from mldemo.pipeline import prepare
from mldemo.request import Request
from mldemo.space.priors import PRIORS, prior_from_dict
from mldemo.space.spectral import resample
from mldemo.space.streams import LARGEST_SEED
from mldemo.store import checkpoints
from mldemo.store.manifest import read_manifest

Answer = tuple[int, str, str]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    """`python -m mldemo …` in this process: (exit code, stdout, stderr)."""

    def call(*words: object) -> Answer:
        monkeypatch.setattr(sys, "argv", ["mldemo", *map(str, words)])
        code = 0
        try:
            main()
        except SystemExit as error:
            code = int(error.code or 0)
        out, err = capsys.readouterr()
        return code, out, err

    return call


def test_sample_writes_the_fields_of_the_pipeline(run, tiny_bundle: Path, tmp_path: Path) -> None:
    """70 images, so more than one chunk, against the pipeline asked for two of them."""
    out = tmp_path / "a.npy"
    words = ("--resolution", 16, "--steps", 3, "--count", 70, "--seed", 5)
    code, text, _ = run("sample", *words, "--checkpoints", tiny_bundle, "--out", out)
    assert code == 0
    said = json.loads(text)
    assert said["checkpoint"] == "tiny" and said["network_calls"] == 3
    assert said["device"] and said["seconds"] > 0 and said["prior"]["name"] == "bessel"
    fields = np.load(out)
    assert fields.dtype == np.float32 and fields.shape == (70, 16, 16)
    request = Request(resolution=16, steps=3, count=70, seed=5)
    want = prepare(request, folder=tiny_bundle).result([2, 67]).x0[:, 0].numpy()
    np.testing.assert_allclose(fields[[2, 67]], want, atol=2e-5)
    assert np.abs(fields).max() > 1.01, "clipped, or nothing beyond [-1, 1]"


def test_sample_writes_pictures(run, tiny_bundle: Path, tmp_path: Path) -> None:
    """The GIF has one frame per state, twice as wide as the sheet; both show the same digits."""
    words = ("sample", "--resolution", 16, "--steps", 4, "--count", 4)
    words += ("--checkpoints", tiny_bundle)
    assert run(*words, "--out", tmp_path / "a.png")[0] == 0
    assert run(*words, "--out", tmp_path / "a.gif")[0] == 0
    with Image.open(tmp_path / "a.png") as png, Image.open(tmp_path / "a.gif") as gif:
        assert gif.n_frames == 5
        assert gif.size == (2 * png.width, png.height)
        gif.seek(4)
        last = np.asarray(gif.convert("L"), int)[:, png.width :]
        assert np.abs(last - np.asarray(png, int)).max() <= 2


def test_sample_is_coarse_until_a_time(run, tiny_bundle: Path, tmp_path: Path) -> None:
    """The fields of the pipeline, one call more, and a GIF whose frames have one size."""
    words = ("sample", "--resolution", 16, "--steps", 4, "--count", 2, "--coarse-until", 0.3)
    words += ("--checkpoints", tiny_bundle)
    code, text, _ = run(*words, "--out", tmp_path / "a.npy")
    said = json.loads(text)
    assert code == 0 and (said["coarse_until"], said["network_calls"]) == (0.3, 5)
    request = Request(resolution=16, steps=4, count=2, coarse_until=0.3)
    want = prepare(request, folder=tiny_bundle).result().x0[:, 0].numpy()
    np.testing.assert_allclose(np.load(tmp_path / "a.npy"), want, atol=2e-5)
    assert run(*words, "--out", tmp_path / "a.gif")[0] == 0
    with Image.open(tmp_path / "a.gif") as gif:
        assert gif.n_frames == 5


EVERY_FIELD = (
    Request(score="gaussian", prior="laplacian", exponent=1.7, guidance=0.5, seed=LARGEST_SEED),
    Request(
        resolution=16, steps=2, sampler="euler", count=3, checkpoint="my own", exponent=2, kappa=3
    ),
    Request(coarse_until=0.25),
)


@pytest.mark.parametrize("request_", EVERY_FIELD, ids=str)
def test_command_line_of_a_request_is_the_request(
    run, tiny_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request_: Request
) -> None:
    """What reaches the pipeline, every field of it; the defaults of both sides are the same."""
    asked = []

    def prepare(request: Request, *_: object) -> None:
        asked.append(request)
        raise ValueError("seen")

    monkeypatch.setattr("mldemo.pipeline.prepare", prepare)
    words = ("--checkpoints", tiny_bundle, "--out", tmp_path / "a.npy")
    assert run("sample", *words)[2].endswith("seen\n")
    assert run("sample", *shlex.split(request_.command_line), *words)[2].endswith("seen\n")
    assert asked == [Request(), request_]


def test_exponent_and_correlation_length_change_the_samples(run, tmp_path: Path) -> None:
    """The prior that is printed, and the noise drawn under it."""
    out, words = tmp_path / "a.npy", ("--prior", "bessel", "--count", 2, "--resolution", 16)
    code, text, _ = run(
        "sample", *words, "--score", "gaussian", "--exponent", 2.5, "--kappa", 9, "--out", out
    )
    prior = json.loads(text)["prior"]
    assert code == 0 and (prior["exponent"], prior["kappa"]) == (2.5, 9)
    request = Request(score="gaussian", count=2, resolution=16, exponent=2.5, kappa=9)
    want = prepare(request).result().x0[:, 0].numpy()
    np.testing.assert_allclose(np.load(out), want, atol=2e-5)
    code, text, _ = run("noise", *words, "--exponent", 2.5, "--out", out)
    assert code == 0
    drawn = prior_from_dict(json.loads(text)["prior"]).draw(7, [0, 1], 16)[:, 0].numpy()
    np.testing.assert_allclose(np.load(out), drawn)
    code, _, err = run("noise", "--prior", "fno", "--exponent", 2, "--out", out)
    assert code == 2 and "the fno prior has no exponent" in err


@pytest.mark.parametrize("prior", [p for p in PRIORS if p != "standard"])
def test_noise_at_128_restricted_to_16_is_noise_at_16(
    run, tiny_bundle: Path, tmp_path: Path, prior: str
) -> None:
    """And the traces it prints are those of the draws, in expectation, and of the data."""
    drawn = {}
    for n in (16, 128):
        out = tmp_path / f"{n}.npy"
        words = ("--prior", prior, "--resolution", n, "--count", 3, "--seed", 11)
        code, text, _ = run("noise", *words, "--checkpoints", tiny_bundle, "--out", out)
        assert code == 0
        drawn[n], said = np.load(out), json.loads(text)
        assert said["trace_class"] is True
        variance = checkpoints.load_statistics("tiny", tiny_bundle)[0].variance
        assert said["continuum_trace"] == pytest.approx(variance)
        assert 0 < said["level_trace"] <= said["continuum_trace"] * (1 + 1e-9)
    coarse = resample(torch.from_numpy(drawn[128]), 16).numpy()
    assert np.abs(coarse - drawn[16]).max() <= 1e-5 * np.abs(drawn[16]).max()


def test_noise_takes_a_trace_and_knows_white_noise(run, tiny_bundle: Path, tmp_path: Path) -> None:
    out = tmp_path / "a.npy"
    words = ("--checkpoints", tiny_bundle, "--out", out, "--resolution", 64, "--count", 200)
    code, text, _ = run("noise", "--prior", "matched", "--trace", 2.5, *words)
    said = json.loads(text)
    assert code == 0 and said["continuum_trace"] == 2.5
    assert np.load(out).var() == pytest.approx(said["level_trace"], rel=0.05)
    said = json.loads(run("noise", "--prior", "standard", *words)[1])
    assert said["trace_class"] is False and said["continuum_trace"] is None


def test_empirical_score_takes_its_own_data(
    run, tiny_bundle: Path, idx_folder: Path, tmp_path: Path
) -> None:
    words = ("sample", "--score", "empirical", "--prior", "laplacian", "--count", 2)
    words += ("--checkpoints", tiny_bundle, "--out", tmp_path / "a.npy")
    code, text, _ = run(*words, "--data", idx_folder)
    assert code == 0 and json.loads(text)["checkpoint"] is None
    code, _, err = run(*words)
    assert code == 2 and "digits-generated" in err  # this bundle has none


def test_train_makes_a_checkpoint_that_samples(run, idx_folder: Path, tmp_path: Path) -> None:
    words = ("train", "--data", idx_folder, "--prior", "combined", "--network", "fno")
    words += ("--levels", "8:2,16:1", "--batch", 4, "--name", "c", "--out", tmp_path)
    code, text, _ = run(*words)
    assert code == 0 and json.loads(text)["steps"] == 3
    manifest = read_manifest(tmp_path)
    assert manifest["default"] == "c-16" and manifest["files"]["c-8"]["levels"] == [[8, 2]]
    assert run(*words[:4], "fno", *words[5:-4], "--name", "d", "--out", tmp_path)[0] == 0
    assert read_manifest(tmp_path)["default"] == "c-16", "another prior took over"
    again = ("--prior", "combined", "--checkpoints", tmp_path, "--resolution", 9, "--count", 1)
    assert run("sample", *again, "--out", tmp_path / "a.npy")[0] == 0
    assert run("verify", "--checkpoints", tmp_path)[0] == 0


def test_verify_fails_on_one_flipped_byte(
    run, tiny_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where an intact copy would be taken from the Hub or its cache."""
    raw = (tiny_bundle / "tiny.safetensors").read_bytes()
    (tmp_path / "tiny.safetensors").write_bytes(raw[:-1] + bytes([raw[-1] ^ 128]))
    (tmp_path / "manifest.json").write_bytes((tiny_bundle / "manifest.json").read_bytes())
    assert run("verify", "--checkpoints", tiny_bundle) == (0, "ok      tiny\n", "")
    code, text, _ = run("verify", "--checkpoints", tmp_path)
    assert code == 1 and text.startswith("FAILED  tiny") and "sha256" in text
    intact = checkpoints.find("tiny", tiny_bundle)
    monkeypatch.setattr(checkpoints, "find", lambda *_: intact)
    checkpoints._load.cache_clear()
    code, text, _ = run("verify", "--checkpoints", tmp_path)
    assert code == 1 and text.startswith("FAILED  tiny") and "sha256" in text


def test_the_bundle_verifies(run) -> None:
    """The checkpoints that the project ships."""
    code, text, _ = run("verify")
    assert code == 0, text
    assert {"mnist-family-16", "mnist-family-32", "mnist-family-64"} <= set(text.split())


def test_the_same_seed_shows_the_same_digits(run, tmp_path: Path) -> None:
    """The shipped checkpoint at 16, 32, 64 and 128, brought to 16, correlate by over 0.9."""
    sheets = []
    for n in (16, 32, 64, 128):
        out = tmp_path / f"{n}.npy"
        words = ("--resolution", n, "--count", 4, "--steps", 10, "--seed", 1)
        assert run("sample", *words, "--out", out)[0] == 0
        sheets.append(resample(torch.from_numpy(np.load(out)), 16).flatten(1).numpy())
    for sheet in sheets[1:]:
        for a, b in zip(sheets[0], sheet, strict=True):
            assert np.corrcoef(a, b)[0, 1] > 0.9
    assert np.corrcoef(sheets[0][0], sheets[0][1])[0, 1] < 0.8


BAD = {
    "sample": [
        ("--resolution 300 --out {tmp}/a.png", "300 is not a whole number from 8 to 256"),
        ("--resolution 7 --out {tmp}/a.png", "7 is not a whole number from 8 to 256"),
        ("--steps 0 --out {tmp}/a.png", "0 is not a whole number from 1 to 1000"),
        ("--steps many --out {tmp}/a.png", "many is not a whole number from 1 to 1000"),
        ("--count 99999 --out {tmp}/a.png", "99999 is not a whole number from 1 to 4096"),
        ("--count 65 --out {tmp}/a.gif", "at most 64 for a .gif, got 65"),
        ("--seed -1 --out {tmp}/a.png", "-1 is not a whole number from 0 to 9223372036854775807"),
        ("--coarse-until 0.001 --out {tmp}/a.png", "0.001 is not in the range 0.001<x<=1"),
        ("--coarse-until 1.5 --out {tmp}/a.png", "1.5 is not in the range 0.001<x<=1"),
        ("--coarse-until nan --out {tmp}/a.png", "nan is not in the range 0.001<x<=1"),
        ("--steps 1000 --count 64 --resolution 256 --out {tmp}/a.gif", "268435456 pixels"),
        ("--coarse-until 0.2 --resolution 15 --out {tmp}/a.png", "from 16 to 256, got 15"),
        ("--sampler magic --out {tmp}/a.png", "'magic' is not one of 'dpmpp2m'"),
        ("--prior pink --out {tmp}/a.png", "'pink' is not one of 'standard'"),
        ("--score good --out {tmp}/a.png", "'good' is not one of 'learned'"),
        ("--prior fno --out {tmp}/a.png", "work without one: gaussian, empirical"),
        ("--prior fno --checkpoint tiny --out {tmp}/a.png", "trained with bessel, not with fno"),
        ("--checkpoint nope --out {tmp}/a.png", "'nope'; there are: tiny"),
        ("--out {tmp}/a.jpg", "must end in .png or .npy or .gif"),
        ("--out {tmp}/none/a.png", "folder that does not exist"),
        ("--device tpu --out {tmp}/a.png", "one of auto, cpu, cuda, mps, got 'tpu'"),
        ("--data {tmp} --out {tmp}/a.png", "--data is for --score empirical"),
        ("--score empirical --data {tmp} --out {tmp}/a.png", "holds no train-images-idx3-ubyte"),
        ("--count 4096 --resolution 256 --steps 999 --out {tmp}/a.npy", "the bound is"),
        ("", "Missing option '--out'"),
    ],
    "noise": [
        ("--prior bessel --trace nan --out {tmp}/a.npy", "nan is not in the range 0<x<=1000000"),
        ("--prior bessel --trace 0 --out {tmp}/a.npy", "0.0 is not in the range 0<x<=1000000"),
        ("--prior bessel --out {tmp}/a.gif", "must end in .npy or .png"),
        ("--out {tmp}/a.npy", "Missing option '--prior'"),
    ],
    "train": [
        ("--data {tmp}/none --out {tmp}", "does not exist"),
        ("--data {tmp} --out {tmp}", "holds no train-images-idx3-ubyte"),
        ("--data {data} --out {tmp} --levels 16", "must look like 16:3600,32:1500, got '16'"),
        ("--data {data} --out {tmp} --levels 4:1", "from 8 to 256, got 4"),
        ("--data {data} --out {tmp} --levels 128:1", "level 128 needs data finer than 64"),
        ("--data {data} --out {tmp} --batch 0", "0 is not a whole number from 1 to 65536"),
        ("--data {data} --out {tmp} --name ../x", "must be a plain name, got '../x'"),
        ("--data {data} --out {tmp} --learning-rate nan", "nan is not in the range 0<x<=1"),
    ],
    "fetch": [("--seconds nan", "nan is not in the range 1<=x<=3600")],
    "evaluate": [("--all --json {tmp}/none/a.json", "--json names a folder that does not exist")],
    "verify": [("--device tpu", "got 'tpu'"), ("--checkpoints {tmp}", "holds no manifest.json")],
    "bundle": [("--checkpoints {tmp}", "holds no manifest.json")],
    "bench": [("nothing", "'nothing' is not one of 'spectral'")],
    "fly": [("", "No such command 'fly'")],
}


@pytest.mark.parametrize(
    ("command", "words", "sentence"),
    [(c, w, s) for c, cases in BAD.items() for w, s in cases],
)
def test_bad_input_ends_with_2_and_one_sentence(
    run,
    tiny_bundle: Path,
    idx_folder: Path,
    tmp_path: Path,
    command: str,
    words: str,
    sentence: str,
) -> None:
    words = words.format(tmp=tmp_path, data=idx_folder)
    more = ("--checkpoints", tiny_bundle) if command in ("sample", "noise") else ()
    code, out, err = run(command, *words.split(), *more)
    assert code == 2
    assert sentence in err and err.startswith("mldemo: ") and err.count("\n") == 1
    assert "Traceback" not in err and out == ""
    assert list(tmp_path.iterdir()) == [], "something was left behind"


def test_help_names_ranges_and_defaults(run) -> None:
    code, text, _ = run("sample", "--help")
    assert code == 0
    for words in (
        "8..256",
        "[default: 32]",
        "1..1000",
        "dpmpp2m|adams|ddim|heun|euler",
        "gaussian",
    ):
        assert words in " ".join(text.split())
