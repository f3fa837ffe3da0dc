"""The spread of the logits at single places of the feature map, on the object and beside it."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from backmix.classifier import OpenSetClassifier
from backmix.data.loader import decode
from backmix.data.source import ImageSource
from backmix.models.precision import resolve_precision

BATCH = 256


class Spread(NamedTuple):
    """The largest logit minus the mean logit, averaged over places; NaN if there is no place of that kind.

    Attributes:
        inside: The spread at places of which the object covers more than half.
        outside: The spread at places that show nothing of the object.
    """

    inside: float
    outside: float


@torch.no_grad()
def logit_spread(classifier: OpenSetClassifier, source: ImageSource, *, workers: int = 2) -> Spread:
    """Measure the spread of the logits at single places, over the known images of a source that have a mask.

    The head is applied to each place of the feature map alone, as if the map consisted of that place. With global
    average pooling and a linear head, the mean of these logits is the logit of the image. A place sees further than its
    own square, so "outside" places see some of the object in their surroundings.

    Args:
        classifier: A fitted classifier. The logits of its method must come from one feature map.
        source: The images, with masks.
        workers: The number of threads that decode images.

    Returns:
        The two spreads, in the units of the logits.
    """
    labels = classifier.labels_for(source)
    positions = (labels >= 0).nonzero()[:, 0].tolist()
    decoded = decode(source, labels, classifier.preprocess, positions=positions, masks=True, workers=workers)
    assert decoded.masks is not None
    network = classifier.network.eval()
    device = next(network.parameters()).device
    sums, counts = torch.zeros(2, dtype=torch.float64), torch.zeros(2, dtype=torch.float64)
    for images, masks in zip(decoded.images.split(BATCH), decoded.masks.split(BATCH), strict=True):
        with torch.autocast(device.type, torch.bfloat16, enabled=resolve_precision(classifier.precision) == "bf16"):
            features = network.backbone(classifier.preprocess.normalise(images.to(device))).float()
        spreads = place_spreads(network.head.logits, features).cpu()
        shares = F.adaptive_avg_pool2d(masks[:, None].float(), features.shape[2:])[:, 0]
        usable = masks.flatten(1).any(1)[:, None, None]
        for row, chosen in enumerate(((shares > 0.5) & usable, (shares == 0) & usable)):
            sums[row] += spreads[chosen].double().sum()
            counts[row] += chosen.sum()
    inside, outside = (sums / counts).tolist()
    return Spread(inside, outside)


def place_spreads(logits_of: Callable[[Tensor], Tensor], features: Tensor) -> Tensor:
    """Return the largest minus the mean logit at each place, (B, h, w) float32.

    Args:
        logits_of: A function from feature maps (B, C, h, w) to logits (B, K).
        features: (B, C, h, w) float, the feature maps.
    """
    batch, channels, height, width = features.shape
    places = features.permute(0, 2, 3, 1).reshape(-1, channels, 1, 1)
    logits = logits_of(places)
    return (logits.amax(1) - logits.mean(1)).float().reshape(batch, height, width)
