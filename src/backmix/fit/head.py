"""Train a head on the pooled features of a frozen backbone, and choose the unknown score."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor

from backmix.errors import DataError
from backmix.fit.estimate_refused import Refused
from backmix.fit.feature_training import train_on_features
from backmix.fit.leave_classes_out import ScoreChoice
from backmix.fit.linear_head import LinearTask, image_folds, leave_out, linear_head
from backmix.fit.logistic import LinearHead, Regression, StrengthChoice
from backmix.fit.threads import one_thread
from backmix.inference.decider import Decider
from backmix.methods import Method
from backmix.methods.softmax import Softmax

BY_NAME = "it was asked for by name"


@dataclass(frozen=True)
class HeadReport:
    """What was found while the head was trained. Only training images took part.

    Attributes:
        images: The number of training images.
        computed: The number of images that the network ran on; the features of the others were in the cache.
        engine: The engine that computed the features.
        strength: The choice of the strength of the logistic regression; None for other heads.
        score: The choice of the unknown score; None if it was not chosen by leaving classes out.
        why: Why the score was not chosen, in words; empty if it was.
        references: (N,) the scores of training images that a combined score compares with, by score.
        views: The number of mixed views of each image that the head also learned from; 0 without an augmentation.
        views_computed: The number of mixed views that the network ran on.
        mixed: The share of the mixed views that show a part of another image, 0..1; None without BackMix.
        refused: How many unknown images a threshold would refuse; None if that was not estimated.
    """

    images: int
    computed: int
    engine: str
    strength: StrengthChoice | None
    score: ScoreChoice | None
    why: str
    references: dict[str, Tensor]
    views: int = 0
    views_computed: int = 0
    mixed: float | None = None
    refused: Refused | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return everything but the references, ready for JSON."""
        strength = None
        if self.strength is not None:
            strength = asdict(self.strength)
            for name in ("log_loss", "accuracy"):
                strength[name] = {f"{key:g}": value for key, value in strength[name].items()}
        score = None
        if self.score is not None:
            score = {
                "detector": self.score.detector,
                "auroc": self.score.auroc,
                "folds": [{"left_out": names, "auroc": auroc} for names, auroc in self.score.folds],
                "images": self.score.images,
            }
        return {
            "images": self.images,
            "computed": self.computed,
            "engine": self.engine,
            "strength": strength,
            "unknown_score": score,
            "why": self.why,
            "refused": self.refused
            and {"detector": self.refused.detector, "at": {f"{key:g}": of for key, of in self.refused.at.items()}},
            "mixed_views": {"of_each_image": self.views, "computed": self.views_computed, "mixed": self.mixed},
        }


def train_head(
    classifier: Decider,
    features: Tensor,
    labels: Tensor,
    *,
    groups: Tensor | None = None,
    weights: Tensor | None = None,
    choose: bool = True,
    seed: int = 0,
    outliers: Tensor | None = None,
    computed: int = 0,
    estimate: bool = True,
) -> HeadReport:
    """Train the head of a classifier on pooled features, and choose its unknown score.

    The head of softmax is a logistic regression, which is found in the cache if these features were seen before. Other
    methods follow their own loss by gradient steps.

    Args:
        classifier: The classifier, whose head and detector are changed in place.
        features: (N, C) float32, the pooled features of training images.
        labels: (N,) int64, their known classes.
        groups: (N,) int64, the group of near-duplicates of each image, -1 for none.
        weights: (N,) float, how much each image counts; None: all count alike.
        choose: Whether the unknown score is chosen by leaving classes out, where there are enough classes.
        seed: The seed of everything random.
        outliers: (O, C) float32, the pooled features of images of no known class, for methods that learn from them.
        computed: The number of images that the network ran on, for the report.
        estimate: Whether to estimate how many unknown images are refused, see `backmix.fit.estimate_refused`.

    Raises:
        DataError: If a class has no image.
    """
    head = classifier.network.head
    empty = [name for k, name in enumerate(classifier.classes) if not bool((labels == k).any())]
    if empty:
        raise DataError(f"no readable training image is left of {', '.join(empty)}")
    engine = classifier.frozen_features.engine.name
    with one_thread():
        if not is_linear(head):
            rows = None if weights is None else torch.repeat_interleave(torch.arange(len(labels)), weights.long())
            train_on_features(
                head,
                features if rows is None else features[rows],
                labels if rows is None else labels[rows],
                outliers=outliers,
                seed=seed,
            )
            why = f"{head.name} has a score of its own" if choose else BY_NAME
            return HeadReport(len(labels), computed, engine, None, None, why, {})
        assert isinstance(head, Softmax)
        task = LinearTask(
            features,
            labels,
            classifier.classes,
            classifier.detector,
            groups=groups,
            weights=weights,
            smoothing=_smoothing(head),
            choose=choose,
            estimate=estimate,
            seed=seed,
        )
        found, choices = linear_head(task, classifier.frozen_features.cache)
    _put(head, found)
    classifier.detector = choices.detector
    why = choices.why if choose else BY_NAME
    references = {name: torch.tensor(values, dtype=torch.float64) for name, values in choices.references.items()}
    return HeadReport(
        len(labels), computed, engine, choices.strength, choices.score, why, references, refused=choices.refused
    )


