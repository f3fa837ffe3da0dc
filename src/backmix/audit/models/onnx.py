"""Audit an ONNX file: one that `backmix export` wrote, or any that takes a picture and returns logits."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from backmix.audit.class_map import Names
from backmix.audit.frame import Frame
from backmix.audit.models.base import Answers, AuditedModel, ModelOptions, own_size
from backmix.errors import DataError, in_one_line
from backmix.files import sha256
from backmix.onnx_model.check import is_exported
from backmix.onnx_model.contract import KEY
from backmix.onnx_model.model import OnnxModel


def load_onnx(path: Path, options: ModelOptions) -> AuditedModel:
    """Load an ONNX file.

    Raises:
        DataError: If onnxruntime is missing, or if the file does not exist or cannot be audited.
        RunError: If `backmix export` wrote the file and it is damaged.
    """
    if not path.is_file():
        raise DataError(f"there is no file {path}")
    # Of a file that claims to be ours onnxruntime gets nothing before it is checked.
    return OwnOnnx(path, options) if is_exported(path.read_bytes(), KEY) else PlainOnnx(path, options)


class OwnOnnx:
    """A file of `backmix export RUN --format onnx`. See `AuditedModel`.

    Args:
        path: The file.
        options: Only the image size is used, to refuse any other than that of the file.

    Raises:
        DataError: If the options ask for another image size.
        RunError: If the file is damaged.
    """

    kind = "exported run (ONNX)"

    def __init__(self, path: Path, options: ModelOptions) -> None:
        self._model = OnnxModel.load(path)
        self.frame = Frame(own_size(options, self._model.image_size), at_least=self._model.at_least)
        self.names: Names | None = [[name] for name in self._model.classes]
        self.score: str | None = self._model.detector
        self.fingerprint = sha256(path)
        self.notes: list[str] = []
        self.value_ranges = self._model.value_ranges

    def answers(self, images: Tensor) -> Answers:
        """See `AuditedModel.answers`."""
        output = self._model.run(images.numpy())
        return Answers(torch.from_numpy(output.logits), torch.from_numpy(output.unknown_score).float())


class PlainOnnx:
    """An ONNX file that backmix did not write. See `AuditedModel`.

    The file has one float input of normalised images (B, 3, S, S), and its first output is (B, K) logits.

    Args:
        path: The file.
        options: The mean and std, and the image size if the file leaves it open.

    Raises:
        DataError: If the file has another input or cannot be loaded.
    """

    kind = "ONNX"
    score: str | None = None

    def __init__(self, path: Path, options: ModelOptions) -> None:
        try:
            onnxruntime: Any = importlib.import_module("onnxruntime")
        except ImportError:
            raise DataError('auditing an ONNX file needs onnxruntime: pip install "backmix[export]"') from None
        settings = onnxruntime.SessionOptions()
        settings.log_severity_level = 3
        try:
            self._session: Any = onnxruntime.InferenceSession(
                str(path), sess_options=settings, providers=["CPUExecutionProvider"]
            )
        except Exception as error:
            raise DataError(f"{path} cannot be loaded as ONNX: {in_one_line(error)}") from error
        inputs = self._session.get_inputs()
        shape = list(inputs[0].shape) if len(inputs) == 1 else []
        if len(shape) != 4 or inputs[0].type != "tensor(float)" or shape[1] not in (3, None, *_symbols(shape[1])):
            found = ", ".join(f"{one.name} {one.type} {one.shape}" for one in inputs)
            raise DataError(f"{path} must have one input of float images (B, 3, S, S); it has {found}")
        sides = {side for side in shape[2:] if isinstance(side, int)}
        if len(sides) > 1 or (options.image_size and sides - {options.image_size}):
            wanted = options.image_size or "a square"
            raise DataError(f"{path} takes images of {shape[2]}x{shape[3]} pixels; asked for is {wanted}")
        self._input, self._batch = inputs[0].name, shape[0] if isinstance(shape[0], int) else None
        self._output = self._session.get_outputs()[0].name
        self._options = options
        self.frame = Frame(options.size(sides.pop() if sides else None))
        self.names: Names | None = None
        self.fingerprint = sha256(path)
        self.notes: list[str] = []

    def answers(self, images: Tensor) -> Answers:
        """See `AuditedModel.answers`."""
        normalised = self._options.normalise(images).cpu().numpy()
        step = self._batch or len(normalised)
        parts = []
        for start in range(0, len(normalised), step):
            part = normalised[start : start + step]
            # A fixed batch must be full, so images of the last part are repeated.
            whole = part[np.arange(step) % len(part)] if self._batch else part
            logits = self._session.run([self._output], {self._input: whole})[0]
            parts.append(torch.from_numpy(np.asarray(logits, dtype=np.float32))[: len(part)])
        return Answers(torch.cat(parts), None)


def _symbols(dimension: Any) -> tuple[str, ...]:
    """Return the name of a dimension that the file leaves open; nothing for a number."""
    return (dimension,) if isinstance(dimension, str) else ()
