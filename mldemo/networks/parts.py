"""The parts of neuralop that the networks are built on, imported without wandb.

Where wandb is installed neuralop loads it, for a trainer that is not used here: 1.4 s of every
start. Without wandb it loads as well. Whoever wants neuralop's trainer to log to wandb imports
wandb first.
"""

import sys

_absent = "wandb" not in sys.modules
if _absent:
    sys.modules["wandb"] = None  # type: ignore[assignment]  # an import finds that it is not there
try:
    from neuralop.layers.base_spectral_conv import BaseSpectralConv
    from neuralop.layers.embeddings import SinusoidalEmbedding
finally:
    if _absent and sys.modules.get("wandb", ...) is None:
        del sys.modules["wandb"]

__all__ = ["BaseSpectralConv", "SinusoidalEmbedding"]
