"""Ctrl-C, SIGTERM and a lost terminal stop a command between two pieces of work, never within one."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType, TracebackType
from typing import Any


class Stop(KeyboardInterrupt):
    """The user, or the machine, asked to stop.

    Attributes:
        number: of the signal.
    """

    def __init__(self, number: int) -> None:
        super().__init__(signal.Signals(number).name)
        self.number = number


class StopSignals:
    """While it is entered, signals raise `Stop` at once, or at the end of what is `held`.

    Signals that are ignored (nohup) stay ignored. In another thread than the main one nothing changes.
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
        """What is done within is done to its end; a signal that came meanwhile stops afterwards."""
        self._holding = True
        try:
            yield
        finally:
            self._holding = False
        if self._waiting is not None:
            raise Stop(self._waiting)

    def hold(self) -> None:
        """From now on nothing stops: what is left is to close what is open."""
        self._holding = True

    def _receive(self, number: int, frame: FrameType | None) -> None:
        self._waiting = number  # Remembered in any case: an exception may be lost where a callback raises it.
        if not self._holding:
            raise Stop(number)
