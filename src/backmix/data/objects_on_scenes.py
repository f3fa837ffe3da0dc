"""Photographed objects on photographed scenes that correlate with the class: the idea of the embedded digits."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from backmix.data.images import ImageError
from backmix.data.source import ImageSource, check_position
from backmix.data.square import central_square
from backmix.errors import DataError

SIZES = (0.5, 0.8)
"""The smallest and the largest longer side of an object, as a share of the side of the picture."""
SMALLEST_CROP = 0.8
"""The side of the smallest square of a scene that is shown, as a share of the shorter side of the scene; the largest
share is 1."""
_NUMBERS = 9


class ObjectsOnScenes:
    """Objects that are cut out by their masks and laid over scenes which match the class at a chosen rate.

    An object of known class c (the c-th of `known`) stands on a scene of class c modulo the number of scene classes
    with probability `prior`, and otherwise on a scene of another scene class, each equally often. Objects of unknown
    classes stand on a scene of any class. The draw of scene, crop, mirroring, size and place for an image depends only
    on (seed, position), so another prior changes nothing in an image except its scene. With the prior
    1 / (number of scene classes), scene and class are independent.

    Sagawa et al. (ICLR 2020) made Waterbirds in this way, from two kinds of birds on two kinds of places.

    Args:
        objects: The images of objects, with masks. Images that have no usable mask or cannot be read are left out.
        scenes: The images of backgrounds, with classes. Images without a class are left out.
        known: The names of the classes that have a scene of their own, in this order.
        prior: The rate, in 0..1, at which a known object stands on the scene of its class.
        image_size: The side of the pictures in pixels, at least 16.
        seed: The seed of the draws.
        copies: The number of pictures of each object, each on a scene of its own.

    Attributes:
        classes: The names of the classes of the objects.
        labels: (N,) int64, the index of each picture's class in `classes`.
        scenes: (N,) int64, the class of the scene in each picture.

    Raises:
        DataError: If an option is out of range, a name is not a class, or the data has no masks or no scenes.
    """

    def __init__(
        self,
        objects: ImageSource,
        scenes: ImageSource,
        known: Sequence[str],
        *,
        prior: float,
        image_size: int = 64,
        seed: int = 0,
        copies: int = 1,
    ) -> None:
        if not 0 <= prior <= 1:
            raise DataError(f"prior is a rate and must be in 0..1; got {prior}")
        if image_size < 16 or copies < 1 or seed < 0:
            raise DataError(
                f"image_size is at least 16, copies at least 1 and seed at least 0; got {image_size}, {copies}, {seed}"
            )
        if strange := [name for name in known if name not in objects.classes]:
            raise DataError(f"the objects have no class {strange[0]!r}; they have {', '.join(objects.classes)}")
        self.image_size, self.prior, self.seed = image_size, prior, seed
        self.classes = list(objects.classes)
        self._objects, self._grounds = objects, scenes
        usable = torch.tensor([i for i in range(len(objects)) if _has_object(objects, i)], dtype=torch.int64)
        if not len(usable):
            raise DataError("none of the objects has a mask to cut it out by")
        self._positions = usable.repeat(copies)
        self.labels = objects.labels[self._positions]
        by_class = [(scenes.labels == number).nonzero()[:, 0] for number in range(len(scenes.classes))]
        self._scene_classes = [number for number, of in enumerate(by_class) if len(of)]
        if not self._scene_classes:
            raise DataError("the scenes have no images with a class")
        self._by_class = by_class
        self._draws = np.stack([np.random.default_rng([seed, i]).random(_NUMBERS) for i in range(len(self))])
        number = {name: place for place, name in enumerate(known)}
        self.scenes = self._choose([number.get(name, -1) for name in self.classes])

    def __len__(self) -> int:
        """Return the number of pictures: the usable objects times the copies."""
        return len(self._positions)

    def read(self, i: int) -> Image.Image:
        """See `ImageSource.read`."""
        return Image.fromarray(self._rendered[0][check_position(i, len(self))])

    def read_mask(self, i: int) -> Image.Image:
        """See `ImageSource.read_mask`."""
        return Image.fromarray(self._rendered[1][check_position(i, len(self))])

    def name(self, i: int) -> str:
        """See `ImageSource.name`."""
        scene = self._grounds.classes[int(self.scenes[check_position(i, len(self))])]
        return f"{self._objects.name(int(self._positions[i]))} on {scene} ({i})"

    def _choose(self, number_of: list[int]) -> Tensor:
        """Return the class of the scene of each picture."""
        kinds = np.array(self._scene_classes)
        own = np.array([number_of[label] if label >= 0 else -1 for label in self.labels.tolist()])
        keep, which = self._draws[:, 0], self._draws[:, 1]
        anything = np.floor(which * len(kinds)).astype(np.int64)
        other = (own + 1 + np.floor(which * max(1, len(kinds) - 1)).astype(np.int64)) % len(kinds)
        chosen = np.where(own < 0, anything, np.where(keep < self.prior, own % len(kinds), other))
        return torch.from_numpy(kinds[chosen])

    @cached_property
    def _rendered(self) -> tuple[np.ndarray, np.ndarray]:
        """The pictures (N, S, S, 3) and masks (N, S, S), uint8, which are made on first use and kept."""
        size = self.image_size
        pictures = np.empty((len(self), size, size, 3), np.uint8)
        masks = np.empty((len(self), size, size), np.uint8)
        cut: dict[int, tuple[Image.Image, Image.Image]] = {}
        for i, (position, scene) in enumerate(zip(self._positions.tolist(), self.scenes.tolist(), strict=True)):
            if position not in cut:
                cut[position] = _cut_out(self._objects, position)
            draws = self._draws[i]
            among = self._by_class[scene]
            ground = self._grounds.read(int(among[int(draws[2] * len(among))]))
            picture = _square_of(ground, size, draws[3], draws[4], draws[5])
            thing, mask = _fit(*cut[position], size, draws[6])
            left, top = (int(draw * (size - side + 1)) for draw, side in zip(draws[7:9], thing.size, strict=True))
            picture.paste(thing, (left, top), mask)
            whole = Image.new("L", (size, size))
            whole.paste(mask, (left, top))
            pictures[i] = np.asarray(picture)
            masks[i] = np.where(np.asarray(whole) > 127, 255, 0)
        return pictures, masks


def _has_object(objects: ImageSource, position: int) -> bool:
    try:
        mask = objects.read_mask(position)
        return mask is not None and mask.size == objects.read(position).size and bool((np.asarray(mask) > 128).any())
    except ImageError:
        return False


def _cut_out(objects: ImageSource, position: int) -> tuple[Image.Image, Image.Image]:
    """Return the part of an image that holds its object, and the mask of the object, 255 or 0."""
    mask = objects.read_mask(position)
    assert mask is not None  # Objects without a mask are left out.
    sharp = mask.point(lambda value: 255 if value > 128 else 0)
    box = sharp.getbbox()
    return objects.read(position).convert("RGB").crop(box), sharp.crop(box)


def _fit(thing: Image.Image, mask: Image.Image, size: int, draw: float) -> tuple[Image.Image, Image.Image]:
    """Resize an object and its mask to a drawn size; the resized mask has an edge about one pixel wide."""
    side = size * (SIZES[0] + draw * (SIZES[1] - SIZES[0]))
    scale = side / max(thing.size)
    new = (max(1, round(thing.width * scale)), max(1, round(thing.height * scale)))
    return thing.resize(new, Image.Resampling.BILINEAR), mask.resize(new, Image.Resampling.BILINEAR)


def _square_of(ground: Image.Image, size: int, share: float, place: float, mirror: float) -> Image.Image:
    """Return a square of a scene at a drawn place, of a drawn size."""
    side = round(min(ground.size) * (SMALLEST_CROP + (1 - SMALLEST_CROP) * share))
    left, top = (int(place * (length - side + 1)) for length in ground.size)
    picture = central_square(ground.convert("RGB").crop((left, top, left + side, top + side)), size)
    return picture.transpose(Image.Transpose.FLIP_LEFT_RIGHT) if mirror < 0.5 else picture.copy()
