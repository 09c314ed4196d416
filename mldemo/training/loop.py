"""Multilevel training: denoising score matching, coarse to fine, resumable bit for bit.

One network is trained on H_16, then on H_32, then on H_64 (or whatever levels a plan names); the
state after each level is a checkpoint of its own. Everything random in step i is a function of
(seed, i), so a run that was killed resumes exactly.

On several processes (`torchrun --nproc-per-node=2 -m mldemo train …`) each takes its share of the
same global batch, so the loss curve is the same as on one process.
"""

import json
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save
from torch import Tensor, distributed, nn
from torch.nn.parallel import DistributedDataParallel

from mldemo.data.statistics import Statistics
from mldemo.diffusion.denoiser import Denoiser, Noise
from mldemo.networks import build_network, complete_record
from mldemo.space.priors import prior_from_dict
from mldemo.space.spectral import resample, shift, to_modes
from mldemo.space.streams import Stream, generator
from mldemo.store import schema
from mldemo.store.checkpoints import open_tensors, save_checkpoint
from mldemo.store.files import (
    FileError,
    append_line,
    brief,
    make_folder,
    parse_json,
    read_bounded,
    write_bytes,
)
from mldemo.training.average import Average
from mldemo.training.families import Family
from mldemo.training.optimizer import MuonAdamW
from mldemo.training.plan import Plan, training_times

LARGEST_STATE = LARGEST_LOG = 4 * 2**30


@dataclass(frozen=True)
class Progress:
    """One optimiser step of the level `level`, taken at `resolution`.

    The two differ when a coarser level is rehearsed. `loss` stays on the training device, since
    `float` would synchronise. `finished_level`, the index of the level, is set on its last step.
    """

    step: int
    total: int
    level: int
    resolution: int
    loss: Tensor
    learning_rate: float
    seconds: float
    finished_level: int | None = None


