"""A detector by name, made ready for one network."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from backmix.detectors import DETECTORS, METHOD, Detector, check_name

if TYPE_CHECKING:
    from backmix.network import Network
    from backmix.preprocess import Preprocess

TRAINING_LIMIT = 20_000  # Images that detectors are fitted on at most.
HALF_LIMIT = 6e4  # float16 ends at 65504.


@dataclass(frozen=True)
class TrainingOutputs:
    """What a network says of known training images, for detectors to be fitted on.

    Attributes:
        logits: (N, K) float32.
        features: (N, C) float16, pooled; float32 where a number is too large for that.
        labels: (N,) int64.
    """

    logits: Tensor
    features: Tensor
    labels: Tensor

    @classmethod
    def of(cls, logits: Tensor, features: Tensor, labels: Tensor) -> TrainingOutputs:
        """Rounded as they are written, so that scores are the same before and after."""
        fits = bool((features.abs() < HALF_LIMIT).all())
        return cls(logits.float(), features.half() if fits else features.float(), labels)


def evenly_spread(positions: Tensor, labels: Tensor, limit: int = TRAINING_LIMIT) -> Tensor:
    """At most `limit` of the positions (M,) int64, evenly spread over the classes `labels` (M,) gives them."""
    if len(positions) <= limit:
        return positions
    ordered = positions[labels.argsort(stable=True)]
    return ordered[torch.linspace(0, len(ordered) - 1, limit, dtype=torch.float64).round().long()]


def ready_detector(
    name: str, network: Network, preprocess: Preprocess, training: Callable[[], TrainingOutputs | None] | None
) -> Detector:
    """Make a detector, attach it to a network and fit it where it needs that.

    Args:
        name: key of `DETECTORS`.
        network: left in the mode it is in.
        preprocess: how its images are normalised.
        training: what to fit on, asked for where it is needed; None: leave it unfitted.

    Raises:
        ValueError: for a name that is not there, or a detector that this network or these images do not allow.
    """
    check_name(name)
    detector = DETECTORS[name]()
    training_mode = network.training
    network.eval()
    try:
        detector.attach(network.head, network.backbone, preprocess)
    finally:
        network.train(training_mode)
    if training is not None and detector.needs_fitting:
        outputs = training()
        if outputs is None:
            others = ", ".join((METHOD, "msp", "max_logit", "energy"))
            raise ValueError(
                f"{name} is fitted on training images, of which nothing was kept: the run comes from an earlier "
                f"version, or was not made by fit. Train again, or take one of {others}."
            )
        detector.fit(outputs.logits, outputs.features.float(), outputs.labels)
    return detector
