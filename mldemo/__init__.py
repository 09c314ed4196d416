"""mldemo: infinite-dimensional diffusion models, coarse to fine.

Fields live on the torus (`spectral`), noise is a Gaussian with a trace-class covariance operator
(`priors`, `noise`), the reverse SDE (`sde`, `samplers`) needs only a denoiser: an exact one
(`oracles`) or a trained neural operator (`checkpoints`). `pipeline` puts them together.

Public names (`public`) are imported on first access, because importing torch takes a second.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mldemo.public import *  # noqa: F403

__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    if name.startswith("_") and name != "__all__":
        raise AttributeError(f"module 'mldemo' has no attribute {name!r}")
    public = import_module("mldemo.public")
    if name == "__all__":
        return public.__all__
    if name in public.__all__:
        return getattr(public, name)
    raise AttributeError(f"module 'mldemo' has no attribute {name!r}")


def __dir__() -> list[str]:
    return [*globals(), *__getattr__("__all__")]
