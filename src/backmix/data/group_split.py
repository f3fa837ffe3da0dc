"""Divide images by class without dividing groups of similar images."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from backmix.errors import DataError


def split_groups(labels: Tensor, groups: Tensor, shares: Sequence[float], generator: torch.Generator) -> list[Tensor]:
    """Divide images by class without dividing a group.

    Large groups are placed first, each into the part that misses most images of its classes. If every group has images
    of one class only, a part misses its share of a class by at most the size of the largest group of the class. An
    exception is a class with so few groups that each part gets one group, whatever its size.

    Args:
        labels: (N,) int64, the label of each image, any values.
        groups: (N,) int64, the group of each image, any values, for example from `find_near_duplicates`.
        shares: The share of every class for each further part. Each is above 0, and their sum is below 1.
        generator: The generator that decides where groups go.

    Returns:
        len(shares) + 1 tensors of positions, ascending, that together hold each image once: the rest, then a part for
        each share. Every class is in the rest. A class with further groups is also in the first part, then in the
        second, and so on. Groups of several classes may break this rule for the parts, but never for the rest.

    Raises:
        DataError: If labels and groups are not two rows of whole numbers of the same length, or a share is out of
            range.
    """
    for name, values in (("labels", labels), ("groups", groups)):
        if values.ndim != 1 or values.is_floating_point() or values.dtype == torch.bool:
            raise DataError(f"{name} must be (N,) whole numbers; got {tuple(values.shape)} of {values.dtype}")
    if len(labels) != len(groups):
        raise DataError(f"each image needs a label and a group; got {len(labels)} labels and {len(groups)} groups")
    if not all(share > 0 for share in shares) or not sum(shares) < 1:
        raise DataError(f"shares must be above 0 and together below 1; got {', '.join(map(str, shares))}")
    labels, groups = (values.cpu().unique(return_inverse=True)[1] for values in (labels, groups))
    members = _counts(groups, labels)
    shuffled = torch.randperm(len(members), generator=generator, device=generator.device).tolist()
    order = sorted(shuffled, key=lambda group: -sum(members[group].values()))
    part_of = _place(members, order, [1 - sum(shares), *shares])
    parts = torch.tensor(part_of, dtype=torch.int64)[groups]
    return [(parts == part).nonzero().flatten() for part in range(len(shares) + 1)]


def _counts(groups: Tensor, labels: Tensor) -> list[dict[int, int]]:
    """Return, for each group 0, 1, ..., the number of images of each label."""
    counts: list[dict[int, int]] = [{} for _ in range(int(groups.max()) + 1 if len(groups) else 0)]
    for group, label in zip(groups.tolist(), labels.tolist(), strict=True):
        counts[group][label] = counts[group].get(label, 0) + 1
    return counts


def _place(members: list[dict[int, int]], order: list[int], shares: list[float]) -> list[int]:
    """Return the part of each group.

    First every part gets a group of every class. Then the other groups, large ones first, go into the part that misses
    most of their images.
    """
    holding: dict[int, list[int]] = {}
    for group in order:
        for label in members[group]:
            holding.setdefault(label, []).append(group)
    sizes = {label: sum(members[group][label] for group in having) for label, having in holding.items()}
    missing = [{label: share * size for label, size in sizes.items()} for share in shares]
    part_of = [-1] * len(members)
    left = {label: len(having) for label, having in holding.items()}
    has = [set[int]() for _ in shares]

    def put(group: int, part: int) -> None:
        part_of[group] = part
        for label, count in members[group].items():
            missing[part][label] -= count
            left[label] -= 1
            has[part].add(label)

    for part in range(len(shares)):
        for label in sorted(holding, key=lambda label: len(holding[label])):
            if label in has[part] or not left[label]:
                continue
            free = [group for group in holding[label] if part_of[group] < 0]
            wanted = missing[part][label] if part == 0 else 0
            put(min(free, key=lambda group: abs(members[group][label] - wanted)), part)
    for group in order:
        if part_of[group] < 0:
            needs = [sum(count * part[label] for label, count in members[group].items()) for part in missing]
            put(group, needs.index(max(needs)))
    return part_of
