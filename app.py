"""Serve the page: `python app.py`, then open http://127.0.0.1:7860."""

import argparse
import os
import sys
from pathlib import Path

os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")  # before gradio is imported

from mldemo.machine import choose_device, share_cores, tune_process
from mldemo.store.checkpoints import BUNDLE
from mldemo.store.hub import configure_client

configure_client()  # gradio imports it

from mldemo.ui.server.quota import borrowed_gpu  # noqa: E402

ON_SPACE = "SPACE_ID" in os.environ
parser = argparse.ArgumentParser(description="mldemo: noise into digits, in the browser")
parser.add_argument("--device", default="auto", help="auto, cpu, cuda or mps (default: auto)")
parser.add_argument("--host", default="0.0.0.0" if ON_SPACE else "127.0.0.1")
parser.add_argument("--port", type=int, default=7860, help="default: 7860")
parser.add_argument("--root-path", help="the prefix behind which a proxy serves the page")
options = parser.parse_args(None if __name__ == "__main__" else [])
gpu = borrowed_gpu() if ON_SPACE else None
try:
    device = choose_device("cpu" if gpu else options.device)
except ValueError as error:
    parser.exit(2, f"app.py: {error}\n")

from mldemo.ui import build_app, launch_options, warm_up  # noqa: E402
from mldemo.ui.server.live import COMPUTE  # noqa: E402

folder = Path(os.environ.get("MLDEMO_CHECKPOINTS", BUNDLE))
demo = build_app(device, folder, gpu)

if __name__ == "__main__":
    # The compute threads need the interpreter some hundred times a step: let them wait for the
    # server 0.5 ms at most, not 5.
    sys.setswitchinterval(5e-4)
    COMPUTE.threads, team = share_cores(device)
    tune_process(None if "OMP_NUM_THREADS" in os.environ else team)
    try:
        demo.launch(
            server_name=options.host,
            server_port=options.port,
            prevent_thread_lock=True,
            **launch_options(demo, options.root_path),
        )
    except OSError as error:
        parser.exit(1, f"app.py: cannot listen on {options.host}:{options.port}: {error}\n")
    print(f"mldemo on {device.type}: http://{options.host}:{options.port}", flush=True)
    warm_up(device, folder)
    demo.block_thread()
