"""What a run answered for the images of a report."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch
from PIL import Image
from torch import Tensor

from backmix import metrics
from backmix.classifier import OpenSetClassifier
from backmix.data.source import ImageSource
from backmix.report.chosen_images import ChosenImages
from backmix.threshold.conformal import ConformalThreshold

NO_CLASS = "(no class)"


@dataclass(frozen=True, eq=False)
class Tested:
    """Answers for N images; those that could not be read are not among them.

    Attributes:
        classes: names of the known classes.
        labels: (N,) int64 known class, -1 for unknown.
        truth: what each image shows, N names.
        predicted: (N,) int64 likeliest known class.
        confidence: (N,) float32 softmax probability of it.
        scores: (N,) float64 unknown score of the detector that decides.
        p_values: (N,) float64; None where there is no threshold.
        accepted: (N,) bool.
        sources: where the images are.
        at: (N, 2) int64 number of the source and position in it.
        unreadable: (name, reason) of each image left out.
    """

    classes: list[str]
    labels: Tensor
    truth: list[str]
    predicted: Tensor
    confidence: Tensor
    scores: Tensor
    p_values: Tensor | None
    accepted: Tensor
    sources: list[ImageSource]
    at: Tensor
    unreadable: list[tuple[str, str]]

    def __len__(self) -> int:
        """Number of images."""
        return len(self.labels)

    @property
    def known(self) -> Tensor:
        """(N,) bool: of a known class."""
        return self.labels >= 0

    @property
    def correct(self) -> Tensor:
        """(N,) bool: the likeliest class is the true one, accepted or not."""
        return self.predicted == self.labels

    @property
    def right(self) -> Tensor:
        """(N,) bool: of a known class, accepted, and named right."""
        return self.correct & self.accepted

    @property
    def wrong(self) -> Tensor:
        """(N,) bool: of a known class, accepted, and named as another."""
        return self.known & self.accepted & ~self.correct

    def read(self, row: int) -> Image.Image:
        """Decode an image."""
        source, position = (int(place) for place in self.at[row])
        return self.sources[source].read(position)

    def name(self, row: int) -> str:
        """Name of an image."""
        source, position = (int(place) for place in self.at[row])
        return self.sources[source].name(position)

    def figures(self) -> dict[str, float] | None:
        """AUROC and its kin, see `backmix.metrics.open_set_metrics`; None without images of both kinds."""
        known = self.known
        if not known.any() or known.all():
            return None
        return metrics.open_set_metrics(self.scores[known], self.correct[known], self.scores[~known])


def run_tests(
    classifier: OpenSetClassifier,
    chosen: ChosenImages,
    *,
    workers: int = 2,
    on_images: Callable[[int, int], object] | None = None,
) -> Tested | None:
    """Answer every chosen image.

    Args:
        classifier: of the run.
        chosen: the images.
        workers: threads that decode.
        on_images: told how many images are done, and how many there are.

    Returns:
        None where no images were chosen.

    Raises:
        DataError: when none of them can be read.
    """
    given = [(source, unknown) for source, unknown in ((chosen.tested, False), (chosen.unknown, True)) if source]
    if not given:
        return None
    total, done = sum(len(source) for source, _ in given), 0
    parts, scored, labels, truth = [], [], [], list[str]()
    for source, unknown in given:
        outputs, found, _ = classifier.scores(
            source,
            [classifier.detector],
            workers=workers,
            on_images=None if on_images is None else partial(_told, on_images, done, total),
        )
        done += len(source)
        names = [*source.classes, NO_CLASS]
        truth += [names[label] for label in source.labels[outputs.positions].tolist()]
        parts.append(outputs)
        scored.append(found[classifier.detector])
        labels.append(torch.full_like(outputs.labels, -1) if unknown else outputs.labels)
    scores = torch.cat(scored)
    logits = torch.cat([part.logits for part in parts])
    confidence, predicted = logits.softmax(1).max(1)
    accepted, p_values = classifier.decide(scores, predicted)
    return Tested(
        classifier.classes,
        torch.cat(labels),
        truth,
        predicted,
        confidence,
        scores.double(),
        p_values,
        accepted,
        [source for source, _ in given],
        torch.cat(
            [torch.stack([torch.full_like(part.positions, k), part.positions], 1) for k, part in enumerate(parts)]
        ),
        [entry for part in parts for entry in part.skipped],
    )


def _told(on_images: Callable[[int, int], object], before: int, total: int, seen: int) -> None:
    on_images(before + seen, total)


@dataclass(frozen=True)
class Thresholds:
    """What decides in a run.

    Attributes:
        overall: the threshold of all classes; None before calibration.
        by_class: K thresholds that decide instead, None for a class that the overall one stands in for; empty where
            the overall one decides for all.
        accept: share of known images to accept.
        detector: whose unknown score decides.
    """

    overall: ConformalThreshold | None
    by_class: list[ConformalThreshold | None]
    accept: float
    detector: str

    @classmethod
    def of(cls, classifier: OpenSetClassifier) -> Thresholds:
        """Those of a classifier."""
        return cls(
            classifier.thresholds.get(classifier.detector),
            list(classifier.class_thresholds) if classifier.per_class else [],
            classifier.accept,
            classifier.detector,
        )

    def of_class(self, number: int) -> ConformalThreshold | None:
        """What decides for images taken for a class."""
        own = self.by_class[number] if self.by_class else None
        return own or self.overall
