"""Evidence: what was measured, how far it can be relied on, and the command that repeats it."""

from collections.abc import Iterator
from typing import Any

from mldemo.studies.study import RECORDS, read_record
from mldemo.ui.fields import Choice
from mldemo.ui.programs import program
from mldemo.ui.tab import LIBRARIES, Place, Tab, base
from mldemo.ui.terms import TERMS
from mldemo.ui.wire import END, Record, frame_record

STATES = {
    "current": "of today's code",
    "stale": "stale: other code than today's",
}
BARS = {"none": 0.0, "1 sd": 1.0, "2 sd": 2.0}
AXES = (("as the study draws it", "own"), ("linear", "linear"), ("logarithmic", "log"))


def questions() -> list[tuple[str, str]]:
    """(question, name) of every finished record; no study is loaded for it."""
    found = [(path.stem, read_record(path)) for path in sorted(RECORDS.glob("*.json"))]
    return [(record["question"], name) for name, record in found if "conclusion" in record]


def source(values: dict[str, Any], place: Place) -> Iterator[Record]:
    """One record with its figure and table, and a line on every other."""
    from mldemo.studies.report import records, table

    found = {study.name: (study, record) for study, record in records() if "conclusion" in record}
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
            "record": {key: record[key] for key in ("date", "seeds", "machine", "versions")},
            "seconds": record["cpu_seconds"],
            "why": study.why_fewer_seeds,
            "command": record["command"],
            "python": reading(study),
            "link": f"?{study.link}",
            "figure": figure,
            "columns": list(rows[0]),
            "rows": [list(row.values()) for row in rows],
            "csv": table(study, record),
            "study": study.name,
            "every": [summary(*pair) for pair in found.values()],
        },
        {},
    )
    yield frame_record(0, {}, {})
    yield END


def summary(study: Any, record: dict[str, Any]) -> dict[str, str]:
    """What a record says, in a line of the list of all."""
    state = study.state(record)
    return {
        "name": study.name,
        "question": study.question,
        "conclusion": record["conclusion"],
        "date": record["date"],
        "state": state,
        "said": STATES[state],
    }


def reading(study: Any) -> str:
    """A program that reads the record and writes its figure as a page."""
    return program(
        f"""\
study = {type(study).__name__}()
record = read_record(study.record_path)
print(record["conclusion"])
study.figure(record).write_html("{study.name}.html")
""",
        ("mldemo.studies.study", type(study).__module__),
    )


def tab(place: Place) -> Tab:
    """The tab; whatever has a record is there."""
    options = questions()
    return Tab(
        id="evidence",
        title="Evidence",
        fields=(
            Choice(
                "study",
                "Question",
                options[0][1],
                options,
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
    )
