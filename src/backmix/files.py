"""Files that are either whole or as they were: written under a temporary name, synced, renamed."""

from __future__ import annotations

import errno
import hashlib
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from backmix.errors import RunError, TrainingError, in_one_line


def write_atomically(path: Path, write: Callable[[Path], None]) -> None:
    """Let `write` fill a temporary file beside `path`, sync it, then rename it to `path`.

    Args:
        path: the file to make or replace.
        write: writes a whole file at the path it is given.

    Raises:
        TrainingError: when the file cannot be written, a full disk above all. The old file is still there.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    # One name, so that what a killed process left behind is written over by the next one.
    temporary = path.with_name(f".{path.name}.tmp")
    try:
        write(temporary)
        with open(temporary, "rb+") as file:
            os.fsync(file.fileno())
        os.replace(temporary, path)
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)  # The rename itself must survive a power cut.
        finally:
            os.close(folder)
    except (OSError, RuntimeError) as error:
        # torch reports a failed write as RuntimeError.
        temporary.unlink(missing_ok=True)
        full = isinstance(error, RuntimeError) or error.errno in (errno.ENOSPC, errno.EFBIG, errno.EDQUOT)
        hint = " Make room on the disk, then go on with --resume." if full else ""
        kept = " The file from before is untouched." if path.exists() else ""
        raise TrainingError(f"could not write {path}: {error}.{kept}{hint}") from error


def write_text(path: Path, text: str) -> None:
    """Write a UTF-8 text file atomically."""
    write_atomically(path, lambda temporary: _write_text(temporary, text))


def write_json(path: Path, value: Any) -> None:
    """Write a JSON file atomically, readable by people; NaN is refused."""
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def save_checkpoint(path: Path, state: dict[str, Any]) -> None:
    """Write a training checkpoint of tensors, numbers, strings, lists and dicts."""
    import torch  # Not above: an exported model is used, and its answers written, where torch is not installed.

    def write(temporary: Path) -> None:
        with open(temporary, "wb") as file:
            torch.save(state, file)

    write_atomically(path, write)


def load_checkpoint(path: Path) -> dict[str, Any]:
    """Read a training checkpoint; nothing in it is executed.

    Raises:
        RunError: when the file is missing, damaged, or holds more than data.
    """
    import torch

    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError as error:
        raise RunError(f"{path} is missing: there is no training to resume") from error
    except Exception as error:
        reason = in_one_line(error)
        raise RunError(f"{path} is not a readable checkpoint ({reason}). Delete the run and train again.") from error
    if not isinstance(state, dict):
        raise RunError(f"{path} is not a checkpoint: found {type(state).__name__}, expected a dict")
    return state


def sha256(path: Path) -> str:
    """Fingerprint of a file's bytes."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _write_text(path: Path, text: str) -> None:
    path.write_text(text, encoding="utf-8")
