"""Many checkpoints on many levels: one record each, one file, one table.

A file holds a list of records. A record is current as long as checkpoint, settings, data and
classifier are the same, the files by their sha256; it is then kept, else measured anew.
"""

import json
import time
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from mldemo.metrics.evaluation import Reference
from mldemo.metrics.settings import Settings
from mldemo.pipeline import prepare
from mldemo.store.checkpoints import (
    BUNDLE,
    manifest_entry,
    manifest_update,
    prior_names,
)
from mldemo.store.files import read_json, write_json

CHUNK = 50  # images computed at once; a sample does not depend on it
Record = dict[str, Any]


def identity(
    checkpoint: str, settings: Settings, reference: Reference, folder: Path = BUNDLE
) -> Record:
    """What a record says of its origin; two with equal identities would be equal."""
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
    """Sample and measure: yields how many samples are done, and at last the record."""
    reference.check_count(settings.count)
    record = identity(checkpoint, settings, reference, folder)
    run = prepare(settings.request(checkpoint=checkpoint), device, folder)
    parts, start = [], time.perf_counter()
    for first in range(0, settings.count, CHUNK):
        last = min(first + CHUNK, settings.count)
        parts.append(run.result(range(first, last)).x0)
        yield last
    record["seconds"] = round(time.perf_counter() - start, 1)
    yield record | reference.evaluate(torch.cat(parts))


class Records:
    """The records of a file, or of none; `add` writes the file anew in one move."""

    def __init__(self, path: Path | None = None) -> None:
        self.path, self.rows = path, []
        if path is not None and path.exists():
            try:
                self.rows = read_json(path)["evaluations"]
                if not all(isinstance(row["checkpoint"], str) for row in self.rows):
                    raise TypeError("checkpoint")
            except (OSError, ValueError, KeyError, TypeError) as error:
                raise ValueError(f"{path} holds no evaluations: {error!r}") from None

    def current(self, wanted: Record) -> Record | None:
        """The record with this identity, if there is one."""
        wanted = json.loads(json.dumps(wanted))
        return next((row for row in self.rows if wanted.items() <= row.items()), None)

    def add(self, record: Record) -> None:
        """Add a record; it takes the place of what the same settings gave for older files."""
        place = ("checkpoint", "data", *Settings.__dataclass_fields__)
        same = [all(row.get(k) == record[k] for k in place) for row in self.rows]
        if True in same:
            self.rows[same.index(True)] = record
        else:
            self.rows.append(record)
        if self.path is not None:
            write_json(self.path, {"evaluations": self.rows})


def priors_of(checkpoint: str, folder: Path = BUNDLE) -> list[str]:
    """The names of the priors that a checkpoint was trained with; another kind of file raises."""
    entry = manifest_entry(checkpoint, folder)
    if entry.get("kind") != "checkpoint":
        raise ValueError(f"{checkpoint} is of kind {entry.get('kind')!r}, not a checkpoint")
    return prior_names(entry)


def table(rows: list[Record]) -> str:
    """Markdown: a row per checkpoint and prior, a column per level, FID in units of the floor.

    In italics where the checkpoint was never trained; where one checkpoint and level has several
    records, the last counts.
    """
    levels = sorted({row["resolution"] for row in rows})
    cells: dict[tuple[str, str, str], dict[int, str]] = {}
    for row in rows:
        text = f"{row['fid_ratio']:.1f}"
        if row["resolution"] not in [level for level, _ in row["levels"]]:
            text = f"*{text}*"
        if row["count"] != 1000:
            text += f" ({row['count']})"
        line = (f"`{row['checkpoint']}`", row["prior"], row["data"])
        cells.setdefault(line, {})[row["resolution"]] = text
    titles = ["checkpoint", "prior", "data", *map(str, levels)]
    lines = [titles, ["---"] * len(titles)]
    lines += [[*line, *(found.get(n, "") for n in levels)] for line, found in cells.items()]
    note = (
        "FID in units of the floor (as many training images against the test images), "
        "1,000 samples or (so many: fewer raise the floor); *in italics*: never trained there."
    )
    return "\n".join([*(f"| {' | '.join(line)} |" for line in lines), "", note])


def write_metrics(folder: Path, rows: list[Record]) -> None:
    """Enter the headline figures of records into the manifest, in one move.

    A record of another file than the manifest's raises `ValueError`.
    """
    with manifest_update(folder) as manifest:
        for row in rows:
            entry = manifest["files"].get(row["checkpoint"], {})
            if entry.get("sha256") != row["sha256"]:
                raise ValueError(f"the record of {row['checkpoint']} is of another file")
            shown = {"fid": row["metrics"]["fid"], "fid_floor": row["floor"]["fid"]}
            shown |= {k: row[k] for k in ("fid_ratio", "count", "steps")}
            shown |= {k: row["metrics"][k] for k in ("precision", "recall")}
            rounded = {k: float(f"{v:.4g}") for k, v in shown.items()}
            levels = entry.setdefault("metrics", {}).setdefault(row["prior"], {})
            levels[f"resolution {row['resolution']}"] = rounded
