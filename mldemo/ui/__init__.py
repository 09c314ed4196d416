"""The app: `build_app` builds the page, `launch_options` are what its `launch` wants.

Nothing is imported before it is asked for: `mldemo.ui.wire` alone needs no gradio.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mldemo.ui.watch import build_app, launch_options, warm_up

__all__ = ["build_app", "launch_options", "warm_up"]


def __getattr__(name: str) -> Any:
    """Import gradio only when the page is wanted."""
    if name in __all__:
        from mldemo.ui import watch

        return getattr(watch, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
