"""Recipes against the papers' tables, number by number, and what they come to for a trial."""

import json
from dataclasses import asdict, fields

import pytest
import torch

from backmix.augmentations import make_augmentation
from backmix.benchmark.recipes import RECIPES, find_recipe
from backmix.classifier import OpenSetClassifier
from backmix.data.digits import DigitsOnTextures
from backmix.data.preprocess import Preprocess
from backmix.fit.auto_options import auto_options
from backmix.fit.training import fit
from backmix.models import BACKBONES
from backmix.train.recipe import TrainOptions, make_schedule

TRAINED = [name for name, recipe in RECIPES.items() if not recipe.frozen]
CIFAR_MEAN, CIFAR_STD = (0.4914, 0.4822, 0.4465), (0.2023, 0.1994, 0.2010)


def setting(recipe, data="cifar10", image_size=32, images=28_500, **more):
    return find_recipe(recipe).for_trial(data=data, image_size=image_size, images=images, **more)


def changed(options, *also):
    """Options that are not the default, but for those of every training."""
    usual = TrainOptions()
    every = ("epochs", "batch_size", "seed", "precision", *also)
    return {
        field.name: getattr(options, field.name)
        for field in fields(options)
        if field.name not in every and getattr(options, field.name) != getattr(usual, field.name)
    }


def test_names_and_texts():
    assert list(RECIPES) == [*TRAINED, "frozen"] == ["paper", "closed-set", "fast", "cpu", "frozen"]
    for name, recipe in RECIPES.items():
        assert recipe.name == name and find_recipe(name) is recipe
        assert recipe.description.endswith(".") and recipe.source
    with pytest.raises(ValueError, match="no recipe 'slow'; there are paper, closed-set, fast, cpu, frozen"):
        find_recipe("slow")


def rates(options, epochs):
    """The rate in the middle of each epoch."""
    schedule = make_schedule(options)
    return [options.lr * schedule((epoch + 0.5) / epochs) for epoch in range(epochs)]


@pytest.mark.parametrize("data", ["cifar10", "svhn", "mnist"])
def test_paper_at_32_px(data):
    """CSSR: WRN-40-4, SGD 0.4 without momentum, decay 5e-4, 200 epochs of batch 128, a tenth at 120 and 190."""
    found = setting("paper", data)
    assert (found.model, found.image_size) == ("wrn-40-4", 32)
    assert (found.options.epochs, found.options.batch_size) == (200, 128)
    assert changed(found.options) == {
        "lr": 0.4,
        "momentum": 0.0,
        "nesterov": False,
        "decay_all": True,
        "schedule": "step",
        "warmup": 0.0,
        "ema": 0.0,
        "padding": "zeros",
    }
    assert (found.options.optimizer, found.options.weight_decay) == ("sgd", 5e-4)
    assert (found.options.pad, found.options.flip) == (0.125, 0.5)
    assert rates(found.options, 200) == pytest.approx([0.4] * 120 + [0.04] * 70 + [0.004] * 10)
    assert (found.mean, found.std) == ((0.5, 0.5, 0.5), (0.25, 0.25, 0.25))
    assert (found.augmentation, found.augmentation_options) == ("none", {})
    assert found.method_options == {"bias": False}


def test_paper_at_64_px():
    """CSSR: ResNet-18, 235 epochs, a tenth at 150 and 225, one epoch of warm-up; the rest as at 32 px."""
    found, small = setting("paper", "tiny-imagenet", 64, 9500), setting("paper")
    assert (found.model, found.image_size) == ("resnet18-small", 64)
    assert (found.options.epochs, found.options.batch_size) == (235, 128)
    assert changed(found.options, "warmup", "milestones") == changed(small.options, "warmup", "milestones")
    assert rates(found.options, 235) == pytest.approx([0.2] + [0.4] * 149 + [0.04] * 75 + [0.004] * 10)
    assert (found.mean, found.std, found.method_options) == (small.mean, small.std, small.method_options)


def test_paper_says_nothing_of_large_images():
    with pytest.raises(ValueError, match="recipe paper does not say how to train on cub at 448 px; .*32 px.*64 px"):
        setting("paper", "cub", 448)


