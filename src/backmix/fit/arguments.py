"""What a training can be asked for."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import yaml

from backmix.data.load import absolute
from backmix.fit.choices import ModelChoice
from backmix.fit.data import FitData
from backmix.train.recipe import TrainOptions


@dataclass(frozen=True)
class FitArguments:
    """What `backmix fit` was asked for; None: chosen by the data and the machine.

    A programme that leaves `near_duplicates` off and `test_share` at 0 gets all images that are not held out for
    calibration to train on.
    """

    data: str
    known_classes: str | None = None
    model: str | None = None
    image_size: int | None = None
    method: str = "softmax"
    method_options: dict[str, Any] = field(default_factory=dict)
    augmentation: str = "none"
    augmentation_options: dict[str, Any] = field(default_factory=dict)
    patch_side: float | None = None
    outliers: str | None = None
    epochs: int | None = None
    budget: str | None = None
    batch_size: int | None = None
    lr: float | None = None
    seed: int = 0
    holdout: float | None = None
    test_share: float | None = None
    near_duplicates: bool = True
    balance: bool | None = None
    detector: str | None = None
    accept: float = 0.95
    label_smoothing: float = 0.0
    pretrained: bool | None = None
    precision: str = "auto"


def resolved_yaml(
    arguments: FitArguments, data: FitData, model: ModelChoice, options: TrainOptions, detector: str, balance: bool
) -> str:
    """All choices as a file for `--config`: the same training on the same data, wherever it is run."""
    values: dict[str, Any] = {
        "data": absolute(arguments.data),
        "known-classes": ",".join(data.classes) if arguments.known_classes else None,
        "model": model.model,
        "pretrained": model.pretrained,
        "image-size": data.image_size,
        "method": arguments.method,
        "method-option": arguments.method_options,
        "augmentation": arguments.augmentation,
        "augmentation-option": arguments.augmentation_options,
        "patch-side": arguments.patch_side,
        "outliers": absolute(arguments.outliers) if arguments.outliers else None,
        "epochs": options.epochs,
        "batch-size": options.batch_size,
        "lr": options.lr,
        "seed": arguments.seed,
        "holdout": data.holdout if data.held_out is None else None,
        "test-share": data.test_share,
        "near-duplicates": arguments.near_duplicates,
        "balance": balance,
        "detector": detector,
        "accept": arguments.accept,
        "label-smoothing": arguments.label_smoothing,
        "precision": options.precision,
    }
    return yaml.safe_dump(
        {key: value for key, value in values.items() if value not in (None, {})}, sort_keys=False, allow_unicode=True
    )
