"""Run the classifier of a run on the images of a report, and keep its answers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from backmix import metrics
from backmix.classifier import OpenSetClassifier
from backmix.data.photo import Photo
from backmix.data.source import ImageSource, read_photo
from backmix.metrics.usefulness import Verdict, judge
from backmix.report.chosen_images import ChosenImages
from backmix.threshold.conformal import ConformalThreshold

NO_CLASS = "(no class)"


@dataclass(frozen=True, eq=False)
class Tested:
    """The answers for N images. Images that could not be read are not among them.

    Attributes:
        classes: The names of the known classes.
        labels: (N,) int64, the known class of each image; -1 for unknown.
        truth: The names of the classes that the N images show.
        predicted: (N,) int64, the likeliest known class.
        confidence: (N,) float32, the softmax probability of the likeliest known class.
        scores: (N,) float64, the unknown score of the detector that decides.
        p_values: (N,) float64, the p-values; None if there is no threshold.
        accepted: (N,) bool, whether each image is accepted as known.
        sources: The sources of the images.
        at: (N, 2) int64, the number of the source of each image and its position in the source.
        unreadable: The (name, reason) of each image that was left out.
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
        """Return the number of images."""
        return len(self.labels)

    @property
    def known(self) -> Tensor:
        """Whether each image is of a known class, (N,) bool."""
        return self.labels >= 0

    @property
    def correct(self) -> Tensor:
        """Whether the likeliest class of each image is the true one, accepted or not, (N,) bool."""
        return self.predicted == self.labels

    @property
    def right(self) -> Tensor:
        """Whether each image is of a known class, accepted, and given its class, (N,) bool."""
        return self.correct & self.accepted

    @property
    def wrong(self) -> Tensor:
        """Whether each image is of a known class, accepted, and given another class, (N,) bool."""
        return self.known & self.accepted & ~self.correct

    def read(self, row: int, at_least: int | None = None) -> Photo:
        """Decode an image, see `backmix.data.source.read_photo`."""
        source, position = (int(place) for place in self.at[row])
        return read_photo(self.sources[source], position, at_least)

    def name(self, row: int) -> str:
        """Return the name of an image."""
        source, position = (int(place) for place in self.at[row])
        return self.sources[source].name(position)

    def figures(self) -> dict[str, float] | None:
        """Return the figures of `backmix.metrics.open_set_metrics`; None unless there are known and unknown images."""
        known = self.known
        if not known.any() or known.all():
            return None
        return metrics.open_set_metrics(self.scores[known], self.correct[known], self.scores[~known])

    def verdict(self) -> Verdict:
        """Return whether the answers and the unknown score are better than guesses."""
        unknown, figures = int((~self.known).sum()), self.figures()
        auroc = None if figures is None else figures["auroc"]
        return judge(self.labels, self.predicted, self.classes, auroc=auroc, unknown=unknown)


def run_tests(
    classifier: OpenSetClassifier,
    chosen: ChosenImages,
    *,
    workers: int = 2,
    on_images: Callable[[int, int], object] | None = None,
) -> Tested | None:
    """Answer every chosen image.

    Args:
        classifier: The classifier of the run.
        chosen: The images.
        workers: The number of threads that decode images.
        on_images: A function that is called with the number of images done so far and the number of all images.

    Returns:
        The answers, or None if no images were chosen.

    Raises:
        DataError: If no image can be read.
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
            on_images=None if on_images is None else partial(_report_progress, on_images, done, total),
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


def _report_progress(on_images: Callable[[int, int], object], before: int, total: int, seen: int) -> None:
    on_images(before + seen, total)


@dataclass(frozen=True)
class Thresholds:
    """The thresholds that decide in a run.

    Attributes:
        overall: The threshold of all classes; None before calibration.
        by_class: The K thresholds of the classes, if the run decides by class; None for a class that uses the overall
            threshold. Empty if the overall threshold decides for all classes.
        accept: The share of known images to accept.
        detector: The name of the detector whose unknown score decides.
    """

    overall: ConformalThreshold | None
    by_class: list[ConformalThreshold | None]
    accept: float
    detector: str

    @classmethod
    def of(cls, classifier: OpenSetClassifier) -> Thresholds:
        """Return the thresholds of a classifier."""
        return cls(
            classifier.thresholds.get(classifier.detector),
            list(classifier.class_thresholds) if classifier.per_class else [],
            classifier.accept,
            classifier.detector,
        )

    def of_class(self, number: int) -> ConformalThreshold | None:
        """Return the threshold for images taken for a class; None before calibration."""
        own = self.by_class[number] if self.by_class else None
        return own or self.overall
