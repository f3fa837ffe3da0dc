"""List all images of an audit: those of known classes, those of unknown classes, and scenes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum

import torch
from PIL import Image
from torch import Tensor

from backmix.audit.masks import Masks
from backmix.data.source import ImageSource

NO_CLASS = "(no class)"
MOST_SCENES = 100
"""The largest number of images of a scene class that are used; they only show which backgrounds a class leans on."""


class Role(IntEnum):
    """The role of an image in an audit."""

    known = 0
    unknown = 1
    scene = 2


@dataclass(frozen=True)
class Group:
    """Some images of one source that have the same role.

    Attributes:
        part: The role of the images.
        source: The source of the images.
        positions: (n,) int64, the positions of the images in the source.
        labels: (n,) int64, the class of each image, as an index into `classes`.
        classes: The names of the classes.
        masks: The masks of the objects. If None, the images are used whole.
    """

    part: Role
    source: ImageSource
    positions: Tensor
    labels: Tensor
    classes: list[str]
    masks: Masks | None

    def __len__(self) -> int:
        """Return the number of images."""
        return len(self.positions)


class Items:
    """The images of several groups, in the order of the groups.

    Args:
        groups: The groups, at most one for each role.

    Attributes:
        parts: (N,) int64, the `Role` of each image.
        labels: (N,) int64, the class of each image among the classes of its role.
    """

    def __init__(self, groups: Sequence[Group]) -> None:
        self.groups = list(groups)
        self.parts = torch.cat([torch.full((len(group),), int(group.part)) for group in groups])
        self.labels = torch.cat([group.labels for group in groups])
        self._starts = torch.tensor([0, *(len(group) for group in groups)]).cumsum(0).tolist()

    def __len__(self) -> int:
        """Return the number of images, N."""
        return len(self.labels)

    def classes(self, part: Role) -> list[str]:
        """Return the names of the classes of a role."""
        return next((group.classes for group in self.groups if group.part == part), [])

    def where(self, item: int) -> tuple[Group, int]:
        """Return the group of an image, and the position of the image in the source of that group."""
        place = next(p for p in range(len(self.groups)) if item < self._starts[p + 1])
        return self.groups[place], int(self.groups[place].positions[item - self._starts[place]])

    def read(self, item: int) -> Image.Image:
        """Decode an image.

        Raises:
            ImageError: If the image cannot be decoded.
        """
        group, position = self.where(item)
        return group.source.read(position)

    def name(self, item: int) -> str:
        """Return the path or other name of an image, as people read it."""
        group, position = self.where(item)
        return group.source.name(position)

    def class_of(self, item: int) -> str:
        """Return the name of the class of an image."""
        return self.where(item)[0].classes[int(self.labels[item])]


def scene_group(source: ImageSource) -> Group:
    """Return the scenes of a source: the first images of each class, at most `MOST_SCENES`.

    Images without a class form a class of their own.
    """
    labels = torch.where(source.labels < 0, len(source.classes), source.labels)
    kept = [(labels == number).nonzero()[:MOST_SCENES, 0] for number in range(len(source.classes) + 1)]
    positions = torch.cat(kept).sort().values
    return Group(Role.scene, source, positions, labels[positions], [*source.classes, NO_CLASS], None)
