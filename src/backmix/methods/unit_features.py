"""Pooled features scaled to length 1, which detectors and methods by cosine and by shrunk covariance compare."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

import torch
from torch import Tensor

from backmix.methods.logit_scores import has_float64

BLOCK = 1024  # The number of training images whose features are in float64 at the same time.


def wide_dtype(device: torch.device) -> torch.dtype:
    """Return the precision of the scores: float64, or float32 on devices without float64."""
    return torch.float64 if has_float64(device) else torch.float32


def unit_rows(features: Tensor) -> Tensor:
    """Divide each row by its Euclidean length.

    A row of zeros stays zero, so that its cosine to any other row is 0. A row with a number that is not finite becomes
    NaN.

    Args:
        features: (B, C) float features of any float dtype.

    Returns:
        (B, C) float64 rows, or float32 on devices without float64.
    """
    wide = features.to(wide_dtype(features.device))
    tiny = torch.finfo(wide.dtype).tiny
    # After division by the largest number, the squares neither overflow nor vanish.
    wide = wide / torch.linalg.vector_norm(wide, float("inf"), 1, keepdim=True).clamp(min=tiny)
    unit: Tensor = wide / torch.linalg.vector_norm(wide, 2, 1, keepdim=True).clamp(min=tiny)
    return unit


def check_features(name: str, features: Tensor, channels: int | None = None) -> None:
    """Raise ValueError, which begins with a name, unless features are (B, C) float.

    Args:
        name: The name of the detector or method.
        features: The features.
        channels: The number C that the detector was fitted on; None: any number above 0.
    """
    wrong = features.ndim != 2 or not features.is_floating_point() or features.shape[1] < 1
    if wrong or (channels is not None and features.shape[1] != channels):
        fitted = f"; it was fitted on {channels} channels" if channels is not None else ""
        raise ValueError(
            f"{name}: features must be (B, C) float, one row for each image; got {tuple(features.shape)} "
            f"{features.dtype}{fitted}"
        )


def check_training(name: str, logits: Tensor, features: Tensor, labels: Tensor) -> None:
    """Raise ValueError, which begins with a name, unless statistics can be computed from these training images.

    Args:
        name: The name of the detector or method.
        logits: (N, K) logits, of which only K counts.
        features: (N, C) float pooled features.
        labels: (N,) int64 labels, each class 0 to K - 1 at least once.
    """
    check_features(name, features)
    if logits.ndim != 2 or labels.shape != (len(features),) or len(logits) != len(features):
        raise ValueError(
            f"{name}: logits (N, K), features (N, C) and labels (N,) belong to the same N images; got "
            f"{tuple(logits.shape)}, {tuple(features.shape)} and {tuple(labels.shape)}"
        )
    classes = logits.shape[1]
    found = set(labels.tolist())
    absent = sorted(set(range(classes)) - found)
    if absent:
        raise ValueError(f"{name}: no training image of class number {absent[0]}; every known class needs one")
    if len(found) > classes:
        other = min(found - set(range(classes)))
        raise ValueError(f"{name}: training images have labels 0 to {classes - 1}; got {other}")
    broken = int((~torch.linalg.vector_norm(features, float("inf"), 1).isfinite()).sum())
    if broken:
        raise ValueError(
            f"{name}: the features of {broken} of {len(features)} training images are not finite; train again with a "
            "smaller learning rate, or look for broken images"
        )


def unit_blocks(features: Tensor, labels: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield blocks of at most `BLOCK` unit rows and their labels, so that memory does not grow with the images."""
    for rows, own in zip(features.split(BLOCK), labels.split(BLOCK), strict=True):
        yield unit_rows(rows), own


def unit_class_means(features: Tensor, labels: Tensor, classes: int) -> Tensor:
    """Return the means (K, C) of the unit rows of each class. They are not scaled to length 1.

    Args:
        features: (N, C) float pooled features.
        labels: (N,) int64 labels; each class has at least one image.
        classes: The number K of classes.
    """
    sums = unit_rows(features[:1]).new_zeros(classes, features.shape[1])
    for rows, own in unit_blocks(features, labels):
        sums.index_add_(0, own, rows)
    return sums / labels.bincount(minlength=classes)[:, None]


def pooled_training(
    name: str, batches: Callable[[], Iterable[tuple[Tensor, Tensor]]], classes: int, channels: int
) -> tuple[Tensor, Tensor]:
    """Return the pooled features (N, C) float32 and labels (N,) int64 of all training images, on the CPU.

    Args:
        name: The name of the method, with which errors begin.
        batches: The argument of `Method.learn`.
        classes: The number K of classes.
        channels: The number C of channels.

    Raises:
        ValueError: If there are no images, a class has no image, or a feature is not finite.
    """
    rows, owners = [], []
    for features, labels in batches():
        rows.append(features.float().mean((2, 3)).cpu())
        owners.append(labels.cpu())
    if not rows:
        raise ValueError(f"{name} is computed from the training images and was given none")
    features, labels = torch.cat(rows), torch.cat(owners)
    check_features(name, features, channels)
    check_training(name, torch.zeros(()).expand(len(labels), classes), features, labels)
    return features, labels
