"""A captured model as the bytes of one TorchScript file, and answers from it."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import fx
from torch.export import ExportedProgram

from backmix.errors import RunError, in_one_line
from backmix.export.program import quiet
from backmix.onnx_model.contract import FILE, OUTPUTS, Answers, Description


def torchscript_bytes(program: ExportedProgram, description: Description) -> bytes:
    """Write a captured model, weights and all, with its description as the extra file backmix.json.

    The graph is compiled as it is. To trace the model instead would take numbers of images for constants.

    Raises:
        RunError: for an operation that TorchScript lacks.
    """
    try:
        with quiet():
            script = torch.jit.script(_plain(program))
            buffer = io.BytesIO()
            torch.jit.save(script, buffer, _extra_files={FILE: description.to_json()})
    except Exception as error:  # Whatever the compiler raises.
        raise RunError(
            f"the model cannot be written as TorchScript ({in_one_line(error)}). Export with --format onnx."
        ) from error
    return buffer.getvalue()


def load_own(path: Path) -> Any:
    """Load a TorchScript file that was written just now. Others may hold code: never load those."""
    with quiet():
        return torch.jit.load(path, map_location="cpu")


@torch.no_grad()
def answer(script: Any, images: npt.NDArray[np.uint8]) -> Answers:
    """What a loaded file gives for images (N, 3, S, S)."""
    outputs = script(torch.from_numpy(images))
    return Answers(**{name: output.numpy() for name, output in zip(OUTPUTS, outputs, strict=True)})


def _plain(program: ExportedProgram) -> fx.GraphModule:
    """The graph without what only Python can run."""
    exported = program.module(check_guards=False)
    graph = exported.graph
    graph.set_codegen(fx.graph.CodeGen())  # Not that of trees of arguments.
    for node in list(graph.nodes):
        if node.op == "call_function" and isinstance(node.target, torch._ops.OpOverload):
            if node.target.name().startswith("aten::_assert"):
                graph.erase_node(node)
            else:
                # Named without its overload, which TorchScript finds by the arguments.
                node.target = node.target.overloadpacket
    return fx.GraphModule(exported, graph)
