"""The command line: `python -m mldemo sample | noise | train | verify | bundle | bench`.

Results go to files and, as one JSON line, to stdout; progress goes to stderr. Bad input ends with
exit code 2 and one sentence on stderr.
"""

import json
import math
import sys
import time
from pathlib import Path
from typing import Any

import click

from mldemo import checkpoints, pipeline
from mldemo.noise import LARGEST_SEED
from mldemo.priors import PRIORS
from mldemo.samplers import LARGEST_STEPS, SAMPLERS
from mldemo.spectral import FINEST, SMALLEST

CHUNK = 64  # images computed at once; a sample does not depend on it
LARGEST_GIF = 64


class Whole(click.ParamType):
    """A whole number with bounds; both kinds of mistake get a sentence that names them."""

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


_seed = click.option(
    "--seed", type=Whole(0, LARGEST_SEED), default=7, help="One seed is one function."
)
_device = click.option(
    "--device", default="auto", help="auto, cpu, cuda or mps.", show_default=True
)
_bundle = click.option(
    "--checkpoints",
    "folder",
    type=click.Path(path_type=Path, file_okay=False),
    default=checkpoints.BUNDLE,
    help="Folder with manifest.json and the checkpoint files.  [default: the bundle]",
)


@click.group(context_settings={"help_option_names": ["-h", "--help"], "show_default": True})
def cli() -> None:
    """Infinite-dimensional diffusion models: sample, look at the noise, train, verify."""
    pipeline.tune_process()


def _destination(out: Path, endings: tuple[str, ...]) -> Path:
    if out.suffix.lower() not in endings:
        raise ValueError(f"--out must end in {' or '.join(endings)}, got {str(out)!r}")
    if not out.parent.is_dir():
        raise ValueError(f"--out names a folder that does not exist: {str(out.parent)!r}")
    return out


def _say(record: dict[str, Any]) -> None:
    click.echo(json.dumps(record))


@cli.command()
@click.option("--prior", type=click.Choice(list(PRIORS)), default="bessel")
@click.option("--resolution", type=Whole(SMALLEST, FINEST), default=32)
@click.option("--steps", type=Whole(1, LARGEST_STEPS), default=20)
@click.option("--sampler", type=click.Choice(list(SAMPLERS)), default="dpmpp2m")
@click.option("--count", type=Whole(1, pipeline.LARGEST_COUNT), default=16)
@_seed
@click.option("--checkpoint", metavar="NAME", help="[default: the prior's own]")
@click.option("--score", type=click.Choice(pipeline.SCORES), default="learned")
@click.option(
    "--data",
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    help="IDX folder for the empirical score.  [default: bundled generated digits]",
)
@_device
@_bundle
@click.option("--out", type=click.Path(path_type=Path), required=True, help=".png, .npy or .gif")
def sample(out: Path, device: str, folder: Path, data: Path | None, **wishes: Any) -> None:
    """Turn function-space noise into images.

    .npy is float32 (count, N, N), unclipped; .png is a contact sheet; .gif shows x_t and the
    predicted x_0 side by side as the run went.
    """
    from mldemo import images

    out = _destination(out, (".png", ".npy", ".gif"))
    request = pipeline.Request(**wishes)
    moving = out.suffix.lower() == ".gif"
    if moving and request.count > LARGEST_GIF:
        raise ValueError(f"--count must be at most {LARGEST_GIF} for a .gif, got {request.count}")
    if data is not None and request.score != "empirical":
        raise ValueError(f"--data is for --score empirical, not for {request.score}")
    run = pipeline.prepare(request, pipeline.choose_device(device), folder, data)
    finished, shown, start = [], [], time.perf_counter()
    with _progress(request.steps * math.ceil(request.count / CHUNK), "steps") as bar:
        for first in range(0, request.count, CHUNK):
            chosen = range(first, min(first + CHUNK, request.count))
            frame = None
            for frame in run.frames(chosen):
                bar.update(1 if frame.step else 0)
                if moving:
                    shown.append((pipeline.pixels(frame.x), pipeline.pixels(frame.x0)))
            assert frame is not None
            finished.append(frame.x0)
    seconds = time.perf_counter() - start
    if moving:
        images.write_gif(out, shown)
    else:
        images.write_fields(out, finished)
    _say(
        {
            "out": str(out),
            "checkpoint": run.checkpoint,
            "score": request.score,
            "prior": run.prior.to_dict(),
            "resolution": request.resolution,
            "sampler": request.sampler,
            "steps": request.steps,
            "network_calls": request.calls,
            "count": request.count,
            "seed": request.seed,
            "device": str(run.device),
            "seconds": round(seconds, 3),
        }
    )


@cli.command()
@click.option("--prior", type=click.Choice(list(PRIORS)), required=True)
@click.option("--resolution", type=Whole(SMALLEST, FINEST), default=64)
@click.option("--count", type=Whole(1, pipeline.LARGEST_COUNT), default=16)
@_seed
@click.option(
    "--trace",
    type=click.FloatRange(0, 1e6, min_open=True),
    help="tr Q.  [default: the data's variance; 1 per pixel for standard]",
)
@_bundle
@click.option("--out", type=click.Path(path_type=Path), required=True, help=".npy or .png")
def noise(
    prior: str,
    resolution: int,
    count: int,
    seed: int,
    trace: float | None,
    folder: Path,
    out: Path,
) -> None:
    """Draw functions from N(0, Q): float32 (count, N, N)."""
    from dataclasses import replace

    from mldemo import images

    out = _destination(out, (".npy", ".png"))
    q = pipeline.default_prior(prior, pipeline.default_statistics(folder))
    if trace is not None:
        if not math.isfinite(trace):
            raise ValueError(f"--trace must be finite, got {trace}")
        q = replace(q, **{"trace": trace})
    chunks = [range(i, min(i + CHUNK, count)) for i in range(0, count, CHUNK)]
    images.write_fields(out, [q.draw(seed, chunk, resolution) for chunk in chunks])
    _say(
        {
            "out": str(out),
            "prior": q.to_dict(),
            "trace_class": q.trace_class,
            "level_trace": q.level_trace(resolution),
            "continuum_trace": q.total if math.isfinite(q.total) else None,
            "resolution": resolution,
            "count": count,
            "seed": seed,
        }
    )


