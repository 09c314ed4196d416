"""The base class of studies: a question, cells computed one by one, one JSON record, one figure.

A record holds the settings (`inputs`, seeds), the provenance (command, code, versions, machine),
the results (`cells`, each with its CPU seconds) and the conclusion that they support. It is
written after every cell, so an interrupted run can resume with the next one. A record is stale
if its code is not the current one.
"""

import importlib
import json
import pkgutil
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Generator, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from mldemo.store.files import write_json
from mldemo.studies.provenance import code_hash, machine, versions

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

RECORDS = Path(__file__).parent / "records"
Cells = Generator[tuple[str, Callable[[], Any]], Any]
Record = dict[str, Any]


class Study(ABC):
    """An experiment. A subclass in a module of `mldemo.studies` is found by its `name`.

    `seeds` are the repetitions; fewer than three need a `why_fewer_seeds`. `link` is the query
    that opens the page at a run that illustrates the figure.
    """

    name: ClassVar[str]
    question: ClassVar[str]
    link: ClassVar[str]
    seeds: ClassVar[tuple[int, ...]] = (1, 2, 3)
    why_fewer_seeds: ClassVar[str] = ""

    @abstractmethod
    def inputs(self, quick: bool) -> Record:
        """Everything that determines the results besides code and seeds, as JSON types."""

    @abstractmethod
    def cells(self, quick: bool) -> Cells:
        """Pairs (name, compute), in order; `compute()` returns JSON types.

        Each `yield` returns the value of its cell, computed or kept, for use in later cells.
        """

    @abstractmethod
    def conclusion(self, record: Record) -> str:
        """The sentence that a finished record supports."""

    @abstractmethod
    def rows(self, record: Record) -> list[Record]:
        """The results as rows of one table, equal keys in each."""

    @abstractmethod
    def figure(self, record: Record) -> "Figure":
        """The results as one interactive figure with error bars."""

    @property
    def code(self) -> str:
        """The digest of the code that computes the study."""
        return code_hash(type(self).__module__)

    @property
    def record_path(self) -> Path:
        """The path of its shipped record."""
        return RECORDS / f"{self.name}.json"

    def run(
        self, out: Path | None = None, quick: bool = False, resume: bool = False
    ) -> Iterator[tuple[str, float]]:
        """Compute all cells, yielding (name, CPU seconds) of each, and write the record to `out`.

        With `resume` the cells of an earlier record of the same code and inputs are kept; a record
        of other code or inputs raises `ValueError`. The file is replaced atomically after every
        cell.
        """
        out = out or self.record_path
        record = self._fresh(quick)
        if resume and out.exists():
            old = read_record(out)
            for key in ("study", "code", "inputs", "quick"):
                if old.get(key) != record[key]:
                    raise ValueError(
                        f"{out} has another {key}: run without --resume to begin anew"
                    )
            record["cells"] = old["cells"]
        out.parent.mkdir(parents=True, exist_ok=True)
        cells, value = self.cells(quick), None
        while True:
            try:
                name, compute = cells.send(value)
            except StopIteration:
                break
            if name not in record["cells"]:
                start = time.process_time()
                value = json.loads(json.dumps(compute(), allow_nan=False))
                seconds = round(time.process_time() - start, 1)
                record["cells"][name] = {"value": value, "cpu_seconds": seconds}
                write_json(out, record)
                yield name, seconds
            value = record["cells"][name]["value"]
        record["cpu_seconds"] = round(sum(c["cpu_seconds"] for c in record["cells"].values()), 1)
        record["conclusion"] = self.conclusion(record)
        write_json(out, record)

    def _fresh(self, quick: bool) -> Record:
        flag = " --quick" if quick else ""
        return {
            "study": self.name,
            "question": self.question,
            "command": f"python -m mldemo study run {self.name}{flag}",
            "quick": quick,
            "date": datetime.now(UTC).date().isoformat(),
            "code": self.code,
            "versions": versions(),
            "machine": machine(),
            "seeds": list(self.seeds),
            "why_fewer_seeds": self.why_fewer_seeds,
            "inputs": json.loads(json.dumps(self.inputs(quick))),
            "cells": {},
        }

    def state(self, record: Record) -> str:
        """Whether a record is "current", "unfinished" or "stale"."""
        if "conclusion" not in record:
            return "unfinished"
        return "current" if record["code"] == self.code else "stale"


def values(record: Record) -> Record:
    """The results of a record's cells by name."""
    return {name: cell["value"] for name, cell in record["cells"].items()}


def spread(found: list[float]) -> tuple[float, float]:
    """Mean and sample standard deviation; 0 for a single value."""
    mean = sum(found) / len(found)
    square = sum((x - mean) ** 2 for x in found)
    return mean, (square / (len(found) - 1)) ** 0.5 if len(found) > 1 else 0.0


def read_record(path: Path) -> Record:
    """A record of `Study.run`; anything else raises `ValueError`."""
    try:
        record = json.loads(path.read_text("utf-8"))
        if not all(isinstance(record[key], dict) for key in ("inputs", "cells")):
            raise TypeError("inputs and cells must be objects")
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{path} is no record of a study: {error}") from None
    return record


def studies() -> dict[str, Study]:
    """Every study by name: the subclasses in the modules of this package."""
    package = importlib.import_module("mldemo.studies")
    for module in pkgutil.iter_modules(package.__path__):
        importlib.import_module(f"mldemo.studies.{module.name}")
    return {kind.name: kind() for kind in sorted(Study.__subclasses__(), key=lambda k: k.name)}
