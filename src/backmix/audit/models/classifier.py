"""Audit a backmix classifier in memory."""

from __future__ import annotations

from torch import Tensor

from backmix.audit.class_map import Names
from backmix.audit.frame import Frame
from backmix.audit.models.base import Answers
from backmix.classifier import OpenSetClassifier
from backmix.detectors import METHOD
from backmix.inference.evaluation import unknown_scores


class ClassifierModel:
    """A classifier with the unknown score that decides in it. See `AuditedModel`.

    Args:
        classifier: A fitted classifier. It runs on the device of its network.
        fingerprint: A text that changes whenever the answers of the classifier may change.
    """

    kind = "classifier"

    def __init__(self, classifier: OpenSetClassifier, fingerprint: str) -> None:
        self._classifier = classifier
        self.frame = Frame(classifier.preprocess.image_size, at_least=classifier.preprocess.at_least)
        self.names: Names | None = [[name] for name in classifier.classes]
        self.score: str | None = classifier.detector
        self.fingerprint = fingerprint
        self.notes: list[str] = []
        self.value_ranges = classifier.value_ranges or {}

    def answers(self, images: Tensor) -> Answers:
        """See `AuditedModel.answers`."""
        classifier, name = self._classifier, self._classifier.detector
        detector = None if name == METHOD else classifier.ready_detector(name)
        found = classifier.run(images, {name: detector}, len(images))
        scores = unknown_scores(found.response, found.image_scores, {name: detector})[0][name]
        return Answers(found.response.logits.float(), scores.float())
