"""The part of docs/results.md on decoding: what scaled decoding saves, and what it costs in grey levels."""

from __future__ import annotations

from typing import Any

TIME = [
    "photograph",
    "before, ms",
    "now, ms",
    "before / now",
    "now, a run of before / before",
    "now / Pillow's decoding",
    "now / Pillow's decoding and shrinking",
]
GAPS = ("1", "2", "4")
COST = ["photographs", *GAPS]

WORDS = (
    "`OMP_NUM_THREADS=1 python benchmarks/decoding.py DATA --json results/decoding.json`: reading a JPEG file's bytes to the finished square\n"
    "of 224 px, one thread, processor time, all ways in turn in one run. Before, every pixel was decoded, copied as RGB and turned; Pillow\n"
    "alone is its scaled decoding (`draft`), without and with shrinking to the square."
)


def time_rows(found: dict[str, Any]) -> list[list[str]]:
    """Return a row for each photograph."""
    return [
        [
            name,
            f"{entry['as before, ms']:.1f}",
            f"{entry['ours, ms']:.1f}",
            f"{entry['times as quick as before']:.2f}",
            f"{1 / entry['in full, times as quick as before']:.2f}",
            f"{entry['time in that of draft and load']:.2f}",
            f"{entry['time in that of draft, load and resize']:.2f}",
        ]
        for name, entry in found["reading to 224 px"].items()
    ]


def predict_words(found: dict[str, Any]) -> str:
    """Return what `predict` makes of it, where that was measured."""
    if (entry := found.get("predict on 12 megapixels")) is None:
        return ""
    return (
        f"`predict` on photographs of 12 megapixels with the network `{entry['model']}` at {entry['image size']} px (`--against` the code before):\n"
        f"{entry['times as quick as before, by processor time']:.2f} times as quick by processor time as before; it takes "
        f"{entry['time in that of scaled decoding alone, by processor time']:.2f} times the time of scaled decoding\nalone, the rest is the network."
    )


def cost_words(found: dict[str, Any]) -> str:
    """Return how the next table is read."""
    return (
        "The finished pixels differ from those of full decoding, in grey levels of 255 (the mean, and the largest of any pixel), by the least\n"
        f"number of pixels that is decoded, in sides of the wanted square; {found['gap']} is what backmix takes:"
    )


def cost_rows(found: dict[str, Any]) -> list[list[str]]:
    """Return a row for each kind of photographs."""
    return [
        [name, *(f"{of[f'gap {gap}']['mean']:.2f} ({of[f'gap {gap}']['largest']})" for gap in GAPS)]
        for name, of in found["cost in grey levels"].items()
    ]
