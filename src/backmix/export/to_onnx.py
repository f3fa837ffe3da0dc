"""Write a captured model as the bytes of one ONNX file."""

from __future__ import annotations

from importlib.util import find_spec
from typing import Any

import torch
from torch.export import ExportedProgram

from backmix.errors import RunError, in_one_line
from backmix.models.quiet import quiet
from backmix.onnx_model.check import MAX_BYTES
from backmix.onnx_model.contract import INPUT, KEY, OUTPUTS, Description
from backmix.version import __version__

OPSET = 20


def need_onnx() -> None:
    """Raise RunError unless the packages that write and run ONNX files are installed. The error says how to install."""
    missing = [name for name in ("onnx", "onnxscript", "onnxruntime") if find_spec(name) is None]
    if missing:
        raise RunError(f'no {", ".join(missing)}, which an export to ONNX takes: pip install "backmix[export]"')


def onnx_bytes(program: ExportedProgram, description: Description) -> bytes:
    """Return a captured model with its weights as the bytes of an ONNX model of operator set 20.

    Raises:
        RunError: If a package is missing, ONNX lacks an operation, or the weights take 2 GiB or more.
    """
    need_onnx()
    size = sum(value.nbytes for value in program.state_dict.values())
    if size >= MAX_BYTES:
        raise RunError(
            f"the weights are {size / 2**30:.1f} GiB, and one ONNX file holds 2. Export with --format torchscript."
        )
    try:
        with quiet():
            written: Any = torch.onnx.export(
                program,
                dynamo=True,
                input_names=[INPUT],
                output_names=list(OUTPUTS),
                opset_version=OPSET,
                verbose=False,
            )
    except Exception as error:  # The converter can raise any error.
        cause = error.__cause__ or error
        raise RunError(
            f"the model cannot be written as ONNX ({in_one_line(cause)}). Export with --format torchscript, or let "
            "another unknown score decide: backmix calibrate RUN --detector max_logit"
        ) from error
    model = written.model_proto
    _tidy(model)
    model.producer_name, model.producer_version = "backmix", __version__
    del model.metadata_props[:]
    entry = model.metadata_props.add()
    entry.key, entry.value = KEY, description.to_json()
    content: bytes = model.SerializeToString()
    return content


def _tidy(model: Any) -> None:
    """Remove the exporter's notes for developers, such as paths of this machine, and name the first axis."""
    model.ClearField("doc_string")
    graph = model.graph
    graph.name = "backmix"
    for part in (graph, *graph.node, *graph.input, *graph.output, *graph.initializer):
        part.ClearField("doc_string")
        part.ClearField("metadata_props")
    graph.ClearField("value_info")
    for end in (*graph.input, *graph.output):
        end.type.tensor_type.shape.dim[0].dim_param = "batch"
