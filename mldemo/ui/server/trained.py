"""Networks trained on the page, kept in a temporary folder while the server runs, a few at most.

Each training has its own folder with its checkpoints and their manifest, so that all functions
that read checkpoints can read them. A training is named by a hash of its contents.
"""

import hashlib
import io
import re
import shutil
import tempfile
import threading
import weakref
import zipfile
from collections.abc import Iterable
from pathlib import Path

from mldemo.store.manifest import manifest_update

MOST_KEPT = 8


class Trainings:
    """Folders with checkpoints, the oldest of which are deleted; may be used from any thread."""

    def __init__(self, most: int = MOST_KEPT) -> None:
        self.most = most
        self._place: Path | None = None
        self._kept: list[str] = []
        self._lock = threading.Lock()

    def _root(self) -> Path:
        if self._place is None:
            self._place = Path(tempfile.mkdtemp(prefix="mldemo-trained-"))
            weakref.finalize(self, shutil.rmtree, self._place, ignore_errors=True)
        return self._place

    def begin(self) -> Path:
        """A folder to write a training's checkpoints into; its manifest says: on no Hub."""
        with self._lock:
            folder = Path(tempfile.mkdtemp(dir=self._root()))
        with manifest_update(folder) as manifest:
            manifest["repo"] = None
        return folder

    def keep(self, folder: Path) -> str:
        """Keep a folder made by `begin`; returns its name, twelve digits of a sha256."""
        digest = hashlib.sha256()
        for path in _files(folder):
            digest.update(path.name.encode() + path.read_bytes())
        name = digest.hexdigest()[:12]
        with self._lock:
            if name in self._kept:
                self._kept.remove(name)
                shutil.rmtree(folder)
            else:
                folder.rename(self._root() / name)
            self._kept.append(name)
            while len(self._kept) > self.most:
                shutil.rmtree(self._root() / self._kept.pop(0))
        return name

    def find(self, text: str) -> tuple[Path, str]:
        """The folder and checkpoint of TRAINING-CHECKPOINT; `ValueError` if that is gone."""
        training, _, checkpoint = text.partition("-")
        with self._lock:
            if not re.fullmatch("[0-9a-f]{12}", training) or training not in self._kept:
                raise ValueError(
                    "the network that was trained on this page is gone: "
                    f"the server keeps the last {self.most}; train it again"
                )
            return self._root() / training, checkpoint


def _files(folder: Path) -> Iterable[Path]:
    return sorted(path for path in folder.iterdir() if path.suffix in (".json", ".safetensors"))


def packed(folder: Path) -> bytes:
    """The checkpoints of a folder and their manifest as a ZIP file."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:  # weights do not compress
        for path in _files(folder):
            archive.writestr(zipfile.ZipInfo(path.name), path.read_bytes())
    return out.getvalue()


TRAINED = Trainings()
