"""Standard input, output and error, which a shell or a service may have closed (`<&-`, `>&-`, `2>&-`)."""

from __future__ import annotations

import errno
import os
import sys
from pathlib import Path

closed: set[str] = set()
"""The standard streams that were closed when the program began: "stdin", "stdout", "stderr"."""


def open_closed_streams() -> None:
    """Open the null device in the place of each standard stream that is closed, and note it in `closed`.

    Else Python has no object for the stream, and the next file that is opened gets its number: what a library writes to
    standard error would land in a file of answers.
    """
    names = ("stdin", "stdout", "stderr")
    for number, name in enumerate(names):
        try:
            os.fstat(number)
        except OSError:
            closed.add(name)
            os.open(os.devnull, os.O_RDWR)  # The lowest free number is this one, as those below are open by now.
    for name in names:  # Only now: these files must not get the number of a closed stream.
        if getattr(sys, name) is None:
            closed.add(name)
            mode = "r" if name == "stdin" else "w"
            setattr(sys, name, open(os.devnull, mode, encoding="utf-8"))  # noqa: SIM115  (Open until the end.)


def told_in_one_line(error: BaseException) -> str:
    """Return the message of an error as it is printed: in one line, and if a disk refused a file, with its name."""
    from backmix.files import could_not_write

    refused = (errno.EROFS, errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
    if isinstance(error, BrokenPipeError):
        return "stopped, because nobody reads standard output any more"
    if isinstance(error, OSError) and error.errno in refused:
        given = error.filename  # It is bytes where the path was opened as bytes, and a number for a descriptor.
        name = os.fsdecode(given) if given and not isinstance(given, int) else "standard output"
        return " ".join(str(could_not_write(Path(name), error)).splitlines())
    return " ".join(str(error).splitlines())
