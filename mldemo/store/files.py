"""Files that appear whole or not at all."""

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO


def write_whole(path: Path, write: Callable[[BinaryIO], object]) -> None:
    """Let `write` fill a file beside `path`, then move it there; a failure leaves nothing."""
    part = path.with_name(path.name + ".part")
    try:
        with part.open("wb") as file:
            write(file)
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)


def write_json(path: Path, value: Any) -> None:
    """A value as indented JSON."""
    text = json.dumps(value, indent=1) + "\n"
    write_whole(path, lambda file: file.write(text.encode()))
