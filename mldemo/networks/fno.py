"""The paper's network: a plain Fourier neural operator with a per-sample time."""

from collections.abc import Iterable

from torch import Tensor, nn
from torch.nn import functional

from mldemo.networks.blocks import (
    CONDITIONS,
    FIELDS,
    Embedding,
    FourierBlock,
    OperatorBlock,
    check_inputs,
    to_one_channel,
    with_coordinates,
)


class NeuralOperator(nn.Module):
    """Lift to `width` channels, blocks conditioned on 4 · `width` features, project to one.

    (B, 2, N, N) and scaled log-SNRs, (B, 11) or (1, 11) for all -> (B, 1, N, N).
    """

    def __init__(self, width: int, blocks: Iterable[OperatorBlock]) -> None:
        super().__init__()
        self.embedding = Embedding(CONDITIONS, 4 * width)
        self.lift = nn.Conv2d(FIELDS + 4, width, 1)
        self.blocks = nn.ModuleList(blocks)
        self.hidden = nn.Conv2d(width, width, 1)
        self.project = nn.Conv2d(width, 1, 1)
        for parameter in self.project.parameters():
            nn.init.zeros_(parameter)  # so that D is the linear filter at first

    def forward(self, x: Tensor, snr: Tensor) -> Tensor:
        """Evaluate the operator on fields sampled at any N."""
        check_inputs(x, snr, self.project.weight)
        e = self.embedding(snr)
        h = self.lift(with_coordinates(x))
        for block in self.blocks:
            h = block(h, e)
        return to_one_channel(self.project, functional.silu(self.hidden(h)))


class FourierNeuralOperator(NeuralOperator):
    """Lift to `width` channels, `depth` Fourier blocks with |k|∞ ≤ `modes`, project to one.

    One set of weights applies at every N ≥ 8.
    (B, 2, N, N) and scaled log-SNRs, (B, 11) or (1, 11) for all -> (B, 1, N, N).
    """

    def __init__(self, width: int = 32, modes: int = 10, depth: int = 4) -> None:
        super().__init__(width, (FourierBlock(width, modes, 4 * width) for _ in range(depth)))
