"""Schemas of manifests, records and training states, checked before anything else is done.

A shape lists the keys of an object, each with the values that it may take; other keys are not
checked. The first violation raises `FileError`, in one sentence that says where it is.
"""

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from mldemo.store.files import FileError

LARGEST_FILE = 512 * 2**20
LARGEST_OPTION = 4096  # of a network: widths, modes, grids, depths


@dataclass(frozen=True)
class Value:
    """The values that a key may take, in words and as a test; `needed`: it must be present."""

    words: str
    test: Callable[[Any], bool]
    needed: bool = True


def _whole(low: int, high: int) -> Callable[[Any], bool]:
    return lambda v: type(v) is int and low <= v <= high


def _weight(value: Any) -> bool:
    return type(value) in (int, float) and 0 <= value <= 3


def _text(value: Any) -> bool:
    return isinstance(value, str) and 0 < len(value) <= 200


def _names(value: Any) -> bool:
    return isinstance(value, dict) and all(map(_text, value.values()))


def _named(key: str) -> Callable[[Any], bool]:
    return lambda v: isinstance(v, dict) and _text(v.get(key))


def _pairs(value: Any) -> bool:
    resolution, steps = _whole(1, 4096), _whole(0, 10**9)
    return isinstance(value, list) and all(
        isinstance(pair, list) and len(pair) == 2 and resolution(pair[0]) and steps(pair[1])
        for pair in value
    )


def _network(value: Any) -> bool:
    def option(v: Any) -> bool:
        if isinstance(v, list):
            return 0 < len(v) <= 64 and all(map(_whole(1, LARGEST_OPTION), v))
        real = isinstance(v, float) and math.isfinite(v)
        return real or isinstance(v, bool) or _text(v) or _whole(1, LARGEST_OPTION)(v)

    return _named("kind")(value) and all(map(option, value.values()))


def _list_of(test: Callable[[Any], bool]) -> Callable[[Any], bool]:
    return lambda v: isinstance(v, list) and 0 < len(v) <= 100_000 and all(map(test, v))


_priors = Value("a list of priors, each with its name", _list_of(_named("name")))
_levels = Value("a list of [resolution, steps]", _pairs)
NETWORK = Value(f"a kind and options, numbers from 1 to {LARGEST_OPTION}", _network)
VARIATIONS = Value("a whole number from 0 to 10000", _whole(0, 10_000), needed=False)
MANIFEST = {
    "files": Value("an object", lambda v: isinstance(v, dict)),
    "default": Value("the name of a file, or null", lambda v: v is None or _text(v)),
    "sizes": Value("names of files by size", _names, needed=False),
}
FILE = {
    "kind": Value("a text", _text),
    "file": Value(
        "a plain file name",
        lambda v: isinstance(v, str) and bool(re.fullmatch(r"\w[\w. +-]{0,199}", v)),
    ),
    "size": Value(f"a whole number from 0 to {LARGEST_FILE}", _whole(0, LARGEST_FILE)),
    "sha256": Value(
        "64 hexadecimal digits",
        lambda v: isinstance(v, str) and bool(re.fullmatch("[0-9a-f]{64}", v)),
    ),
    "data": Value("a text", _text, needed=False),
}
CHECKPOINT_FILE = FILE | {"priors": _priors, "levels": _levels}
CHECKPOINT_FILE["network"] = replace(NETWORK, needed=False)
CHECKPOINT_FILE["guidance"] = Value("a number from 0 to 3", _weight, needed=False)
RECORD = {"priors": _priors, "levels": _levels, "network": NETWORK, "variations": VARIATIONS}
STATE = {
    "plan": Value("an object", lambda v: isinstance(v, dict)),
    "step": Value("a whole number from 0", _whole(0, 10**12)),
    "seconds": Value("a number from 0", lambda v: type(v) in (int, float) and v >= 0),
    "averaged": Value("a whole number from 0", _whole(0, 10**12)),
    "tensors": Value("a list of names", _list_of(_text)),
}
RECORD["schedule"] = Value("an object", lambda v: isinstance(v, dict))


def check(value: Any, shape: Mapping[str, Value], source: object, place: str = "it") -> None:
    """Check a value read from `source` against a shape; `place` is its position in the source."""
    if not isinstance(value, dict):
        raise FileError(f"{source} is damaged: {place} must be an object, got {_short(value)}")
    for key, allowed in shape.items():
        if key not in value:
            if allowed.needed:
                raise FileError(f"{source} is damaged: {place} has no {key}")
        elif not allowed.test(value[key]):
            raise FileError(
                f"{source} is damaged: {key} of {place} must be {allowed.words}, "
                f"got {_short(value[key])}"
            )


def check_manifest(manifest: Any, source: object) -> None:
    """Check a manifest: {"default": name, "files": {name: {kind, file, size, sha256, …}}}."""
    check(manifest, MANIFEST, source)
    for name, entry in manifest["files"].items():
        place = f"the file {_short(name)}"
        check(entry, FILE, source, place)
        if entry["kind"] == "checkpoint":
            check(entry, CHECKPOINT_FILE, source, place)
    for name in (manifest["default"], *manifest.get("sizes", {}).values()):
        if name not in [None, *manifest["files"]]:
            raise FileError(f"{source} is damaged: it has no file {_short(name)}")


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}…"
