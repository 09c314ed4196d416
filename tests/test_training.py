"""Training against itself: killed and resumed, shared by processes; and against its definition."""

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from mldemo.data.sets import IdxFolder
from mldemo.diffusion.sde import END, FIRST
from mldemo.networks import NETWORKS
from mldemo.space.priors import Bessel, Laplacian, Standard
from mldemo.space.spectral import multiplicity, resample, shift, to_modes
from mldemo.store.checkpoints import load_checkpoint
from mldemo.store.manifest import read_manifest
from mldemo.training.families import Family
from mldemo.training.loop import LossLog, Progress, Training, export
from mldemo.training.plan import DECISIVE, SHARE, Plan, training_times

# Three priors and two variations, the coarser level rehearsed at every second step of the finer.
FAMILY = {
    "priors": tuple(p.to_dict() for p in (Bessel(trace=0.2), Laplacian(trace=0.2), Standard())),
    "variations": 2,
    "rehearsal": 2,
}
ROOT = Path(__file__).resolve().parents[1]


def tensors_of(run: Training) -> dict[str, torch.Tensor]:
    """Everything that a step changes."""
    out = {f"w.{k}": v for k, v in run.denoiser.network.state_dict().items()}
    out |= {f"a.{k}": v for k, v in run.average.module.state_dict().items()}
    for i, state in run.optimizer.state_dict()["state"].items():
        out |= {f"o.{i}.{k}": v for k, v in state.items()}
    return out


def test_resumed_run_equals_uninterrupted_run_bit_for_bit(
    idx_folder: Path, tiny_plan: dict, tmp_path: Path
) -> None:
    """With mixed priors; the step lost and done again, 5, is one of rehearsal."""
    fields, plan = IdxFolder(idx_folder).fields()[:50], Plan(**tiny_plan | FAMILY)
    whole = Training(plan, fields)
    losses = [p.loss for p in whole.run()]

    first = Training(plan, fields)
    for progress in first.run(tmp_path / "s.safetensors", save_every=2):
        if progress.step == 5:  # saved at 2, 3 (end of the level) and 4; 5 is lost
            break
    again = Training(plan, fields)
    again.resume(tmp_path / "s.safetensors")
    assert again.step == 4
    assert [p.loss for p in again.run()] == losses[4:]

    a, b = tensors_of(whole), tensors_of(again)
    assert a.keys() == b.keys()
    assert all(torch.equal(a[k], b[k]) for k in a)
    untrained = tensors_of(Training(plan, fields))
    assert any(not torch.equal(a[k], untrained[k]) for k in untrained)


def _command(data: Path, out: Path, levels: str) -> list[str]:
    words = ["-m", "mldemo", "train", "--data", str(data), "--levels", levels, "--batch", "8"]
    return [*words, "--threads", "1", "--save-every", "2", "--name", "k", "--out", str(out)]


def test_killed_process_goes_on_to_the_same_checkpoint(idx_folder: Path, tmp_path: Path) -> None:
    """SIGKILL in mid-run, then the same command again, against one run left alone."""
    levels = "8:12,16:2"
    killed, alone = tmp_path / "killed", tmp_path / "alone"
    process = subprocess.Popen(
        [sys.executable, *_command(idx_folder, killed, levels)], cwd=ROOT, stderr=subprocess.PIPE
    )
    state, deadline = killed / "k.state.safetensors", time.monotonic() + 120
    while not state.exists() and time.monotonic() < deadline and process.poll() is None:
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert process.returncode == -signal.SIGKILL, "the run ended before it could be killed"
    for out in (killed, alone):
        command = [sys.executable, *_command(idx_folder, out, levels)]
        subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    assert list(read_manifest(alone)["files"]) == ["k-8", "k-16"]
    for name in ("k-8", "k-16"):
        a, b = (load_checkpoint(name, f).network.state_dict() for f in (killed, alone))
        assert a.keys() == b.keys() and all(torch.equal(a[k], b[k]) for k in a)
    logs = [(f / "k.jsonl").read_text() for f in (killed, alone)]
    curves = [[(r["step"], r["loss"]) for r in map(json.loads, t.splitlines())] for t in logs]
    assert curves[0][-1] == curves[1][-1] and len(curves[0]) == len(curves[1])


