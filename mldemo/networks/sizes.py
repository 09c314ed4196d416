"""The two sizes of the U-shaped operator: light for CPUs, large for GPUs (slow on CPUs)."""

from typing import Any

from mldemo.networks import NETWORKS, complete_record

SIZES: dict[str, dict[str, Any]] = {
    "light": {"kind": "ushaped", "modes": 8, "depth": 1, "core_widths": [48, 96]},
    "large": {"kind": "ushaped", "modes": 12, "depth": 2, "core_widths": [128, 256]},
}


def size_of(record: dict[str, Any]) -> str | None:
    """The name of the size that a network's record describes; None if it is neither."""
    if record.get("kind") not in NETWORKS:
        return None
    found = complete_record(record)
    return next((n for n, r in SIZES.items() if complete_record(r) == found), None)
