"""Ctrl-C where the suite was started from a background shell or by nohup, which let their children ignore signals."""

import signal


def interruptible() -> None:
    """Let SIGINT and SIGHUP stop this process again; `preexec_fn=interruptible` lets them stop a child."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    if hasattr(signal, "SIGHUP"):
        signal.signal(signal.SIGHUP, signal.SIG_DFL)
