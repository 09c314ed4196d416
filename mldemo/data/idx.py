"""Reading of IDX files, the format of MNIST, from a user's folder.

The images of a part are looked for under the usual names, gzipped or not, also in a folder `raw`
as torchvision lays it out. Size and shape are checked before the data are read, so that a small
file cannot cause a large allocation.
"""

import gzip
import math
import struct
import zlib
from collections.abc import Iterator
from difflib import get_close_matches
from io import BufferedReader
from itertools import islice
from pathlib import Path

import numpy as np

LARGEST_BYTES = 2**28  # of an array: five times MNIST
_PADDING = 2**16  # at most this many zero bytes or line ends may follow an array
_ENTRIES = 1000  # of a folder; further ones are not searched


def read_idx(path: Path) -> np.ndarray:
    """The uint8 array of an IDX file, gzipped or not.

    A file that is damaged, declares more than 2^28 bytes or holds more than it declares raises
    `ValueError` (up to 2^16 trailing zero bytes or line ends are padding). Little more than the
    declared bytes is decompressed.
    """
    try:
        with path.open("rb") as plain:
            packed = plain.read(2) == b"\x1f\x8b"
            plain.seek(0)
            if not packed:
                return _read(plain, path)
            with gzip.open(plain) as unpacked:
                return _read(unpacked, path)
    except (OSError, EOFError, zlib.error) as error:
        raise ValueError(f"{path} cannot be read: {error}") from None


def _read(file: gzip.GzipFile | BufferedReader, path: Path) -> np.ndarray:
    magic = file.read(4)
    rank = magic[3] if len(magic) == 4 and magic[:3] == b"\x00\x00\x08" else 0
    header = file.read(4 * rank)
    if not 1 <= rank <= 3 or len(header) < 4 * rank:
        raise ValueError(f"{path} is not an IDX file of bytes")
    shape = struct.unpack(f">{rank}I", header)
    size = math.prod(shape)  # Python's integers do not overflow
    if size > LARGEST_BYTES:
        raise ValueError(f"{path} promises {shape}, {size} bytes; the bound is {LARGEST_BYTES}")
    body = file.read(size)
    if len(body) < size:
        raise ValueError(f"{path} promises {shape}, {size} bytes, but holds {len(body)}")
    rest = file.read(_PADDING + 1)
    if len(rest) > _PADDING or rest.strip(b"\x00\r\n"):
        raise ValueError(f"{path} promises {shape}, {size} bytes, but holds more")
    return np.frombuffer(body, np.uint8).reshape(shape)


def file_names(part: str, what: str) -> tuple[str, ...]:
    """The usual names of a part's file, with .gz and without.

    For example train-images-idx3-ubyte and train-images.idx3-ubyte.
    """
    stem, kind = what.rsplit("-", 1)
    plain = f"{part}-{what}-ubyte", f"{part}-{stem}.{kind}-ubyte"
    return tuple(name + ending for name in plain for ending in (".gz", ""))


def read_part(folder: Path, part: str, what: str = "images-idx3") -> np.ndarray:
    """The array of one part ("train" or "t10k") and kind ("images-idx3" or "labels-idx1").

    If several files match, damaged ones are skipped and the intact ones must agree; `ValueError`
    names what is missing, damaged or ambiguous, and a file of a similar name.
    """
    paths = [folder / name for name in file_names(part, what) if (folder / name).is_file()]
    found: dict[Path, np.ndarray] = {}
    damage = None
    for path in paths:
        try:
            found[path] = read_idx(path)
        except ValueError as error:
            damage = damage or error
    if damage and not found:
        raise damage
    if not found:
        raise ValueError(f"{folder} holds no {part}-{what}-ubyte{_near(folder, part, what)}")
    (first, array), *others = found.items()
    for path, other in others:
        if not np.array_equal(array, other):
            raise ValueError(f"{folder} holds {first.name} and {path.name}, which differ")
    return array


def _near(folder: Path, part: str, what: str) -> str:
    """The end of a message: the gzipped name, and a similar name in the folder, if any."""
    names = [path.name for path in islice(folder.iterdir(), _ENTRIES) if path.is_file()]
    lower = {name.lower(): name for name in names}
    for wanted in file_names(part, what):
        if near := get_close_matches(wanted, lower, 1, 0.8):
            return f" or {part}-{what}-ubyte.gz, but {lower[near[0]]}"
    return f" or {part}-{what}-ubyte.gz"


def home_of(folder: Path) -> Path:
    """The folder with the training images: the given one, or its `raw` or `*/raw` (torchvision's).

    If the given one has none, but several of the others do, raise `ValueError`; if no folder has
    any, return the given one.
    """

    def holds(place: Path) -> bool:
        return any((place / name).is_file() for name in file_names("train", "images-idx3"))

    def places() -> Iterator[Path]:
        yield folder / "raw"
        yield from sorted(path / "raw" for path in islice(folder.iterdir(), _ENTRIES))

    if holds(folder):
        return folder
    found = [place for place in places() if holds(place)]
    if len(found) > 1:
        raise ValueError(f"{folder} holds several data sets: {', '.join(map(str, found))}")
    return found[0] if found else folder
