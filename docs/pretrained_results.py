"""The section of docs/results.md about BackMix on published weights, made from results/pretrained.json."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable
from typing import Any

from scipy.stats import t

Figure = Callable[[dict[str, Any]], float]
COLUMNS = {
    ("leeds-butterfly", None): "leeds",
    ("msrc-v2-objects", None): "msrc",
    ("caltech101", None): "caltech101",
    ("tiny-imagenet", None): "Tiny-ImageNet a",
    ("leeds on scenes", 0.5): "on scenes, 0.5",
    ("leeds on scenes", 0.8): "on scenes, 0.8",
    ("leeds on scenes", 0.95): "on scenes, 0.95",
}
"""The set and the prior of each column."""
ROWS = {
    "none": None,
    "backmix": "none",
    "swap": "none",
    "cutmix": "none",
    "frozen": "none",
    "frozen, backmix": "frozen",
    "frozen, swap": "frozen",
    "frozen, cutmix": "frozen",
    "frozen, 224 px": "frozen",
}
"""The trainings, each with the one that it is compared with."""
FIGURES: dict[str, Figure] = {
    "AUROC": lambda cell: cell["scores"]["max_logit"]["auroc"],
    "OSCR": lambda cell: cell["scores"]["max_logit"]["oscr"],
    "closed accuracy": lambda cell: cell["accuracy"],
    "background gap": lambda cell: cell["audit"]["background_gap"]["value"],
}
ON_OTHER_SCENES: dict[str, Figure] = {
    "AUROC": lambda cell: cell["independent"]["scores"]["max_logit"]["auroc"],
    "closed accuracy": lambda cell: cell["independent"]["accuracy"],
}


def head(figure: str, columns: list[tuple[str, float | None]]) -> list[str]:
    return [figure, *(COLUMNS[column] for column in columns)]


def rows(found: dict[str, Any], figure: Figure, *, scenes: bool = False) -> tuple[list[list[str]], list[Any]]:
    """Return one row for each training, and the columns that have cells.

    Each entry is the mean over seeds in percent, and the mean of the paired differences with half the width of its
    95 % interval (Student's t over seeds); of fewer than three seeds, each difference.
    """
    columns = [column for column in COLUMNS if (column[1] is not None or not scenes) and _by_seed(found, *column)]
    made = []
    for training, baseline in ROWS.items():
        row = [training]
        for column in columns:
            values = _by_seed(found, *column)
            row.append(_entry(values.get(training, {}), values.get(baseline or "", {}), figure))
        made.append(row)
    return made, columns


def _by_seed(found: dict[str, Any], name: str, prior: float | None) -> dict[str, dict[int, dict[str, Any]]]:
    """Return the cells of a column by training and seed."""
    by: dict[str, dict[int, dict[str, Any]]] = {}
    for cell in found["cells"]:
        if (cell["set"], cell["prior"]) == (name, prior):
            by.setdefault(cell["training"], {})[cell["seed"]] = cell
    return by


def _entry(cells: dict[int, dict[str, Any]], baseline: dict[int, dict[str, Any]], figure: Figure) -> str:
    if not cells:
        return ""
    mean = 100 * statistics.fmean(figure(cell) for cell in cells.values())
    differences = [100 * (figure(cells[seed]) - figure(baseline[seed])) for seed in cells if seed in baseline]
    if not differences:
        return f"{mean:.1f}"
    change = round(statistics.fmean(differences), 1) + 0.0  # No minus before a zero.
    if len(differences) < 3:
        return f"{mean:.1f} ({', '.join(f'{round(each, 1) + 0.0:+.1f}' for each in differences)})"
    return f"{mean:.1f} ({change:+.1f} ± {half_width(differences):.1f})"


def half_width(values: list[float]) -> float:
    """Return half the width of the 95 % interval of a mean, by Student's t."""
    return float(t.ppf(0.975, len(values) - 1)) * statistics.stdev(values) / math.sqrt(len(values))


def seeds(found: dict[str, Any], name: str) -> int:
    """Return the number of seeds of a set for which there is something to compare with."""
    return len({cell["seed"] for cell in found["cells"] if (cell["set"], cell["training"]) == (name, "none")})


def words(found: dict[str, Any]) -> list[str]:
    setting = found["setting"]
    return [
        "`python benchmarks/pretrained.py DATA`: EfficientNet-lite0 with its ImageNet weights, fine-tuned at "
        f"{setting['image_size']} px for {setting['epochs']} epochs from a\n"
        "head that was fitted on its frozen features, with and without mixing; and with the head alone (frozen), which may learn from three\n"
        "mixed views of each image. `backmix` is the augmentation of the paper with the network's own maps, `swap` replaces the whole\n"
        "background, found by `foreground=pretrained`. Within a set and a seed all share images, weights, head, recipe, order and crops.\n"
        f"{seeds(found, 'leeds-butterfly')} seeds of leeds-butterfly, msrc-v2-objects and caltech101 with the unknown classes of the section above; "
        f"{seeds(found, 'tiny-imagenet')} of trial a of\n"
        f"Tiny-ImageNet with {setting['tiny_images_per_class']} images a class, tested on every second validation image; {seeds(found, 'leeds on scenes')} of butterflies laid over\n"
        "scenes, each rate being that of a scene which goes with the class.",
        "Means over seeds in percent, by `max_logit`. In brackets the mean of the paired differences, of fine-tuned rows from `none`, of rows\n"
        "with frozen views from `frozen`, and half the width of its 95 % interval (Student's t over seeds; the test images are the same, so\n"
        "chance in their choice is not in it), or each difference where there are only two seeds. The background gap is that of the [audit](audit.md): the accuracy that is lost when the\n"
        "background comes from any image instead of one of the same class, with true masks, or estimated ones for caltech101 and\n"
        "Tiny-ImageNet.",
        "What stands out: on photographs as they are, known and unknown on the same kinds of background, patches and swapped\n"
        "backgrounds change AUROC little; only swapping on caltech101 gains by more than the seeds differ, and there and on Tiny-ImageNet\n"
        "it takes a large part of the background gap away. Where scenes go with classes and are different in the test, swapping gains\n"
        "as much as the scenes had taken; patches, which follow the network's own maps, do not, and CutMix makes the network lean on the\n"
        "scenes still more. The frozen head at 224 px is the better start on photographs as they are; at 128 px it leans on backgrounds\n"
        "more than the same network with all its weights trained. Mixed views do for a frozen head what mixing does for a network: swapped\n"
        "ones help on scenes, at a price on photographs as they are; patches change little; CutMix costs most.",
    ]


README_COLUMNS = [
    ("leeds-butterfly", None),
    ("msrc-v2-objects", None),
    ("caltech101", None),
    ("tiny-imagenet", None),
    ("leeds on scenes", 0.95),
]


def readme_words(found: dict[str, Any]) -> str:
    return (
        f"{seeds(found, 'leeds-butterfly')} seeds, of Tiny-ImageNet {seeds(found, 'tiny-imagenet')}; ± is half of a 95 % interval over "
        "seeds."
    )


def readme_rows(found: dict[str, Any]) -> tuple[list[str], list[list[str]]]:
    """Return the head and the rows of the table in README: AUROC, for scenes that go with classes the other scenes."""
    heads, made = ["AUROC"], [[name] for name in ("none", "backmix", "swap", "cutmix", "frozen")]
    for column in README_COLUMNS:
        values = _by_seed(found, *column)
        figure = ON_OTHER_SCENES["AUROC"] if column[1] is not None else FIGURES["AUROC"]
        heads.append("butterflies on other scenes" if column[1] is not None else COLUMNS[column])
        for row in made:
            baseline = ROWS[row[0]] or ""
            row.append(_entry(values.get(row[0], {}), values.get(baseline, {}), figure))
    return heads, made


ON_OTHER_SCENES_WORDS = "The same butterflies on scenes that say nothing about the class, known and unknown alike:"
