"""`train`: a checkpoint per level, coarse to fine."""

import json
import re
from contextlib import ExitStack
from itertools import accumulate
from pathlib import Path
from typing import Any

import click

from mldemo.cli.options import DATA, Real, Whole, bundle_option, device_option, progress_bar, say
from mldemo.machine import choose_device, tune_process
from mldemo.networks import NETWORKS
from mldemo.networks.sizes import SIZES
from mldemo.space.priors import PRIORS
from mldemo.space.streams import LARGEST_SEED
from mldemo.store import schema
from mldemo.store.files import locked, make_folder, parse_json
from mldemo.training.plan import Plan


def _levels(text: str) -> tuple[tuple[int, int], ...]:
    try:
        pairs = [part.split(":") for part in text.split(",")]
        return tuple((int(resolution), int(steps)) for resolution, steps in pairs)
    except ValueError:
        raise ValueError(f"--levels must look like 16:3600,32:1500, got {text!r}") from None


def _network(text: str | None, size: str | None) -> dict[str, Any]:
    """The record of the network that --network or --size names."""
    if text is None:
        return SIZES[size] if size else {"kind": "ushaped"}
    if size is not None:
        raise ValueError("--size and --network exclude each other")
    if not text.lstrip().startswith("{"):
        text = json.dumps({"kind": text})
    record = parse_json(text, "--network")
    schema.check({"network": record}, {"network": schema.NETWORK}, "--network", "it")
    return record


@click.command()
@click.option(
    "--data",
    required=True,
    help=f"What to learn: {DATA}.",
)
@click.option(
    "--prior",
    "names",
    type=click.Choice(list(PRIORS)),
    multiple=True,
    default=["bessel"],
    help="Give it several times to train one network for all of them.",
)
@click.option(
    "--variations",
    type=Whole(0, 10_000),
    default=0,
    help="So many random priors around them are trained too.",
)
@click.option("--rehearsal", type=Whole(0, 10_000), default=4, help="0: never go back")
@click.option("--size", type=click.Choice(list(SIZES)), help="of the U-shaped operator")
@click.option(
    "--network",
    metavar="KIND|JSON",
    help=f"{', '.join(NETWORKS)}, or with options, as in "
    """'{"kind": "ushaped", "width": 16}'.  [default: the light size]""",
)
@click.option(
    "--levels",
    default=",".join(f"{n}:{steps}" for n, steps in Plan.levels),
    help="resolution:steps, coarse first",
)
@click.option("--batch", type=Whole(1, 65536), default=Plan.batch)
@click.option("--learning-rate", type=Real(0, 1, min_open=True), default=2e-3)
@click.option("--ema", type=Real(0, 1, max_open=True), default=0.999)
@click.option("--seed", type=Whole(0, LARGEST_SEED), default=0)
@click.option("--parent", metavar="NAME", help="checkpoint whose weights to begin with")
@bundle_option
@click.option("--save-every", type=Whole(1, 10**6), default=200, help="steps")
@click.option("--threads", type=Whole(1, 1024), help="[default: every core]")
@device_option
@click.option("--name", help="[default: DATA-PRIOR]")
@click.option("--out", type=click.Path(path_type=Path, file_okay=False), required=True)
def train(
    data: str,
    names: tuple[str, ...],
    size: str | None,
    network: str | None,
    levels: str,
    save_every: int,
    threads: int | None,
    device: str,
    parent: str | None,
    folder: Path,
    name: str | None,
    out: Path,
    **numbers: Any,
) -> None:
    """Train a checkpoint per level, coarse to fine; run the command again to go on after a kill.

    Writes OUT/NAME-16.safetensors and so on with OUT/manifest.json, and meanwhile
    OUT/NAME.state.safetensors (to resume) and OUT/NAME.jsonl (the loss curve). Several processes:
    torchrun --nproc-per-node=2 -m mldemo train …
    """
    import torch

    from mldemo.data.sets import open_data
    from mldemo.data.statistics import Statistics
    from mldemo.store.checkpoints import load_checkpoint
    from mldemo.store.manifest import manifest_entry
    from mldemo.training import loop as training
    from mldemo.training.captured import CapturedTraining

    chosen = choose_device(device)
    if threads is not None:
        tune_process(threads)
    source = open_data(data)
    name = name or f"{source.name}-{names[0] if len(names) == 1 else 'family'}"
    if not re.fullmatch(r"\w[\w. +-]{0,99}", name):
        raise ValueError(f"--name must be a plain name, got {name[:100]!r}")
    training.start_processes()
    fields = source.fields("train")
    statistics = Statistics.of(fields)
    ancestor = None if parent is None else load_checkpoint(parent, folder)
    plan = Plan(
        priors=tuple(statistics.prior(prior).to_dict() for prior in names),
        network=_network(network, size),
        levels=_levels(levels),
        parent=None if parent is None else manifest_entry(parent, folder)["sha256"],
        **numbers,
    )
    if chosen.type == "cuda" and not torch.distributed.is_initialized():
        run: training.Training = CapturedTraining(plan, fields, chosen)
    else:
        run = training.Training(plan, fields, chosen)
    state, leader = out / f"{name}.state.safetensors", run.rank == 0
    with ExitStack() as stack:
        if leader:
            make_folder(out)
            stack.enter_context(locked(out / name, "another training writes these files"))
        if state.exists():
            run.resume(state)
        elif ancestor is not None:
            run.begin_with(ancestor.network.state_dict())
        ends = dict(zip(accumulate(steps for _, steps in plan.levels), plan.levels, strict=True))
        if (
            leader and run.step in ends
        ):  # a kill may have come between the state and its checkpoint
            training.export(run, out, f"{name}-{ends[run.step][0]}", source.name)
        log = training.LossLog(out / f"{name}.jsonl", run.step) if leader else None
        bar = stack.enter_context(progress_bar(plan.steps, "steps", run.step, hide=not leader))
        for progress in run.run(state, save_every):
            bar.update(1)
            if log and (line := log.add(progress)):
                bar.set_postfix(level=line["resolution"], loss=f"{line['loss']:.4f}")
            if leader and progress.finished_level is not None:
                level = plan.levels[progress.finished_level][0]
                training.export(run, out, f"{name}-{level}", source.name)
    if leader:
        say({"out": str(out), "name": name, "steps": run.step, "seconds": round(run.seconds, 1)})
