"""Borrowed GPUs: on a ZeroGPU Space a live run requests one for some seconds, or does without.

There `spaces.GPU` forks a process that holds a GPU as long as a generator runs. Arguments and
yielded values are pickled; of an exception only the class is passed back. For a visitor without
quota it raises `gradio.Error` before the first record.
"""

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from typing import Any

import gradio as gr
import torch

from mldemo.ui.limits import size_of
from mldemo.ui.server.live import Source, sentence
from mldemo.ui.server.schedule import SECONDS
from mldemo.ui.wire import Record

Decorator = Callable[..., Callable[[Source], Source]]
START_SECONDS = 10  # to load a network and warm the GPU; a guess on the safe side
PIXELS_PER_SECOND = 2e7  # pixel evaluations; a guess on the safe side too


def borrowed_gpu() -> Decorator | None:
    """`spaces.GPU` where it lends GPUs, else None. To be called before CUDA is queried."""
    with suppress(ImportError):
        import spaces  # type: ignore[import-not-found]

        if os.environ.get("SPACES_ZERO_GPU", "").lower() in ("1", "t", "true"):
            return spaces.GPU
    return None


def seconds_for(query: Mapping[str, str]) -> int:
    """Seconds that a run may hold a GPU: start + pixel evaluations / rate, at most `SECONDS`."""
    return round(min(SECONDS, START_SECONDS + size_of(query) / PIXELS_PER_SECOND))


def on_borrowed(gpu: Decorator, there: Source, here: Source) -> Source:
    """A source that runs `there` on a borrowed GPU, or `here` if none is lent."""

    def run(query: Mapping[str, str]) -> Iterator[Record]:
        torch.set_num_threads(1)  # after a fork OpenMP would wait for threads that are gone
        try:
            yield from there(query)
        except ValueError as error:  # its message would be lost
            yield {"kind": "error", "text": sentence(error)}, {}

    lent = gpu(duration=seconds_for)(run)

    def either(query: Any, computed: Iterator[Record]) -> Iterator[Record]:
        begun = False
        try:
            for record in lent(dict(query)):
                begun = True
                yield record
        except gr.Error as error:
            if begun:
                raise ValueError(f"the GPU was taken away: {sentence(error)}") from None
            yield from computed

    def records(query: Any) -> Iterator[Record]:
        return either(query, here(query))  # `here` checks the query before anything is lent

    return records
