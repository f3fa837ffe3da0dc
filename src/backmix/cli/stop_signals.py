"""Signals that stop a command (Ctrl-C, SIGTERM, a lost terminal) take effect between two pieces of work."""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType, TracebackType
from typing import Any


class Stop(KeyboardInterrupt):
    """A signal asked the command to stop.

    Attributes:
        number: The number of the signal.
    """

    def __init__(self, number: int) -> None:
        super().__init__(signal.Signals(number).name)
        self.number = number


@contextmanager
def advice_when_stopped(advice: Callable[[], str]) -> Iterator[None]:
    """Print a sentence that says how to go on if Ctrl-C ends the block; typer then ends the program without a word.

    Args:
        advice: A function that returns the sentence; if it is empty, nothing is printed.
    """
    try:
        yield
    except KeyboardInterrupt:
        if said := advice():
            print(f"backmix: stopped: {said}", file=sys.stderr)
        raise


class StopSignals:
    """A context manager in which signals raise `Stop`: at once, or at the end of a block under `held`.

    Signals that were ignored before (nohup) stay ignored. In threads other than the main thread it does nothing.
    """

    def __init__(self) -> None:
        self._old: dict[int, Any] = {}
        self._holding = False
        self._waiting: int | None = None

    def __enter__(self) -> StopSignals:
        if threading.current_thread() is threading.main_thread():
            for name in ("SIGINT", "SIGTERM", "SIGHUP"):
                number = getattr(signal, name, None)  # Windows has no SIGHUP.
                if number is not None and signal.getsignal(number) not in (signal.SIG_IGN, None):
                    self._old[number] = signal.signal(number, self._receive)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        for number, old in self._old.items():
            signal.signal(number, old)

    @contextmanager
    def held(self) -> Iterator[None]:
        """Let the block run to its end; a signal that arrives meanwhile raises `Stop` afterwards."""
        self._holding = True
        try:
            yield
        finally:
            self._holding = False
        if self._waiting is not None:
            raise Stop(self._waiting)

    def hold(self) -> None:
        """Ignore all further signals, so that open files can be closed."""
        self._holding = True

    def _receive(self, number: int, frame: FrameType | None) -> None:
        self._waiting = number  # Kept because an exception that is raised in a callback may be lost.
        if not self._holding:
            raise Stop(number)
