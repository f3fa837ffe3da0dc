"""Audit a Python function."""

from __future__ import annotations

import hashlib
import importlib
import inspect
import os
import sys
from typing import Any

import torch
from torch import Tensor

from backmix.audit.class_map import Names
from backmix.audit.frame import Frame
from backmix.audit.models.base import Answers, ModelOptions
from backmix.errors import DataError, in_one_line


class CallableModel:
    """A Python function, given as `package.module:function`. See `AuditedModel`.

    The module is also searched for in the current folder. The function takes (B, 3, S, S) float32 pixels in 0..1. It
    returns (B, K) logits, or a pair of (B, K) logits and (B,) unknown scores, as tensors or arrays. It may have three
    attributes: `classes`, the names of its K outputs; `image_size`, the side S; and `dtype`, which is torch.uint8 if
    the function takes pixels in 0..255.

    Args:
        spec: The module and the function. To import a module is to run it.
        options: The image size and the device.

    Raises:
        DataError: If the function cannot be imported or is not callable.
    """

    kind = "function"

    def __init__(self, spec: str, options: ModelOptions) -> None:
        module_name, _, path = spec.partition(":")
        if "" not in sys.path and os.getcwd() not in sys.path:
            sys.path.insert(0, os.getcwd())
        try:
            found: Any = importlib.import_module(module_name)
            for name in path.split("."):
                found = getattr(found, name)
        except Exception as error:
            raise DataError(f"{spec} cannot be imported: {in_one_line(error)}") from error
        if not callable(found):
            raise DataError(f"{spec} is no function, but a {type(found).__name__}")
        self._function, self._name = found, spec
        self._whole = getattr(found, "dtype", torch.float32) == torch.uint8
        self._device = options.device
        self.frame = Frame(options.size(getattr(found, "image_size", None)))
        classes = getattr(found, "classes", None)
        self.names: Names | None = None if classes is None else [[str(name)] for name in classes]
        self.score: str | None = None
        self.fingerprint = f"{spec} {_source_digest(found)}"
        self.notes: list[str] = []

    @torch.no_grad()
    def answers(self, images: Tensor) -> Answers:
        """See `AuditedModel.answers`."""
        images = images.to(self._device)
        try:
            output = self._function(images if self._whole else images.float() / 255)
            logits, score = output if isinstance(output, tuple) else (output, None)
            found = Answers(_tensor(logits), None if score is None else _tensor(score))
        except Exception as error:
            raise DataError(
                f"{self._name} failed on {tuple(images.shape)} pixels: {type(error).__name__}: {in_one_line(error)}"
            ) from error
        if score is not None:
            self.score = "its own"
        return found


def _tensor(values: Any) -> Tensor:
    return torch.as_tensor(values).detach().float().cpu()


def _source_digest(function: Any) -> str:
    """Return a digest of the file that defines the function, or "" if there is no such file."""
    try:
        file = inspect.getsourcefile(inspect.unwrap(function)) or inspect.getfile(type(function))
        with open(file, "rb") as source:
            return hashlib.file_digest(source, "sha256").hexdigest()
    except (TypeError, OSError):
        return ""
