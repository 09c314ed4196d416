"""Evidence: what was measured, how far it can be relied on, and the command that repeats it."""

import re
from collections.abc import Iterator
from functools import lru_cache, partial
from typing import Any

from mldemo.diffusion.steps import SAMPLERS
from mldemo.studies.evaluated import METRICS, ROWS, Evaluated
from mldemo.studies.study import RECORDS, read_record
from mldemo.ui.fields import Choice
from mldemo.ui.programs import program
from mldemo.ui.tab import LIBRARIES, Place, Tab, base, template
from mldemo.ui.terms import TERMS
from mldemo.ui.wire import END, Record, frame_record

STATES = {
    "current": "of today's code",
    "of these files": "of these checkpoints",
    "stale": "stale: other code than today's",
}
BARS = {"none": 0.0, "1 sd": 1.0, "2 sd": 2.0}
AXES = (("as the study draws it", "own"), ("linear", "linear"), ("logarithmic", "log"))


def stamp(place: Place) -> tuple[tuple[str, int], ...]:
    """(path, modification time in ns) of every file shown: changes when a record is rewritten."""
    paths = [*sorted(RECORDS.glob("*.json")), ROWS, place.folder / "manifest.json"]
    return tuple((p.as_posix(), p.stat().st_mtime_ns) for p in paths if p.is_file())


def questions(place: Place) -> list[tuple[str, str]]:
    """(question, name) of everything finished so far, found without importing a study."""
    return _questions(place, stamp(place))


@lru_cache(maxsize=2)
def _questions(place: Place, _: tuple[tuple[str, int], ...]) -> list[tuple[str, str]]:
    found = [(path.stem, read_record(path)) for path in sorted(RECORDS.glob("*.json"))]
    studied = [(record["question"], name) for name, record in found if "conclusion" in record]
    evaluated = Evaluated(place.folder)
    own = [(evaluated.question, evaluated.name)] if evaluated.record() else []
    return own + studied


def source(values: dict[str, Any], place: Place) -> Iterator[Record]:
    """The chosen record with its figure and table, and a line on every record."""
    from mldemo.studies.report import finished, table, unrecorded

    found = {study.name: (study, record) for study, record in finished(place.folder)}
    study, record = found[values["study"]]
    drawn = study.figure(record)
    if values["y"] != "own":
        drawn.update_yaxes(type=values["y"])
    figure = drawn.to_plotly_json()
    bars = BARS[values["bars"]]
    for trace in figure["data"]:
        if spread := trace.get("error_y", {}).get("array"):
            longer = {"array": [bars * value for value in spread], "visible": bool(bars)}
            trace["error_y"] |= longer
    rows = study.rows(record)
    yield (
        {
            "kind": "head",
            "steps": 0,
            "device": "cpu",
            "question": study.question,
            "record": {key: record[key] for key in ("date", "seeds")},
            "made": {key: record.get(key) for key in ("machine", "versions", "cpu_seconds")},
            "why": study.why_fewer_seeds,
            "command": record["command"],
            "python": reading(study),
            "link": f"?{study.link}",
            "figure": figure,
            "columns": [column_name(study.name, key) for key in rows[0]],
            "rows": [[cell(*pair) for pair in row.items()] for row in rows],
            "note": study.note if isinstance(study, Evaluated) else "",
            "csv": table(study, record),
            "study": study.name,
            "every": [summary(*pair) for pair in found.values()],
            "unrecorded": [
                {"question": one.question, "command": f"python -m mldemo study run {one.name}"}
                for one in unrecorded()
            ],
        },
        {},
    )
    yield frame_record(0, {}, {})
    yield END


def summary(study: Any, record: dict[str, Any]) -> dict[str, str]:
    """A record's line in the list of all records."""
    state = study.state(record)
    return {
        "name": study.name,
        "question": study.question,
        "conclusion": record["conclusion"],
        "date": record["date"],
        "state": state,
        "said": STATES[state],
    }


@lru_cache(maxsize=1)
def _errors() -> dict[str, str]:
    """The names that the tab Solvers has for the errors and the costs of its study."""
    return dict(re.findall(r'<option value="(\w+)">(.+?)</option>', template("solvers")))


def column_name(study: str, key: str) -> str:
    """A column of a study's table as the page calls it; the CSV file keeps the key."""
    metric, *more = key.split(", ")
    known = {name: column for column, name in METRICS.items()}
    if study == "solvers":
        known |= _errors()
    said = known.get(metric, metric.replace("cpu_", "CPU ").replace("_", " "))
    return ", ".join((said, *more))


def cell(key: str, value: Any) -> Any:
    """A value of a study's table; a sampler by its name on the page."""
    return SAMPLERS[value].label if key == "sampler" else value


def reading(study: Any) -> str:
    """A program that reads the record and writes its figure as an HTML page."""
    return program(
        f"""\
found = {{study.name: (study, record) for study, record in finished()}}
study, record = found[{study.name!r}]
print(record["conclusion"])
study.figure(record).write_html("{study.name}.html")
""",
        ("mldemo.studies.report",),
    )


def tab(place: Place) -> Tab:
    """The tab, with every finished record."""
    return Tab(
        id="evidence",
        title="Evidence",
        fields=(
            Choice(
                "study",
                "Question",
                questions(place)[0][1],
                partial(questions, place),
                why=TERMS["question"],
            ),
            Choice(
                "bars",
                "Error bars",
                "1 sd",
                [(f"± {name}" if name != "none" else name, name) for name in BARS],
                why=TERMS["error-bars"],
                lesser=True,
            ),
            Choice(
                "y",
                "Vertical axis",
                "own",
                AXES,
                why=TERMS["vertical-axis"],
                lesser=True,
            ),
        ),
        source=source,
        props={"plotly": f"{base()}{next(name for name in LIBRARIES)}"},
        eager=True,
        start="Show",
        stamp=partial(stamp, place),
    )
