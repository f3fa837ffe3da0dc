"""Where a classifier sees a class: the method's own map, in batches of any size."""

import pytest
import torch

from backmix import OpenSetClassifier
from backmix.inference.evidence import evidence_maps
from backmix.mixing import class_activation_map


@pytest.fixture(scope="module")
def classifier():
    return OpenSetClassifier(["a", "b", "c"], model="compact-s", precision="fp32")


def test_is_the_class_activation_map(classifier):
    images = torch.randint(256, (5, 3, 32, 32), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    classes = torch.tensor([0, 1, 2, 1, 0])
    network = classifier.network.eval()
    with torch.no_grad():
        features = network.backbone(classifier.preprocess.normalise(images))
        expected = class_activation_map(features, network.head.head.weight, classes)
        likeliest = network.head.logits(features).argmax(1)
    maps = evidence_maps(classifier, images, classes, batch_size=2)
    assert maps.shape == expected.shape and torch.allclose(maps, expected, atol=1e-5)
    assert torch.allclose(evidence_maps(classifier, images), evidence_maps(classifier, images, likeliest))
    assert float(maps.min()) >= 0 and float(maps.max()) <= 1


def test_what_does_not_fit_is_refused(classifier):
    images = torch.zeros(2, 3, 32, 32, dtype=torch.uint8)
    assert len(evidence_maps(classifier, images[:0])) == 0
    with pytest.raises(ValueError, match=r"images must be \(N, 3, 32, 32\) uint8"):
        evidence_maps(classifier, images.float())
    with pytest.raises(ValueError, match=r"one class an image; got \(3,\) for 2"):
        evidence_maps(classifier, images, torch.zeros(3, dtype=torch.int64))
