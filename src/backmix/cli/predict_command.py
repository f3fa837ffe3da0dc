"""The work of `backmix predict`: answer files, folders, patterns and lists, and write each answer as it comes."""

from __future__ import annotations

import os
import signal
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import nullcontext, suppress
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any, Protocol

from rich.console import Console

from backmix.cli.arguments import PredictArguments
from backmix.cli.console import make_console
from backmix.cli.predict_bar import answering_bar
from backmix.cli.predict_streams import AnswerStream, AnswerTable
from backmix.cli.standard_streams import closed
from backmix.cli.stop_signals import Stop, StopSignals
from backmix.data.formats import passed_over_kinds
from backmix.data.images import IMAGE_EXTENSIONS, readable
from backmix.errors import BackmixError, DataError, RunError
from backmix.predict.file import AnswerFile
from backmix.predict.journal import OutputError
from backmix.predict.parquet import need_pyarrow
from backmix.predict.paths import Found, find_images
from backmix.predict.pipeline import answer_images, default_batch_size, default_workers
from backmix.predict.predictor import Predictor, fingerprint, load_predictor
from backmix.predict.sort import Link, Sorter
from backmix.prediction.answer import Prediction
from backmix.prediction.rows import FORMATS, printable

KINDS = (*FORMATS, "parquet")
_ENDINGS = {f".{kind}": kind for kind in KINDS} | {".ndjson": "jsonl"}


@dataclass(frozen=True)
class PredictReport:
    """The numbers of images that have a row, including those of earlier sessions.

    Attributes:
        answered: The number of images with an answer.
        unknown: The number of images whose answer is "unknown"; they are part of `answered`.
        unreadable: The number of images whose row gives a reason instead of an answer.
        resumed: The number of rows that earlier sessions wrote.
        stopped: The number of the signal that stopped the command early, or None.
    """

    answered: int
    unknown: int
    unreadable: int
    resumed: int = 0
    stopped: int | None = None


class _Sink(Protocol):
    counts: Any

    def add(self, found: Found, answer: Prediction) -> None: ...

    def close(self, *, complete: bool) -> None: ...


def predict_command(
    model: str | Path, paths: Sequence[str | Path], arguments: PredictArguments | None = None
) -> PredictReport:
    """Answer images: print a table, write a file, or sort the images into folders.

    Args:
        model: A run folder, or an .onnx file written by `backmix export`.
        paths: The paths of the images, see `find_images`.
        arguments: The arguments that say what to do with the answers.

    Returns:
        The numbers of images that have a row.

    Raises:
        DataError: If there is no image.
        RunError: If the model cannot be loaded.
        OutputError: If the answers cannot be written, or if a file of answers cannot be continued.
    """
    arguments = arguments or PredictArguments()
    out, kind = _where_to(arguments)
    _check_apart(paths, arguments.sort_into)

    _check_there(paths)
    passed: list[str] = []

    def find(passed: list[str] | None = None) -> Iterator[Found]:
        return find_images(paths, recursive=arguments.recursive, leave_out=arguments.sort_into, passed=passed)

    coming = find(passed)
    if out is None and "stdout" in closed:
        raise OutputError("standard output is closed, so nobody would see the answers; give --out FILE")
    first = next(coming, None)
    if first is None:
        named = printable(", ".join(map(str, paths)))
        why = "".join(f"; {note}" for note in passed_over_kinds(passed))
        raise DataError(f"no image in {named}; looked for {', '.join(sorted(IMAGE_EXTENSIONS))}{why}")
    # The name of the run comes first: a run that is calibrated again while it is loaded must not pass for the old one.
    begun_with = fingerprint(model) if out is not None else ""
    predictor = load_predictor(model)
    if out is not None and fingerprint(model) != begun_with:
        raise RunError(f"{model} was changed while it was loaded. Run the same command again")
    with StopSignals() as signals:
        console = make_console() if out or not kind else _error_console()
        images: Iterator[Found] = chain([first], coming)
        sink: _Sink
        file: AnswerFile | None = None
        if out and kind:
            settings = _settings(begun_with, paths, arguments)
            sink = file = AnswerFile(out, kind, settings, resume=arguments.resume, overwrite=arguments.overwrite)
            images = (one for one in images if not file.answered.take(one.path))
        else:
            sink = AnswerStream(sys.stdout.buffer, kind) if kind else AnswerTable(console)
        sorter = _sorter(arguments, predictor, file)
        resumed = sink.counts.total()
        stopped: int | None = None
        guesses: list[str] = []
        try:
            with answering_bar(_error_console(), None if "-" in map(str, paths) else find, resumed) as advance:
                answers = answer_images(
                    images,
                    predictor,
                    workers=arguments.workers or default_workers(),
                    batch_size=arguments.batch_size or default_batch_size(predictor.image_size),
                    top=arguments.top,
                    on_guess=lambda kind, limits: guesses.append(f"{kind}, {limits[0]:g} to {limits[1]:g}"),
                )
                for done, (one, answer) in enumerate(answers, resumed + 1):
                    # Writing to a pipe that nobody reads may block, and must not delay Ctrl-C.
                    with signals.held() if file else nullcontext():
                        if sorter:
                            sorter.put(one.path, answer)
                        sink.add(one, answer)
                    advance(done)
            signals.hold()
        except Stop as stop:
            signals.hold()
            stopped = stop.number
        except BaseException as error:
            signals.hold()
            with suppress(OSError, BackmixError):
                sink.close(complete=False)
                if file:
                    file.withdraw()
            if isinstance(error, BrokenPipeError):
                return _nobody_reads(sink)
            raise
        sink.close(complete=stopped is None)
    report = _report(sink, resumed, stopped)
    notes = [*passed_over_kinds(passed), *_guessed(guesses)]
    for line in notes:
        _error_console().print(printable(line), style="yellow")
    console.print(printable(_closing_line(report, out, arguments, sorter)))
    return report


