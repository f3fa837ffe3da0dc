"""Everything an audit looks at in one list: images of known classes, of unknown ones, and scenes."""

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
"""Images of a scene class that are looked at; they only tell what a class leans on."""


class Role(IntEnum):
    """What an image is in an audit."""

    known = 0
    unknown = 1
    scene = 2


@dataclass(frozen=True)
class Group:
    """Some images of one source that play one part.

    Attributes:
        part: which.
        source: where they are.
        positions: (n,) int64 which of its images.
        labels: (n,) int64 into `classes`.
        classes: names of their classes.
        masks: where their objects are; None: they are looked at whole.
    """

    part: Role
    source: ImageSource
    positions: Tensor
    labels: Tensor
    classes: list[str]
    masks: Masks | None

    def __len__(self) -> int:
        """Number of images."""
        return len(self.positions)


class Items:
    """The images of some groups, one after the other.

    Args:
        groups: at most one for each part.

    Attributes:
        parts: (N,) int64 `Role` of each image.
        labels: (N,) int64 class among those of its part.
    """

    def __init__(self, groups: Sequence[Group]) -> None:
        self.groups = list(groups)
        self.parts = torch.cat([torch.full((len(group),), int(group.part)) for group in groups])
        self.labels = torch.cat([group.labels for group in groups])
        self._starts = torch.tensor([0, *(len(group) for group in groups)]).cumsum(0).tolist()

    def __len__(self) -> int:
        """Number of images, N."""
        return len(self.labels)

    def classes(self, part: Role) -> list[str]:
        """Names of the classes of a part."""
        return next((group.classes for group in self.groups if group.part == part), [])

    def where(self, item: int) -> tuple[Group, int]:
        """The group of an image, and its position in the group's source."""
        place = next(p for p in range(len(self.groups)) if item < self._starts[p + 1])
        return self.groups[place], int(self.groups[place].positions[item - self._starts[place]])

    def read(self, item: int) -> Image.Image:
        """Decode an image.

        Raises:
            ImageError: when it cannot be decoded.
        """
        group, position = self.where(item)
        return group.source.read(position)

    def name(self, item: int) -> str:
        """Path or other name of an image, for people."""
        group, position = self.where(item)
        return group.source.name(position)

    def class_of(self, item: int) -> str:
        """Name of an image's class."""
        return self.where(item)[0].classes[int(self.labels[item])]


def scene_group(source: ImageSource) -> Group:
    """The scenes of a source: at most `MOST_SCENES` of each class, the first ones; images without a class are one."""
    labels = torch.where(source.labels < 0, len(source.classes), source.labels)
    kept = [(labels == number).nonzero()[:MOST_SCENES, 0] for number in range(len(source.classes) + 1)]
    positions = torch.cat(kept).sort().values
    return Group(Role.scene, source, positions, labels[positions], [*source.classes, NO_CLASS], None)
