"""The same pictures, answered at another share of known images to accept: no network is run for it."""

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
    """What accepts or rejects at one share of known images.

    Attributes:
        overall: the threshold for all classes.
        by_class: one for each class where those decide, None for a class where `overall` stands in; None: nowhere.
    """

    overall: ConformalThreshold
    by_class: Sequence[ConformalThreshold | None] | None

    def of_class(self, number: int) -> ConformalThreshold:
        """The threshold for pictures that are taken for this class."""
        return (self.by_class[number] if self.by_class else None) or self.overall


def rule_at(classifier: OpenSetClassifier, accept: float) -> Rule | None:
    """The thresholds of a classifier, from the same held-out scores, at another share.

    Args:
        classifier: a trained one.
        accept: share of known images to accept, above 0 and below 1.

    Returns:
        None for a classifier that was never calibrated: it accepts every picture.

    Raises:
        ValueError: for a share outside that range.
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
    """What `classifier.predict` would have answered, were `accept` its share of known images to accept.

    Args:
        classifier: the one that gave the answers.
        answers: of `classifier.predict`, with at least one of the likeliest classes each.
        accept: share of known images to accept, above 0 and below 1.

    Returns:
        The answers with another label and p-value; those with an error as they are.

    Raises:
        ValueError: for a share outside that range.
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
