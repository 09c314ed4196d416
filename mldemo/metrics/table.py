"""Records of evaluations as Markdown: a summary with its floor, and everything row by row."""

from collections.abc import Iterable, Mapping
from typing import Any

from mldemo.metrics.classifier import LEVEL

Record = dict[str, Any]
Column = tuple[int, int]  # resolution, count
# (data, level up to LEVEL, count) -> metric -> mean and standard deviation
Scores = Mapping[tuple[str, int, int], Mapping[str, tuple[float, float]]]
UNKNOWN: Scores = {}


def table(rows: list[Record], perfect: Scores = UNKNOWN) -> str:
    """Per data set the protocol, a summary and details; of rows with equal settings, the last.

    `perfect` are the scores of a perfect sampler against the test part, which its summaries have
    below the floor.
    """
    if not rows:
        return "no records"
    unique = {
        (*_line(row), row["guidance"], row["data"], row["part"], _column(row)): row for row in rows
    }
    sets: dict[tuple[str, str], list[Record]] = {}
    for row in unique.values():
        sets.setdefault((row["data"], row["part"]), []).append(row)
    scores = {"test": perfect}
    parts = (
        (_protocol(group), summary(group, scores.get(part, UNKNOWN)), _details(group))
        for (_, part), group in sets.items()
    )
    return "\n\n".join(part for group in parts for part in group)


def summary(rows: list[Record], perfect: Scores = UNKNOWN) -> str:
    """The rows of one data set as a table, each checkpoint named once.

    It has a row per checkpoint and prior, a column per level with a value for each guidance, in
    italics where the checkpoint was never trained, and rows of their own for the floor and, where
    it is known, for a perfect sampler. It shows the FID where the classifiers are the data set's
    own, else the energy distance.
    """
    key, digits = _metric(rows)
    columns, weights = sorted({_column(row) for row in rows}), _weights(rows)
    lines: dict[tuple[str, str, int, str], dict[Column, dict[float, Record]]] = {}
    for row in rows:
        place = lines.setdefault(_line(row), {}).setdefault(_column(row), {})
        place[row["guidance"]] = row

    def cell(found: dict[float, Record]) -> str:
        if not found:
            return ""
        texts = (f"{found[g]['metrics'][key]:.{digits}f}" if g in found else "–" for g in weights)
        text, row = " / ".join(texts), next(iter(found.values()))
        trained = row["resolution"] in [level for level, _ in row["levels"]]
        return text if trained else f"*{text}*"

    floors = {_column(row): _spread(row, key, digits) for row in rows}
    cells, last = [["floor: unseen images", "", *(floors[c] for c in columns)]], ""
    scores = [perfect.get((rows[0]["data"], min(n, LEVEL), count), {}) for n, count in columns]
    if any(key in found for found in scores):
        shown = (_bars(*found[key], digits) if key in found else "" for found in scores)
        cells.append(["a perfect sampler", "", *shown])
    for (checkpoint, prior, *_), found in lines.items():
        name, last = "" if checkpoint == last else f"`{checkpoint}`", checkpoint
        cells.append([name, prior, *(cell(found.get(c, {})) for c in columns)])
    titles = ["checkpoint", "prior", *(f"{n}² ({count:,})" for n, count in columns)]
    return _markdown(titles, cells)


def _line(row: Record) -> tuple[str, str, int, str]:
    """The settings that identify a row of the summary."""
    return (row["checkpoint"], row["prior"], row["steps"], row["sampler"])


def _column(row: Record) -> Column:
    return row["resolution"], row["count"]


def _weights(rows: list[Record]) -> list[float]:
    return sorted({float(row["guidance"]) for row in rows})


def _metric(rows: list[Record]) -> tuple[str, int]:
    """What a summary shows, and with how many digits."""
    return ("fid", 1) if rows[0]["features"] == "own" else ("energy_distance", 4)


def _protocol(rows: list[Record]) -> str:
    first, what = rows[0], {"fid": "FID", "energy_distance": "Energy distance"}[_metric(rows)[0]]
    calls = sorted({(row["sampler"], row["steps"]) for row in rows})
    return (
        f"{what} against {first['test']:,} {first['part']} images of {first['data']}; "
        f"{', '.join(f'{sampler}, {steps} steps' for sampler, steps in calls)}; "
        f"guidance {' / '.join(f'{g:g}' for g in _weights(rows))}. Floor: mean ± "
        f"standard deviation over {first['draws']} class-matched draws of as many unseen images, "
        "for a perfect sampler with classes at random (`floors`). In italics: never trained there."
    )


def _spread(row: Record, key: str, digits: int) -> str:
    return _bars(row["floor"][key], row["floor_sd"][key], digits)


def _bars(mean: float, sd: float, digits: int) -> str:
    return f"{mean:.{digits}f} ± {sd:.{digits}f}"


def _details(rows: list[Record]) -> str:
    """A row per record: FID by both feature maps and the other metrics, with their floors."""
    titles = ["checkpoint", "prior", "guidance", "level", "FID", "floor", "second map", "floor"]
    titles += ["precision", "floor", "recall", "floor", "Vendi", "floor", "nearest"]
    cells = []
    for row in rows:
        line = [f"`{row['checkpoint']}`", row["prior"], f"{row['guidance']:g}"]
        line += [f"{row['resolution']}²"]
        for name, digits in DETAILS.items():
            line += [f"{row['metrics'][name]:.{digits}f}", _spread(row, name, digits)]
        cells.append([*line, f"{row['nearest']['ratio']:.2f}"])
    note = (
        "Vendi is the effective number of distinct points among the features. Nearest: median "
        "distance to the nearest of all training images, in units of a test image's."
    )
    return f"{_markdown(titles, cells)}\n\n{note}"


DETAILS = {"fid": 1, "fid_second": 1, "precision": 2, "recall": 2, "vendi_features": 1}


def _markdown(titles: list[str], cells: Iterable[list[str]]) -> str:
    lines = [titles, ["---"] * len(titles), *cells]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
