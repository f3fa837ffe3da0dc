"""The choice between bf16 and float32 arithmetic, whichever is faster on the machine."""

from __future__ import annotations

import torch

PRECISIONS = ("auto", "bf16", "fp32")


def resolve_precision(precision: str = "auto") -> str:
    """Return "bf16" or "fp32": for "auto" the faster one on this machine, otherwise the given one.

    Accelerators have units for bf16 products. Processors with AMX have them too, and train several times as fast as in
    float32. A processor that only has bf16 instructions (AVX-512) is slower in bf16 than in float32.

    Raises:
        ValueError: If the precision is not "auto", "bf16" or "fp32".
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
    """Return whether this processor has units that multiply bf16 matrices (AMX)."""
    # This function of torch is not public, and there is no other. If it is gone, float32 is correct, but slower.
    is_supported = getattr(torch.cpu, "_is_amx_tile_supported", None)
    return bool(is_supported is not None and is_supported())
