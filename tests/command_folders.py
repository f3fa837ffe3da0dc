"""Options and pictures that tests of several commands share."""

import os

import numpy as np
from PIL import Image

from backmix.fit.arguments import FitArguments


def small(data, **options):
    defaults = {"model": "compact-s", "image_size": 32, "epochs": 1, "batch_size": 8, "lr": 0.05}
    return FitArguments(str(data), **{**defaults, **options})


def colour(path, value, size=(40, 40), **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    # Each picture has noise of its own, wherever the folder of the tests lies.
    random = np.random.default_rng(list(os.fsencode(os.path.join(*path.parts[-3:]))))
    pixels = (random.normal(0, 20, (size[1], size[0], 3)) + np.array(value)).clip(0, 255).astype(np.uint8)
    Image.fromarray(pixels).save(path, **options)
