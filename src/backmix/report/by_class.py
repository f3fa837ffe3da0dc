"""How well each known class fares."""

from __future__ import annotations

from dataclasses import dataclass

from backmix.metrics.chance import Proportion, share_of
from backmix.report.tested import Tested, Thresholds

FEW = 10  # Images of a class below which its share says little.


@dataclass(frozen=True)
class ClassLine:
    """One known class.

    Attributes:
        name: of the class.
        images: tested ones.
        right: answered right.
        unknown: called unknown.
        wrong: taken for another class.
        share: answered right, with its interval; None without images.
        accuracy: share whose likeliest class is the right one, accepted or not; None without images.
        accepted: share accepted, whatever the answer; None without images.
        threshold: unknown score up to which an image taken for this class is accepted; None before calibration.
        own_threshold: whether it is this class's own.
        held_out: images that its own threshold was fitted on; None where it has none.
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
        """Whether there are too few images to say much."""
        return self.images < FEW


def class_lines(tested: Tested, thresholds: Thresholds) -> list[ClassLine]:
    """A line for each known class, those with the least share of right answers first, those without images last."""
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