CLOSED_SET = [
    # data, size, lr, N, M, label smoothing, batch
    ("mnist", 32, 0.1, 1, 8, 0.0, 128),
    ("svhn", 32, 0.1, 1, 18, 0.0, 128),
    ("cifar10", 32, 0.1, 1, 6, 0.0, 128),
    ("tiny-imagenet", 64, 0.01, 1, 9, 0.9, 128),
    ("cub", 448, 0.001, 2, 30, 0.3, 32),
    ("fgvc-aircraft", 448, 0.001, 2, 15, 0.2, 32),
]


@pytest.mark.parametrize(("data", "size", "lr", "number", "strength", "smoothing", "batch"), CLOSED_SET)
def test_closed_set_against_its_table(data, size, lr, number, strength, smoothing, batch):
    found = setting("closed-set", data, size)
    options, parts = found.options, found.augmentation_options
    assert (found.model, found.image_size) == ("resnet50" if size == 448 else "vgg32", size)
    assert (options.lr, options.batch_size, options.epochs) == (lr, batch, 600)
    assert (parts["randaugment.num_ops"], parts["randaugment.strength"]) == (number, strength)
    assert found.method_options["label_smoothing"] == smoothing
    assert found.method_options.get("bias", True) == (size == 448)
    if data == "tiny-imagenet":
        assert (options.optimizer, options.weight_decay) == ("adamw", 0.0)
    else:
        assert (options.optimizer, options.momentum, options.nesterov) == ("sgd", 0.9, False)
        assert (options.weight_decay, options.decay_all) == (1e-4, True)
    assert (options.schedule, options.restarts, options.lowest) == ("cosine-restarts", 2, 1e-3)
    assert options.warmup * 600 == pytest.approx(10)
    assert (round(options.pad * size), options.padding, options.flip) == (4, "zeros", 0.5)
    assert (options.ema, options.jitter, options.erase, options.small) == (0.0, 0.0, 0.0, 0.0)
    assert (found.mean, found.std) == (CIFAR_MEAN, CIFAR_STD)
    assert found.augmentation == "randaugment"
    digits = data in ("mnist", "svhn")
    assert parts.get("randaugment.leave_out", ()) == (("rotate", "translate-x", "translate-y") if digits else ())
    assert parts.get("randaugment.native_side") == (28 if data == "mnist" else None)


ARPL = [
    ("mnist", 32, 0.1, 1, 8),
    ("svhn", 32, 0.1, 1, 18),
    ("cifar10", 32, 0.1, 1, 15),
    ("tiny-imagenet", 64, 0.001, 1, 9),
    ("cub", 448, 0.001, 2, 30),
    ("fgvc-aircraft", 448, 0.001, 2, 18),
]


@pytest.mark.parametrize(("data", "size", "lr", "number", "strength"), ARPL)
def test_closed_set_has_numbers_of_its_own_for_arpl(data, size, lr, number, strength):
    found = setting("closed-set", data, size, method="arpl-cs")
    assert found.options.lr == lr and found.method_options == {}
    assert found.augmentation_options["randaugment.num_ops"] == number
    assert found.augmentation_options["randaugment.strength"] == strength
    plus = setting("closed-set", "cifar10", method="arpl-cs", protocol="cifar+10")
    assert plus.augmentation_options["randaugment.strength"] == 6
    assert setting("closed-set", protocol="cifar+10") == setting("closed-set")


def test_closed_set_knows_no_other_data():
    with pytest.raises(ValueError, match="recipe closed-set does not say how to train on digits at 32 px; .*cifar10"):
        setting("closed-set", "digits:prior=0.5")


def test_cpu_is_the_automatic_training_with_ten_epochs():
    found = setting("cpu", seed=3, precision="bf16")
    assert (found.model, found.model_options, found.augmentation) == ("compact-s", {}, "none")
    assert found.options == auto_options(28_500, model="compact-s", epochs=10, seed=3, precision="bf16")
    assert setting("cpu", "tiny-imagenet", 64, 9500).options.batch_size == 256


def test_fast_is_wide_compiled_and_in_large_batches():
    found = setting("fast", seed=1)
    assert (found.model, found.model_options) == ("compact", {"width": 2.0})
    assert (found.options.batch_size, found.options.epochs, found.options.compile) == (1024, 42, True)
    usual = auto_options(28_500, model="compact", epochs=42, batch_size=1024, seed=1)
    assert changed(found.options, "compile") == changed(usual, "compile")
    assert 28_500 // found.options.batch_size >= 20


