"""Training against itself: killed and resumed, shared by processes; and against its definition."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch

from mldemo.checkpoints import load_checkpoint, read_manifest
from mldemo.data import load_fields
from mldemo.sde import END, FIRST
from mldemo.training import DECISIVE, SHARE, LossLog, Plan, Training, training_times

ROOT = Path(__file__).resolve().parents[1]


def tensors_of(run: Training) -> dict[str, torch.Tensor]:
    """Everything that a step changes."""
    state = run.optimizer.state_dict()["state"]
    out = {f"w.{k}": v for k, v in run.denoiser.network.state_dict().items()}
    out |= {f"a.{k}": v for k, v in run.average.state_dict().items()}
    return out | {f"o.{i}.{k}": v for i, s in state.items() for k, v in s.items()}


def test_resumed_run_equals_uninterrupted_run_bit_for_bit(
    idx_folder: Path, tiny_plan: dict, tmp_path: Path
) -> None:
    fields, plan = load_fields(idx_folder)[:50], Plan(**tiny_plan)
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
        a, b = (load_checkpoint(name, f).denoiser.state_dict() for f in (killed, alone))
        assert a.keys() == b.keys() and all(torch.equal(a[k], b[k]) for k in a)
    logs = [(f / "k.jsonl").read_text() for f in (killed, alone)]
    curves = [[(r["step"], r["loss"]) for r in map(json.loads, t.splitlines())] for t in logs]
    assert curves[0][-1] == curves[1][-1] and len(curves[0]) == len(curves[1])


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
    fields = load_fields(idx_folder)[:50]
    Training(Plan(**tiny_plan), fields).save(tmp_path / "s.safetensors")
    other = Training(Plan(**tiny_plan | {"seed": 1}), fields)
    with pytest.raises(ValueError, match="another plan"):
        other.resume(tmp_path / "s.safetensors")


def test_training_lowers_the_loss(idx_folder: Path, tiny_plan: dict) -> None:
    """60 steps against the loss of the untrained network, which is that of the linear denoiser."""
    plan = Plan(**tiny_plan | {"levels": ((8, 60),), "batch": 32, "learning_rate": 5e-3})
    losses = [p.loss for p in Training(plan, load_fields(idx_folder)).run()]
    assert np.mean(losses[-10:]) < 0.9 * np.mean(losses[:3])


def test_times_follow_the_mixture_density() -> None:
    """The stratified sample's empirical distribution against the stated distribution function."""
    times = np.sort(training_times(4096, np.random.default_rng(0)))
    low, high = DECISIVE
    wide = (times - FIRST) / (END - FIRST)
    stated = SHARE * np.clip((times - low) / (high - low), 0, 1) + (1 - SHARE) * wide
    empirical = (np.arange(4096) + 0.5) / 4096
    assert np.abs(stated - empirical).max() <= 1 / 4096
    assert times.min() >= FIRST and times.max() <= END


def test_rate_warms_up_falls_and_halves_between_levels() -> None:
    plan = Plan(prior={"name": "bessel"}, levels=((16, 1000), (32, 1000)), learning_rate=1e-3)
    rates = np.array([plan.rate(i) for i in range(2000)])
    assert rates[0] == pytest.approx(1e-5, rel=0.01)
    assert rates[:1000].max() == pytest.approx(1e-3, rel=0.05)
    assert rates[999] == pytest.approx(2e-5, rel=0.01)
    np.testing.assert_allclose(rates[1000:], rates[:1000] / 2)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"levels": ()}, "at least one level"),
        ({"levels": ((4, 10),)}, "from 8 to 256, got 4"),
        ({"levels": ((16, 0),)}, "from 1 to 10000000, got 0"),
        ({"batch": 0}, "from 1 to 65536, got 0"),
        ({"learning_rate": float("nan")}, r"in \(0, 1\], got nan"),
        ({"ema": 1.0}, r"in \[0, 1\), got 1"),
        ({"prior": {"name": "pink"}}, "got 'pink'"),
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
