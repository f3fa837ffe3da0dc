"""A picture that shows how BackMix mixes some training images."""

from __future__ import annotations

from pathlib import Path

import torch
from matplotlib.figure import Figure
from torch import Tensor

from backmix.classifier import OpenSetClassifier
from backmix.data.loader import decode
from backmix.data.source import ImageSource
from backmix.errors import DataError
from backmix.files import write_atomically
from backmix.fit.fit_report import FitReport

ROWS = {
    "target": "the training image; its label stays",
    "donor": "another image of the batch",
    "evidence": "class activation map of the donor",
    "background": "donor, its foreground masked",
    "mixed": "target with a patch of that background",
}


def mixing_picture(
    classifier: OpenSetClassifier,
    source: ImageSource,
    report: FitReport,
    path: Path,
    *,
    columns: int = 8,
    seed: int = 0,
) -> None:
    """Draw the targets, the donors, their maps, their masked backgrounds and the mixed images of a trained run.

    Args:
        classifier: The trained classifier.
        source: The images that it was trained on.
        report: The report of the fit, which must have an augmentation.
        path: The PNG file to write.
        columns: The number of images to show.
        seed: The seed that chooses the images and the places of the patches.

    Raises:
        DataError: If the run was trained without BackMix.
    """
    mix = report.augmentation
    if mix is None:
        raise DataError("this run was trained without BackMix: there is nothing mixed to show")
    generator = torch.Generator().manual_seed(seed)
    labels = classifier.labels_for(source)
    index = torch.randperm(mix.bank.seen.shape[0], generator=generator)[:columns]
    decoded = decode(source, labels, classifier.preprocess, positions=report.split.train[index].tolist())
    images = classifier.preprocess.normalise(decoded.images)
    before, mix.generator = mix.generator, generator
    mix.cpu().train()
    draw = mix.draw(tuple(images.shape), labels=decoded.labels)
    masks = torch.zeros(len(images), *images.shape[2:], dtype=torch.bool)
    mixed = mix(images, index, labels=decoded.labels, masks=masks, draw=draw)
    donors = images[draw.donor]
    size = (images.shape[2], images.shape[3])
    foreground = mix.foreground_mask(index, size)[draw.donor]
    background = torch.where(foreground[:, None], torch.full_like(donors, mix.fill_value), donors)
    mix.generator = before
    figure = Figure(figsize=(1.25 * columns + 1.9, 1.25 * len(ROWS) + 0.35), dpi=110, layout="constrained")
    axes = figure.subplots(len(ROWS), columns, squeeze=False)
    maps = mix.bank.read(index)[draw.donor]
    for column in range(columns):
        pictures = [images[column], donors[column], donors[column], background[column], mixed[column]]
        for row, picture in enumerate(pictures):
            axis = axes[row, column]
            axis.imshow(_shown(picture, classifier).numpy(), interpolation="nearest")
            if row == 2:
                extent = (-0.5, size[1] - 0.5, size[0] - 0.5, -0.5)
                axis.imshow(
                    maps[column].numpy(),
                    cmap="inferno",
                    alpha=0.65,
                    vmin=0,
                    vmax=1,
                    extent=extent,
                    interpolation="bilinear",
                )
            axis.set_xticks([])
            axis.set_yticks([])
        axes[0, column].set_title(classifier.classes[int(decoded.labels[column])], fontsize=9)
        if mix.how == "patch":
            for number in range(mix.num_patches):
                corner = draw.paste[number, :, column].tolist()
                _outline(axes[4, column], corner[0], corner[1], draw.side, "#00d0ff")
                corner = draw.cut[number, :, column].tolist()
                _outline(axes[3, column], corner[0], corner[1], draw.side, "#00d0ff")
    for row, (name, meaning) in enumerate(ROWS.items()):
        words = meaning.split()
        half = (len(words) + 1) // 2
        text = f"{name}\n" + " ".join(words[:half]) + "\n" + " ".join(words[half:])
        axes[row, 0].set_ylabel(text, rotation=0, ha="right", va="center", fontsize=8, labelpad=6)
    kind = path.suffix.lstrip(".").lower() or "png"
    write_atomically(path, lambda temporary: figure.savefig(temporary, format=kind))


def _shown(image: Tensor, classifier: OpenSetClassifier) -> Tensor:
    """Undo the normalisation of an image: (3, H, W) -> (H, W, 3) in 0..1."""
    mean = torch.tensor(classifier.preprocess.mean)[:, None, None]
    std = torch.tensor(classifier.preprocess.std)[:, None, None]
    return (image * std + mean).clamp(0, 1).permute(1, 2, 0)


def _outline(axis: object, top: int, left: int, side: int, colour: str) -> None:
    from matplotlib.axes import Axes
    from matplotlib.patches import Rectangle

    assert isinstance(axis, Axes)
    axis.add_patch(Rectangle((left - 0.5, top - 0.5), side, side, fill=False, edgecolor=colour, linewidth=1.2))
