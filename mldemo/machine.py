"""The machine a process runs on: which device, how many threads, what becomes of freed memory."""

import ctypes
import os
from contextlib import suppress

import torch


def choose_device(wish: str = "auto") -> torch.device:
    """The device called for: "auto" takes cuda, then mps, then cpu; an absent one raises."""
    present = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.mps.is_available()}
    if wish == "auto":
        return torch.device(next(d for d in ("cuda", "mps", "cpu") if present[d]))
    if wish not in present:
        raise ValueError(f"device must be one of auto, {', '.join(present)}, got {wish!r}")
    if not present[wish]:
        here = ", ".join(d for d, there in present.items() if there)
        raise ValueError(f"device {wish} is not available here; there is: {here}")
    return torch.device(wish)


def tune_process(threads: int | None = None) -> None:
    """Use every core (OMP_NUM_THREADS has the last word), and keep freed memory for the next step.

    By default glibc hands large blocks back to the system at once, and every layer of every step
    then pays for fresh pages: 16 images at 128² ran 3 times slower. Elsewhere nothing happens.
    """
    if threads is not None or "OMP_NUM_THREADS" not in os.environ:
        torch.set_num_threads(threads or os.cpu_count() or 1)
    # malloc.h: what to keep, how many blocks go past the heap, how many heaps there are
    trim_threshold, mmap_max, arena_max = -1, -4, -8
    with suppress(AttributeError, OSError, TypeError):
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(trim_threshold, 2**31 - 1)
        mallopt(mmap_max, 0)
        mallopt(arena_max, 1)
