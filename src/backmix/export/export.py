"""Export a classifier to a file, which is kept only if it answers as PyTorch does."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from backmix.classifier import OpenSetClassifier
from backmix.errors import RunError
from backmix.export.agreement import Agreement, Images, verify
from backmix.export.module import describe, exported_model
from backmix.export.program import capture
from backmix.export.trial_images import TrialImages
from backmix.files import write_atomically
from backmix.onnx_model.contract import Answers

SUFFIXES = {"onnx": ".onnx", "torchscript": ".pt"}
"""Format -> the suffix of its files."""


def export(classifier: OpenSetClassifier, path: Path, *, form: str = "onnx", trial: TrialImages) -> Agreement:
    """Write a calibrated classifier into one file.

    The file is written under another name, loaded and compared with PyTorch, and only then renamed to `path`. Two
    processes that export into one file do so one after the other.

    Args:
        classifier: The calibrated classifier, which is moved to the CPU.
        path: The path of the file to make or replace.
        form: The format, "onnx" or "torchscript".
        trial: The images to compare on.

    Returns:
        The result of the comparison.

    Raises:
        RunError: If the classifier cannot be exported, or the file does not answer as PyTorch does.
        TrainingError: If the file cannot be written.
        ValueError: If there is no such format.
    """
    if form not in SUFFIXES:
        raise ValueError(f"the formats of an export are {', '.join(SUFFIXES)}; got {form!r}")
    classifier.to("cpu")
    content = _content(classifier, form)
    agreements = []

    def write(candidate: Path) -> None:
        candidate.write_bytes(content)
        try:
            agreements.append(verify(classifier, _loaded(candidate, form), trial.images, trial.names))
        except RunError as error:
            why = str(error).replace(str(candidate), "the new file").rstrip(".")
            raise RunError(
                f"{path} was not written, for it is not what the run is: {why}. Please report this."
            ) from error

    write_atomically(path, write)
    return agreements[0]


def _content(classifier: OpenSetClassifier, form: str) -> bytes:
    model, description = exported_model(classifier), describe(classifier)
    if form == "onnx":
        from backmix.export.to_onnx import need_onnx, onnx_bytes

        need_onnx()  # This comes before the model is captured, because capturing takes long.
        return onnx_bytes(capture(model, description.image_size), description)
    from backmix.export.to_torchscript import torchscript_bytes

    return torchscript_bytes(capture(model, description.image_size), description)


def _loaded(path: Path, form: str) -> Callable[[Images], Answers]:
    """Load the file as users load it, and return the function that answers from it."""
    if form == "onnx":
        from backmix.onnx_model.model import OnnxModel

        return OnnxModel.load(path).run
    from backmix.export.to_torchscript import answer, load_own

    script = load_own(path)
    return lambda images: answer(script, images)
