"""The machine a process runs on: choice of device, number of threads, handling of freed memory."""

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

    A container sees all cores of its host but may use only some of them: the smallest
    quota / period, rounded up, in `cpu.max` (version 2) or `cpu.cfs_quota_us` (version 1) from
    its own group up to the root.
    """
    affinity = getattr(os, "sched_getaffinity", None)
    cores = len(affinity(0)) if affinity else os.cpu_count() or 1
    return max(1, min([cores, *(math.ceil(quota) for quota in _quotas())]))


def share_cores(device: torch.device) -> tuple[int, int]:
    """How many runs are computed at the same time, and how many threads each step gets.

    On two cores, sixty different runs take 0.73 of the time that they take when computed one at a
    time (`mldemo bench class`, in turn), and a single run leaves a core to browser and server.
    Python's interpreter lock lets one thread run at a time, so more than a few such runs wait for
    each other. A GPU computes one run after the other.
    """
    cores = granted_cores()
    if device.type != "cpu":
        return 1, max(1, cores // 2)
    runs = min(MOST_AT_ONCE, cores)
    return runs, cores // runs


def _quotas() -> Iterator[float]:
    """The quota in cores of each of the process's control groups that sets one."""
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
                if float(quota) > 0:  # "max" is not a number, -1 means no quota
                    yield float(quota) / float(period)


def choose_device(name: str = "auto") -> torch.device:
    """The requested device: "auto" takes cuda, then mps, then cpu; an absent one raises."""
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

    Without `threads`, OMP_NUM_THREADS takes precedence.

    By default glibc hands large blocks back to the system at once, and every layer of every step
    then pays for fresh pages: 16 images at 128² took 3 times as long. Other C libraries are left
    as they are.
    """
    if threads is not None or "OMP_NUM_THREADS" not in os.environ:
        torch.set_num_threads(threads or granted_cores())
    # from malloc.h: free memory to keep, number of mmapped blocks, number of arenas
    trim_threshold, mmap_max, arena_max = -1, -4, -8
    with suppress(AttributeError, OSError, TypeError):
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(trim_threshold, 2**31 - 1)
        mallopt(mmap_max, 0)
        mallopt(arena_max, 1)


def release_memory() -> None:
    """Return freed memory to the system, for instance when the process is idle."""
    with suppress(AttributeError, OSError, TypeError):
        ctypes.CDLL(None).malloc_trim(0)
