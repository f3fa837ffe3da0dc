"""The evidence map of every method finds the object: better than chance, better than the centre of the image."""

import pytest
import torch

from backmix.classifier import OpenSetClassifier
from backmix.data.digits import DigitsOnTextures
from backmix.data.loader import decode
from backmix.data.source import Subset
from backmix.fit import fit
from backmix.methods import METHODS
from backmix.mixing.bank import resize_map
from backmix.mixing.foreground import centre_cells, top_cells
from backmix.recipe import TrainOptions

GRID, CELLS = 8, 16  # What BackMix takes from a map by default: a quarter of 8x8 cells.


def overlap(cells, masks):
    """Mean intersection over union of foreground cells (B, g, g) with true masks (B, H, W)."""
    side = masks.shape[1] // cells.shape[1]
    pixels = cells.repeat_interleave(side, 1).repeat_interleave(side, 2)
    return float(((pixels & masks).flatten(1).sum(1) / (pixels | masks).flatten(1).sum(1)).mean())


def evidence_overlap(name):
    known = ["0", "1", "2", "3"]
    digits = DigitsOnTextures("train", prior=0.4, copies=2)
    some = Subset(digits, (digits.labels < 4).nonzero().flatten())
    classifier = OpenSetClassifier(known, model="compact-s", method=name, seed=1)
    options = TrainOptions(epochs=10, batch_size=64, lr=0.05, flip=0.0, ema=0.9)
    fit(classifier, some, options=options, augmentation="backmix", outliers="backgrounds")
    test = DigitsOnTextures("test", prior=0.4)
    labels = classifier.labels_for(test)
    shown = decode(test, labels, classifier.preprocess, positions=(labels >= 0).nonzero().flatten(), masks=True)
    with torch.no_grad():
        features = classifier.network.backbone(classifier.preprocess.normalise(shown.images))
        maps = resize_map(classifier.network.head.evidence(features, shown.labels), GRID)
    chance = torch.rand(maps.shape, generator=torch.Generator().manual_seed(0))
    centre = centre_cells(GRID, CELLS).expand(len(maps), -1, -1)
    cells = (top_cells(maps, CELLS), top_cells(chance, CELLS), centre)
    return tuple(overlap(each, shown.masks) for each in cells)


@pytest.mark.parametrize(
    "name", [name if name == "softmax" else pytest.param(name, marks=pytest.mark.slow) for name in METHODS]
)
def test_evidence_finds_the_object(name):
    evidence, chance, centre = evidence_overlap(name)
    assert evidence > chance + 0.05 and evidence > centre, (evidence, chance, centre)
