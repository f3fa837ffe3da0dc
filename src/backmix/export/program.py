"""Capture a model as one graph of tensor operations, from which both formats are written."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.export import Dim, ExportedProgram

from backmix.errors import RunError, in_one_line
from backmix.export.module import ExportedModel
from backmix.models.quiet import quiet
from backmix.onnx_model.contract import INPUT

_ROWS = 64


def capture(model: ExportedModel, image_size: int) -> ExportedProgram:
    """Return the graph of a model, for any number of images at a time.

    Args:
        model: The model, on the CPU and in evaluation mode.
        image_size: The side of the images in pixels.

    Raises:
        RunError: If torch cannot trace the computation of the network, the method or the detector.
    """
    images = torch.zeros(2, 3, image_size, image_size, dtype=torch.uint8)
    try:
        with quiet(), torch.no_grad():
            # In strict mode, the length of a tensor is traced like its shape, and is not taken for a constant.
            program: ExportedProgram = torch.export.export(
                model, (images,), dynamic_shapes={INPUT: {0: Dim("batch")}}, strict=True
            )
            program = program.run_decompositions(_decompositions())
            return program
    except Exception as error:  # The traced code and the tracer can raise any error.
        head = model.network.head.name
        score = f"method {head}" if model.detector is None else f"method {head} with {type(model.detector).__name__}"
        raise RunError(
            f"{score} cannot be exported: torch cannot write down what it computes for any number of images "
            f"({_first_line(error)}). Let another unknown score decide, such as max_logit: backmix calibrate RUN "
            "--detector max_logit; if that fails alike, train with another method or model."
        ) from error


def _first_line(error: Exception) -> str:
    """Return the part of an error of torch that says what was found, without the advice that follows."""
    first = str(error).strip().partition("\n")[0].partition(" For more information")[0]
    return in_one_line(RuntimeError(first.rstrip("!.") or type(error).__name__))


def _decompositions() -> dict[Any, Callable[..., Any]]:
    """Return the operations to replace by others, because ONNX lacks them or its export rounds them."""
    aten, known = torch.ops.aten, torch.export.default_decompositions()
    # A cross-entropy uses all of these operations. The cross-entropy of ONNX has shapes that runtimes complain about.
    losses = (aten.cross_entropy_loss, aten.nll_loss_nd, aten.nll_loss, aten.nll_loss_forward)
    return {
        **{operation.default: known[operation.default] for operation in losses},
        aten.cdist.default: distances,
        aten._cdist_forward.default: distances,
        aten.log1p.default: log1p,
        aten.expm1.default: expm1,
    }


def distances(a: Tensor, b: Tensor, p: float = 2.0, compute_mode: int | None = None) -> Tensor:
    """Return Euclidean distances from differences: (B, C), (M, C) -> (B, M).

    Raises:
        NotImplementedError: If the norm is not 2.
    """
    if p != 2:
        raise NotImplementedError(f"distances of norm {p} are not exported")
    parts = [(a[:, None] - part).square().sum(-1).sqrt() for part in b.split(_ROWS)]
    return torch.cat(parts, 1)


def log1p(x: Tensor) -> Tensor:
    """Return log(1 + x), exact to the last digits.

    The export to ONNX computes log(u), where u is the rounded 1 + x. Here, x log(u) / (u - 1) corrects the rounding of
    u (Kahan; Goldberg, "What every computer scientist should know about floating-point arithmetic", 1991, theorem 4).
    The unknown scores of confident networks are so small that this matters.
    """
    u = 1 + x
    return torch.where((u == 1) | u.isinf(), x, u.log() * x / (u - 1))


def expm1(x: Tensor) -> Tensor:
    """Return exp(x) - 1, exact to the last digits, as (u - 1) x / log(u), where u is the rounded exp(x)."""
    u = x.exp()
    above = u - 1
    exact = torch.where((above == -1) | u.isinf(), above, above * x / u.log())
    return torch.where(above == 0, x, exact)
