"""The machine a process runs on: which device, how many threads, what becomes of freed memory."""

import ctypes
import math
import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import torch

CGROUPS, GROUPS_OF_PROCESS = Path("/sys/fs/cgroup"), Path("/proc/self/cgroup")
MOST_AT_ONCE = 4


def granted_cores() -> int:
    """How many cores this process may use: its affinity, and the quota of its control groups.

    A container sees all cores of its host, and may use a few of them: quota / period, rounded
    up, is the least such number of `cpu.max` (version 2) or `cpu.cfs_quota_us` (version 1) from
    its own group to the root.
    """
    affinity = getattr(os, "sched_getaffinity", None)
    cores = len(affinity(0)) if affinity else os.cpu_count() or 1
    return max(1, min([cores, *(math.ceil(quota) for quota in _quotas())]))


def share_cores(device: torch.device) -> tuple[int, int]:
    """How many runs are computed at the same time, and how many threads each step gets.

    On two cores a class of sixty different runs ends in 0.73 of the time that it takes with one
    thread (`mldemo bench class`, in turn), and one run alone leaves a core to browser and server.
    Python lets one thread run at a time, so more than a few such runs wait for each other. A GPU
    computes one run after the other.
    """
    cores = granted_cores()
    if device.type != "cpu":
        return 1, max(1, cores // 2)
    runs = min(MOST_AT_ONCE, cores)
    return runs, cores // runs


def _quotas() -> Iterator[float]:
    """Cores that each of the process's control groups grants, where it says so."""
    try:
        lines = GROUPS_OF_PROCESS.read_text().splitlines()
    except OSError:
        return
    for line in lines:
        _, controllers, group = line.split(":", 2)
        if controllers and "cpu" not in controllers.split(","):
            continue
        root = CGROUPS / controllers if controllers else CGROUPS
        inner = root / group.lstrip("/")  # absent where the container sees its own group as root
        for folder in dict.fromkeys((inner, *inner.parents, root)):
            if not folder.is_relative_to(root):
                continue
            with suppress(OSError, ValueError):
                if controllers:
                    quota = (folder / "cpu.cfs_quota_us").read_text()
                    period = (folder / "cpu.cfs_period_us").read_text()
                else:
                    quota, period = (folder / "cpu.max").read_text().split()
                if float(quota) > 0:  # "max" is no number, -1 no quota
                    yield float(quota) / float(period)


def choose_device(name: str = "auto") -> torch.device:
    """The device called for: "auto" takes cuda, then mps, then cpu; an absent one raises."""
    present = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.mps.is_available()}
    if name == "auto":
        return torch.device(next(d for d in ("cuda", "mps", "cpu") if present[d]))
    if name not in present:
        raise ValueError(f"device must be one of auto, {', '.join(present)}, got {name!r}")
    if not present[name]:
        here = ", ".join(d for d, there in present.items() if there)
        raise ValueError(f"device {name} is not available here; there is: {here}")
    return torch.device(name)


def tune_process(threads: int | None = None) -> None:
    """Use every granted core, or `threads` of them, and keep freed memory for the next step.

    Without `threads`, OMP_NUM_THREADS has the last word.

    By default glibc hands large blocks back to the system at once, and every layer of every step
    then pays for fresh pages: 16 images at 128² ran 3 times slower. Elsewhere nothing happens.
    """
    if threads is not None or "OMP_NUM_THREADS" not in os.environ:
        torch.set_num_threads(threads or granted_cores())
    # malloc.h: what to keep, how many blocks go past the heap, how many heaps there are
    trim_threshold, mmap_max, arena_max = -1, -4, -8
    with suppress(AttributeError, OSError, TypeError):
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(trim_threshold, 2**31 - 1)
        mallopt(mmap_max, 0)
        mallopt(arena_max, 1)


def release_memory() -> None:
    """Hand freed memory back to the system after all, for instance when nothing is to be done."""
    with suppress(AttributeError, OSError, TypeError):
        ctypes.CDLL(None).malloc_trim(0)
