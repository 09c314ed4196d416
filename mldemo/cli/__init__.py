"""The command line: `python -m mldemo COMMAND`.

Results go to files and, as one JSON line, to stdout; progress goes to stderr. Bad input ends with
exit code 2 and one sentence on stderr.
"""

import sys
from io import TextIOWrapper

import click

from mldemo.cli.bundle import bench, bundle, verify
from mldemo.cli.evaluation import classifier, evaluate
from mldemo.cli.hub import fetch, publish
from mldemo.cli.sampling import noise, sample
from mldemo.cli.studies import study
from mldemo.cli.training import train
from mldemo.machine import tune_process


@click.group(context_settings={"help_option_names": ["-h", "--help"], "show_default": True})
def cli() -> None:
    """Infinite-dimensional diffusion models: sample, look at the noise, train, verify."""
    tune_process()


COMMANDS = (sample, noise, train, classifier, evaluate, study)
UPKEEP = (verify, bundle, bench, fetch, publish)
for command in COMMANDS + UPKEEP:
    cli.add_command(command)


def main() -> None:
    """Run the command line; every foreseeable error is one sentence and exit code 2."""
    _show_anything()
    try:
        cli.main(standalone_mode=False)
    except click.exceptions.Abort:
        raise SystemExit(130) from None
    except click.exceptions.NoArgsIsHelpError as error:
        click.echo(error.format_message())
        raise SystemExit(2) from None
    except click.ClickException as error:
        message = " ".join(error.format_message().split())
    except OSError as error:
        reason = error.strerror or str(error)
        message = f"{error.filename}: {reason}" if error.filename else reason
    except ValueError as error:
        message = " ".join(str(error).split())
    else:
        return
    click.echo(f"mldemo: {message}", err=True)
    raise SystemExit(2)


def _show_anything() -> None:
    """Let a terminal whose encoding lacks a character show a question mark in its place."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="replace")