def choose_after_training(classifier: Decider, groups: Tensor | None, positions: Tensor, seed: int) -> HeadReport:
    """Choose the unknown score of a network whose weights were all trained, by its features of training images.

    The network has seen the classes that are left out here, so the figures are better than they will be. Scores are not
    combined, because that needs scores of images that the network was not trained on.

    Args:
        classifier: The classifier, whose detector is changed in place. It keeps its training outputs.
        groups: (N,) int64, the group of near-duplicates of each image of the source; None: not known.
        positions: (M,) int64, the positions of the training images in the source.
        seed: The seed of everything random.
    """
    kept = classifier.training_outputs
    assert kept is not None
    # If images were unreadable or too many, the positions of those that were kept are not known.
    known = groups[positions] if groups is not None and len(positions) == len(kept.labels) else None
    features = kept.features.float()
    with one_thread():
        regression = Regression(features, kept.labels, len(classifier.classes))
        folds = image_folds(kept.labels, known, seed)
        strength = regression.choose_strength(folds)
        score, why = leave_out(regression, features, strength.strength, folds, classifier.classes, seed, ())
    if score is not None:
        classifier.detector = score.detector
    return HeadReport(len(kept.labels), len(kept.labels), "", strength, score, why, {})


def train_head_on_views(
    classifier: Decider,
    features: Tensor,
    targets: Tensor,
    report: HeadReport,
    *,
    weights: Tensor | None = None,
    seed: int = 0,
    outliers: Tensor | None = None,
) -> None:
    """Train the head of a classifier again, on the images as they are and on mixed views of them.

    The strength of a logistic regression and the unknown score stay as they were chosen from the images as they are: a
    view of one image shows a part of another one, so with views no image would be new to the head that it is tested by.

    Args:
        classifier: The classifier, whose head is changed in place. Heads other than softmax begin with their current
            weights.
        features: (N + V, C) float32, the pooled features of N images and then of V views.
        targets: (N + V, K) float32, the share of each class, which sum to 1.
        report: The report of the training on the N images.
        weights: (N + V,) float, how much each counts; None: all count alike.
        seed: The seed of everything random.
        outliers: (O, C) float32, the pooled features of images of no known class, for methods that learn from them.
    """
    head = classifier.network.head
    if report.strength is not None:
        assert isinstance(head, Softmax)
        with one_thread():
            regression = Regression(features, targets, head.num_classes, weights=weights, smoothing=_smoothing(head))
            _put(head, regression.fit(report.strength.strength))
        return
    rows = torch.arange(len(features))
    if weights is not None:
        rows = torch.repeat_interleave(rows, weights.long())
    mixed = bool(((targets > 0) & (targets < 1)).any())
    with one_thread():
        train_on_features(
            head,
            features[rows],
            targets[rows] if mixed else targets[rows].argmax(1),
            outliers=outliers,
            plain=int((rows < report.images).sum()),
            seed=seed,
        )


def _smoothing(head: Softmax) -> float:
    """Return the label smoothing of a head as `Regression` takes it."""
    return min(1.0, head.label_smoothing * head.num_classes / (head.num_classes - 1))


@torch.no_grad()
def _put(head: Softmax, found: LinearHead) -> None:
    assert head.head.bias is not None
    head.head.weight.copy_(found.weight)
    head.head.bias.copy_(found.bias)


def is_linear(head: Method) -> bool:
    """Return whether a head is trained as a logistic regression: it is softmax's, with a bias."""
    return type(head) is Softmax and head.head.bias is not None
