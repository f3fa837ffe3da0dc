"""Write a captured model as the bytes of one TorchScript file, and answer from the file."""

from __future__ import annotations

import io
from inspect import signature
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import fx
from torch.export import ExportedProgram

from backmix.errors import RunError, in_one_line
from backmix.models.quiet import quiet
from backmix.onnx_model.contract import FILE, OUTPUTS, Answers, Description


def torchscript_bytes(program: ExportedProgram, description: Description) -> bytes:
    """Return a captured model with its weights as the bytes of a TorchScript file.

    The description is the extra file backmix.json. The captured graph is compiled, because tracing the model would take
    the number of images for a constant.

    Raises:
        RunError: If TorchScript lacks an operation.
    """
    try:
        with quiet():
            script = torch.jit.script(_plain(program))
            buffer = io.BytesIO()
            torch.jit.save(script, buffer, _extra_files={FILE: description.to_json()})
    except Exception as error:  # The compiler can raise any error.
        raise RunError(
            f"the model cannot be written as TorchScript ({in_one_line(error)}). Export with --format onnx."
        ) from error
    return buffer.getvalue()


def load_own(path: Path) -> Any:
    """Load a TorchScript file that this process has just written. Never load other files, which may hold code."""
    with quiet():
        return torch.jit.load(path, map_location="cpu")


@torch.no_grad()
def answer(script: Any, images: npt.NDArray[np.uint8]) -> Answers:
    """Return the answers of a loaded file for images (N, 3, S, S)."""
    outputs = script(torch.from_numpy(images))
    return Answers(**{name: output.numpy() for name, output in zip(OUTPUTS, outputs, strict=True)})


def _plain(program: ExportedProgram) -> fx.GraphModule:
    """Return the graph without the parts that only Python can run."""
    # Guards are Python. torch adds them, and the argument that leaves them out, after 2.6.
    guarded = "check_guards" in signature(program.module).parameters
    exported = program.module(check_guards=False) if guarded else program.module()
    graph = exported.graph
    graph.set_codegen(fx.graph.CodeGen())  # This replaces the code generator for nested arguments.
    for node in list(graph.nodes):
        if node.op == "call_function" and isinstance(node.target, torch._ops.OpOverload):
            if node.target.name().startswith("aten::_assert"):
                graph.erase_node(node)
            else:
                # The name has no overload, because TorchScript finds the overload by the arguments.
                node.target = node.target.overloadpacket
    return fx.GraphModule(exported, graph)
