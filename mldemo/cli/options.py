"""Shared by the commands: checked numbers, common options, output, progress."""

import json
import math
import os
import sys
from pathlib import Path
from typing import Any

import click

from mldemo.data.sets import DataSet
from mldemo.request import GUIDANCE, LARGEST_GUIDANCE
from mldemo.space.streams import LARGEST_SEED
from mldemo.store.manifest import BUNDLE


class Whole(click.ParamType):
    """A whole number with bounds, which the message names for either kind of mistake."""

    name = "integer"

    def __init__(self, low: int, high: int) -> None:
        self.low, self.high = low, high

    def get_metavar(self, param: click.Parameter, ctx: click.Context) -> str:
        """What --help shows."""
        return f"{self.low}..{self.high}"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Parse and check."""
        try:
            number = int(value)
        except (TypeError, ValueError):
            number = None
        if number is None or not self.low <= number <= self.high:
            self.fail(f"{value} is not a whole number from {self.low} to {self.high}.")
        return number


class Real(click.FloatRange):
    """A number with bounds; click alone takes "nan" for one within any."""

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        """Parse and check."""
        number = super().convert(value, param, ctx)
        if math.isnan(number):
            self.fail(f"{value} is not in the range {self._describe_range()}.", param, ctx)
        return number


DATA = f"a data set ({', '.join(DataSet.known)}), or a folder of IDX files"  # what --data means
seed_option = click.option(
    "--seed", type=Whole(0, LARGEST_SEED), default=7, help="One seed is one function."
)
device_option = click.option(
    "--device", default="auto", help="auto, cpu, cuda or mps.", show_default=True
)
bundle_option = click.option(
    "--checkpoints",
    "folder",
    type=click.Path(path_type=Path, file_okay=False),
    default=BUNDLE,
    help="Folder with manifest.json and the checkpoint files.  [default: the bundle]",
)


guidance_option = click.option(
    "--guidance",
    type=Real(0, LARGEST_GUIDANCE),
    default=GUIDANCE,
    help="Weight of what the network adds to the linear filter; 1: as it was trained.",
)


def destination(out: Path, endings: tuple[str, ...] = (), option: str = "--out") -> Path:
    """Return the output path if its ending is allowed and its folder can be written to."""
    if endings and out.suffix.lower() not in endings:
        raise ValueError(f"{option} must end in {' or '.join(endings)}, got {str(out)!r}")
    if not out.parent.is_dir():
        raise ValueError(f"{option} names a folder that does not exist: {str(out.parent)!r}")
    if not os.access(out.parent, os.W_OK):
        raise ValueError(f"{option} names a folder that cannot be written to: {str(out.parent)!r}")
    return out


def say(record: dict[str, Any]) -> None:
    """Print a result as one JSON line."""
    click.echo(json.dumps(record))


def progress_bar(total: int, unit: str, initial: int = 0, hide: bool = False) -> Any:
    """A progress bar on stderr, hidden if it is not a terminal."""
    from tqdm import tqdm

    return tqdm(
        total=total, initial=initial, unit=unit, disable=hide or None, file=sys.stderr, leave=False
    )
