"""Serve the page: `python app.py`, then open http://127.0.0.1:7860.

`demo` is the page itself, for `demo.launch()`, notebooks and `gr.mount_gradio_app`.
"""

import argparse
import atexit
import os
import signal
import tempfile
import threading
from pathlib import Path
from typing import NoReturn

os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")  # before gradio is imported

from mldemo.ui.server.address import check_address, check_port, check_root_path

ON_SPACE = "SPACE_ID" in os.environ
environ = os.environ.get
parser = argparse.ArgumentParser(description="mldemo: noise into digits, in the browser")
parser.add_argument("--device", default="auto", help="auto, cpu, cuda or mps (default: auto)")
parser.add_argument(
    "--host",
    default=environ("GRADIO_SERVER_NAME") or ("0.0.0.0" if ON_SPACE else "127.0.0.1"),
    help="address to listen on; 0.0.0.0 for all (default: GRADIO_SERVER_NAME or 127.0.0.1)",
)
parser.add_argument(
    "--port",
    default=environ("GRADIO_SERVER_PORT") or "7860",
    help="1 to 65535 (default: GRADIO_SERVER_PORT or 7860)",
)
parser.add_argument(
    "--root-path",
    default=environ("GRADIO_ROOT_PATH") or None,
    help="the prefix behind which a proxy serves the page (default: GRADIO_ROOT_PATH)",
)


def end(*_: object) -> NoReturn:
    """Remove temporary files and exit at once.

    An orderly teardown of torch and gradio would take more than a second, to no benefit.
    """
    atexit._run_exitfuncs()
    os._exit(0)


options = parser.parse_args(None if __name__ == "__main__" else [])
try:
    port, root_path = check_port(options.port), check_root_path(options.root_path)
    if __name__ == "__main__":
        check_address(options.host, port)
        if not environ("GRADIO_TEMP_DIR"):  # the default may be another user's, and stays
            scratch = tempfile.TemporaryDirectory(prefix="mldemo-")
            os.environ["GRADIO_TEMP_DIR"] = scratch.name
        for number in (signal.SIGINT, signal.SIGTERM):
            # The first process of a container has no default handlers, and an exception raised
            # while an extension module is imported may be lost.
            signal.signal(number, end)
    # Slow imports come after the options are checked, so that a typo is reported at once.
    from mldemo.machine import choose_device
    from mldemo.store.hub import configure_client
    from mldemo.store.manifest import BUNDLE

    configure_client()  # before gradio, which imports the client

    from mldemo.ui.server.quota import borrowed_gpu

    gpu = borrowed_gpu() if ON_SPACE else None
    device = choose_device("cpu" if gpu else options.device)
except ValueError as error:
    parser.exit(2, f"app.py: {error}\n")

from mldemo.ui import build_app  # noqa: E402

demo = build_app(device, Path(environ("MLDEMO_CHECKPOINTS") or BUNDLE), gpu)

if __name__ == "__main__":
    stopped = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stopped.set())
    demo.launch(
        server_name=options.host,
        server_port=port,
        root_path=root_path,
        prevent_thread_lock=True,
        quiet=True,
    )
    print(f"mldemo on {device.type}: http://{options.host}:{port}", flush=True)
    while not stopped.wait(1) and demo.server.thread.is_alive():
        pass
    demo.close()
    end()
