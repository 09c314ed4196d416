"""Reports of the records: one line each in Markdown, tables as CSV, figures as HTML."""

import csv
import io
from collections.abc import Iterator
from pathlib import Path

from mldemo.store.files import write_whole
from mldemo.store.manifest import BUNDLE
from mldemo.studies.evaluated import Evaluated
from mldemo.studies.study import Record, Study, read_record, studies


def records() -> Iterator[tuple[Study, Record]]:
    """Every study that has a shipped record, with that record."""
    for study in studies().values():
        if study.record_path.is_file():
            yield study, read_record(study.record_path)


def finished(folder: Path = BUNDLE) -> Iterator[tuple[Study | Evaluated, Record]]:
    """Records with a conclusion: the evaluation of a folder's checkpoints, finished studies."""
    evaluated = Evaluated(folder)
    if (record := evaluated.record()) is not None:
        yield evaluated, record
    for study, record in records():
        if "conclusion" in record:
            yield study, record


def unrecorded() -> Iterator[Study]:
    """Every study without a finished record."""
    for study in studies().values():
        path = study.record_path
        if not path.is_file() or "conclusion" not in read_record(path):
            yield study


def conclusions() -> str:
    """Markdown: a row per study with its conclusion, command, date, and state."""
    lines = ["| study | what the record supports | command | date |", "|---|---|---|---|"]
    for study, record in records():
        state = study.state(record)
        text = record.get("conclusion", "")
        said = text if state == "current" else f"({state}) {text}"
        lines.append(f"| {study.name} | {said} | `{record['command']}` | {record['date']} |")
    return "\n".join(lines)


def table(study: Study | Evaluated, record: Record) -> str:
    """The rows of a record as CSV."""
    rows = study.rows(record)
    text = io.StringIO()
    writer = csv.DictWriter(text, fieldnames=list(rows[0]))
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def export(folder: Path) -> Iterator[Path]:
    """Write NAME.csv and NAME.html, a figure that needs no network, of every finished record."""
    folder.mkdir(parents=True, exist_ok=True)
    for study, record in records():
        if study.state(record) == "unfinished":
            continue
        page = study.figure(record).to_html(include_plotlyjs="inline")
        for ending, text in (("csv", table(study, record)), ("html", page)):
            path = folder / f"{study.name}.{ending}"
            write_whole(path, lambda file, text=text: file.write(text.encode()))
            yield path