class Training:
    """A run in progress: the weights, their average, the optimiser, and the step reached.

    `seconds` is the time that its steps took by `clock`: the CPU time of the process, or
    `time.thread_time` where other threads of the process compute something else. `denoising` makes
    a denoiser of the network; checkpoints assume a `Denoiser`.
    """

    def __init__(
        self,
        plan: Plan,
        fields: Tensor,
        device: torch.device | str = "cpu",
        clock: Callable[[], float] = time.process_time,
        denoising: type[Denoiser] = Denoiser,
    ) -> None:
        if fields.ndim != 4 or fields.shape[1] != 1 or len(fields) < 2:
            raise ValueError(f"fields (B >= 2, 1, N, N) needed, got {tuple(fields.shape)}")
        finest = max(resolution for resolution, _ in plan.levels)
        if finest > fields.shape[-1]:
            raise ValueError(f"level {finest} needs data finer than {fields.shape[-1]}")
        self.plan, self.fields, self.device = plan, fields, torch.device(device)
        self.statistics = Statistics.of(fields)
        self.rank = distributed.get_rank() if distributed.is_initialized() else 0
        self.world = distributed.get_world_size() if distributed.is_initialized() else 1
        if plan.batch % self.world:
            raise ValueError(f"batch {plan.batch} cannot be shared by {self.world} processes")
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(plan.seed)
            network = build_network(plan.network).to(self.device)
        prior = prior_from_dict(plan.priors[0])
        self.denoiser = denoising(network, prior, self.statistics, plan.schedule)
        variance = self.statistics.variance
        self.family = Family.of(plan.priors, plan.variations, plan.seed, variance)
        objective: nn.Module = _Objective(self.denoiser)
        if self.world > 1:
            objective = DistributedDataParallel(objective)
        self._objective = objective
        self.average = Average(network, plan.ema)
        self.optimizer = MuonAdamW(network, plan.learning_rate)
        self.step, self.seconds, self.clock = 0, 0.0, clock
        self._levels: dict[int, tuple[Tensor, Noise]] = {}

    def begin_with(self, weights: dict[str, Tensor]) -> None:
        """Start from the weights of another network of the same shape."""
        try:
            self.denoiser.network.load_state_dict(weights)
        except RuntimeError as error:
            why = brief(error)
            raise ValueError(f"the parent's weights do not fit this network: {why}") from None
        self.average.module.load_state_dict(weights)

    def _level(self, resolution: int) -> tuple[Tensor, Noise]:
        """Modes of the data, and spectra of the family, on one level."""
        if resolution not in self._levels:
            parts = [to_modes(resample(p, resolution)) for p in self.fields.split(1000)]
            self._levels[resolution] = torch.cat(parts), self.family.noise(resolution)
        return self._levels[resolution]

    def _batch(self, resolution: int) -> tuple[Tensor, Tensor, Tensor, Noise]:
        """This process's share of the current global batch: modes, ζ, times, spectra of Q."""
        plan = self.plan
        rng = generator(Stream.TRAINING, plan.seed, self.step)
        share = slice(self.rank, None, self.world)
        chosen = torch.from_numpy(rng.integers(len(self.fields), size=plan.batch))[share]
        times = torch.from_numpy(training_times(plan.batch, rng, plan.decisive))[share]
        white = rng.standard_normal((plan.batch, 1, resolution, resolution), np.float32)[share]
        modes = to_modes(torch.from_numpy(np.ascontiguousarray(white))) * resolution
        weights = self.family.weights
        met = torch.from_numpy(rng.choice(len(weights), plan.batch, p=weights))[share]
        data, noise = self._level(resolution)
        clean = data[chosen]
        if plan.shift:
            offsets = rng.uniform(-plan.shift, plan.shift, (plan.batch, 2)).astype(np.float32)
            clean = shift(clean, torch.from_numpy(offsets)[share])
        d = self.device
        spectra = Noise(noise.modes[met].to(d), noise.shells[met].to(d))
        return clean.to(d), modes.to(d), times.to(d), spectra

    def advance(self) -> Progress:
        """Take one optimiser step."""
        start = self.clock()
        plan = self.plan
        index, level, inside = plan.level_of(self.step)
        resolution, rate = plan.resolution_of(self.step), plan.rate(self.step)
        self.optimizer.zero_grad()
        loss = self._objective(*self._batch(resolution))
        loss.backward()
        nn.utils.clip_grad_norm_(self.denoiser.network.parameters(), 1.0)
        self.optimizer.set_rate(rate)
        self.optimizer.step()
        self.average.update(self.denoiser.network)
        value = loss.detach()
        if self.world > 1:
            distributed.all_reduce(value, distributed.ReduceOp.AVG)
        self.step += 1
        self.seconds += self.clock() - start
        done = index if inside + 1 == plan.levels[index][1] else None
        where = self.step, plan.steps, level, resolution
        return Progress(*where, value, rate, self.seconds, done)

    def averaged(self, guidance: float = 1.0) -> Denoiser:
        """The denoiser with the averaged weights, which it shares: further steps change it."""
        parts = self.average.module, self.denoiser.prior, self.statistics, self.plan.schedule
        return type(self.denoiser)(*parts, guidance).eval()

    def save(self, path: Path) -> None:
        """Write everything that `resume` needs; the file is replaced atomically."""
        tensors = {f"network.{k}": v for k, v in self.denoiser.network.state_dict().items()}
        tensors |= {f"average.{k}": v for k, v in self.average.module.state_dict().items()}
        for i, state in self.optimizer.state_dict()["state"].items():
            tensors |= {f"optimizer.{i}.{k}": v for k, v in state.items()}
        record = {
            "plan": asdict(self.plan),
            "step": self.step,
            "seconds": self.seconds,
            "averaged": self.average.steps,
            "tensors": sorted(tensors),
        }
        make_folder(path.parent)
        contiguous = {k: v.detach().cpu().contiguous() for k, v in tensors.items()}
        write_bytes(path, save(contiguous, {"training": json.dumps(record)}))

    def resume(self, path: Path) -> None:
        """Continue from a file of `save`; a damaged file or another plan raises `ValueError`."""
        try:
            raw = read_bounded(path, LARGEST_STATE)
            tensors, record = open_tensors(raw, str(path), "training")
            schema.check(record, schema.STATE, path)
            if record["tensors"] != sorted(tensors):
                raise FileError(f"{path} is damaged: tensors are missing")
        except ValueError as error:
            raise ValueError(f"{error}; remove the file to begin anew") from None
        if record["plan"] != json.loads(json.dumps(asdict(self.plan))):
            raise ValueError(f"{path} belongs to another plan: remove it or choose another folder")
        try:
            self._restore(tensors, record)
        except (KeyError, ValueError, TypeError, IndexError, RuntimeError) as error:
            raise ValueError(
                f"{path} does not fit its own plan: {brief(error)}; remove the file to begin anew"
            ) from None

    def _restore(self, tensors: dict[str, Tensor], record: dict[str, Any]) -> None:
        def part(name: str) -> dict[str, Tensor]:
            cut = len(name) + 1
            return {k[cut:]: v for k, v in tensors.items() if k.startswith(name + ".")}

        self.denoiser.network.load_state_dict(part("network"))
        self.average.module.load_state_dict(part("average"))
        self.average.steps = record["averaged"]
        states: dict[int, dict[str, Tensor]] = {}
        for key, value in part("optimizer").items():
            i, name = key.split(".")
            states.setdefault(int(i), {})[name] = value
        self.optimizer.load_state_dict(self.optimizer.state_dict() | {"state": states})
        self.step, self.seconds = record["step"], record["seconds"]

    def run(self, state: Path | None = None, save_every: int = 200) -> Iterator[Progress]:
        """Train to the end of the plan, yielding each step; `state` is the file to save to."""
        while self.step < self.plan.steps:
            progress = self.advance()
            last = progress.finished_level is not None
            if state is not None and self.rank == 0 and (last or self.step % save_every == 0):
                self.save(state)
            yield progress


