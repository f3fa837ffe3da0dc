"""One trial of a protocol: which classes are known, which are unknown, and of which images they are."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from math import sqrt

from backmix.benchmark.named_data import DATA, expected_images
from backmix.errors import DataError


@dataclass(frozen=True)
class Part:
    """All images of some classes in one split of a data set.

    Attributes:
        data: name for `open_data`.
        split: one of its splits.
        classes: by their canonical names, in an order that counts only where it gives labels.

    Raises:
        DataError: no class, or one that comes twice.
    """

    data: str
    split: str
    classes: tuple[str, ...]

    def __post_init__(self) -> None:
        if not self.classes or len(set(self.classes)) != len(self.classes):
            raise DataError(f"a part has different classes, at least one; got {', '.join(self.classes) or 'none'}")

    @property
    def images(self) -> int:
        """Number of images there must be, see `expected_images`."""
        return expected_images(self.data, self.split, self.classes)


@dataclass(frozen=True)
class Trial:
    """One training and its tests.

    Attributes:
        protocol: name of the protocol.
        split_list: which of its lists; "" where it has no more than one.
        name: which trial of the list, "a" and on.
        train: known training images. The label of a class is its position in `train.classes`.
        known: known test images.
        unknown: unknown test images: name of the set -> images.
        image_size: side in pixels at which the protocol is run.
        notes: what has to be said beside a figure: trials that repeat others, classes that overlap.

    Raises:
        DataError: known classes that are not the same in training and test, or that are unknown as well.
    """

    protocol: str
    split_list: str
    name: str
    train: Part
    known: Part
    unknown: Mapping[str, Part]
    image_size: int
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.known.data != self.train.data or set(self.known.classes) != set(self.train.classes):
            raise DataError(f"trial {self.title} has other classes in its test than in training")
        for name, part in self.unknown.items():
            both = sorted(set(part.classes) & set(self.train.classes))
            if part.data == self.train.data and both:
                raise DataError(f"trial {self.title} has classes that are known and in {name!r} too: {', '.join(both)}")

    @property
    def title(self) -> str:
        """Protocol, list and trial in one, such as "cifar10/cssr/a"."""
        return "/".join(part for part in (self.protocol, self.split_list, self.name) if part)

    @property
    def train_images(self) -> int:
        """Number of training images there must be."""
        return self.train.images

    @property
    def fingerprint(self) -> str:
        """12 hexadecimal digits that two trials share if they are of the same images, known and unknown.

        The first ones of the SHA-256 of the data sets, splits and sorted class names. Neither the order of classes nor
        what trial and list are called changes it.
        """
        parts = {"train": self.train, "known": self.known, **{f"unknown {name}": p for name, p in self.unknown.items()}}
        content = {name: [part.data, part.split, sorted(part.classes)] for name, part in parts.items()}
        text = json.dumps(content, sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()[:12]

    @property
    def openness(self) -> float:
        """Openness of Scheirer et al. (2013), 1 - sqrt(2 K / (2 K + U)), for K known and U unknown classes.

        U counts the unknown classes of all sets.
        """
        known = len(self.train.classes)
        return 1 - sqrt(2 * known / (2 * known + self._unknown_classes()))

    @property
    def revised_openness(self) -> float:
        """Openness as CGDL and others have it, 1 - sqrt(K / (K + U)), with K and U as in `openness`."""
        known = len(self.train.classes)
        return 1 - sqrt(known / (known + self._unknown_classes()))

    def _unknown_classes(self) -> int:
        pooled = sum(DATA[part.data].pooled for part in self.unknown.values() if part.data in DATA)
        told_apart = {
            (part.data, name)
            for part in self.unknown.values()
            if part.data not in DATA or not DATA[part.data].pooled
            for name in part.classes
        }
        return pooled + len(told_apart)
