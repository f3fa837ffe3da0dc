"""Any classifier behind one call: a run, a timm model, a TorchScript or ONNX file, or a Python function."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from backmix.audit.class_map import Names
from backmix.audit.frame import Frame
from backmix.errors import DataError


class Answers(NamedTuple):
    """What a model says of a batch, on the CPU.

    Attributes:
        logits: (B, K) float32; their softmax are probabilities.
        unknown_score: (B,) float32, higher = more unknown; None where the model has none of its own.
    """

    logits: Tensor
    unknown_score: Tensor | None


class AuditedModel(Protocol):
    """A classifier that can be audited.

    Attributes:
        kind: what it is, for people.
        frame: what of a picture it sees.
        names: for each of its K outputs the names its class goes by; None: its outputs are numbered only.
        score: name of its unknown score; None: it has none, and every answer is one of its classes.
        fingerprint: changes when its answers may.
        notes: what a person should know about how it was loaded, sentences.
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
    """What a file does not say of itself.

    Attributes:
        image_size: side of the images in pixels; None: what the model says, otherwise `default_size`.
        default_size: side where neither says one.
        mean: per channel, of pixels in 0..1, for TorchScript and ONNX files that take normalised images.
        std: likewise.
        device: where networks run.
    """

    image_size: int | None = None
    default_size: int = 224
    mean: tuple[float, float, float] = (0.0, 0.0, 0.0)
    std: tuple[float, float, float] = (1.0, 1.0, 1.0)
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))

    def __post_init__(self) -> None:
        """Refuse numbers that make no picture."""
        if len(self.mean) != 3 or len(self.std) != 3 or min(self.std) <= 0:
            raise DataError(f"mean and std need three numbers, std above 0; got {self.mean}, {self.std}")

    def size(self, own: int | None = None) -> int:
        """Side of the images, given what the model says."""
        return self.image_size or own or self.default_size

    def normalise(self, images: Tensor) -> Tensor:
        """(B, 3, S, S) uint8 -> float32 on the device."""
        mean, std = (torch.tensor(of, device=self.device)[:, None, None] for of in (self.mean, self.std))
        return (images.to(self.device, torch.float32) / 255 - mean) / std


def own_size(options: ModelOptions, size: int) -> int:
    """The image size of one of our models.

    Raises:
        DataError: when another is asked for.
    """
    if options.image_size not in (None, size):
        raise DataError(f"this model sees images of {size} pixels; it cannot be audited at {options.image_size}")
    return size


def check_answers(answers: Answers, images: Tensor) -> Answers:
    """The answers, if there is a row of numbers for each image.

    Raises:
        DataError: for another shape, no classes, or NaN.
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
