"""The section of docs/results.md about folders of photos, made from results/photos.json."""

from __future__ import annotations

import statistics
from typing import Any

TRAINING = [
    "set",
    "known, unknown classes",
    "images to train, calibrate, test, unknown",
    "network",
    "epochs",
    "seconds of `fit`",
    "closed accuracy",
    "AUROC",
    "known accepted",
    "unknown rejected",
]
ACCEPTANCE = ["set", "images to calibrate, to test", "threshold", "mean", "least", "most", "give or take by chance"]
EXPORT = ["set", "photos", "different answers", "largest difference of unknown scores", "size of the file"]


def training_rows(found: dict[str, Any]) -> list[list[str]]:
    rows = []
    for name, entry in found["sets"].items():
        images, test = entry["images"], entry["test"]
        rows.append(
            [
                name,
                f"{entry['known']}, {len(entry['unknown'])}",
                f"{images['train']}, {images['held_out']}, {test['images']['known']}, {test['images']['unknown']}",
                f"{entry['model']} at {entry['image_size']} px",
                str(entry["epochs"]),
                f"{entry['fit_seconds']:.0f}",
                *(percent(test[key]) for key in ("accuracy", "auroc", "accepted_known", "rejected_unknown")),
            ]
        )
    return rows


def acceptance_rows(found: dict[str, Any]) -> list[list[str]]:
    rows = []
    for name, entry in found["sets"].items():
        accepted = entry["acceptance"]
        for key, words in (("overall", "one for all"), ("per_class", "by class")):
            shares = accepted[key]
            figures = [percent(of(shares)) for of in (statistics.fmean, min, max)]
            sizes = f"{accepted['held_out']}, {accepted['tested']}"
            rows.append([name, sizes, words, *figures, percent(2 * accepted["chance"])])
    return rows


def export_rows(found: dict[str, Any]) -> list[list[str]]:
    return [
        [
            name,
            str(entry["onnx"]["images"]),
            str(entry["onnx"]["different_answers"]),
            f"{entry['onnx']['largest_score_difference']:.1e}",
            f"{entry['onnx']['bytes'] / 1e6:.1f} MB",
        ]
        for name, entry in found["sets"].items()
    ]


def percent(share: float) -> str:
    return f"{100 * share:.1f}"


def words(found: dict[str, Any]) -> list[str]:
    """Return three paragraphs: about the runs, the table of acceptance, and the table of exports."""
    return [
        f"`python benchmarks/photos.py DATA --budget {found['budget']}`: each set is written out as a folder of photos, train and test images\n"
        "together, and `backmix fit FOLDER --known-classes ... --augmentation backmix --precision fp32 --budget "
        f"{found['budget']}` chooses the rest, from random\n"
        "weights. The classes called unknown were fixed by their names before anything was trained. One seed, small sets, few epochs: the\n"
        "figures show what comes out of a folder on 2 processor cores in that time, not what the method can do.",
        f"Promised {percent(found['accept'])} %, observed: images that nothing was trained on, divided {found['splits']} times at random into halves, one\n"
        "to set the threshold, one to test. `Give or take` is two binomial deviations of one division, both halves counted.",
        "The exported ONNX file against the run, all photos of the folder, known and unknown, those of the calibration among them.\n"
        f"{sum(entry['onnx']['different_answers'] for entry in found['sets'].values())} of "
        f"{sum(entry['onnx']['images'] for entry in found['sets'].values())} answers differ. The image that a threshold was taken from lies on it exactly; a\n"
        "tolerance of a hundred-thousandth of the spread of the scores keeps the last bits from deciding about it.",
    ]
