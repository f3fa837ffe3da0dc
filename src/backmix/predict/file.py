"""The file of answers: it grows row by row, is valid whenever it is closed, and can be continued after a kill."""

from __future__ import annotations

import io
import os
import time
import zlib
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from backmix.files import write_all
from backmix.predict.journal import Answered, Journal, OutputError, check_free, digest
from backmix.predict.parquet import write_parquet
from backmix.predict.paths import Found
from backmix.prediction.answer import UNKNOWN, Prediction
from backmix.prediction.rows import FORMATS

SAFE_EVERY = 1.0
"""The interval, in seconds, at which rows are synced and entered in the journal. A kill loses at most one interval."""


def kind_of(answer: Prediction) -> str:
    """Return the kind of an answer: "known", "unknown" or "error"."""
    if answer.error is not None:
        return "error"
    return "unknown" if answer.label == UNKNOWN else "known"


class AnswerFile:
    """A file of answers. Its journal FILE.progress lies beside it until the answers are complete.

    A Parquet file is valid only with its footer, so its rows are kept as JSON Lines in FILE.part until it is closed.

    Args:
        out: The path of the file.
        kind: The format: "csv", "jsonl", "json" or "parquet".
        settings: The settings that the answers depend on. They must be the same when the file is continued.
        resume: Whether to continue an unfinished file.
        overwrite: Whether to replace an existing file.

    Raises:
        OutputError: If the file exists and neither `resume` nor `overwrite` is set, if it cannot be continued, or if
            it cannot be written.

    Attributes:
        answered: The paths that have a row.
        counts: The number of rows of each kind (see `kind_of`), including the rows of earlier sessions.
        resumed: The number of rows that earlier sessions wrote.
        journal: The journal, in which copies of images are announced.
    """

    def __init__(self, out: Path, kind: str, settings: Mapping[str, Any], *, resume: bool, overwrite: bool) -> None:
        self.out = out
        self.kind = kind
        self._format = FORMATS["jsonl" if kind == "parquet" else kind]
        self._rows_at = _beside(out, ".part") if kind == "parquet" else out
        progress = _beside(out, ".progress")
        begun = os.path.lexists(progress)
        if not overwrite and os.path.lexists(out) and not begun:
            raise OutputError(
                f"{out} exists, and there is no {progress.name} to go on by: it is complete, or something else. "
                "--overwrite replaces it; or give another --out"
            )
        if not overwrite and not resume and begun:
            check_free(progress)
            raise OutputError(
                f"{out} was begun and is not complete. --resume goes on with it, --overwrite begins again"
            )
        settings = {"backmix predict": 1, "format": kind, **settings}
        self._end = self._crc = 0
        self._pending: list[tuple[int, int, str, str]] = []
        self._synced = time.monotonic()
        try:
            out.parent.mkdir(parents=True, exist_ok=True)
            self.journal = Journal(progress)
            try:
                if resume and self.journal.settings is not None:
                    self._go_on(settings)
                else:
                    self._begin(settings)
            except BaseException:
                if begun:
                    self.journal.close()
                else:  # Nothing was answered, and the same command can be typed again.
                    with suppress(OSError):
                        self.journal.remove()
                raise
        except OSError as error:
            if begun:
                raise self._failure(error) from error
            raise OutputError(
                f"could not write {out}: {error.strerror or error}. Nothing was answered yet; give another --out"
            ) from error
        self.counts = self.journal.counts
        self.resumed = self.counts.total()

    @property
    def answered(self) -> Answered:
        """The paths that have a row."""
        return self.journal.answered

    def add(self, found: Found, answer: Prediction) -> None:
        """Write a row.

        Raises:
            OutputError: If the row cannot be written, for example because the disk is full.
        """
        data = (self._format.between if self.counts.total() else b"") + self._format.row(answer)
        try:
            write_all(self._file, data)
            self._end += len(data)
            self._crc = zlib.crc32(data, self._crc)
            self.counts[kind_of(answer)] += 1
            self._pending.append((self._end, self._crc, digest(found.path), kind_of(answer)))
            if time.monotonic() - self._synced >= SAFE_EVERY:
                self._sync()
        except OSError as error:
            raise self._failure(error) from error

    def close(self, *, complete: bool) -> None:
        """Close the file so that it is valid; if it is complete, delete the journal and FILE.part.

        Raises:
            OutputError: If the file cannot be written.
        """
        try:
            with self._file:
                self._file.truncate(self._end)  # A write may have failed in the middle of a row.
                self._file.seek(self._end)
                self._sync()
                write_all(self._file, self._format.tail)
                os.fsync(self._file.fileno())
            if self.kind == "parquet":
                write_parquet(self._rows_at, self.out)
            if complete:
                self.journal.remove()
                if self.kind == "parquet":
                    self._rows_at.unlink()
        except OSError as error:
            raise self._failure(error) from error
        finally:
            self.journal.close()

    def withdraw(self) -> None:
        """Delete the file and its journal if no row was written, because an error came before the first answer."""
        if not self.counts.total():
            with suppress(OSError):  # What cannot be removed must not hide the error.
                for path in {self.out, self._rows_at}:
                    path.unlink(missing_ok=True)
                self.journal.remove()

    def _begin(self, settings: Mapping[str, Any]) -> None:
        self.journal.begin(settings)  # Before the file is emptied, the journal marks it as ours.
        self._open_empty()

    def _open_empty(self) -> None:
        self._file = open(self._rows_at, "wb", buffering=0)  # noqa: SIM115  (Open until `close`.)
        try:
            write_all(self._file, self._format.head)
        except BaseException:
            self._file.close()
            with suppress(OSError):  # A part of the head would stand there.
                self._rows_at.unlink()
            raise
        self._end, self._crc = len(self._format.head), zlib.crc32(self._format.head)

    def _go_on(self, settings: Mapping[str, Any]) -> None:
        old = self.journal.settings or {}
        differ = [name for name in {**old, **settings} if old.get(name) != settings.get(name)]
        if differ:
            changes = "; ".join(
                f"{name}: {_short(old.get(name))} then, {_short(settings.get(name))} now" for name in differ
            )
            # A calibration in between leaves other thresholds, and two do not belong into one file.
            again = ": the run was trained or calibrated again since" if "model" in differ else ""
            raise OutputError(
                f"{self.out} was begun with other settings ({changes}){again}. Give those again, or --overwrite to "
                "begin again"
            )
        if not self.journal.end:  # The session was killed before a row was safe; it may have left copies.
            self._open_empty()
            return
        try:
            self._file = open(self._rows_at, "r+b", buffering=0)  # noqa: SIM115  (Open until `close`.)
        except FileNotFoundError:
            raise OutputError(
                f"{self._rows_at} is gone, and {self.journal.path.name} is not. Restore it, or --overwrite to begin "
                "again"
            ) from None
        self._end, self._crc = self.journal.end, self.journal.crc
        if _crc_of(self._file, self._end) != self._crc:
            self._file.close()
            raise OutputError(
                f"{self._rows_at} was altered since backmix predict wrote it. Restore it, or --overwrite to begin again"
            )
        self._file.truncate(self._end)
        self._file.seek(self._end)

    def _sync(self) -> None:
        os.fsync(self._file.fileno())  # The rows must be on the disk before the journal says so.
        self.journal.add_rows(self._pending)
        self._pending.clear()
        self._synced = time.monotonic()

    def _failure(self, error: OSError) -> OutputError:
        return OutputError(
            f"could not write {self.out}: {error.strerror or error}. What was answered is kept: put that right, then "
            "go on with --resume"
        )


def _beside(path: Path, ending: str) -> Path:
    return path.with_name(path.name + ending)


def _short(value: Any) -> str:
    text = "none" if value is None else str(value)
    return text if len(text) <= 60 else text[:12] + "..."


def _crc_of(file: io.FileIO, end: int) -> int | None:
    """Return the CRC-32 of the first `end` bytes, or None if the file has fewer."""
    crc = 0
    for block in _blocks(file, end):
        crc = zlib.crc32(block, crc)
        end -= len(block)
    return None if end else crc


def _blocks(file: io.FileIO, end: int) -> Iterator[bytes]:
    while end and (block := file.read(min(end, 1 << 20))):
        yield block
        end -= len(block)
