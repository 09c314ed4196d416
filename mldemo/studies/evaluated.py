"""The evaluations of the shipped checkpoints, in the form of a study.

`evaluate` measures them and keeps one row for each checkpoint, prior, level and guidance in
`evaluation.json`. A row belongs to the file with its sha256; rows of other files are not shown.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from mldemo.data.sets import Mnist
from mldemo.metrics.settings import Settings
from mldemo.metrics.zoo import Records
from mldemo.request import GUIDANCE
from mldemo.store.manifest import BUNDLE, read_manifest

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

ROWS = Path(__file__).parent / "evaluation.json"
# column of the table -> metric; each has a floor
METRICS = {
    "FID": "fid",
    "FID, second judge": "fid_second",
    "precision": "precision",
    "recall": "recall",
    "Vendi": "vendi_features",
}
HOW = {1.0: " (as trained)", GUIDANCE: " (the default)"}
Record = dict[str, Any]


class Evaluated:
    """The quality of samples of a bundle's checkpoints, against the test part of the digits."""

    name = "evaluation"
    question = "How good are the images of the shipped checkpoints?"
    link = "tab=watch&n=64&count=16&steps=20"
    why_fewer_seeds = "one draw of so many samples; the floor has five"
    note = (
        "Judges: two digit classifiers, trained on different images. Floor: unseen digits in the "
        "samples' place. Precision: the share of samples near test images; recall: of test images "
        "near samples. Vendi: the effective number of distinct images. Nearest: the distance to "
        "the nearest training image, in units of a test image's."
    )
    seeds = (0,)

    def __init__(self, folder: Path = BUNDLE) -> None:
        self.folder = folder

    def record(self) -> Record | None:
        """The rows with their origin and the sentence that they support; None without rows."""
        try:
            found = Records(ROWS).of_files(self.folder)
        except ValueError:  # no bundle, or no file
            return None
        usual = {"data": Mnist.name, "part": "test", "steps": Settings.steps}
        usual |= {"sampler": Settings.sampler, "seed": Settings.seed}
        rows = [row for row in found if usual.items() <= row.items()]
        if not rows:
            return None
        dates = [row["date"] for row in rows if "date" in row]
        command = "python -m mldemo evaluate --all --data mnist --json"
        record = {
            "question": self.question,
            "command": f"{command} mldemo/studies/{ROWS.name}",
            "date": max(dates, default="unknown"),
            "seeds": sorted({row["seed"] for row in rows}),
            "evaluations": rows,
            "default": read_manifest(self.folder)["default"],
        }
        return record | {"conclusion": self.conclusion(record)}

    def state(self, record: Record) -> str:
        """Always current, as rows of other files are left out."""
        return "of these files"

    def conclusion(self, record: Record) -> str:
        """The range of the FID by guidance beside the floor, and how near training images are."""
        rows = self.rows(record)
        counts = sorted({row["samples"] for row in rows})
        many = " to ".join(f"{n:,}" for n in dict.fromkeys((counts[0], counts[-1])))
        found: dict[str, dict[float, list[float]]] = {}
        for row in rows:
            own = found.setdefault(row["checkpoint"], {})
            own.setdefault(row["guidance"], []).append(row["FID"])
        parts = [
            f"{name} "
            + " and ".join(
                f"{min(fids):.1f} to {max(fids):.1f} at g = {g:g}{HOW.get(g, '')}"
                for g, fids in sorted(own.items())
            )
            for name, own in found.items()
        ]
        floors = [row["FID, floor"] for row in rows]
        best = min(rows, key=lambda row: row["FID"])
        least = min(row["nearest"] for row in rows)
        nearer = "Samples are, in the median, no nearer to training images than test images are."
        if least < 1:
            nearer = f"Samples are down to {least:.2f} times as far from training images as test"
            nearer += " images are, in the median."
        return (
            f"FID of {many} samples: {', '.join(parts)}; unseen digits {min(floors):.1f} to "
            f"{max(floors):.1f}. The lowest is {best['checkpoint']}'s with the "
            f"{best['prior']} prior at {best['level']}². "
            f"{nearer}"
        )

    def rows(self, record: Record) -> list[Record]:
        """A row per checkpoint, prior, level and guidance, each metric beside its floor."""
        out = []
        for row in record["evaluations"]:
            made = {"checkpoint": row["checkpoint"], "prior": row["prior"]}
            made |= {"level": row["resolution"], "guidance": row["guidance"]}
            made |= {"samples": row["count"]}
            for column, name in METRICS.items():
                made |= {column: row["metrics"][name], f"{column}, floor": row["floor"][name]}
                if name == "fid":
                    made |= {"FID, floor sd": row["floor_sd"][name]}
            out.append(made | {"nearest": row["nearest"]["ratio"]})
        return out

    def figure(self, record: Record) -> "Figure":
        """FID against the level, a line per prior, the floor as a band; a panel per guidance.

        With several checkpoints, all but the default are hidden until chosen in the legend.
        """
        from mldemo.studies.figures import line, panels

        rows = self.rows(record)
        levels = sorted({row["level"] for row in rows})
        weights = sorted({row["guidance"] for row in rows})
        several = len({row["checkpoint"] for row in rows}) > 1
        figure = panels(*(f"FID at guidance {g:g}" for g in weights), x="level N", log="x")
        for panel, g in enumerate(weights, 1):
            lines: dict[str, list[Record]] = {}
            for row in rows:
                if row["guidance"] == g:
                    name = f"{row['checkpoint']}, {row['prior']}" if several else row["prior"]
                    lines.setdefault(name, []).append(row)
            for name, found in lines.items():
                shown = found[0]["checkpoint"] == record["default"] or not several
                line(figure, panel, name, *_columns(found, "level", "FID"), shown=shown)
            floor = {row["level"]: row for row in rows if row["guidance"] == g}
            x, y, sd = _columns(
                [floor[n] for n in levels if n in floor], "level", "FID, floor", "FID, floor sd"
            )
            line(figure, panel, "unseen digits (floor)", x, y, sd)
            _band(figure, panel, x, y, sd)
        figure.update_xaxes(tickvals=levels, ticktext=[f"{n}²" for n in levels])
        figure.update_yaxes(matches="y")  # the panels are compared with one another
        return figure


def _columns(rows: list[Record], *names: str) -> list[list[float]]:
    """The values of some columns, in the order of the levels."""
    rows = sorted(rows, key=lambda row: row["level"])
    return [[row[name] for row in rows] for name in names]


def _band(figure: "Figure", panel: int, x: list[float], y: list[float], sd: list[float]) -> None:
    """Mean ± standard deviation around the last line of the figure, in its name and colour."""
    drawn: Any = figure.data
    last = drawn[-1]
    bounds = [v + s for v, s in zip(y, sd, strict=True)]
    bounds += [v - s for v, s in reversed([*zip(y, sd, strict=True)])]
    figure.add_scatter(
        x=[*x, *reversed(x)],
        y=bounds,
        fill="toself",
        mode="lines",
        line={"color": last.line.color, "width": 0},
        hoverinfo="skip",
        name=last.name,
        legendgroup=last.name,
        showlegend=False,
        visible=True,
        meta=last.meta,
        row=1,
        col=panel,
    )
