"""Evaluations of many checkpoints on many levels: one record each, in one file.

A file holds a list of records. A record is current as long as checkpoint, settings, data and
classifiers are the same, where files are compared by sha256; other records are measured again.
"""

import json
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from mldemo.metrics.evaluation import Reference
from mldemo.metrics.settings import Settings
from mldemo.pipeline import prepare
from mldemo.store.files import locked, read_json, write_json
from mldemo.store.manifest import (
    BUNDLE,
    manifest_entry,
    manifest_update,
    prior_names,
    read_manifest,
)

CHUNK = 50  # images computed at once; a sample does not depend on it
WRITE_SECONDS = 60.0  # for which another process may hold the file
KINDS: dict[str, Any] = {  # what every record has
    **dict.fromkeys(("checkpoint", "sha256", "prior", "data", "part", "features"), str),
    **{"resolution": int, "count": int, "guidance": int | float},
    **dict.fromkeys(("metrics", "floor", "floor_sd", "nearest"), dict),
}
Record = dict[str, Any]
MANIFEST = ("energy_distance", "fid", "fid_second", "precision", "recall")  # metrics in it


def identity(
    checkpoint: str, settings: Settings, reference: Reference, folder: Path = BUNDLE
) -> Record:
    """The part of a record that describes its origin; equal origins give equal records."""
    entry = manifest_entry(checkpoint, folder)
    origin = {"checkpoint": checkpoint, "sha256": entry["sha256"]}
    trained = {"trained_on": entry.get("data"), "levels": entry.get("levels", [])}
    return origin | trained | asdict(settings) | reference.described


def evaluate(
    checkpoint: str,
    settings: Settings,
    reference: Reference,
    device: torch.device | str = "cpu",
    folder: Path = BUNDLE,
) -> Iterator[int | Record]:
    """Sample and measure: yields the number of samples done so far, and finally the record."""
    reference.draws(settings.count)  # raises if there are too few
    record = identity(checkpoint, settings, reference, folder)
    run = prepare(settings.request(checkpoint=checkpoint), device, folder)
    parts = []
    for first in range(0, settings.count, CHUNK):
        last = min(first + CHUNK, settings.count)
        parts.append(run.result(range(first, last)).x0)
        yield last
    yield record | reference.evaluate(torch.cat(parts))


class Records:
    """The records of a file, or of none; processes that add to one file may do so at once."""

    def __init__(self, path: Path | None = None) -> None:
        self.path, self.rows = path, _read(path)

    def current(self, wanted: Record) -> Record | None:
        """The record with this identity, if there is one."""
        wanted = json.loads(json.dumps(wanted))
        return next((row for row in self.rows if wanted.items() <= row.items()), None)

    def of_files(self, folder: Path) -> list[Record]:
        """Records of the folder's checkpoints, ordered by manifest, prior, level and guidance."""
        files = read_manifest(folder)["files"]
        order = {name: place for place, name in enumerate(files)}

        def rank(row: Record) -> tuple[Any, ...]:
            own = [*prior_names(files[row["checkpoint"]]), row["prior"]]
            place = order[row["checkpoint"]], own.index(row["prior"])
            return *place, row["resolution"], row["guidance"]

        def current(row: Record) -> bool:
            return files.get(row["checkpoint"], {}).get("sha256") == row["sha256"]

        return sorted(filter(current, self.rows), key=rank)

    def add(self, record: Record) -> None:
        """Add a record; it replaces one with the same settings for an older file."""
        if self.path is None:
            return self._enter(record)
        with locked(self.path, "another process writes records", WRITE_SECONDS):
            self.rows = _read(self.path)  # with what others have added meanwhile
            self._enter(record)
            write_json(self.path, {"evaluations": self.rows})

    def _enter(self, record: Record) -> None:
        place = ("checkpoint", "data", "part", *Settings.__dataclass_fields__)
        same = [all(row.get(k) == record[k] for k in place) for row in self.rows]
        if True in same:
            self.rows[same.index(True)] = record
        else:
            self.rows.append(record)


def _read(path: Path | None) -> list[Record]:
    """The records of a file; none if there is no file, and `ValueError` if it is another one."""
    if path is None or not path.exists():
        return []
    try:
        rows = read_json(path)["evaluations"]
        for row in rows:
            for key, kind in KINDS.items():
                if not isinstance(row[key], kind):
                    raise TypeError(key)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{path} holds no evaluations: {error!r}") from None
    return rows


def priors_of(checkpoint: str, folder: Path = BUNDLE) -> list[str]:
    """The names of the priors that a checkpoint was trained with; another kind of file raises."""
    entry = manifest_entry(checkpoint, folder)
    if entry.get("kind") != "checkpoint":
        raise ValueError(f"{checkpoint} is of kind {entry.get('kind')!r}, not a checkpoint")
    return prior_names(entry)


def write_metrics(folder: Path, rows: list[Record]) -> None:
    """Enter the headline figures of records into the manifest, atomically.

    Without classifiers of its own data a record gives the energy distance alone. A record of
    another file than the manifest's raises `ValueError`.
    """
    with manifest_update(folder) as manifest:
        for row in rows:
            entry = manifest["files"].get(row["checkpoint"], {})
            if entry.get("sha256") != row["sha256"]:
                raise ValueError(f"the record of {row['checkpoint']} is of another file")
            headline = MANIFEST if row["features"] == "own" else MANIFEST[:1]
            shown = {name: row["metrics"][name] for name in headline}
            for name in headline[:3]:
                shown |= {f"{name}_{kind}": row[kind][name] for kind in ("floor", "floor_sd")}
            shown |= {"nearest_ratio": row["nearest"]["ratio"]}
            shown |= {"count": row["count"]}
            rounded = {k: float(f"{v:.4g}") for k, v in shown.items()}
            levels = entry.setdefault("metrics", {}).setdefault(row["prior"], {})
            place = f"resolution {row['resolution']}, guidance {row['guidance']:g}"
            levels[f"{place}, {row['steps']} steps of {row['sampler']}"] = rounded
