"""Which arithmetic a machine is quick in."""

from __future__ import annotations

import torch

PRECISIONS = ("auto", "bf16", "fp32")


def resolve_precision(precision: str = "auto") -> str:
    """What "auto" comes to on this machine: "bf16" where it is the quicker one, "fp32" elsewhere; others stay.

    Accelerators have units for bf16 products, and so have processors with AMX, where training is several times as fast
    as in float32. A processor that merely knows bf16 instructions (AVX-512) is slower in them than in float32.

    Raises:
        ValueError: for anything but "auto", "bf16", "fp32".
    """
    if precision not in PRECISIONS:
        raise ValueError(f"precision is one of {', '.join(PRECISIONS)}; got {precision!r}")
    if precision != "auto":
        return precision
    if torch.cuda.is_available():
        fast = torch.cuda.is_bf16_supported(including_emulation=False)
    elif torch.xpu.is_available():
        fast = True
    elif torch.backends.mps.is_available():
        fast = False
    else:
        fast = has_bf16_units()
    return "bf16" if fast else "fp32"


def has_bf16_units() -> bool:
    """Whether this processor multiplies bf16 matrices in units made for it (AMX)."""
    # Not public in torch, which offers no other way to ask; without an answer float32 is right, if slower.
    is_supported = getattr(torch.cpu, "_is_amx_tile_supported", None)
    return bool(is_supported is not None and is_supported())
