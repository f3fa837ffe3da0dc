"""Keep the answers of a model in a journal, so that an interrupted audit continues where it stopped.

The first line of the journal holds the settings. Each further line holds the records of one chunk of images and their
CRC-32. An incomplete line was being written when the audit stopped; its chunk is done again.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from backmix.errors import DataError
from backmix.files import could_not_write, write_all

FILE = "audit.journal"
RECORD = np.dtype(
    [("item", "<i4"), ("set", "<u1"), ("answer", "<i4"), ("truth", "<f4"), ("entropy", "<f4"), ("score", "<f4")]
)
"""The fields of a record: the item; the number of the set; the highest output of the model; the probability of the true
class, NaN if there is none; the entropy of all probabilities, as a share of the largest possible entropy; and the
unknown score."""

Records = npt.NDArray[np.void]


class Journal:
    """The journal of an audit.

    Args:
        folder: The folder of the journal. The file is made if it does not exist.
        settings: The settings that decide the records. A journal with other settings is not continued.
        resume: Whether to continue an existing journal.

    Raises:
        DataError: If there is a journal and `resume` is false, or if its settings differ.
        TrainingError: If it cannot be written.

    Attributes:
        chunks: The records of the finished chunks, in order.
    """

    def __init__(self, folder: Path, settings: Mapping[str, Any], *, resume: bool = False) -> None:
        self.path = folder / FILE
        self.chunks: list[Records] = []
        head = _line({"settings": dict(settings)})
        whole = 0
        if self.path.exists():
            if not resume:
                raise DataError(f"{folder} holds an audit already; go on with it by --resume, or choose another folder")
            whole = self._read(head)
        try:
            self._file = open(  # noqa: SIM115  (The file stays open while chunks are added.)
                self.path, "r+b" if whole else "wb", buffering=0
            )
        except OSError as error:
            raise could_not_write(self.path, error) from error
        self._file.truncate(whole)
        self._file.seek(whole)
        if not whole:
            try:
                self._write(head)
            except BaseException:
                self._file.close()
                raise

    def add(self, records: Records) -> None:
        """Append the records of the next chunk. They are on the disk when this function returns."""
        content = records.tobytes()
        self._write(_line({"crc": zlib.crc32(content), "records": base64.b64encode(content).decode()}))
        self.chunks.append(records)

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def _read(self, head: bytes) -> int:
        """Read the complete chunks, and return the position in the file where they end."""
        with open(self.path, "rb") as file:
            first = file.readline()
            if first != head:
                if first.endswith(b"\n"):
                    raise DataError(f"{self.path.parent} holds {_difference(first, head)}; choose another folder")
                return 0
            end = file.tell()
            while (records := _records(file.readline())) is not None:
                self.chunks.append(records)
                end = file.tell()
        return end

    def _write(self, line: bytes) -> None:
        try:
            write_all(self._file, line)
            os.fsync(self._file.fileno())
        except OSError as error:
            raise could_not_write(self.path, error) from error


def has_answers(folder: Path) -> bool:
    """Return whether the journal in a folder holds answers of the model, behind its first line."""
    try:
        with open(folder / FILE, "rb") as file:
            file.readline()
            return _records(file.readline()) is not None
    except OSError:
        return False


def fingerprint(settings: Mapping[str, Any]) -> str:
    """Return a digest of the settings of an audit, which does not depend on their order."""
    return hashlib.sha256(_line(settings)).hexdigest()


def _line(value: Mapping[str, Any]) -> bytes:
    return json.dumps(value, sort_keys=True).encode() + b"\n"


def _records(line: bytes) -> Records | None:
    if not line.endswith(b"\n"):
        return None
    try:
        value = json.loads(line)
        content = base64.b64decode(value["records"], validate=True)
        if zlib.crc32(content) != value["crc"]:
            return None
        return np.frombuffer(content, dtype=RECORD)
    except (ValueError, RecursionError, KeyError, TypeError):
        return None


def _difference(found: bytes, wanted: bytes) -> str:
    try:
        old, new = json.loads(found)["settings"], json.loads(wanted)["settings"]
        changed = [name for name in sorted({*old, *new}) if old.get(name) != new.get(name)]
    except (ValueError, RecursionError, KeyError, TypeError, AttributeError):
        return "a journal that is not one of backmix audit"
    return "an audit with other settings: " + "; ".join(f"{n} was {old.get(n)!r}, is {new.get(n)!r}" for n in changed)
