"""The command line in a terminal: help in every encoding, Ctrl-C at any time."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


@pytest.mark.parametrize("encoding", ["cp1252", "cp437", "latin-1", "utf-8", "utf-16"])
def test_help_in_every_encoding(encoding: str) -> None:
    command = [sys.executable, "-m", "mldemo", "sample", "--help"]
    environ = os.environ | {"PYTHONIOENCODING": encoding}
    done = subprocess.run(command, cwd=ROOT, env=environ, capture_output=True, check=True)
    text = done.stdout.decode(encoding)
    assert "--kappa" in text and ("κ" in text) == encoding.startswith("utf")


def in_its_own_start(pid: int) -> bool:
    """Whether the interpreter is not yet ours: it catches SIGINT, and torch is not there."""
    status = Path(f"/proc/{pid}/status").read_text()
    caught = int(status.split("SigCgt:")[1].split()[0], 16) >> (signal.SIGINT - 1) & 1
    return bool(caught) and "libtorch" not in Path(f"/proc/{pid}/maps").read_text()


LOST = """
class Busy:
    def __del__(self): told(); time.sleep(600)
def run(): Busy(); time.sleep(600)
"""
HANGING = """
def run():
    threading.Thread(target=time.sleep, args=(600,)).start()
    try: told(); time.sleep(600)
    except KeyboardInterrupt: raise SystemExit(130) from None
"""


@pytest.mark.parametrize(("run", "code"), [(LOST, -signal.SIGINT), (HANGING, 130)])
def test_control_c_that_is_lost_or_waited_for(run: str, code: int) -> None:
    """Raised in a destructor, or beside a thread that does not end: the process ends."""
    program = f"""
import threading, time
import mldemo.__main__ as program
from mldemo import cli
program.PATIENCE = 0.5
def told(): print("busy", flush=True)
{run}
cli.main = run
program.main()
"""
    process = subprocess.Popen(
        [sys.executable, "-c", program], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    try:
        assert process.stdout is not None and process.stdout.readline() == b"busy\n"
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=60)
    finally:
        process.kill()
        process.communicate()
    assert process.returncode == code


@pytest.mark.parametrize("seconds", [0.1, 0.3, 0.5, 0.7, 1.0, 2.0])
def test_control_c_at_any_time(tiny_bundle: Path, tmp_path: Path, seconds: float) -> None:
    command = [sys.executable, "-m", "mldemo", "sample", "--checkpoints", str(tiny_bundle)]
    command += ["--steps", "1000", "--count", "1024", "--out", str(tmp_path / "a.npy")]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    try:
        time.sleep(seconds)
        while in_its_own_start(process.pid):
            time.sleep(0.001)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=60)
    finally:
        process.kill()
        process.communicate()
    assert process.returncode in (130, -signal.SIGINT)
    assert b"Traceback" not in err and out == b""
    assert list(tmp_path.iterdir()) == []
