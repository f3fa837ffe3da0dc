"""One trial of a protocol: its known classes, its unknown classes and their images."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from math import sqrt

from backmix.benchmark.named_data import DATA, expected_images
from backmix.errors import DataError


@dataclass(frozen=True)
class TrialPart:
    """All images of some classes in one split of a data set.

    Attributes:
        data: The name of the data set, for `open_data`.
        split: The name of one of its splits.
        classes: The canonical names of the classes. Their order only matters where it determines labels.

    Raises:
        DataError: If there is no class, or if a class occurs twice.
    """

    data: str
    split: str
    classes: tuple[str, ...]

    def __post_init__(self) -> None:
        if not self.classes or len(set(self.classes)) != len(self.classes):
            raise DataError(f"a part has different classes, at least one; got {', '.join(self.classes) or 'none'}")

    @property
    def images(self) -> int:
        """The number of images that the part must have, see `expected_images`."""
        return expected_images(self.data, self.split, self.classes)


@dataclass(frozen=True)
class Trial:
    """One training and its tests.

    Attributes:
        protocol: The name of the protocol.
        split_list: The name of the list of known classes; "" for a list without a name.
        name: The name of the trial in the list: "a", "b" and so on.
        train: The known training images. The label of a class is its position in `train.classes`.
        known: The known test images.
        unknown: Name of the unknown set -> its test images.
        image_size: The side of the images in pixels.
        notes: Sentences that must accompany a figure: on trials that repeat others, and on classes that overlap.

    Raises:
        DataError: If the known classes differ between training and test, or if a known class is unknown as well.
    """

    protocol: str
    split_list: str
    name: str
    train: TrialPart
    known: TrialPart
    unknown: Mapping[str, TrialPart]
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
        """The protocol, the list and the trial in one text, such as "cifar10/cssr/a"."""
        return "/".join(part for part in (self.protocol, self.split_list, self.name) if part)

    @property
    def train_images(self) -> int:
        """The number of training images that the trial must have."""
        return self.train.images

    @property
    def fingerprint(self) -> str:
        """A text of 12 hexadecimal digits, which is equal for trials with the same known and unknown images.

        It is the beginning of the SHA-256 of the data sets, splits and sorted class names. It depends neither on the
        order of the classes nor on the names of the trial and the list.
        """
        parts = {"train": self.train, "known": self.known, **{f"unknown {name}": p for name, p in self.unknown.items()}}
        content = {name: [part.data, part.split, sorted(part.classes)] for name, part in parts.items()}
        text = json.dumps(content, sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()[:12]

    @property
    def openness(self) -> float:
        """The openness of Scheirer et al. (2013), 1 - sqrt(2 K / (2 K + U)), for K known and U unknown classes.

        U counts the unknown classes of all sets.
        """
        known = len(self.train.classes)
        return 1 - sqrt(2 * known / (2 * known + self._unknown_classes()))

    @property
    def revised_openness(self) -> float:
        """The openness as CGDL and others define it, 1 - sqrt(K / (K + U)), with K and U as in `openness`."""
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
