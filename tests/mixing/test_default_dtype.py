"""Another default dtype of the program changes nothing: the same draws, maps and losses."""

import pytest
import torch
from torch import nn

from backmix.augmentations import AUGMENTATIONS, make_augmentation
from backmix.data.digits import DigitsOnTextures
from backmix.data.preprocess import Preprocess
from backmix.fit.training import fit
from backmix.inference.decider import Decider
from backmix.methods import METHODS, TrainingBatch
from backmix.methods.network import create_network
from backmix.mixing import BackMix, FlipCrop, class_activation_map
from backmix.mixing.default_dtype import in_float32
from backmix.train.recipe import TrainOptions

DTYPES = [torch.float64, torch.float16, torch.bfloat16]


@pytest.fixture
def default():
    yield torch.set_default_dtype
    torch.set_default_dtype(torch.float32)


def mix_twice(name, options, labels):
    """What an augmentation makes of float32 images, and its bank."""
    generator = torch.Generator().manual_seed(0)
    images = torch.randn(8, 3, 33, 32, generator=generator, dtype=torch.float32)
    maps = torch.rand(8, 4, 4, generator=generator, dtype=torch.float32)
    chain = make_augmentation(name, 8, Preprocess(32), options)
    chain.set_generator(generator)
    crop = FlipCrop(3, zoom=0.2, generator=generator)
    masks = images.mean(1) > 0
    for _ in range(2):
        mixed = chain.before_crop(images, torch.arange(8), labels=labels, masks=masks, view=None)
        shown, after = crop(mixed)
        if chain.backmix is not None:
            chain.backmix.update(torch.arange(8), maps, after=after)
    return shown, after.boxes, chain.backmix and chain.backmix.bank.maps


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("backmix", {}),
        ("backmix", {"selection": "random", "fill": "noise", "donor": "other"}),
        ("backmix", {"bank_dtype": "uint8", "probability": 0.5, "fill": "mean"}),
        ("backmix", {"foreground": "random"}),
        ("swap", {"foreground": "masks"}),
        *((name, {}) for name in AUGMENTATIONS if name != "mixstyle"),
    ],
)
def test_images_are_mixed_alike(default, dtype, name, options):
    labels = torch.arange(8) % 3
    expected = mix_twice(name, options, labels)
    default(dtype)
    for found, wanted in zip(mix_twice(name, options, labels), expected, strict=True):
        assert found is wanted or (found.dtype == wanted.dtype and torch.equal(found, wanted))


@pytest.mark.parametrize("name", [name for name, method in METHODS.items() if not method.learns_at_once])
def test_losses_in_a_program_of_float64(default, name):
    default(torch.float64)
    torch.manual_seed(0)
    network = create_network("compact-s", name, 3, image_size=32, model_options={"width": 0.25})
    images, labels = torch.randn(6, 3, 32, 32), torch.arange(6) % 3
    more = {"outliers": torch.randn(6, 3, 32, 32)} if network.head.uses_outliers else {}
    shown = torch.cat([images] * network.head.views)
    features, loss = network.head.training_loss(network.backbone, TrainingBatch(shown, labels, **more))
    loss.backward()
    assert loss.isfinite() and features.dtype == torch.float64
    assert network.head.logits(features).isfinite().all()
    assert network.head.evidence(features, labels).isfinite().all()


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_a_loop_in_another_dtype(default, dtype):
    default(dtype)
    mix, network, head = BackMix(8), nn.Conv2d(3, 8, 3, stride=4), nn.Linear(8, 4)
    labels, index = torch.arange(8) % 4, torch.arange(8)
    for _ in range(2):
        mixed = mix(torch.randn(8, 3, 32, 32), index)
        features = network(mixed)
        loss = nn.functional.cross_entropy(head(features.mean((2, 3))), labels)
        loss.backward()
        mix.update(index, class_activation_map(features, head.weight, labels))
    assert mixed.dtype == dtype and loss.isfinite() and mix.mixed.any()


@pytest.mark.parametrize("dtype", [torch.float64, torch.float16], ids=str)
def test_a_classifier_is_trained_and_answers_alike(default, dtype):
    data = DigitsOnTextures("val")

    def answers():
        classifier = Decider(list(data.known)[:2], model="compact-s", precision="fp32", model_options={"width": 0.25})
        fit(classifier, data, options=TrainOptions(epochs=1, precision="fp32"), augmentation="backmix", workers=1)
        return classifier.evaluate(data, detectors=["max_logit", "msp"], workers=1)

    expected = answers()
    default(dtype)
    assert answers() == expected
    assert torch.get_default_dtype() == dtype


def test_the_default_comes_back_after_an_error(default):
    @in_float32
    def fail():
        assert torch.zeros(1).dtype == torch.float32
        raise ValueError("failed")

    default(torch.float64)
    with pytest.raises(ValueError, match="failed"):
        fail()
    assert torch.get_default_dtype() == torch.float64