def test_a_checkpoint_that_a_kill_prevented_is_written_by_the_next_run(
    idx_folder: Path, tmp_path: Path
) -> None:
    """The state is saved at the end of a level, and its checkpoint only afterwards."""
    command = [sys.executable, *_command(idx_folder, tmp_path, "8:2,16:1")]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    whole = (tmp_path / "k-16.safetensors").read_bytes()
    manifest = read_manifest(tmp_path)
    del manifest["files"]["k-16"]
    manifest["default"] = "k-8"
    (tmp_path / "manifest.json").write_text(json.dumps(manifest))
    (tmp_path / "k-16.safetensors").unlink()
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    assert list(read_manifest(tmp_path)["files"]) == ["k-8", "k-16"]
    assert (tmp_path / "k-16.safetensors").read_bytes() == whole


def test_two_processes_have_the_loss_curve_of_one(idx_folder: Path, tmp_path: Path) -> None:
    """torchrun with two CPU processes against one process, same global batch."""
    runs = {"one": [sys.executable], "two": [sys.executable, "-m", "torch.distributed.run"]}
    runs["two"] += ["--standalone", "--nproc-per-node=2", "--no-python", sys.executable]
    curves = {}
    for name, launcher in runs.items():
        command = [*launcher, *_command(idx_folder, tmp_path / name, "8:4")]
        environment = os.environ | {"OMP_NUM_THREADS": "1"}
        subprocess.run(command, cwd=ROOT, env=environment, check=True, capture_output=True)
        lines = (tmp_path / name / "k.jsonl").read_text().splitlines()
        curves[name] = [json.loads(line)["loss"] for line in lines]
    np.testing.assert_allclose(curves["two"], curves["one"], rtol=1e-5)


def test_another_plan_is_refused(idx_folder: Path, tiny_plan: dict, tmp_path: Path) -> None:
    fields = IdxFolder(idx_folder).fields()[:50]
    Training(Plan(**tiny_plan), fields).save(tmp_path / "s.safetensors")
    other = Training(Plan(**tiny_plan | {"seed": 1}), fields)
    with pytest.raises(ValueError, match="another plan"):
        other.resume(tmp_path / "s.safetensors")


def test_a_child_begins_with_its_parents_weights(
    idx_folder: Path, tiny_bundle: Path, tiny_plan: dict, tmp_path: Path
) -> None:
    """At a rate of almost 0 they stay; the record names the parent; another shape is refused."""
    command = [*_command(idx_folder, tmp_path, "8:1"), "--learning-rate", "1e-12"]
    command += ["--checkpoints", str(tiny_bundle), "--parent", "tiny"]
    kind = load_checkpoint("tiny", tiny_bundle).record["network"]["kind"]
    asked = [sys.executable, *command, "--network", kind]
    answer = subprocess.run(asked, cwd=ROOT, capture_output=True, text=True)
    assert answer.returncode == 2 and "do not fit this network" in answer.stderr
    fields = IdxFolder(idx_folder).fields()[:50]
    weights = load_checkpoint("tiny", tiny_bundle).network.state_dict()
    run = Training(Plan(**tiny_plan | {"parent": "a sha256"}), fields)
    run.begin_with(weights)
    begun = run.denoiser.network.state_dict()
    assert all(torch.equal(begun[k], weights[k]) for k in weights)
    export(run, tmp_path / "out", "child", "idx")
    child = load_checkpoint("child", tmp_path / "out")
    assert child.record["parent"] == "a sha256"
    saved = child.network.state_dict()
    assert all(torch.equal(saved[k], weights[k]) for k in weights)


def test_training_lowers_the_loss(idx_folder: Path, tiny_plan: dict) -> None:
    """60 steps against the loss of the untrained network, which is that of the linear denoiser."""
    plan = Plan(**tiny_plan | {"levels": ((8, 60),), "batch": 32, "learning_rate": 5e-3})
    losses = [p.loss for p in Training(plan, IdxFolder(idx_folder).fields()).run()]
    assert np.mean(losses[-10:]) < 0.9 * np.mean(losses[:3])


