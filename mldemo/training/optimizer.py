"""The optimiser: Muon for the kernels of convolutions, AdamW for everything else.

Muon (https://kellerjordan.github.io/posts/muon) orthogonalises the momentum of a weight matrix, so
that its update has about the same size in every direction. `torch.optim.Muon` does the same in
bfloat16 and for matrices only; on a CPU without bfloat16 products a step of it took 730 ms, longer
than the network itself.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn, optim
from torch.optim.adamw import adamw

MOMENTUM, SPEED = 0.95, 10.0  # Muon's learning rate is SPEED times AdamW's
SMALLEST_SIDE = 8  # thinner matrices have no directions worth balancing


def orthogonalised(matrix: Tensor, iterations: int = 5) -> Tensor:
    """Approximately U Vᵀ, for a matrix with singular value decomposition U S Vᵀ.

    The quintic Newton-Schulz iteration X <- PX, P = aI + bA + cA², A = XXᵀ, from X of norm 1. It
    preserves U and V; singular values of at least 0.003 of the norm end in [0.68, 1.21], smaller
    ones grow by at most a⁵ = 485. All P commute with A, so only the smaller matrix A is iterated,
    A <- PAP, and X is multiplied once by the product of all P: for a kernel of 128 x 1152 that is
    a third of the operations.
    """
    x = matrix / (matrix.norm() + 1e-7)
    wide = x if x.shape[0] <= x.shape[1] else x.T
    gram = wide @ wide.T
    one = torch.eye(len(gram), dtype=x.dtype, device=x.device)
    product = one
    for i in range(iterations):
        factor = torch.addmm(3.4445 * one - 4.7750 * gram, gram, gram, alpha=2.0315)
        product = factor @ product if i else factor
        if i + 1 < iterations:
            gram = factor @ gram @ factor
    wide = product @ wide
    return wide if x.shape[0] <= x.shape[1] else wide.T


def _is_kernel(parameter: nn.Parameter) -> bool:
    sides = parameter.shape[0], parameter[0].numel()
    return parameter.ndim == 4 and min(sides) >= SMALLEST_SIDE


class MuonAdamW(optim.Optimizer):
    """Two parameter groups of one network: its kernels, moved by Muon, and the rest, by AdamW.

    Muon, for a kernel W as a matrix (out, in · taps) with gradient G:
    M <- μM + (1-μ)G, W <- W - lr √max(1, rows/columns) · orthogonalised(μM + (1-μ)G).
    AdamW: arXiv 1711.05101.

    `lr` is AdamW's learning rate, and Muon's is `SPEED` times as large; `set_rate` sets both.
    """

    def __init__(self, network: nn.Module, lr: float = 2e-3) -> None:
        kernels = [p for p in network.parameters() if _is_kernel(p)]
        rest = [p for p in network.parameters() if not _is_kernel(p)]
        muon = {"params": kernels, "method": "muon", "speed": SPEED, "momentum": MOMENTUM}
        adam = {"params": rest, "method": "adamw", "speed": 1.0, "betas": (0.9, 0.99)}
        adam |= {"weight_decay": 1e-4, "eps": 1e-8, "fused": True}
        super().__init__([group for group in (muon, adam) if group["params"]], {"lr": lr})
        self.set_rate(lr)

    def set_rate(self, rate: float) -> None:
        """Set the learning rate of every group from that of AdamW, `rate`."""
        for group in self.param_groups:
            group["lr"] = group["speed"] * rate

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Take one step; parameters without a gradient are left unchanged."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            method = _muon_step if group["method"] == "muon" else _adamw_step
            moved = [p for p in group["params"] if p.grad is not None]
            method(group, moved, [self.state[p] for p in moved])
        return loss

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Load a state, each tensor in its parameter's memory layout, as fused AdamW requires."""
        super().load_state_dict(state_dict)
        for parameter, state in self.state.items():
            for name, value in state.items():
                if value.ndim:
                    state[name] = torch.empty_like(parameter).copy_(value)


def _muon_step(
    group: dict[str, Any], moved: list[nn.Parameter], states: list[dict[str, Tensor]]
) -> None:
    for kernel, state in zip(moved, states, strict=True):
        gradient: Any = kernel.grad
        if not state:
            state["momentum"] = torch.zeros_like(kernel)
        momentum = state["momentum"].lerp_(gradient, 1 - group["momentum"])
        direction = gradient.lerp(momentum, group["momentum"])  # Nesterov
        matrix = orthogonalised(direction.flatten(1))
        scale = max(1.0, matrix.shape[0] / matrix.shape[1]) ** 0.5
        kernel.add_(matrix.view_as(kernel), alpha=-group["lr"] * scale)


def _adamw_step(
    group: dict[str, Any], moved: list[nn.Parameter], states: list[dict[str, Tensor]]
) -> None:
    for parameter, state in zip(moved, states, strict=True):
        if not state:
            state["step"] = torch.zeros((), device=parameter.device)
            state["exp_avg"] = torch.zeros_like(parameter)
            state["exp_avg_sq"] = torch.zeros_like(parameter)
    names = "exp_avg", "exp_avg_sq", "step"
    averages, squares, steps = ([state[name] for state in states] for name in names)
    first, second = group["betas"]
    parameters: Any = moved
    gradients: Any = [p.grad for p in moved]
    adamw(
        *(parameters, gradients, averages, squares, [], steps),
        **{name: group[name] for name in ("lr", "weight_decay", "eps", "fused")},
        **{"beta1": first, "beta2": second, "amsgrad": False, "maximize": False},
    )
    torch.autograd.graph.increment_version(moved)  # the fused kernel does not do so
