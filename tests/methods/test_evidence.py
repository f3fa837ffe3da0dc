"""The foreground bank, fed with the evidence of any method, finds the object: better than chance and the centre."""

import pytest
import torch

from backmix.classifier import OpenSetClassifier
from backmix.data.digits import DigitsOnTextures
from backmix.data.loader import decode
from backmix.data.source import Subset
from backmix.fit.training import fit
from backmix.methods import METHODS
from backmix.mixing.foreground import centre_cells, top_cells
from backmix.train.recipe import TrainOptions

TRAINED = [pytest.param(name, marks=pytest.mark.slow) for name, method in METHODS.items() if not method.learns_at_once]
GRID, CELLS = 8, 16  # What BackMix takes from a map by default: a quarter of 8x8 cells.


def overlap(cells, masks):
    """Mean intersection over union of foreground cells (B, g, g) with true masks (B, H, W)."""
    side = masks.shape[1] // cells.shape[1]
    pixels = cells.repeat_interleave(side, 1).repeat_interleave(side, 2)
    return float(((pixels & masks).flatten(1).sum(1) / (pixels | masks).flatten(1).sum(1)).mean())


def overlaps(name, epochs):
    digits = DigitsOnTextures("train", prior=0.4, contrast=0.42, copies=2)
    some = Subset(digits, (digits.labels < 4).nonzero().flatten())
    # Two stages: feature maps of 8x8 cells, as the wide residual network of the paper has.
    fine = {"widths": (32, 128)}
    classifier = OpenSetClassifier(["0", "1", "2", "3"], model="compact", model_options=fine, method=name, seed=1)
    options = TrainOptions(epochs=epochs, batch_size=64, lr=0.003, optimizer="adamw", flip=0.0, ema=0.9)
    report = fit(classifier, some, options=options, augmentation="backmix", outliers="backgrounds")
    train = decode(some, some.labels, classifier.preprocess, positions=report.split.train.tolist(), masks=True)
    bank = report.augmentation.bank
    maps, masks = bank.maps[bank.seen], train.masks[bank.seen]
    chance = torch.rand(maps.shape, generator=torch.Generator().manual_seed(0))
    centre = centre_cells(GRID, CELLS).expand(len(maps), -1, -1)
    return tuple(overlap(cells, masks) for cells in (top_cells(maps, CELLS), top_cells(chance, CELLS), centre))


@pytest.mark.timeout(1200)
@pytest.mark.parametrize("name", TRAINED)
def test_evidence_finds_the_object(name):
    evidence, chance, centre = overlaps(name, epochs=60 if name == "conosr" else 30)
    assert evidence > 2 * chance and evidence > centre, (evidence, chance, centre)
