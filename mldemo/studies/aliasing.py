"""The aliasing of a network and of its layers: how far each is from one operator for all grids.

A layer is a family of maps u_N between fields on grids. If it were an operator U, discretised
without aliasing, then P_N u_M(h) = u_N(h) for every h of H_N and every finer grid M. The relative
gap is

    ‖P_N u_2N(h) - u_N(h)‖ / ‖P_N u_2N(h)‖,

where h is the input of the layer in a forward pass on level N, projected on H_N. This is the
aliasing error of F. Bartolucci et al., arXiv 2305.19913, with u_2N in place of the operator U.
"""

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from mldemo.networks.blocks import Embedding
from mldemo.space.spectral import resample


def layers(network: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """The layers of a network by name, with lists of layers flattened, without the embedding."""
    for name, child in network.named_children():
        if isinstance(child, nn.ModuleList):
            yield from ((f"{name}.{i}", layer) for i, layer in enumerate(child))
        elif not isinstance(child, Embedding):
            yield name, child


def seen(modules: dict[str, nn.Module], call: Callable[[], Any]) -> dict[str, tuple[Tensor, ...]]:
    """The arguments of modules in a call, in order; modules that are not called are left out."""
    found: dict[str, tuple[Tensor, ...]] = {}

    def keep(name: str, _: nn.Module, args: tuple[Tensor, ...]) -> None:
        found[name] = args

    hooks = [m.register_forward_pre_hook(partial(keep, name)) for name, m in modules.items()]
    try:
        with torch.no_grad():
            call()
    finally:
        for hook in hooks:
            hook.remove()
    return found


def gap(layer: nn.Module, h: Tensor, fine: int, *more: Tensor) -> float:
    """The relative gap of a layer at h (B, C, n, n), from n to `fine` points per side."""
    with torch.no_grad():
        low, high = (layer(resample(h, side), *more) for side in (h.shape[-1], fine))
    low, high = (resample(y, low.shape[-1]) for y in (low, high))
    return float((high - low).norm() / high.norm().clamp(min=1e-30))


def network_gap(network: nn.Module, x: Tensor, snr: Tensor) -> float:
    """The relative gap of a whole network at fields (B, 2, N, N), from N to 2N."""
    return gap(network, x, 2 * x.shape[-1], snr)


def layer_gaps(network: nn.Module, x: Tensor, snr: Tensor) -> dict[str, float]:
    """The relative gap of every layer at its input for fields (B, 2, N, N), from N to 2N.

    A layer on a latent grid of fixed size works on the same grid at 2N, so its gap is 0.
    """
    found, fine = dict(layers(network)), 2 * x.shape[-1]
    low = seen(found, lambda: network(x, snr))
    high = seen(found, lambda: network(resample(x, fine), snr))
    return {
        name: gap(found[name], h, high[name][0].shape[-1], *more)
        for name, (h, *more) in low.items()
    }
