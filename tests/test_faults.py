"""Training and sampling where the disk, the files or the names are bad: code 2, one sentence."""

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file, save_file
from test_cli import run

from mldemo.store.manifest import read_manifest
from mldemo.training.loop import LossLog

__all__ = ["run"]
TINY = '{"kind": "ushaped", "width": 8, "modes": 4, "core_grid": 8, "core_widths": [8, 16]}'
ROOT = Path(__file__).resolve().parents[1]


def is_one_sentence(answer: tuple[int, str, str], *words: object) -> bool:
    code, out, err = answer
    assert code == 2, err
    assert err.startswith("mldemo: ") and err.count("\n") == 1 and out == "", err
    assert len(err) < 600 and all(str(word) in err for word in words), err
    return True


def training_words(data: Path, out: Path, *more: object) -> tuple[object, ...]:
    words = ("train", "--data", data, "--network", TINY, "--levels", "8:4", "--batch", 4)
    return (*words, "--name", "a", "--out", out, *more)


# --- the disk


@contextmanager
def mounted(folder: Path, options: str) -> Iterator[Path]:
    """A file system of its own on a folder; skips where one may not mount."""
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        pytest.skip(f"mounting needs root: {done.stderr.strip()}")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


def test_training_on_a_full_disk(run, idx_folder: Path, tmp_path: Path) -> None:
    """Of the file that did not fit, nothing is left."""
    with mounted(tmp_path / "small", "size=100k") as small:
        answer = run(*training_words(idx_folder, small))
        assert is_one_sentence(answer, small / "a.state.safetensors", "No space left on device")
        assert not list(small.glob("*.part"))


def test_a_loss_log_on_a_full_disk(tmp_path: Path) -> None:
    from mldemo.store.files import FileError, append_line

    with mounted(tmp_path / "small", "size=4k") as small:
        log = LossLog(small / "a.jsonl", 0)
        with pytest.raises(FileError, match=r"a\.jsonl cannot be written: No space left"):
            append_line(log.path, "x" * 10_000)


def test_samples_on_a_full_disk(run, tiny_bundle: Path, tmp_path: Path) -> None:
    words = ("sample", "--checkpoints", tiny_bundle, "--resolution", 64, "--steps", 1)
    with mounted(tmp_path / "small", "size=64k") as small:
        answer = run(*words, "--count", 8, "--out", small / "a.npy")
        assert is_one_sentence(answer, small / "a.npy", "cannot be written: No space left")
        assert list(small.iterdir()) == []


def test_a_read_only_file_system(run, idx_folder: Path, tiny_bundle: Path, tmp_path: Path) -> None:
    """Seen before anything is computed."""
    with mounted(tmp_path / "fixed", "ro") as fixed:
        words = ("sample", "--checkpoints", tiny_bundle, "--steps", 1, "--count", 1)
        assert is_one_sentence(run(*words, "--out", fixed / "a.png"), fixed, "cannot be written")
        answer = run(*training_words(idx_folder, fixed))
        assert is_one_sentence(answer, fixed / "a", "Read-only file system")
        answer = run(*training_words(idx_folder, fixed / "new"))
        assert is_one_sentence(answer, fixed / "new", "Read-only file system")


def test_output_that_nobody_takes(tiny_bundle: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "mldemo", "noise", "--prior", "bessel", "--count", "1"]
    command += ["--checkpoints", str(tiny_bundle), "--out", str(tmp_path / "a.npy")]
    with open("/dev/full", "w") as full:
        done = subprocess.run(command, cwd=ROOT, stdout=full, stderr=subprocess.PIPE, text=True)
    assert done.returncode == 2 and done.stderr == "mldemo: No space left on device\n"


# --- files of a training


