"""Objects with masks, and scenes, as data sets made in memory."""

import torch
from PIL import Image

from backmix.data.images import ImageError

COLOURS = {"red": (220, 20, 20), "blue": (20, 20, 220), "white": (250, 250, 250)}
SCENES = {"wood": (20, 120, 20), "sand": (200, 180, 60)}


class Objects:
    """Squares of the colour of their class on black, with masks; some of them at fault."""

    def __init__(self, each=20, faults=()):
        self.classes = list(COLOURS)
        self.labels = torch.arange(len(COLOURS)).repeat_interleave(each)
        self.faults = dict(faults)

    def __len__(self):
        return len(self.labels)

    def read(self, i):
        if self.faults.get(i) == "unreadable":
            raise ImageError(str(i), "made to fail")
        picture = Image.new("RGB", (60, 40))
        picture.paste(COLOURS[self.classes[int(self.labels[i])]], (20, 10, 44, 28))
        return picture

    def read_mask(self, i):
        fault = self.faults.get(i)
        if fault == "none":
            return None
        mask = Image.new("L", (61, 40) if fault == "size" else (60, 40), 128 if fault == "unlabelled" else 0)
        if fault not in ("empty", "unlabelled"):
            mask.paste(255, (20, 10, 44, 28))
        return mask

    def name(self, i):
        return f"object {i}"


class Scenes:
    """Plain colours; the last has no class."""

    def __init__(self, each=5):
        self.classes = list(SCENES)
        self.labels = torch.tensor([*torch.arange(len(SCENES)).repeat_interleave(each).tolist(), -1])

    def __len__(self):
        return len(self.labels)

    def read(self, i):
        label = int(self.labels[i])
        return Image.new("RGB", (50, 70), (255, 0, 255) if label < 0 else list(SCENES.values())[label])

    def read_mask(self, i):
        return None

    def name(self, i):
        return f"scene {i}"
