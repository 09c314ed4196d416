"""`python -m mldemo`, and the command `mldemo`."""

import signal


def main() -> None:
    """Run the command line.

    Until it is imported, which takes a second, Ctrl-C ends the process as the system does by
    default: an exception inside the import of an extension may be lost or become another one.
    """
    ours = signal.signal(signal.SIGINT, signal.SIG_DFL)
    from mldemo.cli import main as run

    signal.signal(signal.SIGINT, ours)
    run()


if __name__ == "__main__":
    main()
