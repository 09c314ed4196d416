"""Where the page's runs are computed, and from which checkpoints."""

from dataclasses import dataclass, replace
from pathlib import Path

import torch

from mldemo.pipeline import Run, default_checkpoint, prepare
from mldemo.request import Request


@dataclass(frozen=True)
class Place:
    """The device of runs, and the folder of their checkpoints.

    usual: the device that determines the default network, if not `device`: a run on a borrowed
    GPU uses the default that the page shows.
    """

    device: torch.device
    folder: Path
    usual: torch.device | None = None

    def default(self, prior: str) -> str | None:
        """The checkpoint for `prior` if a request names none."""
        return default_checkpoint(prior, self.usual or self.device, self.folder)

    def prepare(self, request: Request) -> Run:
        """`pipeline.prepare` on this device, with these checkpoints."""
        if request.score == "learned" and request.checkpoint is None:
            request = replace(request, checkpoint=self.default(request.prior))
        return prepare(request, self.device, self.folder)
