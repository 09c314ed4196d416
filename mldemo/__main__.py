"""`python -m mldemo`, and the command `mldemo`."""

import atexit
import os
import signal
import sys

PATIENCE = 10.0  # seconds that a command may take to clean up after Ctrl-C
INTERRUPTED = 130  # the exit code of shells


def main() -> None:
    """Run the command line.

    While it is being imported, which takes a second, Ctrl-C has the system's default action: an
    exception inside the import of an extension may be lost or replaced by another one. The
    teardown of torch at exit may wait for threads, so an interrupted command skips it.
    """
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    from mldemo.cli import main as run

    signal.signal(signal.SIGINT, interrupt)
    try:
        run()
    except SystemExit as end:
        if end.code != INTERRUPTED:
            raise
        atexit._run_exitfuncs()
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(INTERRUPTED)


def interrupt(*_: object) -> None:
    """Raise `KeyboardInterrupt`; after `PATIENCE` s or at the next Ctrl-C, end the process.

    Destructors and some extensions swallow the exceptions that are raised in them.
    """
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    if hasattr(signal, "setitimer"):
        signal.signal(signal.SIGALRM, lambda *_: os.kill(os.getpid(), signal.SIGINT))
        signal.setitimer(signal.ITIMER_REAL, PATIENCE)
    raise KeyboardInterrupt


if __name__ == "__main__":
    main()
