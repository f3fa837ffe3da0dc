"""Train a method on pooled features: by gradient steps, or at once if it has no loss."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from backmix.data.seeds import seed_of
from backmix.errors import TrainingError
from backmix.methods import Method, TrainingBatch

STEPS = 2000
BATCH = 64
RATE = 3e-3


def train_on_features(
    head: Method,
    features: Tensor,
    labels: Tensor,
    *,
    outliers: Tensor | None = None,
    plain: int | None = None,
    seed: int = 0,
    steps: int = STEPS,
) -> float:
    """Train a method on pooled features with AdamW and a cosine schedule; without steps if it `learns_at_once`.

    Args:
        head: The method, which is changed in place.
        features: (N, C) float32, the pooled features.
        labels: (N,) int64, the known classes; or (N, K) float32, the share of each class in each image, which sum to 1.
            At each step the label of an image is then drawn with its shares as probabilities. For a loss that is linear
            in the labels, the mean is the loss with soft labels. Methods that learn at once take the largest share.
        outliers: (O, C) float32, the pooled features of images of no known class; None if the method uses none.
        plain: The number of images, from the first, that are not augmented. Statistics of the method are computed from
            them. None: all images.
        seed: The seed of the order of the images and of the labels that are drawn.
        steps: The number of steps.

    Returns:
        The mean loss of the last tenth of the steps; NaN if the method has no loss.

    Raises:
        ValueError: If the method needs outliers and there are none.
        TrainingError: If the loss is not finite.
    """
    if head.needs_outliers and outliers is None:
        head.check_outliers(TrainingBatch(torch.empty(0), torch.empty(0)))
    device = next(iter(head.state_dict().values())).device
    maps = features.to(device)[:, :, None, None]
    classes = (labels.argmax(1) if labels.ndim == 2 else labels).to(device)
    if head.learns_at_once:
        head.eval().learn(lambda: [(maps, classes)])
        return math.nan
    strange = None if outliers is None or not head.uses_outliers else outliers.to(device)[:, :, None, None]
    generator = torch.Generator().manual_seed(seed_of(seed, "features"))
    optimiser = torch.optim.AdamW(head.parameters(), lr=RATE, weight_decay=0.01)
    head.train()
    order = torch.empty(0, dtype=torch.int64)
    last: list[Tensor] = []
    for step in range(steps):
        if len(order) < min(BATCH, len(labels)):
            order = torch.cat([order, torch.randperm(len(labels), generator=generator)])
        rows, order = order[:BATCH], order[BATCH:]
        shown = None
        if strange is not None:
            shown = strange[torch.randint(len(strange), (len(rows),), generator=generator)]
        known = labels[rows]
        if known.ndim == 2:
            known = torch.multinomial(known, 1, generator=generator)[:, 0]
        progress = step / steps
        for group in optimiser.param_groups:
            group["lr"] = RATE * head.rate(progress, lambda at: (1 + math.cos(math.pi * at)) / 2)
        batch = TrainingBatch(maps[rows], known.to(device), None, shown, progress, step)
        _, loss = head.training_loss(lambda of: of, batch)
        if not bool(loss.isfinite()):
            raise TrainingError(f"the loss of {head.name} on features is {float(loss.detach())} at step {step}")
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        if step >= steps * 9 // 10:
            last.append(loss.detach())
    head.eval()
    if head.needs_statistics:
        head.learn(lambda: [(maps[:plain], classes[:plain])])
    return float(torch.stack(last).mean())
