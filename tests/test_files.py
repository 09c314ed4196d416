"""Reading is bounded, writing is whole, and every failure names the path and the reason."""

import json
import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from mldemo.store import files
from mldemo.store.files import FileError


def special(folder: Path) -> dict[str, Path]:
    """Things that are no regular files."""
    os.mkfifo(folder / "fifo")
    return {"fifo": folder / "fifo", "device": Path("/dev/zero"), "folder": folder}


@pytest.mark.parametrize("kind", ["fifo", "device", "folder"])
def test_only_regular_files_are_read(tmp_path: Path, kind: str) -> None:
    """At once: nobody will ever write into the FIFO."""
    path, start = special(tmp_path)[kind], time.monotonic()
    held = len(os.listdir("/proc/self/fd"))
    with pytest.raises(FileError, match=r"cannot be read: (it is not a regular|Is a directory)"):
        files.read_bounded(path, 100)
    assert time.monotonic() - start < 5
    assert len(os.listdir("/proc/self/fd")) == held


def test_a_large_file_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "large"
    with path.open("wb") as file:
        file.truncate(2**40)
    with pytest.raises(FileError, match="large cannot be read: it has more than 100 bytes"):
        files.read_bounded(path, 100)
    path.write_bytes(b"x" * 100)
    assert files.read_bounded(path, 100) == b"x" * 100


def test_nothing_is_written_that_could_not_be_read(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="JSON compliant"):
        files.write_json(tmp_path / "a.json", {"seconds": float("inf")})
    assert list(tmp_path.iterdir()) == []


def test_another_writer_does_not_take_a_finished_file_for_abandoned(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It begins between the last byte of the first and its move to its place."""
    path, replace = tmp_path / "a", os.replace

    def late(part: Path, place: Path) -> None:
        files._remove_abandoned(path)
        replace(part, place)

    monkeypatch.setattr(os, "replace", late)
    files.write_bytes(path, b"whole")
    assert path.read_bytes() == b"whole" and [*tmp_path.iterdir()] == [path]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("[" * 200_000 + "]" * 200_000, "nested too deeply"),
        ('{"a": NaN}', "NaN is not JSON"),
        ("[-Infinity]", "-Infinity is not JSON"),
        ("[1e999]", "1e999 is too large a number"),
        ("[" + "1" * 10_000 + "]", "digits"),
        ("", "Expecting value"),
        ("\ud800", "can't decode byte"),
    ],
)
def test_what_is_no_json_is_refused(tmp_path: Path, text: str, reason: str) -> None:
    path = tmp_path / "a.json"
    path.write_bytes(text.encode("utf-8", "surrogatepass"))
    with pytest.raises(FileError, match=rf"a\.json is damaged: .*{reason}"):
        files.read_json(path)


def test_a_failed_write_keeps_what_was_there(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    files.write_bytes(path, b"before")

    def fail(file: object) -> None:
        raise RuntimeError("half way")

    with pytest.raises(RuntimeError):
        files.write_whole(path, fail)
    assert path.read_bytes() == b"before"
    assert [p.name for p in tmp_path.iterdir()] == ["a.txt"]


def limited(size: int) -> Callable[[], None]:
    """In the child: files of at most `size` bytes, with an error instead of a signal."""

    def limit() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))

    return limit


def test_a_full_disk_is_named_with_its_reason(tmp_path: Path) -> None:
    """numpy alone would say "1048576 requested and 262112 written"."""
    program = f"""
import numpy as np
from pathlib import Path
from mldemo.store.files import FileError, write_whole
try:
    write_whole(Path({str(tmp_path / "a.npy")!r}), lambda f: np.save(f, np.zeros(2**20)))
except FileError as error:
    print(error)
"""
    done = subprocess.run(
        [sys.executable, "-c", program],
        preexec_fn=limited(2**18),
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == f"{tmp_path / 'a.npy'} cannot be written: File too large\n"
    assert list(tmp_path.iterdir()) == []


def test_arrays_come_back(tmp_path: Path) -> None:
    array = np.arange(12.0).reshape(3, 4)
    files.write_whole(tmp_path / "a.npy", lambda file: np.save(file, array))
    assert np.array_equal(np.load(tmp_path / "a.npy"), array)


def test_the_next_writer_removes_what_a_killed_one_left(tmp_path: Path) -> None:
    """And leaves alone what a living one is writing, and other files' parts."""
    program = f"""
import time
from pathlib import Path
from mldemo.store.files import write_whole
path = Path({str(tmp_path / "a.txt")!r})
write_whole(path, lambda f: (print("open", flush=True), time.sleep(60)))
"""
    writer = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE)
    assert writer.stdout is not None
    try:
        assert writer.stdout.readline() == b"open\n"
        other = tmp_path / "ba.txt.0000.part"
        other.touch()
        files.write_bytes(tmp_path / "a.txt", b"new")
        assert len(list(tmp_path.glob("a.txt.*.part"))) == 1, "a living writer's file is gone"
    finally:
        writer.kill()
        writer.communicate()
    assert len(list(tmp_path.glob("a.txt.*.part"))) == 1
    files.write_bytes(tmp_path / "a.txt", b"new")
    assert {p.name for p in tmp_path.iterdir()} == {"a.txt", other.name}


def test_a_lock_is_held_by_one_process_and_ends_with_it(tmp_path: Path) -> None:
    program = f"""
import time
from pathlib import Path
from mldemo.store.files import locked
with locked(Path({str(tmp_path / "run")!r}), "of the child"):
    print("held", flush=True)
    time.sleep(60)
"""
    holder = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE)
    assert holder.stdout is not None
    try:
        assert holder.stdout.readline() == b"held\n"
        with (
            pytest.raises(FileError, match=r"run is in use: another run is writing"),
            files.locked(tmp_path / "run", "another run is writing"),
        ):
            pytest.fail("two at once")
    finally:
        holder.kill()
        holder.communicate()
    with files.locked(tmp_path / "run", "nobody"):
        pass


def test_missing_folders_are_named(tmp_path: Path) -> None:
    for act in (
        lambda path: files.write_bytes(path, b""),
        lambda path: files.append_line(path, ""),
        lambda path: files.read_json(path),
    ):
        with pytest.raises(FileError, match=r"none/a cannot be \w+: No such file or directory"):
            act(tmp_path / "none" / "a")


def test_values_come_back_through_json(tmp_path: Path) -> None:
    value = {"a": [1, 2.5, None, "ζ"]}
    files.write_json(tmp_path / "a.json", value)
    assert files.read_json(tmp_path / "a.json") == value
    assert json.loads((tmp_path / "a.json").read_text("utf-8")) == value
