"""Make counterfactual pictures: an object without its background, a background without its object, and exchanges.

`donors` draws at random which background an object gets; this module applies the draw.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from backmix.audit.donors import MIXED, draw_donors
from backmix.audit.filling import blend, edge_width, soft_edge, without_object

ALONE = ("original", "repasted", "only-foreground", "only-background")
SETS = (*ALONE, *MIXED)
GREY = 128
"""The grey level around the object in the set only-foreground."""


class Counterfactual(NamedTuple):
    """One set of pictures made from a batch.

    Attributes:
        rows: (n,) int64, the images of the batch that the set shows. A mixed set shows only images that have a donor.
        images: (n, 3, S, S) uint8, the pictures.
        donors: (n,) int64, the image whose background each picture shows; -1 for its own background or none.
    """

    rows: Tensor
    images: Tensor
    donors: Tensor


def paste(images: Tensor, masks: Tensor, backgrounds: Tensor) -> Tensor:
    """Paste objects over backgrounds, with the soft edge that `soft_edge` makes.

    Args:
        images: (B, 3, S, S) uint8, the images that show the objects.
        masks: (B, S, S) bool, true on the objects.
        backgrounds: (B, 3, S, S) uint8, images without objects, see `without_object`.

    Returns:
        (B, 3, S, S) uint8.
    """
    return blend(images, backgrounds, soft_edge(masks, edge_width(images.shape[-1])))


def make_set(name: str, images: Tensor, masks: Tensor, own: Tensor, others: Tensor | None = None) -> Tensor:
    """Make one set.

    "original" holds the images as they are. "repasted" pastes the object over its own background, so that the
    difference from the original is the cost of pasting. "only-foreground" pastes the object over grey.
    "only-background" removes the object. Every other set pastes the object over the background of another image.

    Args:
        name: The name of the set.
        images: (B, 3, S, S) uint8.
        masks: (B, S, S) bool, true on the object.
        own: (B, 3, S, S) uint8, the images without their objects.
        others: (B, 3, S, S) uint8, the donors without their objects; the mixed sets need them.

    Returns:
        (B, 3, S, S) uint8.

    Raises:
        ValueError: If a mixed set is asked for without donors.
    """
    if name == "original":
        return images
    if name == "only-background":
        return own
    if name == "repasted":
        return paste(images, masks, own)
    if name == "only-foreground":
        return paste(images, masks, torch.full_like(images, GREY))
    if others is None:
        raise ValueError(f"{name} needs the backgrounds of the donors")
    return paste(images, masks, others)


def counterfactuals(
    images: Tensor, masks: Tensor, labels: Tensor, generator: torch.Generator
) -> dict[str, Counterfactual]:
    """Make every set from a batch. The images of the batch are the donors of each other.

    Args:
        images: (B, 3, S, S) uint8.
        masks: (B, S, S) bool, true on the object, neither empty nor full.
        labels: (B,) int64, the class of each image.
        generator: The random generator that draws the donors, on the CPU.

    Returns:
        The sets by name, in the order of `SETS`.

    Raises:
        ValueError: If a shape or a dtype does not fit, or if a mask is empty or full.
    """
    count, size = len(images), images.shape[-1]
    if images.shape != (count, 3, size, size) or images.dtype != torch.uint8:
        raise ValueError(f"images must be (B, 3, S, S) uint8; got {tuple(images.shape)} {images.dtype}")
    if masks.shape != (count, size, size) or masks.dtype != torch.bool:
        raise ValueError(f"masks must be ({count}, {size}, {size}) bool; got {tuple(masks.shape)} {masks.dtype}")
    if labels.shape != (count,):
        raise ValueError(f"labels must be ({count},), one for each image; got {tuple(labels.shape)}")
    flat = masks.flatten(1)
    if bool((~flat.any(1) | flat.all(1)).any()):
        raise ValueError("a mask is empty or covers everything: leave its image out")
    own = without_object(images, masks)
    rows = torch.arange(count)
    made = {name: Counterfactual(rows, make_set(name, images, masks, own), torch.full_like(rows, -1)) for name in ALONE}
    drawn = draw_donors(labels.cpu(), torch.ones(count, dtype=torch.bool), generator)
    for name, donors in drawn.items():
        rows = (donors >= 0).nonzero()[:, 0]
        donors = donors[rows]
        made[name] = Counterfactual(rows, make_set(name, images[rows], masks[rows], own[rows], own[donors]), donors)
    return made
