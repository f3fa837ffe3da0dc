"""Keep what decoders print by themselves off the screen. What is wrong with a file is raised, and told in one line."""

from __future__ import annotations

import ctypes
import logging
import threading
import warnings
from collections.abc import Callable
from functools import cache
from types import TracebackType

from PIL import ImageFile, _imaging

_LOGGERS = ("PIL", "tifffile")
_HANDLERS = ("TIFFSetErrorHandler", "TIFFSetWarningHandler")


def quiet_loggers() -> None:
    """Keep the log of decoders off standard error, where Python writes what nobody handles.

    A program that handles log records itself still gets them.
    """
    for name in _LOGGERS:
        logger = logging.getLogger(name)
        if not logger.handlers:
            logger.addHandler(logging.NullHandler())


class QuietLibtiff:
    """A context in which libtiff, with which Pillow reads TIFF, prints no errors and warnings on standard error.

    libtiff keeps its handlers for the whole process, so one context at a time may be open. Where libtiff is built into
    Pillow itself, as on Windows, its handlers are out of reach and nothing changes.
    """

    def __init__(self) -> None:
        self._before: list[int | None] = []

    def __enter__(self) -> None:
        self._before = [change(None) for change in _libtiff()]

    def __exit__(self, *_: object) -> None:
        for change, before in zip(_libtiff(), self._before, strict=True):
            change(before)


@cache
def _libtiff() -> list[Callable[[int | None], int | None]]:
    """Return the functions of libtiff that take a handler, as an address, and return the one before."""
    found: list[Callable[[int | None], int | None]] = []
    try:
        # A symbol is looked for in the libraries that the module was linked with, too: it is the libtiff that is used.
        library = ctypes.CDLL(_imaging.__file__)
        for name in _HANDLERS:
            change = getattr(library, name)
            change.argtypes, change.restype = [ctypes.c_void_p], ctypes.c_void_p
            found.append(change)
    except (OSError, AttributeError):
        return []
    return found


class _QuietDecoders:
    """A context in which decoders print nothing and cut-off files are errors, for as long as any thread is in it.

    Afterwards the earlier settings are restored. Python keeps one set of warning filters for the whole process, and
    libtiff its handlers, so the threads share one change of them.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._users = 0
        self._libtiff = QuietLibtiff()

    def __enter__(self) -> None:
        with self._lock:
            if self._users == 0:
                self._tolerant = ImageFile.LOAD_TRUNCATED_IMAGES
                ImageFile.LOAD_TRUNCATED_IMAGES = False
                quiet_loggers()
                self._libtiff.__enter__()
                self._filters = warnings.catch_warnings()
                self._filters.__enter__()
                # The warning about large images is off too, because `max_pixels` is exact and checked before decoding.
                warnings.filterwarnings("ignore", module=r"PIL(\.|$)")
            self._users += 1

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        with self._lock:
            self._users -= 1
            if self._users == 0:
                self._filters.__exit__(None, None, None)
                self._libtiff.__exit__()
                ImageFile.LOAD_TRUNCATED_IMAGES = self._tolerant


quiet_decoders = _QuietDecoders()
