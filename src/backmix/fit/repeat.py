"""The file for `--config` that repeats a training."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from backmix.data.load import absolute
from backmix.data.write_yaml import as_yaml
from backmix.fit.arguments import FitArguments
from backmix.fit.data import FitData
from backmix.train.recipe import TrainOptions


def as_config(
    arguments: FitArguments,
    data: FitData,
    options: TrainOptions,
    *,
    balance: bool,
    detector: str,
    chosen: dict[str, Any],
) -> str:
    """Return all choices of a training as a file for `--config`, which repeats it on any machine.

    Where only the head was trained, its unknown score is chosen again, unless a person chose it.

    Args:
        arguments: The options of the person.
        data: The data of the training.
        options: The training options.
        balance: Whether images of rare classes were shown more often.
        detector: The unknown score that decides.
        chosen: What was chosen for the training: `model`, `pretrained`, `image_size` and `train`.
    """
    head = chosen["train"] == "head"
    values: dict[str, Any] = {
        **dict.fromkeys(("data", "known_classes", "model", "pretrained")),  # These stand first.
        **asdict(arguments),
        "data": absolute(arguments.data),
        "known_classes": data.classes if arguments.known_classes else None,
        **{name: chosen[name] for name in ("model", "pretrained", "image_size", "train")},
        "outliers": absolute(arguments.outliers) if arguments.outliers else None,
        "epochs": None if head else options.epochs,
        "budget": None,
        "batch_size": None if head else options.batch_size,
        "lr": None if head else options.lr,
        "holdout": data.holdout if data.held_out is None else None,
        "test_share": data.test_share,
        "balance": balance,
        "detector": arguments.detector if head else detector,
        "precision": options.precision,
        "cache": None,
    }
    # Options of a method or an augmentation are given one at a time, so their names are in the singular.
    named = {name.removesuffix("s") if isinstance(of, dict) else name: of for name, of in values.items()}
    return as_yaml({name.replace("_", "-"): of for name, of in named.items() if of not in (None, {})})
