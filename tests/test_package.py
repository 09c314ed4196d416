"""What `pip install .` gives: every file of the package, the bundle, a command that samples."""

import json
import os
import subprocess
import sys
import zipfile
from importlib.metadata import PathDistribution
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel of this working tree, unpacked: a folder like site-packages."""
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", folder]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    (wheel,) = folder.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder / "site-packages")
    return folder / "site-packages"


def test_the_wheel_holds_every_tracked_file_and_nothing_else(installed: Path) -> None:
    """Compared with what git tracks: scripts, pages, recordings, records, checkpoints."""
    listing = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    raw = subprocess.run([*listing, "mldemo", "checkpoints"], cwd=ROOT, capture_output=True)
    names = {name for name in raw.stdout.decode().split("\0") if (ROOT / name).is_file()}
    want = {name if name.startswith("mldemo/") else f"mldemo/{name}" for name in names}
    assert {".py", ".js", ".css", ".html", ".json", ".bin", ".safetensors"} <= {
        Path(name).suffix for name in want
    }
    files = {path.relative_to(installed).as_posix() for path in installed.rglob("*")}
    held = {name for name in files if (installed / name).is_file() and "dist-info" not in name}
    assert {name for name in held if not name.endswith(".lock")} == want


def test_its_requirements_are_those_of_the_repository(installed: Path) -> None:
    lines = (ROOT / "requirements.txt").read_text("utf-8").splitlines()
    (metadata,) = installed.glob("*.dist-info")
    described = PathDistribution(metadata)
    assert set(described.requires or []) == {x for x in lines if x and not x.startswith("#")}
    (command,) = described.entry_points
    assert (command.name, command.value) == ("mldemo", "mldemo.__main__:main")


def test_it_samples_from_its_own_bundle(installed: Path, tmp_path: Path) -> None:
    """In another folder, with the unpacked wheel in front of everything else."""

    def python(*words: str) -> str:
        environ = os.environ | {"PYTHONPATH": str(installed)}
        command = [sys.executable, *words]
        done = subprocess.run(command, cwd=tmp_path, env=environ, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return done.stdout

    words = ("sample", "--count", "4", "--seed", "1", "--steps", "4", "--out", "a.png")
    assert json.loads(python("-m", "mldemo", *words))["checkpoint"] == "mnist-family-64"
    assert (tmp_path / "a.png").stat().st_size > 1000
    where = python("-c", "from mldemo.store.checkpoints import BUNDLE; print(BUNDLE)")
    assert where.strip() == str(installed / "mldemo" / "checkpoints")
