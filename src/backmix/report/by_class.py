"""Compute the results of each known class."""

from __future__ import annotations

from dataclasses import dataclass

from backmix.metrics.chance import Proportion, share_of
from backmix.report.tested import Tested, Thresholds

FEW = 10  # The number of images of a class below which its share is unreliable.


@dataclass(frozen=True)
class ClassLine:
    """The results of one known class.

    Attributes:
        name: The name of the class.
        images: The number of tested images.
        right: The number of images answered correctly.
        unknown: The number of images called unknown.
        wrong: The number of images taken for another class.
        share: The share of images answered correctly, with its interval; None without images.
        accuracy: The share of images whose likeliest class is the right one, accepted or not; None without images.
        accepted: The share of accepted images, whatever the answer; None without images.
        threshold: The unknown score up to which an image taken for this class is accepted; None before calibration.
        own_threshold: Whether the class has a threshold of its own.
        held_out: The number of images that its own threshold was fitted on; None if it has none.
    """

    name: str
    images: int
    right: int
    unknown: int
    wrong: int
    share: Proportion | None
    accuracy: float | None
    accepted: float | None
    threshold: float | None
    own_threshold: bool
    held_out: int | None

    @property
    def few(self) -> bool:
        """Whether there are too few images for reliable figures."""
        return self.images < FEW


def class_lines(tested: Tested, thresholds: Thresholds) -> list[ClassLine]:
    """Return a line for each known class, the lowest share of right answers first, classes without images last."""
    lines = []
    for number, name in enumerate(tested.classes):
        mine = tested.labels == number
        images = int(mine.sum())
        accepted = tested.accepted[mine]
        correct = tested.correct[mine]
        right, kept = int((accepted & correct).sum()), int(accepted.sum())
        own = thresholds.by_class[number] if thresholds.by_class else None
        decides = thresholds.of_class(number)
        lines.append(
            ClassLine(
                name,
                images,
                right,
                images - kept,
                kept - right,
                share_of(right, images),
                int(correct.sum()) / images if images else None,
                kept / images if images else None,
                None if decides is None else decides.threshold,
                own is not None,
                None if own is None else len(own.scores),
            )
        )
    return sorted(lines, key=lambda line: (not line.images, line.right / max(1, line.images), -line.images, line.name))