def _check_there(paths: Sequence[str | Path]) -> None:
    """Raise DataError for a folder that does not exist: it was named on purpose, and holds an unknown number of images.

    A missing file of an image has a row that says so. A name without the extension of a file is taken for a folder.
    """
    for given in paths:
        path = os.fspath(given)
        if path == "-" or any(sign in path for sign in "*?[") or os.path.lexists(path):
            continue
        if path.endswith(os.sep) or not os.path.splitext(path)[1]:
            raise DataError(f"there is no folder or file {printable(readable(path))}")


def _guessed(guesses: list[str]) -> list[str]:
    """Return a sentence on images whose range of values had to be guessed."""
    if not guesses:
        return []
    kinds = Counter(guesses)
    shown = ", ".join(f"{kind} ({count})" for kind, count in kinds.most_common(5))
    images = "1 image" if len(guesses) == 1 else f"{len(guesses)} images"
    return [
        f"of {images} nothing says which values are black and white, as the run was trained on none of this kind; each "
        f"was judged by its own values: {shown}"
    ]


def _where_to(arguments: PredictArguments) -> tuple[Path | None, str | None]:
    """Return the file of the answers and their format; None: the answers are printed, or shown as a table."""
    out, sort_into = arguments.out, arguments.sort_into
    kind: str | None = arguments.kind
    if kind is not None and kind not in KINDS:
        raise ValueError(f"--format takes {', '.join(KINDS)}; got {kind}")
    if arguments.link is not None and sort_into is None:
        raise ValueError("--link says how --sort-into puts images into folders; give that too")
    if sort_into is not None and sort_into.exists() and not sort_into.is_dir():
        raise ValueError(f"--sort-into takes a folder; {sort_into} is a file")
    if out is None and sort_into is not None:
        kind = kind or "csv"
        out = sort_into / f"answers.{kind}"
    if arguments.resume and arguments.overwrite:
        raise ValueError("--resume goes on with a file and --overwrite replaces it; give one of them")
    if out is None:
        if arguments.resume or arguments.overwrite:
            raise ValueError("--resume and --overwrite speak of a file of answers; name it with --out")
        if kind == "parquet":
            raise ValueError("Parquet goes into a file; name it with --out")
        return None, kind
    if out.is_dir():
        raise ValueError(f"--out takes a file; {out} is a folder")
    kind = kind or _ENDINGS.get(out.suffix.lower())
    if kind is None:
        raise ValueError(f"--out takes a .csv, .jsonl, .json or .parquet file, or say which with --format; got {out}")
    if kind == "parquet":
        need_pyarrow()
    return out, kind


def _check_apart(paths: Sequence[str | Path], sort_into: Path | None) -> None:
    """Raise ValueError if a folder of images is to be sorted into itself: it is not entered, so no image is found."""
    if sort_into is not None:
        for path in paths:
            if os.path.isdir(path) and os.path.realpath(path) == os.path.realpath(sort_into):
                raise ValueError(
                    f"{printable(str(path))} cannot be sorted into itself; give --sort-into a folder in it, or another"
                )


def _settings(model: str, paths: Sequence[str | Path], arguments: PredictArguments) -> dict[str, Any]:
    """Return the settings that the answers depend on, and those that give a path the same meaning as before."""
    sort_into = arguments.sort_into
    relative = any(str(path) == "-" or not os.path.isabs(path) for path in paths)
    return {
        "model": model,
        "top": arguments.top,
        "sort into": None if sort_into is None else readable(os.path.abspath(sort_into)),
        "link": None if sort_into is None else arguments.link or Link.copy.value,
        "paths from": readable(os.getcwd()) if relative else None,
    }


def _sorter(arguments: PredictArguments, predictor: Predictor, file: AnswerFile | None) -> Sorter | None:
    if arguments.sort_into is None or file is None:
        return None
    return Sorter(arguments.sort_into, predictor.classes, Link(arguments.link or Link.copy), file.journal)


def _report(sink: _Sink, resumed: int, stopped: int | None) -> PredictReport:
    counts = sink.counts
    return PredictReport(counts["known"] + counts["unknown"], counts["unknown"], counts["error"], resumed, stopped)


def _closing_line(report: PredictReport, out: Path | None, arguments: PredictArguments, sorter: Sorter | None) -> str:
    parts = [f"{report.answered} images answered, {report.unknown} of them unknown"]
    if report.unreadable:
        parts.append(f"{report.unreadable} unreadable")
    if report.resumed:
        parts.append(f"{report.resumed} of all these before")
    if arguments.sort_into is not None:
        parts.append(f"sorted into {arguments.sort_into}")
    if sorter is not None and sorter.gone:
        parts.append(f"{sorter.gone} of them were gone before they could be sorted")
    if out is not None:
        parts.append(f"written to {out}")
    line = "; ".join(parts)
    if report.stopped is None:
        return line
    return f"stopped: {line}" + (". Go on with the same command and --resume" if out is not None else "")


def _error_console() -> Console:
    return Console(stderr=True, markup=False, emoji=False, highlight=False)


def _nobody_reads(sink: _Sink) -> PredictReport:
    """Report normally after `head` or the like has closed the pipe, and print no error about the pipe at the end."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, sys.stdout.fileno())
    os.close(nowhere)
    return _report(sink, 0, signal.SIGPIPE)
