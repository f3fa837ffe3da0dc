"""What a fit comes to."""

from __future__ import annotations

from dataclasses import dataclass, field

from backmix.data.split import Split
from backmix.fit.head import HeadReport
from backmix.metrics.usefulness import Verdict
from backmix.mixing import BackMix
from backmix.train.loop import EpochReport


@dataclass(frozen=True)
class FitReport:
    """The result of a fit.

    Attributes:
        history: One report for each epoch.
        split: The positions of the images for each purpose.
        held_out_accuracy: The closed-set accuracy on the held-out images.
        skipped: The (name, reason) of each unreadable image.
        augmentation: BackMix with its bank; None if BackMix is not part of the augmentation.
        head: What was found about the head and the unknown score on features; None if neither was chosen on them.
        comparison: What the head alone and all weights came to if both were trained; else None.
        verdict: What the held-out images say about the use of the classifier.
    """

    history: list[EpochReport]
    split: Split
    held_out_accuracy: float
    skipped: list[tuple[str, str]]
    augmentation: BackMix | None
    head: HeadReport | None = None
    comparison: Comparison | None = None
    verdict: Verdict = field(default_factory=Verdict)


@dataclass(frozen=True)
class Comparison:
    """Two classifiers on training images that neither was trained on: the head alone, and all weights.

    Attributes:
        kept: Which one was kept, "head" or "all". If they are equally good, the head is kept.
        head: The accuracy of the head alone, 0..1.
        all: The accuracy after training all weights, 0..1; None if there was no time for it.
        images: The number of images.
        why: Why all weights were not trained, in words; empty if they were.
    """

    kept: str
    head: float
    all: float | None
    images: int
    why: str = ""
