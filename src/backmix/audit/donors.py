"""Whose background each object is given. Only drawn here; `counterfactuals` applies it."""

from __future__ import annotations

import torch
from torch import Tensor

MIXED = ("mixed-same", "mixed-random", "mixed-next")


def draw_donors(labels: Tensor, usable: Tensor, generator: torch.Generator) -> dict[str, Tensor]:
    """Draw a donor for every image and mixed set (Xiao et al., "Noise or Signal", ICLR 2021).

    mixed-same: another image of the same class, each equally often. mixed-random: a class, each equally often and its
    own among them, then an image of it, so that the background says nothing about the object. mixed-next: an image of
    the next class; the first follows the last. Classes without a usable image are passed over.

    Args:
        labels: (N,) int64 class of each image, at least 0 where `usable` is true.
        usable: (N,) bool, whether it can give and take: it has a mask that means something.
        generator: on the CPU; source of randomness.

    Returns:
        (N,) int64 position of each image's donor by set, never its own, -1 where there is none.
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
    """Draw for some images a donor among others: a class, each equally often, then an image of it.

    Args:
        takers: (N,) bool, who is to get one.
        labels: (N,) int64 class of each image, at least 0 where `givers` is true.
        givers: (N,) bool, who can give.
        generator: on the CPU; source of randomness.

    Returns:
        (N,) int64 position of each donor, never its own, -1 for those that take nothing or find nobody.
    """
    members = _members(labels, givers)
    if not members:
        return torch.full_like(labels, -1)
    classes = torch.tensor(sorted(members), dtype=torch.int64)
    single = torch.tensor([len(members[int(number)]) == 1 for number in classes])
    place = torch.searchsorted(classes, torch.where(givers, labels, classes[0]))
    # The only image of a class finds nobody in it, and draws among the other classes.
    alone = givers & single[place]
    choices = len(classes) - alone.long()
    drawn = (torch.rand(len(labels), generator=generator, dtype=torch.float64) * choices).long()
    drawn += alone & (drawn >= place)
    wanted = torch.where(takers & (choices > 0), classes[drawn.clamp_max(len(classes) - 1)], -1)
    return _pick(wanted, members, generator)


def _members(labels: Tensor, usable: Tensor) -> dict[int, Tensor]:
    """Positions (n,) int64 of the usable images by class, for classes that have any; ascending."""
    positions = usable.nonzero()[:, 0]
    found = labels[positions]
    return {int(number): positions[found == number] for number in found.unique()}


def _pick(wanted: Tensor, members: dict[int, Tensor], generator: torch.Generator) -> Tensor:
    """One image of the wanted class for each image, (N,) int64, but never itself; -1 where there is none."""
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
