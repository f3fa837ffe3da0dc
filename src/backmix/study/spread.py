"""How far the logits of single places are apart, on the object and beside it."""

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
    """Mean over places of the largest logit minus the mean logit, NaN where there is no such place.

    Attributes:
        inside: places of which more than half is object.
        outside: places that show nothing of it.
    """

    inside: float
    outside: float


@torch.no_grad()
def logit_spread(classifier: OpenSetClassifier, source: ImageSource, *, workers: int = 2) -> Spread:
    """Spread of the logits of single places, over the known images of a source that have a mask.

    The head is applied to each place of the feature map by itself, as if the map were that place alone. With global
    average pooling and a linear head the mean of these logits is the logit of the image. A place sees further than its
    own square, so "outside" there is some of the object in the surroundings.

    Args:
        classifier: fitted; a method whose logits come from one feature map.
        source: images with masks.
        workers: threads that decode.

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
    """Largest minus mean logit of each place: features (B, C, h, w) -> (B, h, w) float32.

    Args:
        logits_of: from feature maps (B, C, h, w) to logits (B, K).
        features: (B, C, h, w) float.
    """
    batch, channels, height, width = features.shape
    places = features.permute(0, 2, 3, 1).reshape(-1, channels, 1, 1)
    logits = logits_of(places)
    return (logits.amax(1) - logits.mean(1)).float().reshape(batch, height, width)
