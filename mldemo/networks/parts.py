"""The parts of neuralop that the networks are built on, imported without wandb.

Where wandb is installed, neuralop imports it for a trainer that is not used here, which takes
1.4 s at every start; neuralop loads without it, too. To let neuralop's trainer log to wandb,
import wandb first.
"""

import sys

_absent = "wandb" not in sys.modules
if _absent:
    sys.modules["wandb"] = None  # type: ignore[assignment]  # makes its import fail
try:
    from neuralop.layers.base_spectral_conv import BaseSpectralConv
    from neuralop.layers.embeddings import SinusoidalEmbedding
finally:
    if _absent and sys.modules.get("wandb", ...) is None:
        del sys.modules["wandb"]

__all__ = ["BaseSpectralConv", "SinusoidalEmbedding"]
