"""Answer the same pictures at another share of known images to accept, without running the network again."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch

from backmix.classifier import OpenSetClassifier
from backmix.prediction.answer import UNKNOWN, Prediction
from backmix.threshold.by_class import decide
from backmix.threshold.conformal import ConformalThreshold, min_held_out


@dataclass(frozen=True)
class Rule:
    """The thresholds that accept or reject at one share of known images.

    Attributes:
        overall: The threshold for all classes.
        by_class: The threshold of each class, or None for a class that uses `overall`. If None, `overall` decides for
            all classes.
    """

    overall: ConformalThreshold
    by_class: Sequence[ConformalThreshold | None] | None

    def of_class(self, number: int) -> ConformalThreshold:
        """Return the threshold for pictures that are taken for this class."""
        return (self.by_class[number] if self.by_class else None) or self.overall


def rule_at(classifier: OpenSetClassifier, accept: float) -> Rule | None:
    """Return the thresholds of a classifier at another share, computed from the same held-out scores.

    Args:
        classifier: A trained classifier.
        accept: The share of known images to accept, above 0 and below 1.

    Returns:
        The thresholds, or None for a classifier that was never calibrated, which accepts every picture.

    Raises:
        ValueError: If the share is out of range.
    """
    fewest = min_held_out(accept)
    overall = classifier.thresholds.get(classifier.detector)
    if overall is None:
        return None
    by_class: list[ConformalThreshold | None] | None = None
    if classifier.per_class and classifier.class_thresholds:
        # A class with too few images for this share falls back on the threshold for all, as at calibration.
        by_class = [
            ConformalThreshold(own.scores, accept) if own and len(own.scores) >= fewest else None
            for own in classifier.class_thresholds
        ]
    return Rule(ConformalThreshold(overall.scores, accept), by_class)


def answers_at(classifier: OpenSetClassifier, answers: Sequence[Prediction], accept: float) -> list[Prediction]:
    """Return the answers that `classifier.predict` would give if `accept` were its share of known images to accept.

    Args:
        classifier: The classifier that gave the answers.
        answers: Answers of `classifier.predict`, each with at least one of the likeliest classes.
        accept: The share of known images to accept, above 0 and below 1.

    Returns:
        The answers with new labels and p-values. Answers with an error are unchanged.

    Raises:
        ValueError: If the share is out of range.
    """
    rule = rule_at(classifier, accept)
    places = [i for i, answer in enumerate(answers) if answer.unknown_score is not None]
    if rule is None or not places:
        return list(answers)
    number = {name: i for i, name in enumerate(classifier.classes)}
    scores = torch.tensor([answers[i].unknown_score for i in places], dtype=torch.float64)
    predicted = torch.tensor([number[answers[i].top[0][0]] for i in places])
    accepted, p_values = decide(scores, predicted, rule.overall, rule.by_class)
    found = list(answers)
    for place, known, p_value in zip(places, accepted.tolist(), p_values.tolist(), strict=True):
        old = answers[place]
        found[place] = replace(old, label=old.top[0][0] if known else UNKNOWN, p_value=p_value)
    return found
