"""The spread of logits of single places against a slow reference."""

import math

import pytest
import torch

from backmix.data.digits import DigitsOnTextures
from backmix.data.source import Subset
from backmix.methods.softmax import Softmax
from backmix.study.setting import TexturesAlone
from backmix.study.spread import logit_spread, place_spreads


def test_places_one_by_one():
    torch.manual_seed(0)
    head, features = Softmax(5, 3).requires_grad_(False), torch.randn(2, 5, 4, 3)
    found = place_spreads(head.logits, features)
    for image in range(2):
        for row in range(4):
            for column in range(3):
                logits = head.head.weight @ features[image, :, row, column] + head.head.bias
                assert float(found[image, row, column]) == pytest.approx(float(logits.max() - logits.mean()), rel=1e-5)


def test_logits_of_places_have_the_logits_of_the_image_as_their_mean():
    torch.manual_seed(0)
    head, features = Softmax(5, 3), torch.randn(2, 5, 4, 3)
    places = head.logits(features.permute(0, 2, 3, 1).reshape(-1, 5, 1, 1)).reshape(2, 12, 3)
    assert torch.allclose(places.mean(1), head.logits(features), atol=1e-5)


class Bright(torch.nn.Module):
    """A map of one channel: brightness of each place."""

    num_features = 1

    def forward(self, images):
        return torch.nn.functional.avg_pool2d(images.mean(1, keepdim=True), 4)


class White:
    """White squares on black."""

    def __init__(self, classes):
        self.classes, self.labels = list(classes), torch.zeros(6, dtype=torch.int64)

    def __len__(self):
        return 6

    def read(self, i):
        from PIL import Image

        picture = Image.new("RGB", (32, 32))
        picture.paste((255, 255, 255), (8, 8, 24, 24))
        return picture

    def read_mask(self, i):
        return self.read(i).convert("L")

    def name(self, i):
        return str(i)


def test_inside_and_outside(small_classifier):
    classifier = small_classifier
    classifier.network.backbone = Bright()
    classifier.network.method = Softmax(1, 6)
    with torch.no_grad():
        classifier.network.method.head.weight.copy_(torch.tensor([[1.0], [0], [0], [0], [0], [0]]))
        classifier.network.method.head.bias.zero_()
    inside, outside = logit_spread(classifier, White(classifier.classes))
    white, black = ((value - 0.5) / 0.25 for value in (1.0, 0.0))
    assert inside == pytest.approx(white * 5 / 6, rel=2e-2)
    assert outside == pytest.approx(-black / 6, rel=2e-2)


def test_without_objects_there_is_nothing_to_measure(small_classifier):
    alone = TexturesAlone("val")
    inside, outside = logit_spread(small_classifier, Subset(alone, range(40)))
    assert math.isnan(inside) and math.isnan(outside)
    digits = logit_spread(small_classifier, Subset(DigitsOnTextures("val"), range(40)))
    assert all(math.isfinite(value) and value > 0 for value in digits)
