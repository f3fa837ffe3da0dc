"""Fill the disk at a write of a command, at each write in turn; the injector is that of the tests."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

from full_disk_commands import make_materials, sweep

WHOLE = (
    *("calibrate", "evaluate", "report", "tables", "share", "audit"),
    *("predict-csv", "predict-json", "predict-jsonl", "predict-parquet", "predict-sorted"),
)
"""The commands that are tried at each of their writes."""
LONG = ("fit", "fit-photos", "onnx", "torchscript", "bench")
"""The commands that are tried at some of their writes, which are drawn."""
DRAWN = 12


def full_disks(seed: int) -> dict[str, Any]:
    """Fill the disk again and again, and count what was lost.

    Args:
        seed: The seed of the draw.
    """
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        materials = make_materials(Path(folder) / "materials")
        for name in (*WHOLE, *LONG):
            place = Path(folder) / name
            place.mkdir()
            swept = sweep(name, materials, place, draw=DRAWN if name in LONG else None, seed=seed)
            rows.append({"command": name, "writes": swept.operations, "tried": len(swept.tried), "lost": swept.lost})
            print(f"  {rows[-1]}", flush=True)
    return {
        "writes": sum(row["tried"] for row in rows),
        "lost": [text for row in rows for text in row["lost"]],
        "commands": rows,
    }
