"""Computations captured as CUDA graphs, and a denoiser of which every call is one.

A GPU finishes the small kernels of a network sooner than Python can launch them. A CUDA graph is
launched as a whole: its kernels read and write the same tensors each time.
"""

from collections.abc import Callable, Sequence
from functools import lru_cache, partial
from threading import Lock
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.weak import WeakTensorKeyDictionary

EAGER = 3  # calls before the capture: caches are filled, and cuDNN chooses its algorithms
MOST_GRAPHS = 8  # of a denoiser, one per shape
MOST_DENOISERS = 8
_CAPTURING = Lock()


class _Reads(TorchDispatchMode):
    """Notes in `tensors` what operations read, without keeping it alive."""

    def __init__(self) -> None:
        super().__init__()
        self.tensors: Any = WeakTensorKeyDictionary()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        for value in tree_leaves((args, kwargs)):
            if isinstance(value, Tensor):
                self.tensors[value] = None
        return func(*args, **(kwargs or {}))


class Graph:
    """`compute`, a function that reads tensors at fixed addresses, on a GPU.

    A call copies the values that it is given to the tensors `inputs`, of the same shapes, on which
    `compute` depends, and returns the result, which no later call changes. The first calls are
    ordinary ones, the next one is captured, and from then on it is replayed. On another device
    every call is an ordinary one. One thread at a time may call it.
    """

    def __init__(
        self,
        compute: Callable[[], Tensor],
        device: torch.device,
        inputs: Sequence[Tensor] = (),
        pool: Any = None,
    ) -> None:
        self.compute, self.inputs, self.pool, self.calls = compute, inputs, pool, 0
        self.stream = torch.cuda.Stream(device) if device.type == "cuda" else None
        self.held: list[Tensor] = []
        self._replayed: tuple[torch.cuda.CUDAGraph, Tensor] | None = None

    def __call__(self, *values: Tensor) -> Tensor:
        """The result of `compute` for these inputs."""
        if self.stream is None:
            self._take(values)
            return self._ordinary()
        current = torch.cuda.current_stream(self.stream.device)
        self.stream.wait_stream(current)
        with torch.cuda.stream(self.stream):
            self._take(values)
            out = self._ordinary() if self.calls < EAGER else self._replay()
        current.wait_stream(self.stream)
        out.record_stream(current)
        return out

    def _take(self, values: Sequence[Tensor]) -> None:
        for place, value in zip(self.inputs, values, strict=False):
            place.copy_(value, non_blocking=True)

    def _ordinary(self) -> Tensor:
        self.calls += 1
        if self.calls != EAGER:
            return self.compute()
        with _Reads() as reads:
            out = self.compute()
        # weights, inputs and constants outlive a call: a graph does not keep alive what it reads,
        # and a cache may drop a constant
        self.held = list(reads.tensors)
        return out

    def _replay(self) -> Tensor:
        if self._replayed is None:
            graph = torch.cuda.CUDAGraph()
            # other threads may use the device meanwhile, but not capture as well
            mode: Any = {"pool": self.pool, "capture_error_mode": "thread_local"}
            with _CAPTURING, torch.cuda.graph(graph, stream=self.stream, **mode):
                out = self.compute()
            self._replayed = graph, out
        graph, out = self._replayed
        graph.replay()
        return out.clone()


class CapturedDenoiser:
    """D(x, t) of a denoiser on a GPU, one `Graph` per shape of x; threads take turns.

    Where gradients are recorded the denoiser itself is called.
    """

    def __init__(self, denoiser: nn.Module) -> None:
        self.denoiser, self._lock = denoiser, Lock()
        self._graphs: dict[Any, Graph] = {}
        self._pool: Any = None

    def __call__(self, x: Tensor, time: Tensor) -> Tensor:
        """Denoise fields (B, 1, N, N) at times (B,) (or one time for all)."""
        if torch.is_grad_enabled():
            return self.denoiser(x, time)
        with self._lock:
            return self._graph(x, time)(x, time)

    def _graph(self, x: Tensor, time: Tensor) -> Graph:
        key = x.shape, x.dtype, x.device, time.shape, time.dtype
        if key not in self._graphs:
            if len(self._graphs) >= MOST_GRAPHS:
                self._graphs.clear()
            if not self._graphs and x.device.type == "cuda":
                self._pool = torch.cuda.graph_pool_handle()
            with torch.inference_mode(False):
                inputs = torch.empty_like(x), torch.empty_like(time, device=x.device)
            compute = partial(self.denoiser, *inputs)
            self._graphs[key] = Graph(compute, x.device, inputs, self._pool)
        return self._graphs[key]


@lru_cache(maxsize=MOST_DENOISERS)
def captured(denoiser: nn.Module) -> CapturedDenoiser:
    """The `CapturedDenoiser` of a denoiser, which keeps its graphs from one run to the next."""
    return CapturedDenoiser(denoiser)
