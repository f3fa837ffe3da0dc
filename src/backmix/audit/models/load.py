"""Load a model to audit from the text that a person typed."""

from __future__ import annotations

import re
from pathlib import Path

from backmix.audit.models.base import AuditedModel, ModelOptions
from backmix.audit.models.callable import CallableModel
from backmix.audit.models.onnx import load_onnx
from backmix.audit.models.run import RunModel
from backmix.audit.models.timm import TimmModel
from backmix.audit.models.torchscript import TorchScriptModel
from backmix.errors import DataError

_CALLABLE = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*(\.[A-Za-z_]\w*)*")


TORCHSCRIPT = (".pt", ".pth", ".ts", ".torchscript")


def load_model(spec: str, options: ModelOptions | None = None) -> AuditedModel:
    """Load a model from the text that a person typed.

    Args:
        spec: One of: the folder of a run; a TorchScript file (.pt, .pth, .ts, .torchscript); an ONNX file (.onnx);
            `package.module:function`; or the name of a timm model, optionally with "timm:" before it, and with "@FILE"
            after it to use the weights of a file instead of the published ones. If a path exists, it is taken as a
            path.
        options: Options for properties that the model does not state. If None, the defaults of `ModelOptions`.

    Raises:
        DataError: If there is no such model, or if it cannot be audited.
        RunError: If a run cannot be read.
        OSError: If published weights are neither in the cache nor can be downloaded.
    """
    options = options or ModelOptions()
    path = Path(spec).expanduser()
    suffix = path.suffix.lower()
    if path.is_dir():
        return RunModel(path, options)
    if suffix == ".onnx":
        return load_onnx(path, options)
    if suffix in TORCHSCRIPT and "@" not in spec:
        return TorchScriptModel(path, options)
    if path.is_file():
        raise DataError(
            f"{spec} is no model that can be audited; one is the folder of a run, a TorchScript file "
            f"({', '.join(TORCHSCRIPT)}), an .onnx file, a timm name, or package.module:function"
        )
    if _CALLABLE.fullmatch(spec) and not spec.startswith("timm:"):
        return CallableModel(spec, options)
    return TimmModel(spec, options)
