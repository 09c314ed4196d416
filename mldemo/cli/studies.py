"""`study NAME`: an experiment, from nothing to one JSON record."""

import shlex
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click

from mldemo.cli.options import DATA, Whole, bundle_option, destination, say
from mldemo.store.files import write_json


@click.group()
def study() -> None:
    """Experiments: list them, run one and write its record, report all records."""


@study.command("list")
def list_studies() -> None:
    """Every study with its question, and whether its record is of today's code."""
    from mldemo.studies.study import read_record, studies

    for name, one in studies().items():
        path = one.record_path
        state = one.state(read_record(path)) if path.is_file() else "no record"
        click.echo(f"{name}: {one.question} [{state}]")


@study.command()
@click.argument("name")
@click.option("--quick", is_flag=True, help="The same code with less of everything.")
@click.option("--resume", is_flag=True, help="Keep the finished cells of the record.")
@click.option("--out", type=click.Path(path_type=Path), help=".json  [default: its record]")
def run(name: str, quick: bool, resume: bool, out: Path | None) -> None:
    """Run a study and write its record; interrupted, it goes on with --resume."""
    from mldemo.studies.study import read_record, studies

    known = studies()
    if name not in known:
        raise ValueError(f"a study must be one of {', '.join(known)}, got {name!r}")
    if out is None and quick:
        raise ValueError("--quick needs --out: a short run does not replace the shipped record")
    out = known[name].record_path if out is None else destination(out, (".json",))
    for cell, seconds in known[name].run(out, quick, resume):
        click.echo(f"{cell}: {seconds:.1f} CPU s", err=True)
    record = read_record(out)
    say({"out": str(out), "study": name, "conclusion": record["conclusion"]})


@study.command()
@click.option(
    "--out",
    type=click.Path(path_type=Path, file_okay=False),
    help="Folder for NAME.csv and NAME.html of every study, beside what is printed.",
)
def report(out: Path | None) -> None:
    """The conclusion of every record, as Markdown; tables and figures as files."""
    from mldemo.studies.report import conclusions, export

    click.echo(conclusions())
    if out is not None:
        for path in export(out):
            click.echo(str(path), err=True)


def write_record(
    out: Path, name: str, parts: Iterator[tuple[str, Any]], command: str
) -> dict[str, Any]:
    """Collect the parts of a study and write them as one file; it appears whole or not at all."""
    from mldemo import __version__

    start = time.perf_counter()
    record: dict[str, Any] = {"study": name, "mldemo": __version__, "command": command}
    for key, value in parts:
        record[key] = value
        click.echo(f"{key}: {time.perf_counter() - start:.1f} s", err=True)
    record["seconds"] = round(time.perf_counter() - start, 1)
    write_json(out, record)
    say({"out": str(out), "study": name, "seconds": record["seconds"]})
    return record


@study.command()
@click.option("--data", required=True, help=f"What to learn: {DATA}.")
@click.option("--seconds", type=click.FloatRange(1, 1e6), default=300.0, help="CPU, each strategy")
@click.option("--count", type=Whole(16, 4096), default=300, help="samples for the FID")
@click.option(
    "--state",
    type=click.Path(path_type=Path, file_okay=False),
    help="Keep what is done here, to go on after a stop.",
)
@click.option("--plot", "picture", type=click.Path(path_type=Path), help=".png of the curves")
@click.option("--out", type=click.Path(path_type=Path), required=True, help=".json")
def multilevel(
    out: Path, picture: Path | None, data: str, seconds: float, count: int, state: Path | None
) -> None:
    """What coarse-to-fine training saves: 16 → 32 → 64, 32 → 64, 64 alone."""
    from mldemo.studies.multilevel import plot
    from mldemo.studies.multilevel import study as parts

    budget = f"--data {Path(data).name} --seconds {seconds:g} --count {count}"
    command = f"python -m mldemo study multilevel {budget} --out FILE"
    destination(out, (".json",))
    if picture is not None:
        destination(picture, (".png",))
    record = write_record(out, "multilevel", parts(data, seconds, count, state), command)
    if picture is not None:
        plot(record, picture)


@study.command()
@click.option("--data", required=True, help=f"What to learn: {DATA}.")
@click.option("--seconds", type=click.FloatRange(1, 1e6), default=200.0, help="CPU, each variant")
@click.option("--count", type=Whole(16, 4096), default=1000, help="samples for the FID")
@click.option("--only", "names", metavar="NAME", multiple=True, help="may be repeated")
@click.option("--threads", type=Whole(1, 1024), default=1)
@click.option(
    "--state",
    type=click.Path(path_type=Path, file_okay=False),
    help="Keep what is done here, to go on after a stop.",
)
@click.option("--out", type=click.Path(path_type=Path), required=True, help=".json")
def recipe(
    out: Path,
    data: str,
    seconds: float,
    count: int,
    names: tuple[str, ...],
    threads: int,
    state: Path | None,
) -> None:
    """What makes samples good per CPU second: one change to the recipe at a time, at 16."""
    from mldemo.machine import tune_process
    from mldemo.studies.recipe import NAMES
    from mldemo.studies.recipe import study as parts

    tune_process(threads)
    budget = f"--data {Path(data).name} --seconds {seconds:g} --count {count}"
    only = "".join(f" --only {shlex.quote(name)}" for name in names)
    command = f"python -m mldemo study recipe {budget}{only} --threads {threads} --out FILE"
    destination(out, (".json",))
    write_record(out, "recipe", parts(data, seconds, count, names or NAMES, state), command)


@study.command()
@click.option("--quick", is_flag=True, help="Fewer points, coarser references.")
@bundle_option
@click.option("--out", type=click.Path(path_type=Path), required=True, help=".json")
def solvers(out: Path, folder: Path, quick: bool) -> None:
    """Error against steps for every sampler, with exact scores, and against the level."""
    from mldemo.studies.solvers import study as parts

    command = "python -m mldemo study solvers" + (" --quick" if quick else "") + " --out FILE"
    write_record(destination(out, (".json",)), "solvers", parts(folder, quick), command)
