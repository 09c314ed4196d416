"""`classifier` and `evaluate`: the quality of samples, and the feature maps behind it."""

import re
from collections.abc import Callable, Iterator
from dataclasses import asdict, replace
from datetime import UTC, datetime
from functools import cache, lru_cache
from pathlib import Path

import click
import torch

from mldemo.cli.options import (
    DATA,
    Real,
    Whole,
    bundle_option,
    destination,
    device_option,
    progress_bar,
    say,
)
from mldemo.data.sets import open_data
from mldemo.diffusion.samplers import LARGEST_STEPS
from mldemo.diffusion.steps import SAMPLERS
from mldemo.machine import choose_device
from mldemo.metrics import zoo
from mldemo.metrics.evaluation import Reference
from mldemo.metrics.settings import SMALLEST_COUNT, Settings
from mldemo.metrics.table import table as markdown
from mldemo.request import GUIDANCE, LARGEST_COUNT, LARGEST_GUIDANCE
from mldemo.space.priors import PRIORS
from mldemo.space.streams import LARGEST_SEED
from mldemo.store.manifest import checkpoint_names, manifest_entry
from mldemo.studies.evaluated import ROWS as SHIPPED
from mldemo.studies.floors import perfect_scores

ONE, EVERY = "32", "16,32,64,128:1000"  # resolutions by default


@click.command()
@click.option("--data", required=True, help=f"With labels: {DATA}.")
@click.option("--half", type=Whole(1, 2), default=1, help="of the training images, every other")
@click.option("--epochs", type=Whole(1, 1000), default=6)
@click.option("--width", type=Whole(1, 64), default=16, help="channels of the first layer")
@click.option("--seed", type=Whole(0, LARGEST_SEED), help="[default: 0 and 1 for the halves]")
@bundle_option
def classifier(
    data: str, half: int, epochs: int, width: int, seed: int | None, folder: Path
) -> None:
    """Train one of the two small classifiers whose features `evaluate` looks through.

    Writes DATA-classifier.safetensors (half 2: DATA-classifier-2) into --checkpoints, with its
    accuracy on the test part.
    """
    from mldemo.metrics.classifier import Fit

    fit = Fit(open_data(data), epochs, seed, width, half)
    with progress_bar(epochs, "epochs") as bar:
        for epoch in fit:
            bar.update(1)
            bar.set_postfix(loss=f"{epoch.loss:.4f}")
    path = fit.save(folder)
    say({"out": str(path), **fit.record})


def parse_levels(text: str, count: int) -> list[tuple[int, int]]:
    """Resolutions and counts: "16,128:300" is 16 with `count` samples and 128 with 300."""
    found = [re.fullmatch(r"(\d{1,4})(?::(\d{1,6}))?", part.strip()) for part in text.split(",")]
    if None in found:
        raise ValueError(f"--resolution must look like 32 or 16,128:300, got {text[:80]!r}")
    pairs = [match.groups() for match in found if match]
    return [(int(n), int(own or count)) for n, own in pairs]


