"""Maps that show where in an image a classifier sees a class."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from backmix.mixing.default_dtype import in_float32

if TYPE_CHECKING:
    from backmix.inference.decider import Decider


@in_float32
@torch.no_grad()
def evidence_maps(
    classifier: Decider, images: Tensor, classes: Tensor | None = None, *, batch_size: int = 64
) -> Tensor:
    """Return the evidence for a class at each place of each image, as the method defines it (a CAM for softmax).

    Args:
        classifier: A trained classifier.
        images: (N, 3, S, S) uint8, images as `Preprocess.decode` makes them.
        classes: (N,) int64, the class to look for in each image; None: the likeliest class.
        batch_size: The number of images per batch.

    Returns:
        (N, h, w) float32 in 0..1 on the CPU, maps of the central square that the network sees.

    Raises:
        ValueError: If the images have another shape or dtype, or there is not one class per image.
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
