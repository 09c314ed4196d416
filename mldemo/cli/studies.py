"""`study`: list experiments, run one into a JSON record, report all records."""

from pathlib import Path

import click

from mldemo.cli.options import destination, say


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
