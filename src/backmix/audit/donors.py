"""Draw the donor of each object: the image whose background it gets. `counterfactuals` makes the pictures."""

from __future__ import annotations

import torch
from torch import Tensor

MIXED = ("mixed-same", "mixed-random", "mixed-next")


def draw_donors(labels: Tensor, usable: Tensor, generator: torch.Generator) -> dict[str, Tensor]:
    """Draw a donor for every image and mixed set (Xiao et al., "Noise or Signal", ICLR 2021).

    mixed-same draws another image of the same class, each with equal probability. mixed-random first draws a class,
    each with equal probability, the image's own class included, and then an image of that class; the background
    therefore says nothing about the object. mixed-next draws an image of the next class; the first class follows the
    last. Classes without a usable image are skipped.

    Args:
        labels: (N,) int64, the class of each image, at least 0 where `usable` is true.
        usable: (N,) bool, whether an image has a usable mask. Only such images take and give a background.
        generator: The random generator, on the CPU.

    Returns:
        For each set (N,) int64, the position of the donor of each image. No image is its own donor; -1 means none.
    """
    members = _members(labels, usable)
    classes = torch.tensor(sorted(members), dtype=torch.int64)
    own = torch.where(usable, labels, -1)
    after = torch.full_like(own, -1)
    if len(classes) > 1:
        after = torch.where(usable, classes[(torch.searchsorted(classes, own) + 1) % len(classes)], -1)
    return {
        "mixed-same": _pick(own, members, generator),
        "mixed-random": draw_from(usable, labels, usable, generator),
        "mixed-next": _pick(after, members, generator),
    }


def draw_from(takers: Tensor, labels: Tensor, givers: Tensor, generator: torch.Generator) -> Tensor:
    """Draw a donor for each of some images: first a class, each with equal probability, then an image of that class.

    Args:
        takers: (N,) bool, the images that get a donor.
        labels: (N,) int64, the class of each image, at least 0 where `givers` is true.
        givers: (N,) bool, the images that can be donors.
        generator: The random generator, on the CPU.

    Returns:
        (N,) int64, the position of the donor of each image, never the image itself. -1 for an image that is no taker
        or for which there is no donor.
    """
    members = _members(labels, givers)
    if not members:
        return torch.full_like(labels, -1)
    classes = torch.tensor(sorted(members), dtype=torch.int64)
    single = torch.tensor([len(members[int(number)]) == 1 for number in classes])
    place = torch.searchsorted(classes, torch.where(givers, labels, classes[0]))
    # The only image of a class has no donor in its class, so it draws among the other classes.
    alone = givers & single[place]
    choices = len(classes) - alone.long()
    drawn = (torch.rand(len(labels), generator=generator, dtype=torch.float64) * choices).long()
    drawn += alone & (drawn >= place)
    wanted = torch.where(takers & (choices > 0), classes[drawn.clamp_max(len(classes) - 1)], -1)
    return _pick(wanted, members, generator)


def _members(labels: Tensor, usable: Tensor) -> dict[int, Tensor]:
    """Return the positions (n,) int64 of the usable images of each class that has any, in ascending order."""
    positions = usable.nonzero()[:, 0]
    found = labels[positions]
    return {int(number): positions[found == number] for number in found.unique()}


def _pick(wanted: Tensor, members: dict[int, Tensor], generator: torch.Generator) -> Tensor:
    """Draw for each image another image of the wanted class: (N,) int64, -1 where there is none."""
    chance = torch.rand(len(wanted), generator=generator, dtype=torch.float64)
    donors = torch.full_like(wanted, -1)
    for number, pool in members.items():
        rows = (wanted == number).nonzero()[:, 0]
        place = torch.searchsorted(pool, rows)
        inside = pool[place.clamp_max(len(pool) - 1)] == rows
        choices = len(pool) - inside.long()
        drawn = (chance[rows] * choices).long()
        drawn += inside & (drawn >= place)
        donors[rows] = torch.where(choices > 0, pool[drawn.clamp_max(len(pool) - 1)], -1)
    return donors
