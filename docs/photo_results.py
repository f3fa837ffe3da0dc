"""The section of docs/results.md about folders of photos, made from results/photos.json."""

from __future__ import annotations

import statistics
from typing import Any

TRAINING = [
    "set",
    "known, unknown classes",
    "images to train, calibrate, test, unknown",
    "unknown score",
    "closed accuracy",
    "AUROC",
    "with max_logit",
    "known accepted",
    "unknown rejected",
]
TIME = ["set", "photos", "first `fit`", "again", "with ten photos added", "photos that the network ran on"]
ACCEPTANCE = ["set", "images to calibrate, to test", "threshold", "mean", "least", "most", "give or take by chance"]
EXPORT = ["set", "photos", "different answers", "largest difference of unknown scores", "size of the file"]


def training_rows(found: dict[str, Any], development: bool) -> list[list[str]]:
    rows = []
    for name, entry in found["sets"].items():
        if entry["development"] != development:
            continue
        images, test = entry["images"], entry["test"]
        rows.append(
            [
                name,
                f"{entry['known']}, {len(entry['unknown'])}",
                f"{images['train']}, {images['held_out']}, {test['images']['known']}, {test['images']['unknown']}",
                f"`{entry['detector']}`",
                percent(test["accuracy"]),
                percent(test["auroc"]),
                percent(entry["max_logit"]["auroc"]),
                *(percent(test[key]) for key in ("accepted_known", "rejected_unknown")),
            ]
        )
    return rows


def time_rows(found: dict[str, Any]) -> list[list[str]]:
    return [
        [
            name,
            str(entry["onnx"]["images"]),
            *(f"{entry['seconds'][turn]:.1f} s" for turn in ("fit", "fit again", "fit grown")),
            ", ".join(str(entry["computed"][turn]) for turn in ("fit", "fit again", "fit grown")),
        ]
        for name, entry in found["sets"].items()
    ]


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


def readme_rows(found: dict[str, Any]) -> list[list[str]]:
    rows = []
    for name, entry in found["sets"].items():
        test = entry["test"]
        figures = (test["accuracy"], test["auroc"], test["rejected_unknown"])
        note = "" if entry["development"] else ", evaluated once"
        rows.append(
            [
                f"{name} ({entry['known']} known classes, {len(entry['unknown'])} unknown){note}",
                *(percent(value) for value in figures),
                f"{entry['seconds']['fit']:.0f} s",
            ]
        )
    return rows


def words(found: dict[str, Any], speed: dict[str, Any]) -> list[str]:
    """Return paragraphs: about the development sets, the other sets, the time, the acceptance, and the exports."""
    rates = speed["images_per_second"]
    return [
        "`python benchmarks/photos.py DATA`: each set is written out as a folder of photos, train and test images together, and\n"
        "`backmix fit FOLDER --known-classes ... --out RUN`, with no other option and no network to reach, on 2 processor cores, trains the\n"
        "head of EfficientNet-lite0 on its published weights at 224 px. The classes called unknown were fixed by their names before anything\n"
        "was trained; images of them take no part in any choice. These three are **development sets**: the way of choosing was made with\n"
        "their figures in sight. And ImageNet, which the weights come from, holds classes that are called unknown here. One seed, small sets.\n"
        "`With max_logit` is the AUROC of the score that decides where none is chosen.",
        "These two were evaluated once, after all choices were committed. Both have fewer than five known classes, so `max_logit` decides.\n"
        "Photographs of the sea and of streets look much like those of glaciers and of buildings to this network: of unknown *scenes* it\n"
        "refuses hardly more than it refuses of known ones. (Masks of eth80's training images had a part in the constants of\n"
        "`foreground=pretrained`, which is not used here.)",
        "Seconds of whole commands. The second `fit` finds the features of all photos and the head in the cache, the third those of all but ten. One pass\n"
        f"over {speed['images']} photos by the engine that `fit` chose ({speed['engine']}): {rates['pass']:.0f} images a second with the decoding of files,\n"
        f"{rates['engine']:.0f} on decoded batches of 32, and {rates['eager']:.0f} by timm's network in PyTorch, float32, as it comes\n"
        "(`python benchmarks/features.py DATA --json results/features.json`). The features of the two programs differ by at most\n"
        f"{speed['largest_difference']:.1e}, of values up to {speed['largest_feature']:.1f}.",
        f"Promised {percent(found['accept'])} %, observed: images that nothing was trained on, divided {found['splits']} times at random into halves, one\n"
        "to set the threshold, one to test. `Give or take` is two binomial deviations of one division, both halves counted.",
        "The exported ONNX file against the run, all photos of the folder, known and unknown, those of the calibration among them.\n"
        f"{sum(entry['onnx']['different_answers'] for entry in found['sets'].values())} of "
        f"{sum(entry['onnx']['images'] for entry in found['sets'].values())} answers differ. The image that a threshold was taken from lies on it exactly; a\n"
        "tolerance of a hundred-thousandth of the spread of the scores keeps the last bits from deciding about it.",
    ]
