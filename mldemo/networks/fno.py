"""The paper's network: a plain Fourier neural operator with a per-sample time."""

from torch import Tensor, nn
from torch.nn import functional

from mldemo.networks.blocks import (
    CONDITIONS,
    FIELDS,
    Embedding,
    FourierBlock,
    check_inputs,
    to_one_channel,
    with_coordinates,
)


class FourierNeuralOperator(nn.Module):
    """Lift to `width` channels, `depth` Fourier blocks with |k|∞ ≤ `modes`, project to one.

    One set of weights serves every N ≥ 8.
    (B, 2, N, N) and scaled log-SNRs, (B, 11) or (1, 11) for all -> (B, 1, N, N).
    """

    def __init__(self, width: int = 32, modes: int = 10, depth: int = 4) -> None:
        super().__init__()
        features = 4 * width
        self.embedding = Embedding(CONDITIONS, features)
        self.lift = nn.Conv2d(FIELDS + 4, width, 1)
        self.blocks = nn.ModuleList(FourierBlock(width, modes, features) for _ in range(depth))
        self.hidden = nn.Conv2d(width, width, 1)
        self.project = nn.Conv2d(width, 1, 1)
        for parameter in self.project.parameters():
            nn.init.zeros_(parameter)  # the linear filter, to begin with

    def forward(self, x: Tensor, snr: Tensor) -> Tensor:
        """Evaluate the operator on fields sampled at any N."""
        check_inputs(x, snr, self.project.weight)
        e = self.embedding(snr)
        h = self.lift(with_coordinates(x))
        for block in self.blocks:
            h = block(h, e)
        return to_one_channel(self.project, functional.silu(self.hidden(h)))