def test_the_average_is_the_stated_recursion(idx_folder: Path, tiny_plan: dict) -> None:
    """a <- d a + (1 - d) w, d = min(ema, (1 + n)/(10 + n)) after n ≥ 1 steps, in float64; with
    ema = 0.3 the decay is still warming up at n = 1 and 2, and has its full value from n = 3."""
    plan = Plan(**tiny_plan | {"ema": 0.3, "levels": ((8, 6),)})
    run, expected = Training(plan, IdxFolder(idx_folder).fields()[:50]), {}
    for n, _ in enumerate(run.run()):
        decay = min(0.3, (1 + n) / (10 + n)) if n else 0.0
        for name, weight in run.denoiser.network.named_parameters():
            new = weight.detach().double()
            expected[name] = decay * expected.get(name, new) + (1 - decay) * new
    for name, weight in run.average.module.named_parameters():
        torch.testing.assert_close(weight.double(), expected[name], rtol=1e-5, atol=1e-7)


def test_gradients_are_clipped_to_norm_one(
    idx_folder: Path, tiny_plan: dict, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A loss 10⁴ times too large moves the network by a gradient of norm 1, as it points."""
    run = Training(Plan(**tiny_plan), IdxFolder(idx_folder).fields()[:50])
    batch, objective = run._batch(8), run._objective
    parameters = list(run.denoiser.network.parameters())
    raw = torch.autograd.grad(1e4 * objective(*batch), parameters)
    norm = torch.stack([g.norm() for g in raw]).norm()
    assert float(norm) > 100
    monkeypatch.setattr(run, "_objective", lambda *args: 1e4 * objective(*args))
    run.advance()
    for parameter, gradient in zip(parameters, raw, strict=True):
        torch.testing.assert_close(parameter.grad, gradient / norm, rtol=1e-4, atol=1e-6)


def test_times_follow_the_mixture_density() -> None:
    """The stratified sample's empirical distribution against the stated distribution function."""
    times = np.sort(training_times(4096, np.random.default_rng(0)))
    low, high = DECISIVE
    wide = (times - FIRST) / (END - FIRST)
    stated = SHARE * np.clip((times - low) / (high - low), 0, 1) + (1 - SHARE) * wide
    empirical = (np.arange(4096) + 0.5) / 4096
    assert np.abs(stated - empirical).max() <= 1 / 4096
    assert times.min() >= FIRST and times.max() <= END


def test_a_batch_is_a_function_of_seed_and_step(idx_folder: Path, tiny_plan: dict) -> None:
    """Data, times and ζ as drawn from Philox (seed, step), counter 3; E|ζ_k|² = 1 on H_N; each
    sample with the spectra of the prior that it met, as often as the weights say (4 σ)."""
    fields = IdxFolder(idx_folder).fields()[:50]
    plan = Plan(**tiny_plan | FAMILY | {"batch": 2000, "seed": 5})
    run = Training(plan, fields)
    run.step = 4
    clean, white, times, noise = run._batch(16)

    rng = np.random.Generator(np.random.Philox(key=[5, 4], counter=[0, 0, 0, 3]))
    chosen = torch.from_numpy(rng.integers(50, size=2000))
    torch.testing.assert_close(clean, to_modes(resample(fields[chosen], 16)))
    np.testing.assert_array_equal(times.numpy(), training_times(2000, rng))
    pixels = torch.from_numpy(rng.standard_normal((2000, 1, 16, 16), np.float32))
    torch.testing.assert_close(white, to_modes(pixels) * 16)
    power = white.abs().square().mean((0, 1))
    assert float((power - (multiplicity(16) > 0).float()).abs().max()) < 6 * (2 / 2000) ** 0.5

    family = Family.of(plan.priors, 2, 5, run.statistics.variance)
    spectra = family.noise(16)
    met = torch.zeros(2000, len(family.priors), dtype=torch.bool)
    for i in range(len(family.priors)):
        met[:, i] = (noise.modes == spectra.modes[i]).all((1, 2, 3))
        assert torch.equal(noise.shells[met[:, i]], spectra.shells[i].expand(met[:, i].sum(), -1))
    assert bool((met.sum(1) == 1).all())
    weights = np.array(family.weights)
    spread = np.sqrt(weights * (1 - weights) / 2000)
    assert (np.abs(met.numpy().mean(0) - weights) < 4 * spread).all()


def test_shifted_data_and_other_times(idx_folder: Path, tiny_plan: dict) -> None:
    """Each digit is moved by its own offset, at most by `shift`; other draws stay the same."""
    fields = IdxFolder(idx_folder).fields()[:50]
    still, moved = (
        Training(Plan(**tiny_plan | {"batch": 64, "shift": s}), fields)._batch(16)
        for s in (0.0, 0.05)
    )
    for a, b in zip(still[1:3], moved[1:3], strict=True):
        torch.testing.assert_close(a, b)
    phase = (moved[0] / still[0])[:, 0, :2, :2].angle() / (-2 * np.pi)  # of e_01 and e_10
    offsets = torch.stack([phase[:, 1, 0], phase[:, 0, 1]], 1)
    assert 0.04 < float(offsets.abs().max()) <= 0.05
    assert abs(float(offsets.mean())) < 4 * 0.05 / (3 * 128) ** 0.5
    torch.testing.assert_close(moved[0], shift(still[0], offsets), rtol=1e-3, atol=1e-5)
    with pytest.raises(ValueError, match=r"shift must be in \[0, 0\.5\], got 0\.7"):
        Plan(**tiny_plan | {"shift": 0.7})
    times = training_times(1000, np.random.default_rng(0), 0.0)
    np.testing.assert_allclose(np.sort(times), np.linspace(FIRST, END, 1000), atol=2e-3)


def test_coarser_levels_are_rehearsed_in_turn() -> None:
    """Every fourth step of a finer level, on each of the coarser ones; the first has none."""
    levels = ((8, 8), (16, 9), (32, 20))
    plan = Plan(({"name": "bessel"},), levels=levels)
    taken = [plan.resolution_of(step) for step in range(plan.steps)]
    assert taken[:8] == [8] * 8
    assert taken[8:17] == [16, 16, 16, 8, 16, 16, 16, 8, 16]
    assert taken[17:] == [32, 32, 32, 8, 32, 32, 32, 16] * 2 + [32, 32, 32, 8]
    plan = Plan(({"name": "bessel"},), levels=levels, rehearsal=0)
    assert [plan.resolution_of(s) for s in range(plan.steps)] == [8] * 8 + [16] * 9 + [32] * 20


def test_rehearsal_leaves_rates_and_ends_of_levels_alone(
    idx_folder: Path, tiny_plan: dict, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Levels of 3 and 4 steps, rehearsed at every second: the last step of all is a rehearsal."""
    plan = Plan(**tiny_plan | FAMILY | {"levels": ((8, 3), (16, 4))})
    run, asked = Training(plan, IdxFolder(idx_folder).fields()[:50]), []
    batch = run._batch
    monkeypatch.setattr(run, "_batch", lambda n: asked.append(n) or batch(n))
    steps = list(run.run())
    assert asked == [p.resolution for p in steps] == [8, 8, 8, 16, 8, 16, 8]
    assert [p.level for p in steps] == [8] * 3 + [16] * 4
    assert [p.finished_level for p in steps] == [None, None, 0, None, None, None, 1]
    without = Plan(**tiny_plan | {"levels": plan.levels, "rehearsal": 0})
    assert [p.learning_rate for p in steps] == [without.rate(i) for i in range(7)]


def test_rate_warms_up_falls_and_halves_between_levels() -> None:
    plan = Plan(({"name": "bessel"},), levels=((16, 1000), (32, 1000)), learning_rate=1e-3)
    rates = np.array([plan.rate(i) for i in range(2000)])
    assert rates[0] == pytest.approx(1e-5, rel=0.01)
    assert rates[:1000].max() == pytest.approx(1e-3, rel=0.05)
    assert rates[999] == pytest.approx(2e-5, rel=0.01)
    np.testing.assert_allclose(rates[1000:], rates[:1000] / 2)
    carried = replace(plan, carried=1.0)
    np.testing.assert_allclose([carried.rate(i) for i in range(1000, 2000)], rates[:1000])


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"levels": ()}, "at least one level"),
        ({"levels": ((4, 10),)}, "from 8 to 256, got 4"),
        ({"levels": ((16, 0),)}, "from 1 to 10000000, got 0"),
        ({"batch": 0}, "from 1 to 65536, got 0"),
        ({"learning_rate": float("nan")}, r"in \(0, 1\], got nan"),
        ({"carried": 0.0}, r"in \(0, 1\], got 0"),
        ({"ema": 1.0}, r"in \[0, 1\), got 1"),
        ({"priors": ()}, "at least one prior"),
        ({"priors": ({"name": "bessel"}, {"name": "pink"})}, "got 'pink'"),
        ({"variations": -1}, "variations must be from 0 to 10000, got -1"),
        ({"rehearsal": 1}, "0 or from 2 to 10000, got 1"),
        ({"rehearsal": -4}, "0 or from 2 to 10000, got -4"),
    ],
)
def test_bad_plans_name_value_and_bound(tiny_plan: dict, change: dict, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        Plan(**tiny_plan | change)


def test_loss_log_drops_what_will_be_done_again(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    path.write_text("".join(json.dumps({"step": s, "loss": 1.0}) + "\n" for s in (20, 40, 60)))
    LossLog(path, 40)
    assert [json.loads(line)["step"] for line in path.read_text().splitlines()] == [20, 40]


def log_of(path: Path, every: int, steps: list[tuple[int, int, float, int | None]]) -> list[dict]:
    """The lines written for steps of (level, resolution, loss, finished level)."""
    log = LossLog(path, 0, every)
    for i, (level, resolution, loss, done) in enumerate(steps):
        value = torch.tensor(loss)
        log.add(Progress(i + 1, len(steps), level, resolution, value, 1e-3, 0.5 * i, done))
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_loss_log_leaves_rehearsal_out(tmp_path: Path) -> None:
    """The mean is over the steps of the level; a line that is due at a rehearsal comes all the
    same, one for which nothing is left does not."""
    steps = [
        *[(16, 16, 1.0, None), (16, 16, 3.0, None), (16, 16, 5.0, 0)],
        *[(32, 32, 10.0, None), (32, 16, 1.0, None), (32, 32, 14.0, None)],
        *[(32, 16, 1.0, None), (32, 32, 11.0, None), (32, 16, 1.0, 1)],
    ]
    lines = log_of(tmp_path / "two.jsonl", 2, steps)
    told = [(x["step"], x["resolution"], x["loss"]) for x in lines]
    assert told == [(2, 16, 2), (3, 16, 5), (4, 32, 10), (6, 32, 14), (8, 32, 11)]
    lines = log_of(tmp_path / "seven.jsonl", 7, steps)
    told = [(x["step"], x["resolution"], x["loss"]) for x in lines]
    assert told == [(3, 16, 3), (7, 32, 12), (9, 32, 11)]


@pytest.mark.parametrize("kind", list(NETWORKS))
def test_training_goes_on_after_inference(kind: str) -> None:
    """Whatever is kept from a first call in inference mode serves a backward pass."""
    program = f"""
import torch
from mldemo.networks import build_network
from mldemo.space.spectral import radial_power, resample
network = build_network({{"kind": "{kind}"}})
x, snr = torch.randn(1, 2, 16, 16), torch.zeros(1, 11)
with torch.inference_mode():
    network(x, snr)
    radial_power(resample(x, 16))
network(resample(x, 16), snr).square().mean().backward()
radial_power(resample(x.requires_grad_(), 16)).sum().backward()
"""
    root = Path(__file__).resolve().parents[1]
    subprocess.run([sys.executable, "-c", program], cwd=root, check=True, timeout=120)
