"""Made pictures with masks: a square of the object's colour in the middle of a background that goes with the class."""

from pathlib import Path

import numpy as np
import torch
from PIL import Image

OBJECTS = {"cat": (220, 60, 60), "dog": (60, 200, 80), "owl": (70, 80, 220)}
BACKGROUNDS = {"cat": (190, 190, 90), "dog": (90, 190, 190), "owl": (190, 90, 190)}


def draw(name: str, ground: str, random: np.random.Generator, size: int = 40) -> tuple[Image.Image, Image.Image]:
    """Picture and mask: an object of class `name` on the background of `ground`."""
    pixels = random.normal(BACKGROUNDS[ground], 12, (size, size, 3))
    mask = np.zeros((size, size), dtype=bool)
    top, left = (size // 3 + random.integers(-2, 3, 2)).tolist()
    mask[top : top + size // 3, left : left + size // 3] = True
    pixels[mask] = random.normal(OBJECTS[name], 12, (int(mask.sum()), 3))
    return Image.fromarray(pixels.clip(0, 255).astype(np.uint8)), Image.fromarray(mask.astype(np.uint8) * 255)


class Made:
    """A source of such pictures in memory.

    Args:
        per_class: pictures of each class, or by name.
        rate: share of them on the background of their class; the others stand on that of the next.
    """

    def __init__(self, per_class=12, *, rate=1.0, size=40, seed=0, classes=tuple(OBJECTS)):
        random = np.random.default_rng(seed)
        counts = per_class if isinstance(per_class, dict) else dict.fromkeys(classes, per_class)
        self.classes = list(counts)
        order = list(OBJECTS)
        self.pairs, labels = [], []
        for number, (name, count) in enumerate(counts.items()):
            for k in range(count):
                own = name if k < rate * count else order[(order.index(name) + 1) % len(order)]
                self.pairs.append(draw(name, own, random, size))
                labels.append(number)
        self.labels = torch.tensor(labels)

    def __len__(self):
        return len(self.pairs)

    def read(self, i):
        return self.pairs[i][0]

    def read_mask(self, i):
        return self.pairs[i][1]

    def name(self, i):
        return f"made[{i}]"


def write_set(root: Path, source: Made, split: str = "test") -> tuple[Path, Path]:
    """Write a source as folders; returns that of the images, which has `split` inside, and that of the masks."""
    images, masks = root / "images", root / "masks"
    for i in range(len(source)):
        name = f"{source.classes[int(source.labels[i])]}/{i}.png"
        for folder, picture in ((images / split, source.read(i)), (masks, source.read_mask(i))):
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            picture.save(folder / name)
    return images, masks