@pytest.fixture(scope="module")
def trained(idx_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a training that is done."""
    folder = tmp_path_factory.mktemp("trained")
    command = [sys.executable, "-m", "mldemo", *map(str, training_words(idx_folder, folder))]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    return folder


def state_record(change: Callable[[dict[str, Any]], None]) -> Callable[[Path], None]:
    """Change the record in a state file."""

    def damage(path: Path) -> None:
        raw = path.read_bytes()
        header = json.loads(raw[8 : 8 + int.from_bytes(raw[:8], "little")])
        record = json.loads(header["__metadata__"]["training"])
        change(record)
        save_file(load_file(path), path, {"training": json.dumps(record)})

    return damage


def without_tensor(path: Path) -> None:
    raw = path.read_bytes()
    header = json.loads(raw[8 : 8 + int.from_bytes(raw[:8], "little")])
    tensors = load_file(path)
    del tensors[min(name for name in tensors if name.startswith("optimizer"))]
    save_file(tensors, path, header["__metadata__"])


def as_fifo(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def as_device(path: Path) -> None:
    path.unlink()
    path.symlink_to("/dev/zero")


STATES: dict[str, tuple[Callable[[Path], object], str]] = {
    "empty": (lambda path: path.write_bytes(b""), "no checkpoint of mldemo"),
    "truncated": (lambda path: path.write_bytes(path.read_bytes()[:5000]), "no checkpoint"),
    "a tensor missing": (without_tensor, "tensors are missing"),
    "no step": (state_record(lambda r: r.pop("step")), "has no step"),
    "null step": (state_record(lambda r: r.update(step=None)), "step of it must be a whole"),
    "negative step": (state_record(lambda r: r.update(step=-1)), "step of it must be a whole"),
    "NaN seconds": (state_record(lambda r: r.update(seconds=float("nan"))), "NaN is not JSON"),
    "no plan": (state_record(lambda r: r.update(plan=None)), "plan of it must be an object"),
    "another plan": (state_record(lambda r: r.update(plan={})), "belongs to another plan"),
    "a list": (lambda path: save_file({}, path, {"training": "[]"}), "its record is []"),
    "fifo": (as_fifo, "not a regular file"),
    "device": (as_device, "not a regular file"),
}


@pytest.mark.parametrize("kind", STATES)
def test_a_damaged_state(run, trained: Path, idx_folder: Path, tmp_path: Path, kind: str) -> None:
    """The sentence names the file and says what to do."""
    folder = Path(shutil.copytree(trained, tmp_path / "run"))
    state = folder / "a.state.safetensors"
    damage, words = STATES[kind]
    damage(state)
    answer = run(*training_words(idx_folder, folder))
    assert is_one_sentence(answer, state, words, "remove")


def test_a_loss_log_that_was_cut(tmp_path: Path) -> None:
    """The cut line goes; a complete one whose line end alone is missing stays."""
    path = tmp_path / "a.jsonl"
    lines = [json.dumps({"step": step, "loss": 1.0}) for step in (20, 40)]
    path.write_text("\n".join([*lines, lines[1][:9]]))
    LossLog(path, 40)
    assert path.read_text() == "\n".join([*lines, ""])
    path.write_text("\n".join(lines))
    LossLog(path, 40)
    assert path.read_text() == "\n".join([*lines, ""])


def test_a_file_that_is_no_loss_log_is_left_alone(run, idx_folder: Path, tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text("my notes\nand more\n")
    answer = run(*training_words(idx_folder, tmp_path))
    assert is_one_sentence(answer, path, "no loss log: line 1")
    assert path.read_text() == "my notes\nand more\n"


def test_two_trainings_of_one_name(idx_folder: Path, tmp_path: Path, run) -> None:
    """The second is refused while the first runs; another name is not; killed, it goes on."""
    words = list(map(str, training_words(idx_folder, tmp_path, "--save-every", 1)))
    words[words.index("8:4")] = "8:1000000"
    command = [sys.executable, "-m", "mldemo", *words]
    first = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    try:
        deadline = time.monotonic() + 120
        while not (tmp_path / "a.state.safetensors").exists():
            assert first.poll() is None and time.monotonic() < deadline
            time.sleep(0.05)
        assert is_one_sentence(run(*words), tmp_path / "a", "another training writes these files")
        other = [*training_words(idx_folder, tmp_path), "--name", "b"]
        assert run(*other)[0] == 0
    finally:
        first.kill()
        first.communicate()
    steps = [json.loads(line)["step"] for line in (tmp_path / "a.jsonl").read_text().splitlines()]
    assert len(steps) == len(set(steps))


def test_checkpoints_that_finish_at_once_are_all_in_the_manifest(tmp_path: Path) -> None:
    program = """
import sys
from pathlib import Path
from mldemo.store.manifest import write_file
folder, name = Path(sys.argv[1]), sys.argv[2]
(folder / f"{name}.ready").touch()
while len(list(folder.glob("*.ready"))) < 2:
    pass
for i in range(20):
    write_file(folder, f"{name}{i}", "fields", {}, {"mldemo": "{}"}, {})
"""
    command = [sys.executable, "-c", program, str(tmp_path)]
    writers = [subprocess.Popen([*command, name], cwd=ROOT) for name in "ab"]
    assert [writer.wait(120) for writer in writers] == [0, 0]
    assert len(read_manifest(tmp_path)["files"]) == 40


# --- names and networks


@pytest.mark.parametrize("name", ["..", ".", "a/b", "../x", "/", "-x", "", "x" * 101, "a\nb"])
def test_names_that_are_none(run, idx_folder: Path, tmp_path: Path, name: str) -> None:
    words = training_words(idx_folder, tmp_path / "out")
    answer = run(*(name if word == "a" else word for word in words))
    if name == "":  # the default
        assert answer[0] == 0
        return
    assert is_one_sentence(answer, "--name must be a plain name")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ("--network magic", "got 'magic'"),
        ('--network {"kind":', "--network is damaged"),
        ('--network {"width":8}', "a kind and options"),
        ('--network {"kind":"fno","width":1000000}', "numbers from 1 to 4096"),
        ('--network {"kind":"fno","sides":8}', "sides"),
        ("--size huge", "'huge' is not one of 'light', 'large'"),
        ("--size light --network fno", "exclude each other"),
    ],
)
def test_networks_that_are_none(
    run, idx_folder: Path, tmp_path: Path, words: str, sentence: str
) -> None:
    answer = run("train", "--data", idx_folder, "--out", tmp_path / "o", *words.split())
    assert is_one_sentence(answer, sentence)