class _Objective(nn.Module):
    """The mean loss as a module, so that DistributedDataParallel can wrap it."""

    def __init__(self, denoiser: Denoiser) -> None:
        super().__init__()
        self.denoiser = denoiser

    def forward(self, clean: Tensor, white: Tensor, times: Tensor, noise: Noise) -> Tensor:
        return self.denoiser.loss(clean, white, times, noise).mean()


def start_processes() -> None:
    """Join the other processes if `torchrun` or `accelerate launch` started this one."""
    if int(os.environ.get("WORLD_SIZE", "1")) > 1 and not distributed.is_initialized():
        if torch.cuda.is_available():
            torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
        distributed.init_process_group("nccl" if torch.cuda.is_available() else "gloo")


class LossLog:
    """The loss curve as JSON lines, one per `every` steps, with the mean loss of those steps.

    Steps that rehearse a coarser level are left out of the mean: losses there have another scale.
    A resumed run drops the lines beyond the step it resumes from, so no step appears twice.
    """

    def __init__(self, path: Path, step: int, every: int = 20) -> None:
        self.path, self.every = path, every
        self._losses: list[Tensor] = []
        make_folder(path.parent)
        lines = _logged(path) if path.exists() else []
        kept = [json.dumps(line) + "\n" for line in lines if line["step"] <= step]
        write_bytes(path, "".join(kept).encode())

    def add(self, progress: Progress) -> dict[str, Any] | None:
        """Add the loss of a step; if a line is due, write it and return its contents."""
        if progress.resolution == progress.level:
            self._losses.append(progress.loss)
        due = progress.step % self.every == 0 or progress.finished_level is not None
        if not (due and self._losses):
            return None
        record = {
            "step": progress.step,
            "resolution": progress.level,
            "loss": sum(torch.stack(self._losses).tolist()) / len(self._losses),
            "learning_rate": progress.learning_rate,
            "seconds": round(progress.seconds, 2),
        }
        self._losses.clear()
        append_line(self.path, json.dumps(record))
        return record


def _logged(path: Path) -> list[dict[str, Any]]:
    """The lines of a loss log; a last line that a kill cut short is dropped."""
    texts, lines = read_bounded(path, LARGEST_LOG).splitlines(), []
    for i, text in enumerate(texts):
        try:
            line = parse_json(text, path)
            schema.check(line, {"step": schema.STATE["step"]}, path)
            lines.append(line)
        except FileError:
            if i + 1 < len(texts):
                raise FileError(f"{path} is no loss log: line {i + 1} is none of it") from None
    return lines


def export(run: Training, folder: Path, name: str, data: str) -> Path:
    """Write the averaged weights of a run as a checkpoint with its record."""
    plan, left, levels = run.plan, run.step, []
    for resolution, steps in plan.levels:
        if left > 0:
            levels.append([resolution, min(steps, left)])
        left -= steps
    record = {
        "data": data,
        "priors": list(plan.priors),
        "variations": plan.variations,
        "network": complete_record(plan.network),
        "schedule": asdict(plan.schedule),
        "levels": levels,
        "batch": plan.batch,
        "learning_rate": plan.learning_rate,
        "carried": plan.carried,
        "ema": plan.ema,
        "rehearsal": plan.rehearsal,
        "decisive": plan.decisive,
        "shift": plan.shift,
        "seed": plan.seed,
        "parent": plan.parent,
        "seconds": round(run.seconds, 1),
        "versions": {"torch": torch.__version__, "neuraloperator": version("neuraloperator")},
    }
    return save_checkpoint(folder, name, run.average.module, run.statistics, record)
