"""Draw the pictures of the docs that show rows of images: answers, digits on two textures, the steps of BackMix."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import torch
from matplotlib.patches import Rectangle
from picture_style import KNOWN, UNKNOWN, new_figure, save, show_image
from torch import Tensor

from backmix import BackMix, OpenSetClassifier
from backmix.data.digits import DigitsOnTextures
from backmix.data.preprocess import Preprocess

COLUMNS = 5


def answers_picture(classifier: OpenSetClassifier, test: DigitsOnTextures, path: Path) -> None:
    """Draw the first test images of known and of unknown digits, with the answers without and with a threshold."""
    known = test.labels < len(test.known)
    figure = new_figure(3.7)
    parts = figure.subfigures(2, 1)
    rows = (("Digits 0 to 5 were in the training set", known), ("Digits 6 to 9 were not", ~known))
    for part, (title, chosen) in zip(parts, rows, strict=True):
        part.suptitle(title, fontsize=11, weight="bold")
        legend, *axes = part.subplots(1, COLUMNS + 1, width_ratios=(0.4, *(1,) * COLUMNS))
        show_image(legend, torch.ones(5, 2, 3))
        legend.set_title("must\nsay", fontsize=10)
        legend.set_xlabel("may\nsay", fontsize=10)
        images = test.arrays().images[chosen][:COLUMNS]
        for axis, image, answer in zip(axes, images, classifier.predict(images), strict=True):
            show_image(axis, image.permute(1, 2, 0))
            axis.set_title(answer.top[0][0], fontsize=12)
            refused = answer.label == "unknown"
            size = 10 if refused else 12
            axis.set_xlabel(answer.label, color=UNKNOWN if refused else KNOWN, fontsize=size, weight="bold")
    save(figure, path)


def pairs_picture(classifier: OpenSetClassifier, own: DigitsOnTextures, other: DigitsOnTextures, path: Path) -> None:
    """Draw the first digits that are recognised on the texture of their class, there and on another texture."""
    kept = own.labels < len(own.known)
    labels = [classifier.classes[k] for k in own.labels[kept].tolist()]
    pictures = [source.arrays().images[kept] for source in (own, other)]
    answers = [[answer.top[0][0] for answer in classifier.predict(images)] for images in pictures]
    right = [i for i, label in enumerate(labels) if answers[0][i] == label][:COLUMNS]
    figure = new_figure(2.95)
    parts = figure.subfigures(2, 1)
    titles = ("Known digits on their own texture", "The same on another texture")
    for part, title, images, given in zip(parts, titles, pictures, answers, strict=True):
        share = sum(answer == label for answer, label in zip(given, labels, strict=True)) / len(labels)
        part.suptitle(f"{title}: {share:.0%} right", fontsize=11, weight="bold")
        for axis, i in zip(part.subplots(1, COLUMNS), right, strict=True):
            show_image(axis, images[i].permute(1, 2, 0))
            good = given[i] == labels[i]
            mark = "✓" if good else "✗"
            axis.set_xlabel(f"{given[i]} {mark}", color=KNOWN if good else UNKNOWN, fontsize=12, weight="bold")
    save(figure, path)


def steps_picture(
    mix: BackMix, preprocess: Preprocess, images: Tensor, index: Tensor, path: Path, *, seed: int = 9
) -> None:
    """Draw target, donor, the donor's map, its masked background and the mixed image, for some training images."""
    inputs = preprocess.normalise(images)
    mix.cpu().train()
    before, mix.generator = mix.generator, torch.Generator().manual_seed(seed)
    draw = mix.draw(tuple(inputs.shape))
    draw = replace(draw, donor=torch.arange(len(index)).roll(-1))  # The donor of a row is the next image.
    size = (images.shape[2], images.shape[3])
    mixed = mix(inputs, index, draw=draw)
    foreground, maps = mix.foreground_mask(index, size)[draw.donor], mix.bank.read(index)[draw.donor]
    mix.generator = before
    donors = inputs[draw.donor]
    masked = torch.where(foreground[:, None], torch.full_like(donors, mix.fill_value), donors)
    titles = ("target", "donor", "donor’s\nmap", "its object\nmasked", "target\nmixed")
    figure = new_figure(0.91 * len(index) + 0.4)
    axes = figure.subplots(len(index), len(titles), squeeze=False)
    mean, std = (torch.tensor(value)[:, None, None] for value in (preprocess.mean, preprocess.std))
    for row in range(len(index)):
        pictures = {0: inputs[row], 1: donors[row], 3: masked[row], 4: mixed[row]}
        for column, picture in pictures.items():
            show_image(axes[row, column], (picture * std + mean).clamp(0, 1).permute(1, 2, 0))
        show_image(axes[row, 2], maps[row])
        for axis, corners in ((axes[row, 3], draw.cut), (axes[row, 4], draw.paste)):
            top, left = corners[0, :, row].tolist()
            for colour, width in (("white", 3.2), ("black", 1.4)):  # Two colours are visible on any texture.
                axis.add_patch(
                    Rectangle(
                        (left - 0.5, top - 0.5), draw.side, draw.side, fill=False, edgecolor=colour, linewidth=width
                    )
                )
    for axis, title in zip(axes[0], titles, strict=True):
        axis.set_title(title, fontsize=10, weight="bold")
    save(figure, path)
