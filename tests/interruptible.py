"""Ctrl-C where the suite was started from a background shell, which lets its children ignore it."""

import signal


def interruptible() -> None:
    """Let SIGINT interrupt this process again; `preexec_fn=interruptible` lets it interrupt a child."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
