"""An ONNX file as a model to audit: one of `backmix export`, or any with a picture in and logits out."""

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
from backmix.onnx_model.contract import KEY
from backmix.onnx_model.model import OnnxModel


def load_onnx(path: Path, options: ModelOptions) -> AuditedModel:
    """Load an ONNX file.

    Raises:
        DataError: when onnxruntime is missing, or the file is none that can be audited.
        RunError: when it is one of ours and damaged.
    """
    if not path.is_file():
        raise DataError(f"there is no file {path}")
    model = PlainOnnx(path, options)
    return OwnOnnx(path, options) if model.is_own else model


class OwnOnnx:
    """A file of `backmix export RUN --format onnx`. See `AuditedModel`.

    Args:
        path: the file.
        options: only to refuse another image size.

    Raises:
        DataError: when another image size is asked for.
        RunError: when the file is damaged.
    """

    kind = "exported run (ONNX)"

    def __init__(self, path: Path, options: ModelOptions) -> None:
        self._model = OnnxModel.load(path)
        self.frame = Frame(own_size(options, self._model.image_size))
        self.names: Names | None = [[name] for name in self._model.classes]
        self.score: str | None = self._model.detector
        self.fingerprint = sha256(path)
        self.notes: list[str] = []

    def answers(self, images: Tensor) -> Answers:
        """See `AuditedModel.answers`."""
        said = self._model.run(images.numpy())
        return Answers(torch.from_numpy(said.logits), torch.from_numpy(said.unknown_score).float())


class PlainOnnx:
    """One float input (B, 3, S, S) of normalised images; the first output is (B, K) logits. See `AuditedModel`.

    Args:
        path: the file.
        options: image size, where the file leaves it open; mean and std.

    Raises:
        DataError: for another input, or a file that cannot be loaded.

    Attributes:
        is_own: whether it is a file of `backmix export`, which takes other inputs.
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
        self.is_own = KEY in self._session.get_modelmeta().custom_metadata_map
        if self.is_own:
            return
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
            # A file of a fixed batch gets it full: the last images are shown again.
            whole = part[np.arange(step) % len(part)] if self._batch else part
            said = self._session.run([self._output], {self._input: whole})[0]
            parts.append(torch.from_numpy(np.asarray(said, dtype=np.float32))[: len(part)])
        return Answers(torch.cat(parts), None)


def _symbols(dimension: Any) -> tuple[str, ...]:
    """A dimension that the file leaves open is a name."""
    return (dimension,) if isinstance(dimension, str) else ()
