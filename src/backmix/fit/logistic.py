"""Multinomial logistic regression on features by L-BFGS, with its strength chosen by cross-validation."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from backmix.fit.threads import in_threads

STRENGTHS = (1e-2, 1e-3, 1e-4, 1e-5, 1e-6, 1e-7)
"""The strengths of the penalty to choose from, for features whose mean squared distance from their mean is 1."""

FOLDS = 5
MOST_COMPARED = 4000  # Cross-validation takes at most this number of images.


@dataclass(frozen=True)
class LinearHead:
    """A linear layer: logits = features @ weight.T + bias.

    Attributes:
        weight: (K, C) float32.
        bias: (K,) float32.
    """

    weight: Tensor
    bias: Tensor

    def logits(self, features: Tensor) -> Tensor:
        """Return the logits (N, K) of features (N, C) float32."""
        return features @ self.weight.T + self.bias


@dataclass(frozen=True)
class StrengthChoice:
    """The result of the cross-validation.

    Attributes:
        strength: The chosen strength.
        log_loss: The mean log loss, in nats, of the images left out, by strength.
        accuracy: The accuracy of the images left out, by strength, 0..1.
        folds: The number of folds; 0 if there were too few images to leave any out.
    """

    strength: float
    log_loss: dict[float, float]
    accuracy: dict[float, float]
    folds: int


class Regression:
    """Logistic regressions on parts of the same features.

    The penalty does not change when features are shifted or turned, so all regressions share one basis: the centred
    features, divided by their root mean square distance from the centre, in as many dimensions as they span.

    Args:
        features: (N, C) float32, the features.
        labels: (N,) int64, the classes; or (N, K) float32, the share of each class in each image, for `fit` alone.
        num_classes: The number of classes K.
        weights: (N,) float, how much each image counts; None: all count alike.
        smoothing: The share of the target that is spread over all classes, 0..1, as torch defines label smoothing.
    """

    def __init__(
        self,
        features: Tensor,
        labels: Tensor,
        num_classes: int,
        *,
        weights: Tensor | None = None,
        smoothing: float = 0.0,
    ) -> None:
        self.labels, self.num_classes, self.smoothing = labels, num_classes, smoothing
        self.weights = torch.ones(len(labels)) if weights is None else weights.float()
        self.mean = features.mean(0)
        centred = features - self.mean
        spread = centred.square().sum(1).mean().sqrt()
        self.scale = float(spread) if spread > 0 else 1.0
        self.basis: Tensor | None = None
        if len(features) < features.shape[1]:
            _, values, directions = torch.linalg.svd(centred, full_matrices=False)
            self.basis = directions[values > values.amax() * 1e-6].T.contiguous()
            centred = centred @ self.basis
        self.reduced = centred / self.scale

    def fit(
        self, strength: float, rows: Tensor | None = None, *, labels: Tensor | None = None, classes: int | None = None
    ) -> LinearHead:
        """Return the minimum of the mean cross-entropy plus strength / 2 times the squared norm of the weights.

        Args:
            strength: The strength of the penalty.
            rows: (M,) int64 or (N,) bool, the images to use; None: all images.
            labels: (M,) int64, other labels of these images; None: their own.
            classes: The number of classes of these labels.
        """
        reduced, weights = self.reduced, self.weights
        labels = labels if labels is not None else self.labels if rows is None else self.labels[rows]
        if rows is not None:
            reduced, weights = reduced[rows], weights[rows]
        solution = minimise(reduced, labels, classes or self.num_classes, strength, weights, self.smoothing)
        weight = solution[:-1] / self.scale
        if self.basis is not None:
            weight = self.basis @ weight
        return LinearHead(weight.T.contiguous(), solution[-1] - self.mean @ weight)

    def choose_strength(self, folds: Tensor) -> StrengthChoice:
        """Choose the strength by the log loss of images that were left out.

        The log loss of well separated classes hardly changes over several strengths. Of all strengths whose loss is
        within a standard error of the smallest one, the strongest penalty is taken. Strengths are tried from the
        weakest on, until one is clearly worse than the best before it: the loss has one minimum.

        Args:
            folds: (N,) int64, the fold in which each image is left out; -1: in none.
        """
        numbers = sorted({fold for fold in folds.tolist() if fold >= 0})
        if len(numbers) < 2:
            return StrengthChoice(1e-4, {}, {}, 0)
        losses: dict[float, Tensor] = {}
        accuracy: dict[float, float] = {}
        best = STRENGTHS[-1]
        for strength in reversed(STRENGTHS):
            tried = in_threads(partial(self._left_out, folds, strength), numbers)
            losses[strength] = torch.cat([loss for loss, _ in tried])
            accuracy[strength] = float(torch.cat([right for _, right in tried]).double().mean())
            # The error of a difference is that of the paired differences, image by image.
            worse = losses[strength] - losses[best]
            if float(worse.mean()) > 2 * float(worse.std()) / len(worse) ** 0.5:
                break
            if float(worse.mean()) < 0:
                best = strength
        means = {strength: float(loss.mean()) for strength, loss in losses.items()}
        within = [
            strength
            for strength, loss in losses.items()
            if float((loss - losses[best]).mean()) <= float((loss - losses[best]).std()) / len(loss) ** 0.5
        ]
        return StrengthChoice(max(within), means, accuracy, len(numbers))

    def _left_out(self, folds: Tensor, strength: float, fold: int) -> tuple[Tensor, Tensor]:
        """Return the losses (M,) float64 and the correctness (M,) bool of the images of a fold that is left out."""
        out = folds == fold
        head = self.fit(strength, ~out & (folds != OUTSIDE))
        logits, wanted = head.logits(self._features(out)), self.labels[out]
        losses = torch.nn.functional.cross_entropy(logits, wanted, reduction="none")
        return losses.double(), logits.argmax(1) == wanted

    def _features(self, rows: Tensor) -> Tensor:
        values = self.reduced[rows] * self.scale
        return (values if self.basis is None else values @ self.basis.T) + self.mean


OUTSIDE = -2
"""The fold of images that take no part in cross-validation at all."""


def minimise(
    features: Tensor, labels: Tensor, classes: int, strength: float, weights: Tensor, smoothing: float = 0.0
) -> Tensor:
    """Return the weights (D + 1, K) float32 of a logistic regression, the bias in the last row.

    Args:
        features: (N, D) float32, centred features of size about 1.
        labels: (N,) int64, or (N, K) float32, shares that sum to 1 in each row.
        classes: The number of classes K.
        strength: The strength of the penalty on the weights; the bias has none.
        weights: (N,) float32, how much each image counts.
        smoothing: The share of the target that is spread over all classes.
    """
    shares = labels if labels.ndim == 2 else torch.nn.functional.one_hot(labels, classes)
    targets = shares.float() * (1 - smoothing) + smoothing / classes
    share = (weights / weights.sum())[:, None]
    parameters = torch.zeros(features.shape[1] + 1, classes, requires_grad=True)
    optimiser = torch.optim.LBFGS(
        [parameters],
        max_iter=200,
        history_size=10,
        line_search_fn="strong_wolfe",
        tolerance_grad=1e-6,
        tolerance_change=1e-9,
    )

    @torch.no_grad()
    def loss() -> Tensor:
        # The gradient is written out, because this takes half the time of autograd.
        log_p = torch.addmm(parameters[-1], features, parameters[:-1]).log_softmax(1)
        value = -(log_p * targets * share).sum() + strength / 2 * parameters[:-1].square().sum()
        error = (log_p.exp() - targets) * share
        parameters.grad = torch.cat([features.T @ error + strength * parameters[:-1], error.sum(0, keepdim=True)])
        return value

    optimiser.step(loss)
    return parameters.detach()


def make_folds(labels: Tensor, groups: Tensor | None, generator: torch.Generator, folds: int = FOLDS) -> Tensor:
    """Divide images into folds, each class evenly. Images of one group share a fold.

    Args:
        labels: (N,) int64, the classes.
        groups: (N,) int64, the group of near-duplicates of each image, -1 for none; None: every image is a group.
        generator: The source of randomness.
        folds: The number of folds.

    Returns:
        (N,) int64, the fold in which each image is left out. The images of a class with a single group are left out in
        no fold (-1), because nothing of their class would be left to learn from.
    """
    own = torch.arange(len(labels))
    # The number of a group starts above the numbers of single images.
    group = own if groups is None else torch.where(groups >= 0, groups + len(labels), own)
    result = torch.full((len(labels),), -1)
    offset = 0
    for label in labels.unique().tolist():
        rows = (labels == label).nonzero()[:, 0]
        of_class, member = group[rows].unique(return_inverse=True)
        if len(of_class) < 2:
            continue
        order = torch.randperm(len(of_class), generator=generator)
        # Each class starts at another fold, so that small classes do not all fill the first folds.
        result[rows] = (order[member] + offset) % folds
        offset += len(of_class)
    return result
