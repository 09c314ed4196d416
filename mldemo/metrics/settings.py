"""How samples are drawn for an evaluation."""

from dataclasses import asdict, dataclass
from typing import Any

from mldemo.request import GUIDANCE, LARGEST_COUNT, Request

SMALLEST_COUNT = 8


@dataclass(frozen=True)
class Settings:
    """How samples are drawn for an evaluation; every field is checked."""

    resolution: int
    prior: str = "bessel"
    steps: int = 20
    count: int = 2000
    sampler: str = Request.sampler
    seed: int = 0
    guidance: float = GUIDANCE

    def __post_init__(self) -> None:
        """Check types, ranges and the total work."""
        self.request()
        if self.count < SMALLEST_COUNT:
            bounds = f"from {SMALLEST_COUNT} to {LARGEST_COUNT}"
            raise ValueError(f"count must be {bounds} to evaluate, got {self.count}")

    def request(self, **more: Any) -> Request:
        """The request to the pipeline that draws the samples."""
        return Request(**asdict(self), **more)
