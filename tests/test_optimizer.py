"""The optimiser, compared with the singular value decomposition, AdamW's first step, itself."""

import pytest
import torch
from torch import Tensor, nn

from mldemo.networks import build_network
from mldemo.training.optimizer import SPEED, MuonAdamW, orthogonalised

RECORD = {"kind": "ushaped", "width": 8, "modes": 4, "depth": 1, "core_widths": [8, 16]}


def of_singular_values(rows: int, columns: int, values: Tensor, seed: int = 0) -> Tensor:
    """A matrix with these singular values and random singular vectors, float64."""
    generator = torch.Generator().manual_seed(seed)
    shape = (len(values), rows), (len(values), columns)
    u, v = (torch.randn(s, generator=generator, dtype=torch.float64) for s in shape)
    left, right = torch.linalg.qr(u.T)[0], torch.linalg.qr(v.T)[0]
    return left @ torch.diag(values) @ right.T


def quintic(value: float) -> float:
    """What five iterations make of one singular value."""
    for _ in range(5):
        value = 3.4445 * value - 4.7750 * value**3 + 2.0315 * value**5
    return value


@pytest.mark.parametrize(("rows", "columns"), [(8, 8), (12, 70), (70, 12), (64, 576), (1, 5)])
@pytest.mark.parametrize("scale", [1e-4, 1.0, 1e4])
def test_orthogonalised_has_the_singular_vectors_of_its_matrix(
    rows: int, columns: int, scale: float
) -> None:
    """Against U and V of torch.linalg.svd, singular values 0.05 to 1: Uᵀ X V is diagonal and its
    entries are near 1."""
    values = torch.linspace(1, 0.05, min(rows, columns), dtype=torch.float64)
    matrix = scale * of_singular_values(rows, columns, values)
    u, s, vt = torch.linalg.svd(matrix, full_matrices=False)
    x = orthogonalised(matrix)
    middle = u.T @ x @ vt.T
    diagonal = middle.diagonal()
    assert 0.6 < float(diagonal.min()) <= float(diagonal.max()) < 1.3
    torch.testing.assert_close(middle, torch.diag(diagonal), atol=1e-7, rtol=0)
    torch.testing.assert_close(u @ middle @ vt, x, atol=1e-7, rtol=0)  # no other directions
    expected = [quintic(value) for value in (s / (s.norm() + 1e-7)).tolist()]
    torch.testing.assert_close(diagonal, torch.tensor(expected).double(), atol=1e-6, rtol=0)
    single = orthogonalised(matrix.float())
    torch.testing.assert_close(single.double(), x, atol=1e-4, rtol=0)


def test_what_orthogonalised_promises_of_singular_values() -> None:
    """At least 0.003 of the norm: to [0.68, 1.21]; less: at most 485 times as much."""
    after = [quintic(10 ** (-2.52 + 2.52 * i / 2000)) for i in range(2001)]
    assert 0.68 < min(after) and max(after) < 1.21
    small = [10 ** (-6 + 3 * i / 1000) for i in range(1001)]
    assert all(quintic(s) <= 485 * s for s in small)
    assert quintic(1e-6) == pytest.approx(485e-6, rel=1e-3)


@pytest.mark.parametrize(("rows", "scale"), [(8, 1.0), (32, 2.0)])
@pytest.mark.parametrize(("back", "onward"), [(0.3, True), (0.6, False)])
def test_a_muon_step_of_a_known_matrix(rows: int, scale: float, back: float, onward: bool) -> None:
    """The gradient 3Q, QᵀQ = 1, moves W by -10 rate √(rows/columns) f(8^-½) Q, f the quintic.

    Then -3`back` Q. The momentum is Q times 3(0.95·0.05 - 0.05 back), the direction 0.05 of the
    gradient and 0.95 of that: it turns round at back = 0.463, without Nesterov's share at 0.95.
    """
    q = of_singular_values(rows, 8, torch.ones(8, dtype=torch.float64)).float()
    layer = nn.Conv2d(8, rows, 1)
    start, optimizer = layer.weight.detach().flatten(1).clone(), MuonAdamW(layer, 1e-3)
    step = SPEED * 1e-3 * scale * quintic(8**-0.5) * q
    layer.weight.grad = (3 * q).view_as(layer.weight)
    optimizer.step()
    first = layer.weight.detach().flatten(1).clone()
    torch.testing.assert_close(first, start - step, atol=2e-6, rtol=0)
    layer.weight.grad = (-3 * back * q).view_as(layer.weight)
    optimizer.step()
    second = layer.weight.detach().flatten(1)
    torch.testing.assert_close(second, first - step if onward else first + step, atol=2e-6, rtol=0)


