"""The app: `build_app` builds the page, a `gr.Blocks` that is launched or mounted like any other.

Nothing is imported before it is asked for: `mldemo.ui.wire` alone needs no gradio.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mldemo.ui.app import build_app

__all__ = ["build_app"]


def __getattr__(name: str) -> Any:
    """Import gradio only when the page is wanted."""
    if name in __all__:
        from mldemo.ui import app

        return getattr(app, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
