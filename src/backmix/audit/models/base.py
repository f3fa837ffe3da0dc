"""Define the interface of a model that can be audited, and the options that all such models share."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from backmix.audit.class_map import Names
from backmix.audit.frame import Frame
from backmix.errors import DataError


class Answers(NamedTuple):
    """The answers of a model for a batch, on the CPU.

    Attributes:
        logits: (B, K) float32; their softmax gives the probabilities.
        unknown_score: (B,) float32, higher = more unknown; None if the model has no unknown score.
    """

    logits: Tensor
    unknown_score: Tensor | None


class AuditedModel(Protocol):
    """A classifier that can be audited.

    Attributes:
        kind: The kind of model, as people read it.
        frame: The part of a picture that the model sees.
        names: The names of the class of each of its K outputs. If None, the outputs are only numbered.
        score: The name of its unknown score. If None, it has none, and every answer is one of its classes.
        fingerprint: A text that changes whenever the answers of the model may change.
        notes: Sentences that a person should know about how the model was loaded.
    """

    kind: str
    frame: Frame
    names: Names | None
    score: str | None
    fingerprint: str
    notes: list[str]

    def answers(self, images: Tensor) -> Answers:
        """Answer (B, 3, S, S) uint8 images, B at least 1; rows do not depend on each other."""


@dataclass(frozen=True)
class ModelOptions:
    """Options for properties that the file of a model does not state.

    Attributes:
        image_size: The side of the images in pixels. If None, the size that the model states, or else `default_size`.
        default_size: The side of the images in pixels if neither `image_size` nor the model gives one.
        mean: The mean of each channel, of pixels in 0..1, for TorchScript and ONNX files that take normalised images.
        std: The standard deviation of each channel, of pixels in 0..1, for the same files.
        device: The device that networks run on.
    """

    image_size: int | None = None
    default_size: int = 224
    mean: tuple[float, float, float] = (0.0, 0.0, 0.0)
    std: tuple[float, float, float] = (1.0, 1.0, 1.0)
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))

    def __post_init__(self) -> None:
        """Raise DataError unless mean and std have three numbers each and every std is above 0."""
        if len(self.mean) != 3 or len(self.std) != 3 or min(self.std) <= 0:
            raise DataError(f"mean and std need three numbers, std above 0; got {self.mean}, {self.std}")

    def size(self, own: int | None = None) -> int:
        """Return the side of the images, given the size that the model states."""
        return self.image_size or own or self.default_size

    def normalise(self, images: Tensor) -> Tensor:
        """Normalise images (B, 3, S, S) uint8 to float32 on the device."""
        mean, std = (torch.tensor(of, device=self.device)[:, None, None] for of in (self.mean, self.std))
        return (images.to(self.device, torch.float32) / 255 - mean) / std


def own_size(options: ModelOptions, size: int) -> int:
    """Return the image size of a model that backmix made.

    Raises:
        DataError: If the options ask for another size.
    """
    if options.image_size not in (None, size):
        raise DataError(f"this model sees images of {size} pixels; it cannot be audited at {options.image_size}")
    return size


def check_answers(answers: Answers, images: Tensor) -> Answers:
    """Return the answers if there is a valid row for each image.

    Raises:
        DataError: If a shape does not fit, if there are fewer than two classes, or if a value is NaN.
    """
    logits, score = answers
    if logits.ndim != 2 or len(logits) != len(images) or logits.shape[1] < 2:
        raise DataError(
            f"the model must answer (B, K) logits of two or more classes; for {len(images)} images it gave "
            f"{tuple(logits.shape)}"
        )
    if score is not None and score.shape != (len(images),):
        raise DataError(f"the model must give one unknown score an image; got {tuple(score.shape)}")
    broken = int(logits.isnan().any(1).sum() if score is None else (logits.isnan().any(1) | score.isnan()).sum())
    if broken:
        raise DataError(f"the model answered NaN for {broken} of {len(images)} images; it cannot be audited like that")
    return answers
