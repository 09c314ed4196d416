"""The app: `build_app` builds the page, a `gr.Blocks` that is launched or mounted like any other.

It is imported on first use, so that `mldemo.ui.wire` can be imported without gradio.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mldemo.ui.app import build_app

__all__ = ["build_app"]


def __getattr__(name: str) -> Any:
    """Import `build_app`, and gradio with it, on first access."""
    if name in __all__:
        from mldemo.ui import app

        return getattr(app, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