@pytest.mark.parametrize("recipe", ["cpu", "fast"])
@pytest.mark.parametrize(("data", "flip"), [("digits:prior=0.8", 0.0), ("svhn", 0.0), ("mnist", 0.0), ("cifar10", 0.5)])
def test_our_own_mirror_no_digits(recipe, data, flip):
    assert setting(recipe, data).options.flip == flip


@pytest.mark.parametrize("recipe", TRAINED)
def test_fewer_epochs_keep_the_shape_of_the_schedule(recipe):
    whole, short = setting(recipe).options, setting(recipe, epochs=5).options
    assert short.epochs == 5 and short.batch_size == whole.batch_size
    assert [make_schedule(short)(n / 50) for n in range(51)] == [make_schedule(whole)(n / 50) for n in range(51)]


@pytest.mark.parametrize("recipe", TRAINED)
def test_settings_are_plain_data(recipe):
    found = setting(recipe, "mnist", seed=2, precision="fp32")
    assert found.options.seed == 2 and found.options.precision == "fp32" and found.images == 28_500
    again = json.loads(json.dumps(asdict(found)))
    assert TrainOptions(**again["options"]) == found.options


@pytest.mark.parametrize("recipe", TRAINED)
@pytest.mark.parametrize("cell", ["none", "backmix", "randaugment", "cutmix+backmix"])
def test_the_augmentation_of_a_cell_joins_that_of_the_recipe(recipe, cell):
    found = setting(recipe, "svhn")
    parts = [name for name in (found.augmentation, cell) if name != "none"]
    preprocess = Preprocess(32, found.mean, found.std)
    chain = make_augmentation("+".join(parts) or "none", 100, preprocess, found.augmentation_options)
    assert (chain is None) == (recipe != "closed-set" and cell == "none")
    if recipe == "closed-set":
        first = next(part for part in chain.parts if type(part).__name__ == "RandAugment")
        assert (first.num_ops, first.strength, len(first.operations)) == (1, 18.0, 13)
        assert (first.mean, first.std) == (CIFAR_MEAN, CIFAR_STD)


@pytest.mark.parametrize("recipe", TRAINED)
def test_every_recipe_trains(recipe):
    """Two classes, two epochs, narrow networks, and torch's compiler left out."""
    data = "cifar10" if recipe == "closed-set" else "digits"
    source = DigitsOnTextures("train", contrast=0.36)
    found = setting(recipe, data, images=200, epochs=2, precision="fp32")
    options = TrainOptions(**{**asdict(found.options), "compile": False, "batch_size": 50})
    classifier = OpenSetClassifier(
        ["0", "1"],
        model=found.model,
        image_size=found.image_size,
        model_options={"width": 0.25},
        method_options=found.method_options,
        mean=found.mean,
        std=found.std,
    )
    report = fit(
        classifier,
        source,
        options=options,
        augmentation="backmix" if found.augmentation == "none" else f"{found.augmentation}+backmix",
        augmentation_options=found.augmentation_options,
    )
    assert len(report.history) == 2 and report.augmentation.bank.seen.any()
    assert classifier.preprocess.mean == found.mean
    assert torch.isfinite(torch.tensor([entry.loss for entry in report.history])).all()


@pytest.mark.parametrize("recipe", TRAINED)
def test_own_networks_are_there_and_take_their_options(recipe):
    for row in find_recipe(recipe).rows:
        if row.model in BACKBONES:
            size = row.image_size or 32
            backbone = BACKBONES[row.model](image_size=size, **row.model_options)
            features = backbone(torch.zeros(2, 3, size, size))
            assert features.ndim == 4 and features.shape[:2] == (2, backbone.num_features)


@pytest.mark.parametrize(("data", "image_size"), [("cifar10", 32), ("cub", 448), ("msrc-v2-objects", 160)])
def test_frozen_takes_what_the_weights_want(data, image_size):
    found = setting("frozen", data, image_size, seed=3)
    assert (found.model, found.image_size, found.frozen, found.epochs) == ("tf_efficientnet_lite0", 224, True, 0)
    assert (found.mean, found.std, found.augmentation, found.options.seed) == (None, None, "none", 3)
    assert not setting("cpu").frozen and setting("cpu").epochs == 10
