"""Predictors: a run folder or an exported model behind one interface. torch is imported only for a run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np
import numpy.typing as npt

from backmix.data.value_range import Ranges
from backmix.errors import RunError, in_one_line
from backmix.files import sha256
from backmix.prediction.answer import Prediction
from backmix.runs.fetch import run_folder

if TYPE_CHECKING:
    from backmix.classifier import OpenSetClassifier

# Files of these formats are, or may be, pickles or TorchScript: loading such a file runs the code in it.
_CODE = frozenset({".pt", ".pth", ".pkl", ".pickle", ".ckpt", ".bin", ".joblib", ".torchscript", ".ts"})


class Predictor(Protocol):
    """A model that answers decoded images."""

    @property
    def classes(self) -> Sequence[str]:
        """The names of the known classes."""

    @property
    def image_size(self) -> int:
        """The side S of the images, in pixels."""

    @property
    def value_ranges(self) -> Ranges:
        """The ranges with which deep pixels are read, see `backmix.data.value_range`."""

    @property
    def at_least(self) -> int | None:
        """The side in pixels to which files are decoded at least, see `backmix.data.images.open_photo`."""

    def answer(self, images: npt.NDArray[np.uint8], names: Sequence[str], *, top: int) -> list[Prediction]:
        """Return one prediction for each image, in order.

        Args:
            images: The central squares of the images (see `backmix.data.square.central_square`), (N, 3, S, S) uint8;
                N is at least 1.
            names: The N names for `Prediction.path`.
            top: The number of likeliest classes in each prediction.
        """


class RunPredictor:
    """A predictor that uses the classifier of a run, on the accelerator if there is one.

    Args:
        classifier: The trained classifier.
    """

    def __init__(self, classifier: OpenSetClassifier) -> None:
        import torch

        self._classifier = classifier.to("cuda" if torch.cuda.is_available() else "cpu")

    @property
    def classes(self) -> Sequence[str]:
        """The names of the known classes."""
        return self._classifier.classes

    @property
    def image_size(self) -> int:
        """The side S of the images, in pixels."""
        return self._classifier.preprocess.image_size

    @property
    def value_ranges(self) -> Ranges:
        """The ranges with which deep pixels are read, see `backmix.data.value_range`."""
        return self._classifier.value_ranges or {}

    @property
    def at_least(self) -> int | None:
        """The side in pixels to which files are decoded at least, see `backmix.data.images.open_photo`."""
        return self._classifier.preprocess.at_least

    def answer(self, images: npt.NDArray[np.uint8], names: Sequence[str], *, top: int) -> list[Prediction]:
        """Return one prediction for each image, see `Predictor.answer`."""
        import torch

        answers = self._classifier.predict(torch.from_numpy(images), batch_size=len(images), top=top)
        return [replace(answer, path=name) for name, answer in zip(names, answers, strict=True)]


def load_predictor(path: str | Path) -> Predictor:
    """Load a run (a folder or `hub:owner/name`) or an .onnx file of `backmix export`, without executing code in it.

    Raises:
        RunError: If the model is missing, damaged, altered, of another version, or a file that may hold code.
    """
    path = Path(path)
    suffix = path.suffix.lower()
    if suffix == ".onnx" and not path.is_dir():
        from backmix.onnx_model.model import OnnxModel

        return OnnxModel.load(path)
    if suffix in _CODE and not path.is_dir():
        raise RunError(
            f"{path} is not loaded: a {suffix} file may hold code, which loading would run. Give the run folder, or "
            "the .onnx file that `backmix export RUN --format onnx` writes."
        )
    from backmix.classifier import OpenSetClassifier

    return RunPredictor(OpenSetClassifier.load(path))


def fingerprint(path: str | Path) -> str:
    """Return the fingerprint of what determines the answers of a model: of an .onnx file, or of a run.

    Raises:
        RunError: If a file cannot be read, or the run cannot be fetched from the hub.
    """
    path = run_folder(path)
    try:
        if path.is_dir():
            from backmix.runs.folder import fingerprint as fingerprint_of_run

            return fingerprint_of_run(path)
        return sha256(path)
    except OSError as error:
        raise RunError(f"{error.filename} cannot be read: {in_one_line(error)}") from error
