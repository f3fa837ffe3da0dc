"""What a network says of known training images, kept for detectors to be fitted on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

TRAINING_LIMIT = 20_000  # Images that detectors are fitted on at most.


HALF_LIMIT = 6e4  # float16 ends at 65504.


@dataclass(frozen=True)
class TrainingOutputs:
    """What a network says of known training images, for detectors to be fitted on.

    Attributes:
        logits: (N, K) float32.
        features: (N, C) float16, pooled; float32 where a number is too large for that.
        labels: (N,) int64.
        stages: (N, C_l) means of the map after each stage inside the network, see `stage_means`, likewise float16 or
            float32; empty where the network tells of no stages, and in runs of earlier versions.
    """

    logits: Tensor
    features: Tensor
    labels: Tensor
    stages: list[Tensor] = field(default_factory=list)

    @classmethod
    def of(cls, logits: Tensor, features: Tensor, labels: Tensor, stages: Sequence[Tensor] = ()) -> TrainingOutputs:
        """Rounded as they are written, so that scores are the same before and after."""
        return cls(logits.float(), _halved(features), labels, [_halved(means) for means in stages])

    @classmethod
    def from_tensors(cls, tensors: Mapping[str, Tensor]) -> TrainingOutputs:
        """What `tensors` gave.

        Raises:
            TypeError: where one is missing or has another name.
        """
        numbers = range(len(tensors) - 3)
        plain = {name: value for name, value in tensors.items() if not name.startswith(_STAGE)}
        try:
            return cls(**plain, stages=[tensors[f"{_STAGE}{number}"] for number in numbers])
        except KeyError as error:
            raise TypeError(f"no {error.args[0]}") from None

    def tensors(self) -> dict[str, Tensor]:
        """By the names they are written under."""
        stages = {f"{_STAGE}{number}": means for number, means in enumerate(self.stages)}
        return {"logits": self.logits, "features": self.features, "labels": self.labels, **stages}


_STAGE = "stage_"


def _halved(values: Tensor) -> Tensor:
    return values.half() if bool((values.abs() < HALF_LIMIT).all()) else values.float()


def evenly_spread(positions: Tensor, labels: Tensor, limit: int = TRAINING_LIMIT) -> Tensor:
    """At most `limit` of the positions (M,) int64, evenly spread over the classes `labels` (M,) gives them."""
    if len(positions) <= limit:
        return positions
    ordered = positions[labels.argsort(stable=True)]
    return ordered[torch.linspace(0, len(ordered) - 1, limit, dtype=torch.float64).round().long()]
