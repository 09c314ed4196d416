"""`train`: a checkpoint per level, coarse to fine."""

from pathlib import Path
from typing import Any

import click

from mldemo import pipeline
from mldemo.cli.options import Whole, device_option, progress_bar, say
from mldemo.noise import LARGEST_SEED
from mldemo.priors import PRIORS


def _levels(text: str) -> tuple[tuple[int, int], ...]:
    try:
        pairs = [part.split(":") for part in text.split(",")]
        return tuple((int(resolution), int(steps)) for resolution, steps in pairs)
    except ValueError:
        raise ValueError(f"--levels must look like 16:3600,32:1500, got {text!r}") from None


@click.command()
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
@device_option
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
    with progress_bar(plan.steps, "steps", run.step, hide=not leader) as bar:
        for progress in run.run(state, save_every):
            bar.update(1)
            bar.set_postfix(level=progress.resolution, loss=f"{progress.loss:.4f}")
            if log:
                log.add(progress)
            if leader and progress.finished_level is not None:
                training.export(run, out, f"{name}-{progress.resolution}", data.resolve().name)
    if leader:
        say({"out": str(out), "name": name, "steps": run.step, "seconds": round(run.seconds, 1)})
