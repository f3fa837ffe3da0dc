"""Find the copies of one photo that annotation tools make: flipped, turned, brighter, each a file of its own.

The files say from which photo they come: Roboflow writes NAME.rf.HASH.jpg, Augmentor CLASS_original_NAME_UUID.jpg.
"""

from __future__ import annotations

import re

import torch
from torch import Tensor

from backmix.data.folder import FolderSource
from backmix.data.near_duplicates import connected
from backmix.data.source import ImageSource

_PATTERNS = (
    re.compile(r"(?P<original>.+)\.rf\.[0-9A-Za-z_-]{8,}"),
    re.compile(r".+_original_(?P<original>.+)_[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}"),
)


def original_of(file_name: str) -> str | None:
    """Return the name of the photo that a file is a copy of, or None if the name says nothing of it."""
    stem = file_name.rpartition(".")[0]
    matches = (pattern.fullmatch(stem) for pattern in _PATTERNS)
    return next((match["original"] for match in matches if match), None)


def originals(source: ImageSource, positions: list[int]) -> list[tuple[str, str] | None]:
    """Return the class and the name of the photo that each image at some positions was made from; None if unknown."""
    if not isinstance(source, FolderSource):
        return [None] * len(positions)
    labels = source.labels.tolist()
    found = [(source.classes[labels[i]], original_of(source.path(i).name)) for i in positions]
    return [None if name is None else (label, name) for label, name in found]


def join_copies(source: ImageSource, positions: Tensor, groups: Tensor | None) -> tuple[Tensor | None, int]:
    """Put the copies of one photo into one group.

    Args:
        source: The images.
        positions: (N,) int64, the positions of the images.
        groups: (N,) int64, the group of each image by its look; None: every image is a group.

    Returns:
        (N,) int64, the groups, joined where images come from one photo, and the number of images that have such a copy.
        The groups come back as they are if there are no such copies.
    """
    first: dict[tuple[str, str], int] = {}
    pairs: list[tuple[int, int]] = []
    for row, original in enumerate(originals(source, positions.tolist())):
        if original is not None and first.setdefault(original, row) != row:
            pairs.append((first[original], row))
    if not pairs:
        return groups, 0
    links = torch.tensor(pairs)
    by_name = connected(links, len(positions))
    if groups is None:
        return by_name, len(links.unique())
    order = groups.argsort(stable=True)
    same = groups[order][1:] == groups[order][:-1]
    alike = torch.stack([order[:-1][same], order[1:][same]], 1)
    return connected(torch.cat([links, alike]), len(positions)), len(links.unique())
