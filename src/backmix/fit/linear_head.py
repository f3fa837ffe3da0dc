"""The linear head of a frozen network: a logistic regression and all that is chosen with it, kept between runs."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field

import msgspec
import numpy as np
import torch
from torch import Tensor

from backmix.data.seeds import seed_of
from backmix.fit.estimate_refused import Refused, estimate_refused
from backmix.fit.leave_classes_out import LEAST_CLASSES, PAIRS, ScoreChoice, choose_score, held_out_scores
from backmix.fit.logistic import MOST_COMPARED, OUTSIDE, LinearHead, Regression, StrengthChoice, make_folds
from backmix.inference.feature_cache import FeatureCache
from backmix.version import __version__

_HEADS = "linear heads 1"
"""The name of heads in the cache. Its number is raised when `fit_linear_head` computes something else."""


@dataclass(frozen=True, eq=False)
class LinearTask:
    """All that the linear head and its choices follow from.

    Attributes:
        features: (N, C) float32, the pooled features of training images.
        labels: (N,) int64, their known classes.
        classes: The names of the K known classes.
        detector: The unknown score; the one that stays if none is chosen.
        groups: (N,) int64, the group of near-duplicates of each image, -1 for none; None: every image is a group.
        weights: (N,) float, how much each image counts; None: all count alike.
        smoothing: The share of the target that is spread over all classes, 0..1.
        choose: Whether the unknown score is chosen by leaving classes out, where there are enough classes.
        estimate: Whether to estimate how many unknown images are refused, see `backmix.fit.estimate_refused`.
        seed: The seed of everything random.
    """

    features: Tensor
    labels: Tensor
    classes: list[str]
    detector: str
    groups: Tensor | None = None
    weights: Tensor | None = None
    smoothing: float = 0.0
    choose: bool = True
    estimate: bool = True
    seed: int = 0

    def key(self) -> bytes:
        """Return the key (32 bytes) under which the result is kept: tasks of the same key have the same result."""
        settings = (self.classes, self.detector, self.smoothing, self.choose, self.estimate, self.seed)
        key = hashlib.sha256(msgspec.json.encode(settings))
        for values in (self.features, self.labels, self.groups, self.weights):
            found = None if values is None else np.ascontiguousarray(values.numpy())
            key.update(b"none" if found is None else f"{found.dtype} {found.shape} ".encode())
            key.update(b"" if found is None else found.data)
        return key.digest()


@dataclass(frozen=True)
class Choices:
    """What is chosen and measured while a linear head is fitted. Only training images take part.

    Attributes:
        strength: The choice of the strength of the regression.
        detector: The unknown score that decides.
        score: The choice of the unknown score; None if it was not chosen by leaving classes out.
        why: Why the score was not chosen, in words; empty if it was, or if no choice was asked for.
        refused: How many unknown images a threshold would refuse; None if that was not estimated.
        references: The scores of training images that a combined score compares with, by score, in ascending order.
    """

    strength: StrengthChoice
    detector: str
    score: ScoreChoice | None = None
    why: str = ""
    refused: Refused | None = None
    references: dict[str, list[float]] = field(default_factory=dict)


def linear_head(task: LinearTask, cache: FeatureCache) -> tuple[LinearHead, Choices]:
    """Return the linear head of a task and its choices, from the cache if it has them, else fitted and then kept."""
    key = task.key()
    kept = cache.find_bytes(_space(), [key]).get(key)
    if kept is not None:
        try:
            return _unpacked(kept)
        except (msgspec.DecodeError, ValueError):  # The file is damaged there. The head replaces what it holds.
            pass
    head, choices = fit_linear_head(task)
    cache.keep_bytes(_space(), {key: _packed(head, choices)})
    return head, choices


def fit_linear_head(task: LinearTask) -> tuple[LinearHead, Choices]:
    """Fit the linear head of a task, and make its choices."""
    features, count = task.features, len(task.classes)
    regression = Regression(features, task.labels, count, weights=task.weights, smoothing=task.smoothing)
    folds = image_folds(task.labels, task.groups, task.seed)
    strength = regression.choose_strength(folds)
    detector, score, why = task.detector, None, ""
    if task.choose:
        score, why = leave_out(regression, features, strength.strength, folds, task.classes, task.seed, PAIRS)
        detector = detector if score is None else score.detector
    refused = None
    if task.estimate:
        generator = torch.Generator().manual_seed(seed_of(task.seed, "classes left out for an estimate"))
        at = estimate_refused(regression, features, strength.strength, folds, count, detector, generator)
        refused = Refused(detector, at) if at else None
    references = {}
    if "+" in detector:
        scores = held_out_scores(regression, features, strength.strength, folds, detector.split("+"))
        references = {name: values.tolist() for name, values in scores.items()}
    return regression.fit(strength.strength), Choices(strength, detector, score, why, refused, references)


def leave_out(
    regression: Regression,
    features: Tensor,
    strength: float,
    folds: Tensor,
    classes: list[str],
    seed: int,
    pairs: tuple[str, ...],
) -> tuple[ScoreChoice | None, str]:
    """Return the choice of the unknown score, or None and the reason why there is none; see `choose_score`."""
    generator = torch.Generator().manual_seed(seed_of(seed, "folds of classes"))
    score = choose_score(regression, features, strength, folds, classes, generator, pairs=pairs)
    if score is not None:
        return score, ""
    if len(classes) < LEAST_CLASSES:
        return None, f"{len(classes)} known classes are too few to leave some out, which takes {LEAST_CLASSES}"
    return None, "the classes have too few images to leave some out"


def image_folds(labels: Tensor, groups: Tensor | None, seed: int) -> Tensor:
    """Return the fold (N,) int64 in which each image is left out, see `make_folds`; of many images only some are."""
    folds = make_folds(labels, groups, torch.Generator().manual_seed(seed_of(seed, "folds of images")))
    if len(labels) > MOST_COMPARED:
        order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(seed_of(seed, "images left out")))
        folds[order[MOST_COMPARED:]] = OUTSIDE
    return folds


def _space() -> str:
    """Return the space of heads in the cache: what computed them."""
    return f"{_HEADS}, backmix {__version__}, torch {torch.__version__}"


class _Kept(msgspec.Struct):
    """A head and its choices as the cache holds them."""

    weight: bytes
    bias: bytes
    choices: Choices


def _packed(head: LinearHead, choices: Choices) -> bytes:
    weight, bias = (values.numpy().astype("<f4").tobytes() for values in (head.weight, head.bias))
    return msgspec.msgpack.encode(_Kept(weight, bias, choices))


def _unpacked(value: bytes) -> tuple[LinearHead, Choices]:
    kept = msgspec.msgpack.decode(value, type=_Kept)
    weight, bias = (torch.from_numpy(np.frombuffer(each, "<f4").copy()) for each in (kept.weight, kept.bias))
    return LinearHead(weight.reshape(len(bias), -1), bias), kept.choices
