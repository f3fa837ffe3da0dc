"""The options of a training that follow from its network and its number of images."""

from __future__ import annotations

import math
from typing import Any

from backmix.models import BACKBONES
from backmix.train.recipe import TrainOptions


def auto_epochs(images: int, *, shown: int = 870_000) -> int:
    """Return the epochs for a training set of a size: about `shown` images in total, but from 20 to 200 epochs."""
    return max(20, min(200, round(shown / max(1, images))))


def auto_batch_size(images: int, *, largest: int = 512) -> int:
    """Return the batch size for a training set of a size: from 16 to `largest`, with at least 20 steps per epoch."""
    size = largest
    while size > 16 and images // size < 20:
        size //= 2
    return size


def auto_options(
    images: int,
    *,
    model: str,
    pretrained: bool = False,
    epochs: int | None = None,
    batch_size: int | None = None,
    lr: float | None = None,
    seed: int = 0,
    precision: str = "auto",
) -> TrainOptions:
    """Return training options for a number of images. Given values are kept.

    The networks of backmix train with Muon and strong augmentation, because that gives the best results in few epochs.
    Models of timm, including transformers, train with AdamW, at a rate of 1e-3 from random weights and 2e-4 from
    published weights. The weights are averaged over about the last seventh of the training.

    Args:
        images: The number of training images.
        model: The name of the network.
        pretrained: Whether it starts from published weights.
        epochs: The number of epochs; None: see `auto_epochs`.
        batch_size: The number of images per batch; None: see `auto_batch_size`.
        lr: The largest learning rate; None: it is chosen by the model.
        seed: The seed of the training.
        precision: "bf16", "fp32" or "auto", see `TrainOptions`.
    """
    epochs = auto_epochs(images) if epochs is None else epochs
    batch_size = auto_batch_size(images) if batch_size is None else batch_size
    steps = epochs * max(1, images // max(1, batch_size))
    common: dict[str, Any] = {
        "epochs": epochs,
        "batch_size": batch_size,
        "ema": 1 - 1 / max(2, steps / 7),
        "seed": seed,
        "precision": precision,
    }
    if model in BACKBONES:
        # The rate is proportional to the square root of the batch size, because the noise of gradients falls with it.
        rate = 0.01 * math.sqrt(batch_size / 512) if lr is None else lr
        return TrainOptions(lr=rate, optimizer="muon", weight_decay=0.2, jitter=0.3, erase=0.375, small=0.4, **common)
    if lr is None:
        lr = 2e-4 if pretrained else 1e-3
    return TrainOptions(
        lr=lr,
        optimizer="adamw",
        weight_decay=0.05,
        schedule="cosine",
        warmup=0.1,
        freeze_norm=pretrained,
        **common,
    )


def default_options(images: int) -> TrainOptions:
    """Return options with epochs and batch size by the number of training images."""
    return TrainOptions(epochs=auto_epochs(images), batch_size=auto_batch_size(images))
