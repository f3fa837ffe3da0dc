"""Audit a TorchScript file. A TorchScript file is a program: only load files that you trust."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from backmix.audit.class_map import Names
from backmix.audit.frame import Frame
from backmix.audit.models.base import Answers, ModelOptions, own_size
from backmix.data.photo import side_to_read
from backmix.errors import DataError, in_one_line
from backmix.files import sha256
from backmix.onnx_model.contract import FILE, Description


class TorchScriptModel:
    """A file that torch.jit.save wrote. See `AuditedModel`.

    The network takes normalised images (B, 3, S, S) float32 and returns logits (B, K), or a tuple that begins with the
    logits. A file of `backmix export RUN --format torchscript` is different: it states its classes and its image size,
    takes pixels as they are, and returns an unknown score.

    Args:
        path: The file.
        options: The image size, the mean, the std and the device.

    Raises:
        DataError: If the file cannot be loaded, or if a file of backmix is asked for another image size.
    """

    kind = "TorchScript"

    def __init__(self, path: Path, options: ModelOptions) -> None:
        if not path.is_file():
            raise DataError(f"there is no file {path}")
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", DeprecationWarning)
                extra = {FILE: ""}
                self._network: Any = torch.jit.load(path, map_location=options.device, _extra_files=extra).eval()
            own = Description.from_json(extra[FILE]) if extra[FILE] else None
        except Exception as error:
            raise DataError(f"{path} cannot be loaded as TorchScript: {in_one_line(error)}") from error
        self._options = options
        self._own = own is not None
        if own is None:
            self.frame = Frame(options.size())
        else:
            size = own_size(options, own.image_size)
            self.frame = Frame(size, at_least=side_to_read(size, own.decoding))
        self.names: Names | None = None if own is None else [[name] for name in own.classes]
        self.score: str | None = None if own is None else own.detector
        self.fingerprint = sha256(path)
        self.notes = [f"{path} is TorchScript, which is a program: only load what you trust."]

    @torch.no_grad()
    def answers(self, images: Tensor) -> Answers:
        """See `AuditedModel.answers`."""
        try:
            output = self._network(images.to(self._options.device) if self._own else self._options.normalise(images))
        except RuntimeError as error:
            side = self.frame.image_size
            reason = in_one_line(RuntimeError(str(error).strip().splitlines()[-1]))
            raise DataError(f"the TorchScript file does not take images of {side} pixels: {reason}") from error
        logits, *more = output if isinstance(output, tuple | list) else (output,)
        return Answers(logits.float().cpu(), more[0].float().cpu() if self._own else None)
