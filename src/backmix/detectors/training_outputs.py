"""The outputs of a network for known training images, which are kept so that detectors can be fitted on them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

TRAINING_LIMIT = 20_000  # The largest number of images that detectors are fitted on.


HALF_LIMIT = 6e4  # The largest number in float16 is 65504.


@dataclass(frozen=True)
class TrainingOutputs:
    """The outputs of a network for known training images, on which detectors are fitted.

    Attributes:
        logits: (N, K) float32 logits.
        features: (N, C) float16 pooled features; float32 if a number is too large for float16.
        labels: (N,) int64 labels.
        stages: (N, C_l) means of the map after each stage inside the network, see `stage_means`, each float16 or
            float32 like `features`. The list is empty if the network names no stages, and in runs of earlier versions.
        references: (M,) sorted float unknown scores by detector, of known images that this detector was not fitted on,
            for `Combined`; M may differ. Empty if none were computed, and in runs of earlier versions.
    """

    logits: Tensor
    features: Tensor
    labels: Tensor
    stages: list[Tensor] = field(default_factory=list)
    references: dict[str, Tensor] = field(default_factory=dict)

    @classmethod
    def of(
        cls,
        logits: Tensor,
        features: Tensor,
        labels: Tensor,
        stages: Sequence[Tensor] = (),
        references: Mapping[str, Tensor] | None = None,
    ) -> TrainingOutputs:
        """Round outputs to the dtypes of a file, so that scores are the same before and after writing it.

        Args:
            logits: (N, K) float logits.
            features: (N, C) float pooled features.
            labels: (N,) int64 labels.
            stages: (N, C_l) float means of the map after each stage.
            references: (M,) unknown scores by detector, of known images that it was not fitted on, in any order.
        """
        ordered = {name: scores.sort().values for name, scores in (references or {}).items()}
        return cls(logits.float(), _halved(features), labels, [_halved(means) for means in stages], ordered)

    @classmethod
    def from_tensors(cls, tensors: Mapping[str, Tensor]) -> TrainingOutputs:
        """Make the outputs from the dictionary that `tensors` returned.

        Raises:
            TypeError: If a tensor is missing or has another name.
        """
        plain = {name: value for name, value in tensors.items() if not name.startswith((_STAGE, _REFERENCE))}
        numbers = range(sum(name.startswith(_STAGE) for name in tensors))
        references = {
            name.removeprefix(_REFERENCE): value for name, value in tensors.items() if name.startswith(_REFERENCE)
        }
        try:
            stages = [tensors[f"{_STAGE}{number}"] for number in numbers]
        except KeyError as error:
            raise TypeError(f"no {error.args[0]}") from None
        return cls(**plain, stages=stages, references=references)

    def tensors(self) -> dict[str, Tensor]:
        """Return all tensors by the names under which they are written to a file."""
        stages = {f"{_STAGE}{number}": means for number, means in enumerate(self.stages)}
        references = {f"{_REFERENCE}{name}": scores for name, scores in self.references.items()}
        return {"logits": self.logits, "features": self.features, "labels": self.labels, **stages, **references}


_STAGE, _REFERENCE = "stage_", "reference_"


def _halved(values: Tensor) -> Tensor:
    return values.half() if bool((values.abs() < HALF_LIMIT).all()) else values.float()


def evenly_spread(positions: Tensor, labels: Tensor, limit: int = TRAINING_LIMIT) -> Tensor:
    """Return at most `limit` of the positions, evenly spread over the classes.

    Args:
        positions: (M,) int64 positions of images.
        labels: (M,) class of each image.
        limit: The largest number of positions to return.
    """
    if len(positions) <= limit:
        return positions
    ordered = positions[labels.argsort(stable=True)]
    return ordered[torch.linspace(0, len(ordered) - 1, limit, dtype=torch.float64).round().long()]
