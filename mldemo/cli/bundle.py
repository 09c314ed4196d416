"""`verify`, `bundle`, `bench`: is what we ship whole, made anew, and quick?"""

from pathlib import Path

import click

from mldemo import checkpoints, pipeline
from mldemo.cli.options import bundle_option, device_option, say


@click.command()
@device_option
@bundle_option
def verify(device: str, folder: Path) -> None:
    """Check every file of the bundle: hash, load, finiteness, a sample of four images."""
    chosen = pipeline.choose_device(device)
    failed = 0
    for name, entry in checkpoints.read_manifest(folder)["files"].items():
        try:
            if entry.get("kind") == "checkpoint":
                request = pipeline.Request(
                    prior=entry["prior"]["name"], resolution=16, count=4, checkpoint=name
                )
                x = pipeline.prepare(request, chosen, folder).result().x0
                if not (x.isfinite().all() and x.abs().max() < 10):
                    raise ValueError(f"its samples reach {float(x.abs().max()):g}")
            else:
                checkpoints.parse(checkpoints.read_verified(name, folder)[0], name)
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
    """Make what the bundle derives from its default checkpoint.

    The prerecorded run that the page opens with, and the generated digits behind the empirical
    score.
    """
    from mldemo import bundling

    for path in bundling.make(folder, pipeline.choose_device(device)):
        click.echo(str(path))


@click.command()
@click.argument("what", type=click.Choice(["spectral", "sampling"]))
@bundle_option
def bench(what: str, folder: Path) -> None:
    """Measure speed: ours and a peer's side by side in one run, as JSON lines."""
    from mldemo import bench as benchmarks

    rows = benchmarks.spectral() if what == "spectral" else benchmarks.sampling(folder)
    for row in rows:
        say(row)
