"""What a layer computes from its weight, kept until the weight changes."""

from collections.abc import Callable, Hashable

import torch
from torch import Tensor

MOST = 4  # values of a layer that are kept, one per key


class Kept:
    """Computed from a weight once, then looked up; while something is learned, computed always."""

    def __init__(self) -> None:
        self._found: dict[Hashable, tuple[Tensor, int, Tensor]] = {}

    def __call__(self, weight: Tensor, key: Hashable, compute: Callable[[], Tensor]) -> Tensor:
        """`compute()`, a function of `weight` and `key`."""
        if (weight.requires_grad and torch.is_grad_enabled()) or weight.is_inference():
            return compute()
        source, version, value = self._found.get(key, (weight, -1, weight))
        same = source.data_ptr() == weight.data_ptr() and source.dtype == weight.dtype
        if not same or version != weight._version:
            with torch.inference_mode(False), torch.no_grad():  # to serve any later mode
                value = compute()
            if len(self._found) >= MOST:
                self._found.clear()
            # the source is held as well, so that its address is not given to another weight
            self._found[key] = weight.detach(), weight._version, value
        return value
