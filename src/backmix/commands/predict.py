"""`backmix predict`: answers for files and folders."""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path

from rich.table import Table

from backmix.checkpoint import write_json, write_text
from backmix.classifier import OpenSetClassifier
from backmix.commands.console import image_bar, make_console
from backmix.data.images import IMAGE_EXTENSIONS
from backmix.errors import DataError
from backmix.prediction import Prediction


def predict_command(run: Path, paths: Sequence[Path], *, out: Path | None = None, top: int = 3) -> list[Prediction]:
    """Predict files and folders; print a table, or write CSV or JSON."""
    if out is not None and out.suffix not in (".csv", ".json"):
        raise ValueError(f"--out takes a .csv or .json file; got {out}")
    if out is not None and out.is_dir():
        raise ValueError(f"--out takes a file; {out} is a folder")
    files = list(image_files(paths))
    if not files:
        raise DataError(f"no image in {', '.join(map(str, paths))}; looked for {', '.join(sorted(IMAGE_EXTENSIONS))}")
    classifier = OpenSetClassifier.load(run)
    console = make_console()
    answers: list[Prediction] = []
    with image_bar(console, len(files), "predicting") as advance:
        for start in range(0, len(files), 1024):
            answers += classifier.predict(files[start : start + 1024], top=top)
            advance(len(answers))
    if out is None:
        table = Table()
        for head in ("path", "label", "unknown score", "p-value", "likeliest classes"):
            table.add_column(head, overflow="fold")  # A path that is cut off is no path.
        for answer in answers:
            table.add_row(*_row(answer))
        console.print(table)
    elif out.suffix == ".json":
        write_json(out, [asdict(answer) for answer in answers])
    else:
        write_text(out, predictions_csv(answers))
    failed = sum(answer.error is not None for answer in answers)
    unknown = sum(answer.label == "unknown" for answer in answers)
    console.print(
        f"{len(answers) - failed} images answered, {unknown} of them unknown"
        + (f"; {failed} unreadable" if failed else "")
        + (f"; written to {out}" if out else "")
    )
    return answers


def image_files(paths: Sequence[Path]) -> Iterator[Path]:
    """Files as given, whatever they are called, and the images in folders, in the order of their names."""
    for path in paths:
        if not os.path.isdir(path):  # Path.is_dir raises for names that are too long or out of reach.
            yield path
            continue
        for folder, folders, files in os.walk(path):
            folders.sort()
            for name in sorted(files):
                if Path(name).suffix.lower() in IMAGE_EXTENSIONS and not name.startswith("."):
                    yield Path(folder, name)


def predictions_csv(answers: Sequence[Prediction]) -> str:
    """One row an image: path, label, unknown_score, p_value, top, error."""
    text = io.StringIO(newline="")
    writer = csv.writer(text)
    writer.writerow(["path", "label", "unknown_score", "p_value", "top", "error"])
    for answer in answers:
        top = " ".join(f"{name}:{probability:.4f}" for name, probability in answer.top)
        cells = [answer.path, answer.label or "", top, answer.error or ""]
        path, label, top, error = (_harmless(cell) for cell in cells)
        score = "" if answer.unknown_score is None else f"{answer.unknown_score:.6g}"
        p_value = "" if answer.p_value is None else f"{answer.p_value:.6g}"
        writer.writerow([path, label, score, p_value, top, error])
    return text.getvalue()


def _row(answer: Prediction) -> list[str]:
    if answer.error is not None:
        return [answer.path, "-", "", "", answer.error]
    top = ", ".join(f"{name} {probability:.2f}" for name, probability in answer.top)
    p_value = "" if answer.p_value is None else f"{answer.p_value:.3f}"
    return [answer.path, answer.label or "", f"{answer.unknown_score:.3f}", p_value, top]


def _harmless(cell: str) -> str:
    """A cell that spreadsheet programs do not take for a formula."""
    return "'" + cell if cell[:1] in ("=", "+", "-", "@", "\t", "\r") else cell
