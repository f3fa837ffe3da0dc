"""Compare the answers of an exported file with those of PyTorch."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from backmix.classifier import OpenSetClassifier
from backmix.detectors import METHOD
from backmix.errors import RunError
from backmix.inference.evaluation import run_network, unknown_scores
from backmix.onnx_model.contract import Answers

SCORE_TOLERANCE = 1e-4
SPREAD_TOLERANCE = 1e-3
LOGIT_TOLERANCE = 1e-3

Images = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class Agreement:
    """The result of a comparison of a file with PyTorch on N images.

    Attributes:
        images: The number of images, N.
        batches: The sizes of the batches that the file was given.
        score: The largest difference of an unknown score.
        logit: The largest difference of a logit.
        same_p_values: The number of images whose p-value is the same to the last digit. The p-values of an image differ
            if a held-out score lies between its two unknown scores, less the tolerance of the threshold.
        same_decisions: The number of images with the same decision.
        close: The number of images for which rounding may change the decision, because the score is close to the
            largest accepted score, or the logits of the two likeliest classes are close. All other images must have the
            same decision.
        unknown: The number of images that PyTorch calls unknown.
    """

    images: int
    batches: list[int]
    score: float
    logit: float
    same_p_values: int
    same_decisions: int
    close: int
    unknown: int


def verify(
    classifier: OpenSetClassifier, answer: Callable[[Images], Answers], images: Images, names: Sequence[str]
) -> Agreement:
    """Compare a file with PyTorch, in batches of 1, of 2 and of all the rest.

    Args:
        classifier: The classifier that was exported, on the CPU.
        answer: A function that returns the answers of the file for images (n, 3, S, S).
        images: (N, 3, S, S), the images to compare on; N is at least 4.
        names: The names of the images, for errors.

    Raises:
        RunError: If the answers do not agree. The error gives the worst difference.
    """
    expected = pytorch_answers(classifier, images)
    sizes = [1, 2, len(images) - 3]
    parts, at = [], 0
    for size in sizes:
        found = answer(images[at : at + size])
        try:
            found.check(size, len(classifier.classes))
        except ValueError as error:
            raise RunError(f"the file does not answer {size} images as it should: {error}") from error
        parts.append(found)
        at += size
    joined = {name: np.concatenate([getattr(part, name) for part in parts]) for name in vars(parts[0])}
    return compare(classifier, expected, Answers(**joined), names, sizes)


def pytorch_answers(classifier: OpenSetClassifier, images: Images) -> Answers:
    """Return the answers of PyTorch in float32, whatever the precision of the run."""
    name = classifier.detector
    ready = {name: None if name == METHOD else classifier.ready_detector(name)}
    outputs = run_network(classifier.network, classifier.preprocess, torch.from_numpy(images), precision="fp32")
    scores = unknown_scores(outputs.response, outputs.image_scores, ready)[0][name]
    logits = outputs.response.logits
    return _decided(classifier, logits, scores)


def compare(
    classifier: OpenSetClassifier,
    expected: Answers,
    found: Answers,
    names: Sequence[str],
    batches: Sequence[int] = (),
) -> Agreement:
    """Compare the answers of a file and of PyTorch to the same images.

    A score may differ by 1e-4 of itself plus the smaller of 1e-4 and a thousandth of the spread (standard deviation) of
    the held-out scores. A logit may differ by 1e-3 of the largest absolute logit of its image plus 1e-6. The p-value
    and the decision of the file must follow from its own score and logits to the last bit.

    Args:
        classifier: The classifier that was exported, with its thresholds.
        expected: The answers of PyTorch.
        found: The answers of the file.
        names: The names of the images, for errors.
        batches: The sizes of the batches that the file was given.

    Raises:
        RunError: If the answers do not agree. The error gives the worst difference.
    """
    size = np.abs(expected.unknown_score)
    spread = float(classifier.thresholds[classifier.detector].scores.std(correction=0))
    spread = spread if np.isfinite(spread) and spread > 0 else 1.0  # A single score has no spread.
    allowed = SCORE_TOLERANCE * size + min(SCORE_TOLERANCE, SPREAD_TOLERANCE * spread)
    score_gap = _gap(found.unknown_score, expected.unknown_score)
    _within(score_gap, allowed, names, "unknown score", found.unknown_score, expected.unknown_score)

    logit_allowed = LOGIT_TOLERANCE * np.abs(expected.logits).max(1) + 1e-6
    logit_gap = _gap(found.logits, expected.logits)
    worst = logit_gap.argmax(1)[:, None]
    one = [np.take_along_axis(side.logits, worst, 1)[:, 0] for side in (found, expected)]
    _within(logit_gap.max(1), logit_allowed, names, "logit", *one)

    by_rule = _decided(classifier, torch.from_numpy(found.logits), torch.from_numpy(found.unknown_score))
    for what in ("p_value", "decision"):
        given, wanted = getattr(found, what), getattr(by_rule, what)
        if (given != wanted).any():
            k = int((given != wanted).argmax())
            raise RunError(
                f"the file does not keep to its threshold: {what} of {names[k]} is {given[k]}, and its score of "
                f"{found.unknown_score[k]:.9g} makes that {wanted[k]}"
            )

    close = _close(classifier, expected, allowed, logit_allowed)
    differs = found.decision != expected.decision
    if (differs & ~close).any():
        k = int((differs & ~close).argmax())
        raise RunError(
            f"the file and PyTorch decide differently on {int((differs & ~close).sum())} of {len(names)} images: "
            f"{names[k]} is {_label(classifier, found.decision[k])}, and {_label(classifier, expected.decision[k])} in "
            f"PyTorch, with a score of {expected.unknown_score[k]:.6g}"
        )
    return Agreement(
        images=len(names),
        batches=list(batches),
        score=float(score_gap.max()),
        logit=float(logit_gap.max()),
        same_p_values=int((found.p_value == expected.p_value).sum()),
        same_decisions=int((~differs).sum()),
        close=int(close.sum()),
        unknown=int((expected.decision < 0).sum()),
    )


def _decided(classifier: OpenSetClassifier, logits: Tensor, scores: Tensor) -> Answers:
    predicted = logits.argmax(1)
    accepted, p_values = classifier.decide(scores, predicted)
    assert p_values is not None  # There is a threshold, because a classifier without one is not exported.
    decision = torch.where(accepted, predicted, -1)
    return Answers(logits.numpy(), scores.double().numpy(), p_values.numpy(), decision.numpy())


def _close(classifier: OpenSetClassifier, answers: Answers, allowed: Any, logit_allowed: Any) -> Any:
    """Return (N,) bool, true for images for which rounding may change the decision."""
    overall = classifier.thresholds[classifier.detector]
    own = classifier.class_thresholds if classifier.per_class else [None] * len(classifier.classes)
    predicted = answers.logits.argmax(1)
    limits = np.array([(one or overall).threshold for one in own])[predicted]
    tolerances = np.array([(one or overall).tolerance for one in own])[predicted]
    best = np.sort(answers.logits, 1)
    with np.errstate(invalid="ignore"):  # Both may be infinite.
        near = np.abs(answers.unknown_score - tolerances - limits) <= allowed
    return near | (best[:, -1] - best[:, -2] <= 2 * logit_allowed)


def _gap(found: Any, expected: Any) -> Any:
    """Return absolute differences: 0 for equal infinities, and infinity for other pairs that are not finite."""
    with np.errstate(invalid="ignore"):
        gap = np.abs(np.asarray(found, np.float64) - np.asarray(expected, np.float64))
    return np.where(found == expected, 0.0, np.where(np.isnan(gap), np.inf, gap))


def _within(gap: Any, allowed: Any, names: Sequence[str], what: str, found: Any, expected: Any) -> None:
    over = gap > allowed
    if over.any():
        k = int(np.where(over, gap - allowed, -np.inf).argmax())
        raise RunError(
            f"the file and PyTorch do not agree on {int(over.sum())} of {len(names)} images: the worst {what} is "
            f"{found[k]:.9g} and {expected[k]:.9g} in PyTorch, of {names[k]}; at most {allowed[k]:.2g} may lie between"
        )


def _label(classifier: OpenSetClassifier, decision: int) -> str:
    return "unknown" if decision < 0 else classifier.classes[int(decision)]