def with_gradients(network: nn.Module, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    for parameter in network.parameters():
        gradient = torch.randn(parameter.shape, generator=generator)
        parameter.grad = torch.empty_like(parameter).copy_(gradient)  # laid out as autograd does


def fresh(record: dict = RECORD) -> tuple[nn.Module, MuonAdamW]:
    torch.manual_seed(0)
    network = build_network(record)
    return network, MuonAdamW(network, 1e-3)


def test_every_parameter_moves_by_its_own_method() -> None:
    """Kernels of convolutions, at least 8 on either side, along an orthogonal matrix; spectral
    weights, thin kernels, linear layers, biases and norms by rate · sign(gradient), AdamW's first
    step."""
    network, optimizer = fresh()
    before = {name: p.detach().clone() for name, p in network.named_parameters()}
    with_gradients(network, 1)
    optimizer.step()
    kernels = set()
    for name, parameter in network.named_parameters():
        assert parameter.grad is not None
        move = (parameter.detach() - before[name]) / 1e-3
        if parameter.ndim == 4 and min(len(parameter), parameter[0].numel()) >= 8:
            kernels.add(name)
            matrix = move.flatten(1)
            scale = SPEED * max(1, len(matrix) / matrix.shape[1]) ** 0.5
            u, s, vt = torch.linalg.svd(parameter.grad.flatten(1), full_matrices=False)
            moved = (u.T @ matrix @ vt.T).diagonal() / -scale
            large = moved[s > 0.01 * s.norm()]
            assert 0.67 < float(large.min()) <= float(large.max()) < 1.22, name
        else:
            expected = -parameter.grad.sign() - 1e-4 * before[name]
            torch.testing.assert_close(move, expected, atol=2e-3, rtol=0, msg=name)
    assert {"core.enter.weight", "core.leave.weight", "blocks.0.skip.weight"} <= kernels
    assert not kernels & {"lift.weight", "project.weight", "blocks.0.convolution.weight"}


def test_a_step_is_seen_by_what_is_kept() -> None:
    """Without gradients layers keep what they make of their weights: a step makes it stale."""
    network, optimizer = fresh()
    x, snr = (
        torch.randn(2, 2, 16, 16, generator=torch.Generator().manual_seed(0)),
        torch.zeros(1, 11),
    )
    for seed in range(2):
        with torch.no_grad():
            network(x, snr)
        with_gradients(network, seed)
        optimizer.set_rate(1e-2)
        optimizer.step()
        with torch.no_grad():
            kept = network(x, snr)
        torch.testing.assert_close(kept, network(x, snr).detach())


def test_a_parameter_without_gradient_stays() -> None:
    network, optimizer = fresh()
    with_gradients(network, 1)
    still = dict(network.named_parameters())["core.enter.weight"]
    still.grad, before = None, still.detach().clone()
    optimizer.step()
    assert torch.equal(still, before)


@pytest.mark.parametrize(
    "record", [RECORD, {"kind": "unet", "widths": (8, 16)}, {"kind": "wavelet", "width": 8}]
)
def test_the_state_comes_back_bit_for_bit(record: dict) -> None:
    """Three steps, state handed over (contiguous, as files hold it), three more: like six."""
    network, optimizer = fresh(record)
    other, restored = fresh(record)
    assert not optimizer.state_dict()["state"], "not stepped yet"
    for seed in range(3):
        with_gradients(network, seed)
        optimizer.step()
    other.load_state_dict(network.state_dict())
    handed = optimizer.state_dict()
    for i, state in handed["state"].items():
        handed["state"][i] = {k: v.clone().contiguous() for k, v in state.items()}
    restored.load_state_dict(handed)
    for seed in range(3, 6):
        for model, method in ((network, optimizer), (other, restored)):
            with_gradients(model, seed)
            method.set_rate(2e-3)
            method.step()
    a, b = (method.state_dict()["state"] for method in (optimizer, restored))
    kernels = len(optimizer.param_groups[0]["params"])
    assert [set(state) for state in a.values()] == [
        {"momentum"} if i < kernels else {"step", "exp_avg", "exp_avg_sq"} for i in range(len(a))
    ]
    assert len(a) == len(list(network.parameters())) and a.keys() == b.keys()
    for i, state in a.items():
        assert all(torch.equal(state[k], b[i][k]) and v.any() for k, v in state.items())
    for x, y in zip(network.parameters(), other.parameters(), strict=True):
        assert torch.equal(x, y)


def test_the_rest_moves_as_torchs_adamw() -> None:
    """Four steps of changing rates against `torch.optim.AdamW`, to the bit."""
    network, optimizer = fresh()
    other, _ = fresh()
    rest = [p for p in other.parameters() if p.ndim != 4 or min(len(p), p[0].numel()) < 8]
    theirs = torch.optim.AdamW(rest, betas=(0.9, 0.99), weight_decay=1e-4, fused=True)
    for seed in range(4):
        rate = 1e-3 * (seed + 1)
        optimizer.set_rate(rate)
        theirs.param_groups[0]["lr"] = rate
        for model, method in ((network, optimizer), (other, theirs)):
            with_gradients(model, seed)
            method.step()
    ours = optimizer.param_groups[1]["params"]
    assert all(torch.equal(a, b) for a, b in zip(ours, rest, strict=True))


def test_it_is_an_optimizer_of_torch() -> None:
    """A closure, `zero_grad`, rates by group, and a scheduler of torch that moves both."""
    network, optimizer = fresh()

    def closure() -> Tensor:
        optimizer.zero_grad()
        loss = torch.stack([(p - 1).square().sum() for p in network.parameters()]).sum()
        loss.backward()
        return loss

    first = optimizer.step(closure)
    assert optimizer.step(closure).detach() < first.detach()
    assert [g["lr"] for g in optimizer.param_groups] == [SPEED * 1e-3, 1e-3]
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 0.5**step)
    optimizer.step(closure)
    schedule.step()
    assert [g["lr"] for g in optimizer.param_groups] == [SPEED * 5e-4, 5e-4]
    optimizer.param_groups[0]["lr"] = 0.0
    before = [p.detach().clone() for p in network.parameters()]
    optimizer.step(closure)
    still = {id(p) for p in optimizer.param_groups[0]["params"]}
    for old, p in zip(before, network.parameters(), strict=True):
        assert torch.equal(old, p) == (id(p) in still)