@click.command()
@click.option("--checkpoint", "names", metavar="NAME", multiple=True, help="may be repeated")
@click.option("--all", "every", is_flag=True, help="every checkpoint trained on one of --data")
@click.option(
    "--prior",
    "priors",
    type=click.Choice(list(PRIORS)),
    multiple=True,
    help="[default: the checkpoint's first; with --all each of its own]",
)
@click.option(
    "--resolution",
    "levels",
    metavar="N[:COUNT],…",
    help=f"[default: {ONE}; with --all {EVERY}]",
)
@click.option("--steps", type=Whole(1, LARGEST_STEPS), default=Settings.steps)
@click.option("--sampler", type=click.Choice(list(SAMPLERS)), default=Settings.sampler)
@click.option(
    "--guidance",
    "weights",
    type=Real(0, LARGEST_GUIDANCE),
    multiple=True,
    help=f"may be repeated  [default: {GUIDANCE}; with --all also 1 and the manifest's]",
)
@click.option("--count", type=Whole(SMALLEST_COUNT, LARGEST_COUNT), default=Settings.count)
@click.option("--seed", type=Whole(0, LARGEST_SEED), default=0)
@click.option(
    "--data",
    "sources",
    multiple=True,
    help=f"{DATA}; may be repeated.  [default: nothing is measured, only records are shown]",
)
@click.option(
    "--part",
    type=click.Choice(["test", "validation"]),
    default="test",
    help="Report on test; where something is chosen, choose it on validation.",
)
@device_option
@bundle_option
@click.option(
    "--json",
    "out",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Keep the records here; what is there already and still current is not measured again."
    "  [default: nowhere; without --data those of the bundle]",
)
@click.option("--table", is_flag=True, help="print Markdown tables instead of JSON lines")
@click.option("--record", is_flag=True, help="enter the figures into the manifest")
def evaluate(
    names: tuple[str, ...],
    every: bool,
    priors: tuple[str, ...],
    levels: str | None,
    steps: int,
    sampler: str,
    weights: tuple[float, ...],
    count: int,
    seed: int,
    sources: tuple[str, ...],
    part: str,
    device: str,
    folder: Path,
    out: Path | None,
    table: bool,
    record: bool,
) -> None:
    """Sample from checkpoints and measure how near the samples are to test data.

    FID through two classifiers, precision and recall, energy distance, sliced Wasserstein, Vendi
    score, each with its floor (class-matched draws of unseen images in place of the samples); the
    spectrum, and the distance to the nearest training image. Without --data the records that are
    kept are shown, as far as their checkpoints are those of the bundle.
    """
    if every == bool(names):
        raise ValueError("--checkpoint NAME or --all is needed, one of the two")
    if out is not None:
        destination(out, option="--json")
    pairs = parse_levels(levels or (EVERY if every else ONE), count)

    @cache
    def drawn(name: str) -> list[Settings]:
        usual = {GUIDANCE}
        if every:
            usual |= {1.0, manifest_entry(name, folder).get("guidance", GUIDANCE)}
        return [
            Settings(n, steps=steps, count=own, sampler=sampler, seed=seed, guidance=g)
            for n, own in pairs
            for g in weights or sorted(usual)
        ]

    if sources:
        records = zoo.Records(out)
        rows = _measured(
            (
                (source, name, replace(wanted, prior=prior))
                for source, chosen in _by_source(sources, names, folder)
                for name, prior in _with_priors(chosen, priors, every, folder)
                for wanted in drawn(name)
            ),
            records,
            part,
            choose_device(device),
            folder,
        )
    else:
        rows = _kept(zoo.Records(out or SHIPPED), names, priors, drawn, part, folder)
    found = []
    for row in rows:
        found.append(row)
        if not table:
            say(row)
    if table:
        click.echo(markdown(found, perfect_scores()))
    if record:
        zoo.write_metrics(folder, found)


def _measured(
    cells: Iterator[tuple[str, str, Settings]],
    records: zoo.Records,
    part: str,
    device: torch.device,
    folder: Path,
) -> Iterator[zoo.Record]:
    """The record of every (data, checkpoint, settings), from the file or newly measured."""
    opened = lru_cache(maxsize=1)(Reference.of)
    for source, name, wanted in cells:
        reference = opened(source, folder, part)
        row = records.current(zoo.identity(name, wanted, reference, folder))
        if row is None:
            row = _measure(name, wanted, reference, device, folder)
            records.add(row)
        yield row


def _kept(
    records: zoo.Records,
    names: tuple[str, ...],
    priors: tuple[str, ...],
    drawn: Callable[[str], list[Settings]],
    part: str,
    folder: Path,
) -> list[zoo.Record]:
    """The requested records of the folder's checkpoints."""

    def asked(row: zoo.Record) -> bool:
        wanted = drawn(row["checkpoint"])
        settings = [asdict(each) | {"prior": row["prior"]} for each in wanted]
        return (
            (not names or row["checkpoint"] in names)
            and (not priors or row["prior"] in priors)
            and row["part"] == part
            and any(each.items() <= row.items() for each in settings)
        )

    rows = list(filter(asked, records.of_files(folder)))
    if not rows:
        raise ValueError("there is no record of this; name the --data to measure it")
    return rows


def _by_source(
    sources: tuple[str, ...], names: tuple[str, ...], folder: Path
) -> Iterator[tuple[str, list[str]]]:
    """Each data set with the checkpoints to compare with it: by default those trained on it."""
    if names and len(sources) == 1:
        yield sources[0], list(names)
        return
    for source in sources:
        data = open_data(source).name
        known = names or checkpoint_names(folder)
        chosen = [n for n in known if manifest_entry(n, folder).get("data") == data]
        if chosen:
            yield source, chosen
        else:
            click.echo(f"no checkpoint here was trained on {data}", err=True)


def _with_priors(
    names: list[str], priors: tuple[str, ...], every: bool, folder: Path
) -> Iterator[tuple[str, str]]:
    """Each checkpoint with the requested priors; by default its first, with --all all its own."""
    for name in names:
        own = zoo.priors_of(name, folder)
        if every:
            own = [prior for prior in own if not priors or prior in priors]
        yield from ((name, prior) for prior in (own if every else priors or own[:1]))


def _measure(
    name: str, wanted: Settings, reference: Reference, device: torch.device, folder: Path
) -> zoo.Record:
    with progress_bar(wanted.count, f" of {name}, {wanted.prior}, {wanted.resolution}") as bar:
        for step in zoo.evaluate(name, wanted, reference, device, folder):
            if isinstance(step, dict):
                return {"date": datetime.now(UTC).date().isoformat()} | step
            bar.update(step - bar.n)
    raise AssertionError("an evaluation ends with its record")
