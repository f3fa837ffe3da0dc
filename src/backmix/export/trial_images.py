"""Images on which an exported file is compared with PyTorch."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from backmix.classifier import OpenSetClassifier
from backmix.data.loader import decode
from backmix.data.textures import NUM_PARAMETERS, PATTERNS, draw_textures
from backmix.errors import DataError, RunError, in_one_line
from backmix.runs.held_out import open_share, read_shares

LIMIT = 64
MADE = 16


@dataclass(frozen=True)
class TrialImages:
    """The images on which a file is compared with PyTorch.

    Attributes:
        images: (N, 3, S, S), the images.
        names: The N names, of files or such as "made image 3".
        own: The number of images that the run held out.
        reason: The reason why there are no held-out images; None if there are some.
    """

    images: npt.NDArray[np.uint8]
    names: list[str]
    own: int
    reason: str | None


def trial_images(
    classifier: OpenSetClassifier, run: Path, *, moved: str | None = None, workers: int = 2
) -> TrialImages:
    """Return up to 64 images that the run held out, evenly spread over all of them, and 16 generated images.

    Args:
        classifier: The classifier of the run.
        run: The run folder.
        moved: Where the data of the run lies now; None: where it lay when the run was trained.
        workers: The number of threads that decode images.
    """
    made = made_images(classifier.preprocess.image_size)
    names = [f"made image {number}" for number in range(len(made))]
    try:
        own, own_names = _held_out(classifier, run, moved, workers)
    except (DataError, RunError) as error:
        return TrialImages(made, names, 0, in_one_line(error))
    return TrialImages(np.concatenate([own, made]), own_names + names, len(own), None)


def made_images(size: int) -> npt.NDArray[np.uint8]:
    """Return (16, 3, size, size) images, always the same: ten textures, noise, black, white, and half black and white.

    Args:
        size: The side of the images in pixels.
    """
    random = np.random.default_rng(0)
    kinds = np.arange(len(PATTERNS))
    textures = draw_textures(kinds, random.random((len(kinds), NUM_PARAMETERS)), size)[0]
    painted = (255 * textures.clip(0, 1)).round().astype(np.uint8).transpose(0, 3, 1, 2)
    noise = random.integers(0, 256, (MADE - len(kinds) - 3, 3, size, size), dtype=np.uint8)
    flat = np.stack([np.full((3, size, size), value, np.uint8) for value in (0, 255, 0)])
    flat[2, :, :, size // 2 :] = 255
    return np.ascontiguousarray(np.concatenate([painted, noise, flat]))


def _held_out(
    classifier: OpenSetClassifier, run: Path, moved: str | None, workers: int
) -> tuple[npt.NDArray[np.uint8], list[str]]:
    shares = read_shares(run, moved)
    source = open_share(shares, shares.test)
    if not len(source):
        source = open_share(shares, shares.calibration)
    positions = torch.linspace(0, len(source) - 1, min(LIMIT, len(source)), dtype=torch.float64).round().long()
    labels = classifier.labels_for(source)
    decoded = decode(source, labels, classifier.preprocess, positions=positions.tolist(), workers=workers)
    if not len(decoded.images):
        raise DataError("none of the images that the run held out can be read")
    return decoded.images.numpy(), [source.name(int(position)) for position in decoded.positions]
