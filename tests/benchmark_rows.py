"""Rows of a results file for tests of what becomes of them."""

from __future__ import annotations

from typing import Any

from backmix.benchmark.results import Row

PLAIN: dict[str, Any] = {
    "protocol": "cifar10",
    "split_list": "cssr",
    "trial": "a",
    "fingerprint": "f-a",
    "unknown_set": "unknown",
    "method": "softmax",
    "augmentation": "none",
    "variant": "",
    "seed": 0,
    "recipe": "cpu",
    "detector": "method",
    "accuracy": 0.9,
    "auroc": 0.8,
    "oscr": 0.7,
    "aupr_in": 0.85,
    "aupr_out": 0.75,
    "fpr95": 0.5,
    "detection_accuracy": 0.78,
    "accepted_known": 0.95,
    "rejected_unknown": 0.4,
    "accuracy_with_rejection": 0.86,
    "macro_f1": 0.6,
    "held_out_accuracy": 0.91,
    "train_images": 27000,
    "known_images": 6000,
    "unknown_images": 4000,
    "model": "compact",
    "epochs": 29,
    "precision": "bf16",
    "device": "cpu: some model",
    "threads": 2,
    "seconds": 812.5,
    "version": "0.1.0+0123456789",
}


def row(**changes: Any) -> Row:
    """A row with these columns; the fingerprint follows the trial."""
    trial = changes.get("trial", "a")
    return Row(**(PLAIN | {"fingerprint": f"f-{trial}"} | changes))


def rows_of(figure: str, values: dict[str, dict[str, list[float]]], **changes: Any) -> list[Row]:
    """Rows from augmentation -> trial -> values by seed, augmentations as "name" or "name variant"."""
    return [
        row(
            augmentation=name.partition(" ")[0],
            variant=name.partition(" ")[2],
            trial=trial,
            seed=seed,
            **{figure: value},
            **changes,
        )
        for name, trials in values.items()
        for trial, found in trials.items()
        for seed, value in enumerate(found)
    ]
