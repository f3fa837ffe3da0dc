"""The part of docs/results.md on photographs that are small: the head of published weights against a network anew."""

from __future__ import annotations

from typing import Any

HEAD = [
    "photographs of",
    "side",
    "trained on",
    "head: answered right",
    "AUROC",
    "anew: answered right",
    "AUROC",
]


def words(found: dict[str, Any]) -> str:
    """Return what was done, and what follows from it."""
    return (
        "`python benchmarks/small.py DATA`: photographs shrunk to a side in pixels, and `fit` on the same folder with the same\n"
        f"division, `{' '.join(found['ways']['head'])}` (EfficientNet-lite0 as published, at 224 px) and\n"
        f"`{' '.join(found['ways']['random'])}` (the small network of backmix at the size of the photographs), in percent. The last\n"
        "classes by name are unknown. One seed. On 64 px the head is better everywhere, and so `fit` takes published weights from there\n"
        "on; on 32 px it is right more often with few photographs, and the network anew with many. As the choice follows from these figures, all\n"
        "sets are development sets here, and ImageNet, which the published weights have seen, holds many of these classes."
    )


def rows(found: dict[str, Any]) -> list[list[str]]:
    """Return a row for each set, side and number of photographs."""
    cells: dict[tuple[str, int, int], dict[str, Any]] = {}
    for cell in found["cells"]:
        cells.setdefault((cell["set"], cell["side"], cell["each"]), {})[cell["way"]] = cell
    shown = []
    for (name, side, _), ways in cells.items():
        if set(ways) == {"head", "random"}:
            figures = [f"{100 * ways[way][figure]:.1f}" for way in ("head", "random") for figure in ("accuracy", "auroc")]
            shown.append([name, f"{side} px", str(ways["head"]["images"]["train"]), *figures])
    return shown
