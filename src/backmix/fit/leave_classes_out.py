"""Choose the unknown score without unknown images: leave known classes out, and see which score finds them.

Each round divides the known classes into folds. For each fold, a head is fitted on images of the other classes, and
every score ranks images of the fold's classes against images of the other classes that the head did not see. The score
with the largest mean AUROC takes the place of the usual one, the largest logit, and a combination that of a single
score, if it is better by more than chance. Only training images take part, so that the images that set the threshold
are new to the choice and the promise about accepted images stays exact.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product

import torch
from torch import Tensor

from backmix import metrics
from backmix.detectors import DETECTORS
from backmix.detectors.combined import combine
from backmix.detectors.reference_scores import ReferenceScores
from backmix.fit.logistic import Regression
from backmix.fit.threads import in_threads

LEAST_CLASSES = 5  # With fewer known classes, too few are left when some are left out.
LOGIT_SCORES = ("max_logit", "msp", "energy")
FEATURE_SCORES = ("cosine_mean", "cosine_knn", "shrunk_mahalanobis")
SINGLE = (*LOGIT_SCORES, *FEATURE_SCORES)
PAIRS = tuple(f"{a}+{b}" for a, b in product(("max_logit", "msp"), FEATURE_SCORES))
FOLDS = 5
ROUNDS = 3


@dataclass(frozen=True)
class ScoreChoice:
    """The choice of the unknown score.

    Attributes:
        detector: The name of the chosen score.
        auroc: The mean AUROC over the folds, by score, 0..1, the best first.
        folds: For each fold, the names of the classes left out and the AUROC by score.
        images: The number of training images that took part.
    """

    detector: str
    auroc: dict[str, float]
    folds: list[tuple[list[str], dict[str, float]]]
    images: int


def choose_score(
    regression: Regression,
    features: Tensor,
    strength: float,
    image_folds: Tensor,
    classes: list[str],
    generator: torch.Generator,
    *,
    pairs: tuple[str, ...] = PAIRS,
) -> ScoreChoice | None:
    """Choose the unknown score by leaving classes out.

    Args:
        regression: The logistic regressions on the features.
        features: (N, C) float32, the features of training images.
        strength: The strength of the regressions.
        image_folds: (N,) int64, the fold in which each image is left out, see `backmix.fit.logistic.make_folds`.
        classes: The names of the K known classes.
        generator: The source of randomness; it divides the classes.
        pairs: The combinations of two scores to choose from as well.

    Returns:
        The choice; None if there are fewer than `LEAST_CLASSES` classes, or no image can be left out.
    """
    count = len(classes)
    numbers = sorted({fold for fold in image_folds.tolist() if fold >= 0})
    if count < LEAST_CLASSES or len(numbers) < 2:
        return None
    labels = regression.labels
    taking_part = image_folds >= -1

    def measured(part: tuple[Tensor, int]) -> tuple[list[str], dict[str, float]] | None:
        left_out, number = part
        strange = torch.isin(labels, left_out) & taking_part
        fresh = ~strange & (image_folds == number)
        if not bool(fresh.any()) or not bool(strange.any()):
            return None
        asked = torch.cat([fresh.nonzero(), strange.nonzero()])[:, 0]
        scores = _scores(regression, features, strength, taking_part & ~strange & ~fresh, asked)
        known = int(fresh.sum())
        scores |= _combinations(scores, known, pairs)
        auroc = {name: metrics.auroc(of[:known], of[known:]) for name, of in scores.items()}
        return [classes[k] for k in left_out.tolist()], auroc

    orders = [torch.randperm(count, generator=generator) for _ in range(ROUNDS)]
    parts = [(order[fold::FOLDS], numbers[fold % len(numbers)]) for order in orders for fold in range(FOLDS)]
    found = [each for each in in_threads(measured, parts) if each is not None]
    if not found:
        return None
    means = {name: sum(auroc[name] for _, auroc in found) / len(found) for name in (*SINGLE, *pairs)}
    best = SINGLE[0]
    for rivals in (SINGLE, pairs):
        # A rival must win by more than chance: there are many, and the usual score and a single one are simpler.
        rival = max(rivals, key=lambda name: means[name], default=best)
        gains = torch.tensor([auroc[rival] - auroc[best] for _, auroc in found], dtype=torch.float64)
        if len(found) > 1 and float(gains.mean()) > float(gains.std()) / len(found) ** 0.5:
            best = rival
    ranked = dict(sorted(means.items(), key=lambda item: -item[1]))
    taken = int((image_folds >= -1).sum())
    return ScoreChoice(best, ranked, found, taken)


def fold_scores(
    regression: Regression,
    features: Tensor,
    strength: float,
    image_folds: Tensor,
    left_out: Tensor,
    number: int,
    detector: str,
) -> tuple[Tensor, Tensor] | None:
    """Return the unknown scores of new images of other classes (M,) and of images of the classes left out (L,).

    The head and the detectors see neither. The result is None if there are no images of one kind.

    Args:
        regression: The logistic regressions on the features.
        features: (N, C) float32, the features of training images.
        strength: The strength of the regressions.
        image_folds: (N,) int64, the fold in which each image is left out.
        left_out: (L,) int64, the numbers of the classes that are left out.
        number: The fold of the new images of other classes.
        detector: The name of the score; one of `SINGLE` or two of them joined by "+".
    """
    taking_part = image_folds >= -1
    strange = torch.isin(regression.labels, left_out) & taking_part
    fresh = ~strange & (image_folds == number)
    if not bool(fresh.any()) or not bool(strange.any()):
        return None
    asked = torch.cat([fresh.nonzero(), strange.nonzero()])[:, 0]
    scores = _scores(regression, features, strength, taking_part & ~strange & ~fresh, asked, detector.split("+"))
    known = int(fresh.sum())
    found = (scores | _combinations(scores, known, (detector,)))[detector] if "+" in detector else scores[detector]
    return found[:known], found[known:]


def held_out_scores(
    regression: Regression, features: Tensor, strength: float, image_folds: Tensor, names: list[str]
) -> dict[str, Tensor]:
    """Return the unknown scores of training images under heads and detectors that did not see them, by score.

    They are what `Combined` compares the scores of an image with.

    Args:
        regression: The logistic regressions on the features.
        features: (N, C) float32, the features of training images.
        strength: The strength of the regressions.
        image_folds: (N,) int64, the fold in which each image is left out.
        names: The names of the scores.
    """

    def scored(fold: int) -> dict[str, Tensor]:
        out = image_folds == fold
        return _scores(regression, features, strength, ~out & (image_folds >= -1), out.nonzero()[:, 0], names)

    found = in_threads(scored, sorted({number for number in image_folds.tolist() if number >= 0}))
    return {name: torch.cat([scores[name] for scores in found]).sort().values for name in names}


def _scores(
    regression: Regression,
    features: Tensor,
    strength: float,
    used: Tensor,
    asked: Tensor,
    names: list[str] | tuple[str, ...] = SINGLE,
) -> dict[str, Tensor]:
    """Fit a head and the detectors on some images, and return the scores (M,) float64 of others, by name."""
    kept, labels = regression.labels[used].unique(return_inverse=True)
    head = regression.fit(strength, used, labels=labels, classes=len(kept))
    train, test = features[used], features[asked]
    logits, answers = head.logits(train), head.logits(test)
    scores = {}
    for name in names:
        detector = DETECTORS[name]()
        if detector.needs_fitting:
            detector.fit(logits, train, labels)
        scores[name] = detector(answers, test).double()
    return scores


def _combinations(scores: dict[str, Tensor], known: int, pairs: tuple[str, ...]) -> dict[str, Tensor]:
    """Return the combined scores; the first `known` images are the known ones, which are the reference."""
    references = {name: ReferenceScores.of(of[:known]) for name, of in scores.items()}
    return {
        pair: combine([scores[name] for name in pair.split("+")], [references[name] for name in pair.split("+")])
        for pair in pairs
    }
