"""What answers images: a run folder or an exported model, behind one face. torch is imported for a run alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np
import numpy.typing as npt

from backmix.errors import RunError, in_one_line
from backmix.files import sha256
from backmix.prediction.answer import Prediction
from backmix.runs.fetch import run_folder

if TYPE_CHECKING:
    from backmix.classifier import OpenSetClassifier

# Formats that are pickles or TorchScript, or may be: to load one is to run what is in it.
_CODE = frozenset({".pt", ".pth", ".pkl", ".pickle", ".ckpt", ".bin", ".joblib", ".torchscript", ".ts"})


class Predictor(Protocol):
    """Answers decoded images."""

    @property
    def classes(self) -> Sequence[str]:
        """Names of the known classes."""

    @property
    def image_size(self) -> int:
        """Side S of the images in pixels."""

    def answer(self, images: npt.NDArray[np.uint8], names: Sequence[str], *, top: int) -> list[Prediction]:
        """One prediction an image, in order.

        Args:
            images: (N, 3, S, S) uint8 central squares, see `backmix.data.square.central_square`; N at least 1.
            names: N names for `Prediction.path`.
            top: how many of the likeliest classes to tell.
        """


class RunPredictor:
    """The classifier of a run, on the accelerator if there is one.

    Args:
        classifier: trained.
    """

    def __init__(self, classifier: OpenSetClassifier) -> None:
        import torch

        self._classifier = classifier.to("cuda" if torch.cuda.is_available() else "cpu")

    @property
    def classes(self) -> Sequence[str]:
        """Names of the known classes."""
        return self._classifier.classes

    @property
    def image_size(self) -> int:
        """Side S of the images in pixels."""
        return self._classifier.preprocess.image_size

    def answer(self, images: npt.NDArray[np.uint8], names: Sequence[str], *, top: int) -> list[Prediction]:
        """One prediction an image, see `Predictor.answer`."""
        import torch

        answers = self._classifier.predict(torch.from_numpy(images), batch_size=len(images), top=top)
        return [replace(answer, path=name) for name, answer in zip(names, answers, strict=True)]


def load_predictor(path: str | Path) -> Predictor:
    """Load a run, a folder or `hub:owner/name`, or an .onnx file of `backmix export`; nothing in it is executed.

    Raises:
        RunError: when it is missing, damaged, altered, of another version, or a file that may hold code.
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
    """SHA-256 of what decides the answers of a model: of an .onnx file, or of the config.yaml of a run.

    The latter holds the fingerprints of the weights, the classes and the calibration.

    Raises:
        RunError: when the file cannot be read, or a run of the hub not be fetched.
    """
    path = run_folder(path)
    file = path / "config.yaml" if path.is_dir() else path
    try:
        return sha256(file)
    except OSError as error:
        raise RunError(f"{file} cannot be read: {in_one_line(error)}") from error
