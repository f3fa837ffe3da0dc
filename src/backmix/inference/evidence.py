"""Where in an image a classifier sees a class."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

if TYPE_CHECKING:
    from backmix.inference.decider import Decider


@torch.no_grad()
def evidence_maps(
    classifier: Decider, images: Tensor, classes: Tensor | None = None, *, batch_size: int = 64
) -> Tensor:
    """Evidence for a class at each place of each image, as the method of the classifier tells it (a CAM for softmax).

    Args:
        classifier: a trained one.
        images: (N, 3, S, S) uint8, as `Preprocess.decode` makes them.
        classes: (N,) int64 class to look for in each; None: the likeliest one.
        batch_size: images at a time.

    Returns:
        (N, h, w) float32 in 0..1 on the CPU, of the central square that the network sees.

    Raises:
        ValueError: for images of another shape, or as many classes as there are no images.
    """
    size = classifier.preprocess.image_size
    if images.ndim != 4 or images.shape[1:] != (3, size, size) or images.dtype != torch.uint8:
        raise ValueError(f"images must be (N, 3, {size}, {size}) uint8; got {tuple(images.shape)} {images.dtype}")
    if classes is not None and classes.shape != (len(images),):
        raise ValueError(f"there is one class an image; got {tuple(classes.shape)} for {len(images)} images")
    network = classifier.network.eval()
    device = next(network.parameters()).device
    maps = []
    for start in range(0, len(images), batch_size):
        part = classifier.preprocess.normalise(images[start : start + batch_size].to(device))
        features = network.backbone(part).float()
        if classes is None:
            wanted = network.head.logits(features).argmax(1)
        else:
            wanted = classes[start : start + batch_size].to(device)
        maps.append(network.head.evidence(features, wanted).float().cpu())
    return torch.cat(maps) if maps else torch.empty(0, 1, 1)
