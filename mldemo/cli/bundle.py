"""`verify`, `bundle`, `bench`: check the bundle, make its derived files, measure speed."""

from functools import partial
from pathlib import Path

import click

from mldemo import pipeline
from mldemo.cli.options import bundle_option, device_option, say
from mldemo.machine import choose_device
from mldemo.metrics.classifier import load_classifier
from mldemo.request import Request
from mldemo.store import checkpoints
from mldemo.store.manifest import read_manifest, read_verified, verified


@click.command()
@device_option
@bundle_option
def verify(device: str, folder: Path) -> None:
    """Check every file of the bundle: hash, load, finiteness, a sample of four images."""
    chosen = choose_device(device)
    failed = 0
    for name, entry in read_manifest(folder)["files"].items():
        try:
            own = folder / entry["file"]
            if own.exists():  # it must be intact, even where an intact copy comes from the Hub
                verified(own, entry)
            if entry.get("kind") == "classifier":
                load_classifier(name, folder)
            elif entry.get("kind") == "checkpoint":
                for prior in entry["priors"]:
                    request = Request(prior["name"], 16, count=4, checkpoint=name)
                    x = pipeline.prepare(request, chosen, folder).result().x0
                    if not (x.isfinite().all() and x.abs().max() < 10):
                        reach = float(x.abs().max())
                        raise ValueError(f"with {prior['name']} its samples reach {reach:g}")
            else:
                checkpoints.parse(read_verified(name, folder)[0], name)
            click.echo(f"ok      {name}")
        except (ValueError, KeyError, TypeError) as error:
            failed += 1
            click.echo(f"FAILED  {name}: {error}")
    if failed:
        raise SystemExit(1)


@click.command()
@device_option
@bundle_option
def bundle(device: str, folder: Path) -> None:
    """Make what the bundle derives from its checkpoints.

    The generated digits behind the empirical score, the prerecorded run that the page opens with,
    and a sample sheet of every checkpoint and prior at 16, 32, 64 and 128.
    """
    from mldemo import bundling

    for path in bundling.make(folder, choose_device(device)):
        click.echo(str(path))


@click.command()
@click.argument("what", type=click.Choice(["spectral", "training", "sampling", "app", "class"]))
@device_option
@bundle_option
@click.option("--visitors", default=60, show_default=True, help="class: how many at once")
@click.option("--equal", is_flag=True, help="class: all ask for the same run")
@click.option("--greedy", default=0, show_default=True, help="class: beside so many long runs")
@click.option("--tries", default=1, show_default=True, help="class: so many classes in turn")
def bench(
    what: str, device: str, folder: Path, visitors: int, equal: bool, greedy: int, tries: int
) -> None:
    """Measure speed as JSON lines: ours beside a peer's, the app in a browser, a class at once."""
    from mldemo.studies import bench as benchmarks
    from mldemo.studies import bench_app, bench_class

    chosen = choose_device(device)
    rows = {
        "spectral": benchmarks.spectral,
        "training": partial(benchmarks.training, chosen),
        "sampling": partial(benchmarks.sampling, chosen, folder),
        "app": partial(bench_app.app, folder),
        "class": partial(bench_class.together, folder, visitors, equal, greedy, tries),
    }
    for row in rows[what]():
        say(row)
