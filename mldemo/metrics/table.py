"""Records of evaluations as Markdown: a summary with its floor, and everything row by row."""

from collections.abc import Iterable
from typing import Any

Record = dict[str, Any]
Column = tuple[int, int]  # resolution, count


def table(rows: list[Record]) -> str:
    """Per data set the protocol, a summary and details; of rows with equal settings, the last.

    The summary has a row per checkpoint, prior and guidance and a column per level, in italics
    where the checkpoint was never trained, and the floor as a row of its own. It shows the FID
    where the classifiers are the data set's own, else the energy distance.
    """
    if not rows:
        return "no records"
    unique = {(*_line(row), row["data"], row["part"], _column(row)): row for row in rows}
    sets: dict[tuple[str, str], list[Record]] = {}
    for row in unique.values():
        sets.setdefault((row["data"], row["part"]), []).append(row)
    return "\n\n".join(part for group in sets.values() for part in _data_set(group))


def _line(row: Record) -> tuple[str, str, str, int, str]:
    """The settings that identify a row of the summary."""
    guidance = f"{row['guidance']:g}"
    return (row["checkpoint"], row["prior"], guidance, row["steps"], row["sampler"])


def _column(row: Record) -> Column:
    return row["resolution"], row["count"]


def _data_set(rows: list[Record]) -> list[str]:
    first = rows[0]
    own = first["features"] == "own"
    key, what = ("fid", "FID") if own else ("energy_distance", "Energy distance")
    digits = 1 if own else 4
    columns = sorted({_column(row) for row in rows})
    calls = sorted({(row["sampler"], row["steps"]) for row in rows})
    protocol = (
        f"{what} against {first['test']:,} {first['part']} images of {first['data']}; "
        f"{', '.join(f'{sampler}, {steps} steps' for sampler, steps in calls)}. Floor: mean ± "
        f"standard deviation over {first['draws']} class-matched draws of as many unseen images. "
        "In italics: never trained there."
    )
    floors = {_column(row): _spread(row, key, digits) for row in rows}
    lines: dict[tuple[str, ...], dict[Column, str]] = {}
    for row in rows:
        checkpoint, prior, guidance, *_ = _line(row)
        text = f"{row['metrics'][key]:.{digits}f}"
        trained = row["resolution"] in [level for level, _ in row["levels"]]
        place = lines.setdefault((f"`{checkpoint}`", prior, guidance), {})
        place[_column(row)] = text if trained else f"*{text}*"
    titles = ["checkpoint", "prior", "guidance", *(f"{n}² ({count:,})" for n, count in columns)]
    floor = ["floor: unseen images", "", "", *(floors[c] for c in columns)]
    cells = [[*line, *(found.get(c, "") for c in columns)] for line, found in lines.items()]
    return [protocol, _markdown(titles, [floor, *cells]), _details(rows)]


def _spread(row: Record, key: str, digits: int) -> str:
    return f"{row['floor'][key]:.{digits}f} ± {row['floor_sd'][key]:.{digits}f}"


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
