"""The app: `build_app` builds the page, `launch_options(demo)` are what its `launch` wants.

Nothing is imported before it is asked for: `mldemo.ui.wire` alone needs no gradio.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mldemo.ui.app import build_app, warm_up
    from mldemo.ui.server.serve import launch_options

__all__ = ["build_app", "launch_options", "warm_up"]


def __getattr__(name: str) -> Any:
    """Import gradio only when the page is wanted."""
    if name in __all__:
        from mldemo.ui import app
        from mldemo.ui.server import serve

        return getattr(serve if name == "launch_options" else app, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
