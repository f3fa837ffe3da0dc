"""The log for TensorBoard. A training does not end because its log cannot be written."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from backmix.files import could_not_write

if TYPE_CHECKING:
    from accelerate import Accelerator


def begin_log(accelerator: Accelerator) -> None:
    """Make the file of the log, if the accelerator has one.

    Raises:
        TrainingError: If it cannot be made. The checkpoint would not find room either.
    """
    try:
        accelerator.init_trackers("")
    except OSError as error:
        raise could_not_write(Path(accelerator.logging_dir or "."), error) from error


def log_values(
    accelerator: Accelerator, values: Mapping[str, float], step: int, tell: Callable[[str], None] = lambda _: None
) -> None:
    """Log the figures of an epoch. If the log cannot be written, say so once, and log nothing more.

    Args:
        accelerator: The accelerator, whose trackers write the log.
        values: Name -> figure.
        step: The number of the epoch.
        tell: A function that is given the sentence about a log that cannot be written.
    """
    try:
        accelerator.log(dict(values), step=step)
    except OSError as error:
        end_log(accelerator)
        accelerator.trackers.clear()
        where, why = accelerator.logging_dir, error.strerror or error
        tell(f"the log for TensorBoard in {where} cannot be written ({why}); the training goes on without it")


def end_log(accelerator: Accelerator) -> None:
    """Write what is left of the log, and close it. What cannot be written is given up."""
    with suppress(OSError):
        accelerator.end_training()


@contextmanager
def quiet_writer() -> Iterator[None]:
    """Let the thread that writes the log show no traceback when the disk is full.

    The thread hands its error on to the next call of `log_values`, which says it in a sentence.
    """
    before = threading.excepthook

    def hook(failed: threading.ExceptHookArgs) -> None:
        if not (issubclass(failed.exc_type, OSError) and type(failed.thread).__module__.startswith("tensorboard.")):
            before(failed)

    threading.excepthook = hook
    try:
        yield
    finally:
        threading.excepthook = before
