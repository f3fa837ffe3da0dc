"""The part of docs/results.md on the speed of the detectors that measure distances."""

from __future__ import annotations

from typing import Any

HEAD = ["detector", "beside", "microseconds a score", "of the peer", "ratio", "smallest to largest"]


def words(found: dict[str, Any]) -> str:
    """Return what was measured."""
    setting = found["setting"]
    return (
        f"`python benchmarks/detectors.py --threads {setting['threads']}`: {setting['scores']:,} scores against {setting['training']:,} training images of\n"
        f"{setting['classes']} classes with {setting['features']} features, beside the same formulas in NumPy in float32 and a flat index of faiss, in turn in\n"
        f"one run of {setting['rounds']} rounds; ratios are medians of the rounds, below 1 is faster than the peer."
    )


def rows(found: dict[str, Any]) -> list[list[str]]:
    """Return a row for each detector."""
    return [
        [
            f"`{name}`",
            found["knn_peer"] if name == "knn" else "NumPy",
            f"{entry['microseconds']:.1f}",
            f"{entry['peer_microseconds']:.1f}",
            f"{entry['ratio']:.2f}",
            f"{entry['smallest_ratio']:.2f} to {entry['largest_ratio']:.2f}",
        ]
        for name, entry in found["detectors"].items()
    ]