def _levels(text: str) -> tuple[tuple[int, int], ...]:
    try:
        pairs = [part.split(":") for part in text.split(",")]
        return tuple((int(resolution), int(steps)) for resolution, steps in pairs)
    except ValueError:
        raise ValueError(f"--levels must look like 16:3600,32:1500, got {text!r}") from None


@cli.command()
@click.option(
    "--data",
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    required=True,
    help="Folder with train-images-idx3-ubyte(.gz).",
)
@click.option("--prior", type=click.Choice(list(PRIORS)), default="bessel")
@click.option("--network", type=click.Choice(["ushaped", "fno"]), default="ushaped")
@click.option("--levels", default="16:3600,32:1500,64:120", help="resolution:steps, coarse first")
@click.option("--batch", type=Whole(1, 65536), default=128)
@click.option("--learning-rate", type=click.FloatRange(0, 1, min_open=True), default=2e-3)
@click.option("--ema", type=click.FloatRange(0, 1, max_open=True), default=0.999)
@click.option("--seed", type=Whole(0, LARGEST_SEED), default=0)
@click.option("--save-every", type=Whole(1, 10**6), default=200, help="steps")
@click.option("--threads", type=Whole(1, 1024), help="[default: every core]")
@_device
@click.option("--name", help="[default: FOLDER-PRIOR]")
@click.option("--out", type=click.Path(path_type=Path, file_okay=False), required=True)
def train(
    data: Path,
    prior: str,
    network: str,
    levels: str,
    save_every: int,
    threads: int | None,
    device: str,
    name: str | None,
    out: Path,
    **numbers: Any,
) -> None:
    """Train a checkpoint per level, coarse to fine; run the command again to go on after a kill.

    Writes OUT/NAME-16.safetensors and so on with OUT/manifest.json, and meanwhile
    OUT/NAME.state.safetensors (to resume) and OUT/NAME.jsonl (the loss curve). Several processes:
    torchrun --nproc-per-node=2 -m mldemo train …
    """
    from mldemo import training
    from mldemo.data import Statistics, load_fields

    chosen = pipeline.choose_device(device)
    if threads is not None:
        pipeline.tune_process(threads)
    name = name or f"{data.resolve().name}-{prior}"
    if Path(name).name != name:
        raise ValueError(f"--name must be a plain name, got {name!r}")
    training.start_processes()
    fields = load_fields(data)
    q = pipeline.default_prior(prior, Statistics.of(fields))
    plan = training.Plan(
        prior=q.to_dict(), network={"kind": network}, levels=_levels(levels), **numbers
    )
    run = training.Training(plan, fields, chosen)
    state, leader = out / f"{name}.state.safetensors", run.rank == 0
    if state.exists():
        run.resume(state)
    log = training.LossLog(out / f"{name}.jsonl", run.step) if leader else None
    with _progress(plan.steps, "steps", run.step, hide=not leader) as bar:
        for progress in run.run(state, save_every):
            bar.update(1)
            bar.set_postfix(level=progress.resolution, loss=f"{progress.loss:.4f}")
            if log:
                log.add(progress)
            if leader and progress.finished_level is not None:
                training.export(run, out, f"{name}-{progress.resolution}", data.resolve().name)
    if leader:
        _say({"out": str(out), "name": name, "steps": run.step, "seconds": round(run.seconds, 1)})


@cli.command()
@_device
@_bundle
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


@cli.command()
@_device
@_bundle
def bundle(device: str, folder: Path) -> None:
    """Make what the bundle derives from its default checkpoint.

    The prerecorded run that the page opens with, and the generated digits behind the empirical
    score.
    """
    from mldemo import bundling

    for path in bundling.make(folder, pipeline.choose_device(device)):
        click.echo(str(path))


@cli.command()
@click.argument("what", type=click.Choice(["spectral", "sampling"]))
@_bundle
def bench(what: str, folder: Path) -> None:
    """Measure speed: ours and a peer's side by side in one run, as JSON lines."""
    from mldemo import bench as benchmarks

    rows = benchmarks.spectral() if what == "spectral" else benchmarks.sampling(folder)
    for row in rows:
        _say(row)


def _progress(total: int, unit: str, initial: int = 0, hide: bool = False) -> Any:
    from tqdm import tqdm

    return tqdm(
        total=total, initial=initial, unit=unit, disable=hide or None, file=sys.stderr, leave=False
    )


def main() -> None:
    """Run the command line; every foreseeable error is one sentence and exit code 2."""
    try:
        cli.main(standalone_mode=False)
    except click.exceptions.Abort:
        raise SystemExit(130) from None
    except click.exceptions.NoArgsIsHelpError as error:
        click.echo(error.format_message())
        raise SystemExit(2) from None
    except click.ClickException as error:
        message = " ".join(error.format_message().split())
    except (ValueError, OSError) as error:
        message = " ".join(str(error).split())
    else:
        return
    click.echo(f"mldemo: {message}", err=True)
    raise SystemExit(2)
