"""Bounded reads and atomic writes of files; every failure names the path and the reason.

Only regular files of bounded size are read; a device, a FIFO or a file of terabytes is refused.
Writing goes to a temporary file beside the destination, which is then moved there: a reader never
sees half a file, and a temporary file left by a killed writer is removed by the next one.
"""

import json
import math
import os
import secrets
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from glob import escape
from io import BufferedRandom
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

try:
    import fcntl
except ImportError:  # Windows, where an open file cannot be removed anyway
    fcntl = None

# Opening a FIFO without O_NONBLOCK waits for a writer, for ever if there is none; O_BINARY exists
# on Windows only.
_READ = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
LARGEST_TEXT = 64 * 2**20


class FileError(ValueError):
    """A file cannot be read or written; the message names it and says why."""


def brief(error: BaseException) -> str:
    """The first two lines of a message; torch names every tensor that does not fit."""
    return " ".join(" ".join(str(error).splitlines()[:2]).split())


@contextmanager
def explained(path: Path, task: str) -> Iterator[None]:
    """Turn an `OSError` inside into a `FileError`: PATH cannot be TASK: REASON."""
    try:
        yield
    except OSError as error:
        raise FileError(f"{path} cannot be {task}: {error.strerror or error}") from None


def read_bounded(path: Path, largest: int) -> bytes:
    """The bytes of a regular file of at most `largest` bytes."""
    with explained(path, "read"):
        with open(path, "rb", opener=lambda name, _: os.open(name, _READ)) as file:
            status = os.fstat(file.fileno())
            if not stat.S_ISREG(status.st_mode):
                raise FileError(f"{path} cannot be read: it is not a regular file")
            raw = file.read(largest + 1) if status.st_size <= largest else None
    if raw is None or len(raw) > largest:
        raise FileError(f"{path} cannot be read: it has more than {largest} bytes")
    return raw


def parse_json(text: bytes | str, source: object) -> Any:
    """Parse JSON; NaN, infinities and deep nesting, which it lacks, raise `FileError` too."""

    def refuse(constant: str) -> None:
        raise ValueError(f"{constant} is not JSON")

    def finite(digits: str) -> float:
        number = float(digits)
        if math.isinf(number):
            raise ValueError(f"{digits[:40]} is too large a number")
        return number

    try:
        text = text.decode() if isinstance(text, bytes) else text
        return json.loads(text, parse_constant=refuse, parse_float=finite)
    except RecursionError:
        raise FileError(f"{source} is damaged: it is nested too deeply") from None
    except ValueError as error:
        raise FileError(f"{source} is damaged: {error}") from None


def read_json(path: Path, largest: int = LARGEST_TEXT) -> Any:
    """The value of a JSON file."""
    return parse_json(read_bounded(path, largest), path)


def make_folder(path: Path) -> None:
    """Create a folder and its parents where they are missing."""
    with explained(path, "created"):
        path.mkdir(parents=True, exist_ok=True)


def write_whole(path: Path, write: Callable[[BufferedRandom], object]) -> None:
    """Let `write` fill a file beside `path`, then move it there; a failure leaves nothing."""
    with explained(path, "written"):
        _remove_abandoned(path)
        # numpy bypasses a BufferedWriter, writing to its descriptor, and then cannot say why it
        # failed; it does not bypass a file that can also be read.
        part, file = _open_part(path)
        try:
            with file:
                write(file)
                file.flush()
                os.fsync(file.fileno())
                if fcntl is not None:  # as long as it is locked nobody takes it for abandoned
                    os.replace(part, path)
            if fcntl is None:
                os.replace(part, path)
        finally:
            part.unlink(missing_ok=True)


def _open_part(path: Path) -> tuple[Path, BufferedRandom]:
    """A new file beside `path`, locked for as long as it is open."""
    while True:
        part = path.with_name(f"{path.name}.{secrets.token_hex(4)}.part")
        file = part.open("x+b")
        if fcntl is None:
            return part, file
        fcntl.flock(file, fcntl.LOCK_EX)
        if os.fstat(file.fileno()).st_nlink:  # nobody removed it before it was locked
            return part, file
        file.close()


def _remove_abandoned(path: Path) -> None:
    """Remove temporary files for `path` whose writers are gone, and with them their locks."""
    for part in path.parent.glob(f"{escape(path.name)}.*.part"):
        with suppress(OSError), part.open("rb") as file:
            if fcntl is not None:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            part.unlink()


def write_bytes(path: Path, raw: bytes) -> None:
    """Replace a file atomically."""
    write_whole(path, lambda file: file.write(raw))


def write_json(path: Path, value: Any) -> None:
    """Write a value as indented JSON; NaN and infinities raise `ValueError`."""
    write_bytes(path, (json.dumps(value, indent=1, allow_nan=False) + "\n").encode())


def append_line(path: Path, text: str) -> None:
    """Add a line to a text file."""
    with explained(path, "written"), path.open("a", encoding="utf-8") as file:
        file.write(text + "\n")


@contextmanager
def locked(path: Path, owner: str, seconds: float = 0.0) -> Iterator[None]:
    """Hold PATH.lock; `FileError` if another process still holds it after `seconds`.

    The lock ends with the process, however it ends; the empty file stays. `owner` says who holds
    it, for the message.
    """
    lock = FileLock(f"{path}.lock", timeout=seconds)
    with explained(path, "locked"):
        try:
            lock.acquire()
        except Timeout:
            raise FileError(f"{path} is in use: {owner}") from None
    try:
        yield
    finally:
        lock.release()
