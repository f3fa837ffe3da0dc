"""The recipes of the benchmark as data: published recipes, and three of our own."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from backmix.benchmark.recipe import Recipe, RecipeRow


def find_recipe(name: str) -> Recipe:
    """Look up a recipe by name.

    Raises:
        ValueError: If there is no recipe of that name.
    """
    if name not in RECIPES:
        raise ValueError(f"no recipe {name!r}; there are {', '.join(RECIPES)}")
    return RECIPES[name]


# SGD as in the code of the papers: weight decay applies to every parameter, and momentum is not of Nesterov's kind.
_PLAIN_SGD = {"optimizer": "sgd", "nesterov": False, "decay_all": True, "ema": 0.0}

_CSSR = {
    **_PLAIN_SGD,
    "batch_size": 128,
    "lr": 0.4,
    "momentum": 0.0,
    "weight_decay": 5e-4,
    "schedule": "step",
    "pad": 0.125,
    "padding": "zeros",
    "flip": 0.5,
}

PAPER = Recipe(
    "paper",
    "CSSR's schedule and networks with the crops, flips and normalisation of the BackMix release.",
    "Huang et al., Class-Specific Semantic Reconstruction for Open Set Recognition, TPAMI 2022, and its code; "
    "Wang et al., BackMix, TPAMI 2025, and its data set class. BackMix's own schedule is not published.",
    (
        RecipeRow(
            "wrn-40-4",
            image_size=32,
            epochs=200,
            milestones=(120, 190),
            training=_CSSR,
            method_options={"softmax": {"bias": False}},
        ),
        RecipeRow(
            "resnet18-small",
            image_size=64,
            epochs=235,
            milestones=(150, 225),
            warmup_epochs=1,
            training=_CSSR,
            method_options={"softmax": {"bias": False}},
        ),
    ),
    (
        "CSSR adds strong augmentation and random contrast to every image, the BackMix release does not; neither is "
        "in here.",
    ),
)

_CIFAR_MEAN, _CIFAR_STD = (0.4914, 0.4822, 0.4465), (0.2023, 0.1994, 0.2010)
_NOT_FOR_DIGITS = ("rotate", "translate-x", "translate-y")


def _closed_set(
    *data: str,
    size: int,
    lr: float,
    randaugment: tuple[int, int],
    smoothing: float = 0.0,
    batch: int = 128,
    methods: tuple[str, ...] = (),
) -> RecipeRow:
    """Make a row of the paper's table from size, rate, N and M of RandAugment, label smoothing and batch size."""
    digits = "mnist" in data or "svhn" in data
    training: dict[str, Any] = {
        **_PLAIN_SGD,
        "batch_size": batch,
        "lr": lr,
        "momentum": 0.9,
        "weight_decay": 1e-4,
        "schedule": "cosine-restarts",
        "restarts": 2,
        "lowest": 1e-3,
        "pad": 4 / size,
        "padding": "zeros",
        "flip": 0.5,
    }
    augmentation_options: dict[str, Any] = {
        "randaugment.num_ops": randaugment[0],
        "randaugment.strength": float(randaugment[1]),
    }
    notes: tuple[str, ...] = ()
    if "tiny-imagenet" in data:
        # AdamW without weight decay is Adam, which the paper uses here.
        training |= {"optimizer": "adamw", "weight_decay": 0.0}
    if digits:
        augmentation_options["randaugment.leave_out"] = _NOT_FOR_DIGITS
    if "mnist" in data:
        augmentation_options["randaugment.native_side"] = 28
    if size == 448:
        notes = (
            "The paper starts from a ResNet-50 trained by MoCo on Places, whose weights timm does not have; this one "
            "starts from random weights.",
            "Images of this size come with random resized crops instead of shifts by 4 px.",
        )
    return RecipeRow(
        "resnet50" if size == 448 else "vgg32",
        data=data,
        methods=methods,
        image_size=size,
        epochs=600,
        warmup_epochs=10,
        training=training,
        augmentation="randaugment",
        augmentation_options=augmentation_options,
        # VGG32's published head has no bias.
        method_options={"softmax": {"label_smoothing": smoothing} | ({} if size == 448 else {"bias": False})},
        mean=_CIFAR_MEAN,
        std=_CIFAR_STD,
        notes=notes,
    )


_ARPL = ("arpl", "arpl-cs")

CLOSED_SET = Recipe(
    "closed-set",
    "The strong closed-set classifier: VGG32, 600 epochs, cosine with two warm restarts, RandAugment, smoothed labels.",
    "Vaze et al., Open-Set Recognition: A Good Closed-Set Classifier is All You Need, ICLR 2022, and its code.",
    (
        # These rows are for ARPL and ARPL+CS where they differ from softmax. Their losses have no label smoothing here.
        _closed_set("cifar+10", "cifar+50", size=32, lr=0.1, randaugment=(1, 6), methods=_ARPL),
        _closed_set("cifar10", size=32, lr=0.1, randaugment=(1, 15), methods=_ARPL),
        _closed_set("tiny-imagenet", size=64, lr=0.001, randaugment=(1, 9), methods=_ARPL),
        _closed_set("fgvc-aircraft", size=448, lr=0.001, randaugment=(2, 18), batch=32, methods=_ARPL),
        _closed_set("mnist", size=32, lr=0.1, randaugment=(1, 8)),
        _closed_set("svhn", size=32, lr=0.1, randaugment=(1, 18)),
        _closed_set("cifar10", size=32, lr=0.1, randaugment=(1, 6)),
        _closed_set("tiny-imagenet", size=64, lr=0.01, randaugment=(1, 9), smoothing=0.9),
        _closed_set("cub", size=448, lr=0.001, randaugment=(2, 30), smoothing=0.3, batch=32),
        _closed_set("fgvc-aircraft", size=448, lr=0.001, randaugment=(2, 15), smoothing=0.2, batch=32),
    ),
    (
        "The rate changes with every step, the paper's with every epoch.",
        "RandAugment sees images after they were resized, the paper's before.",
        "A shifted crop shows the mean colour beyond the border, the paper's shows black.",
    ),
)

# Digits must not be mirrored, because left and right differ. All other training images may be.
_DIGITS = ("mnist", "svhn", "digits")

_FAST = RecipeRow(
    "compact",
    shown=1_200_000,
    automatic=True,
    largest_batch=1024,
    training={"compile": True},
    model_options={"width": 2.0},
)

FAST = Recipe(
    "fast",
    "Ours, for one accelerator: a shallow wide network, compiled, Muon, large batches, small images first.",
    "backmix.fit.auto_options, with twice the channels and larger batches. It takes from the speed records of CIFAR-10 "
    "(Page, How to Train Your ResNet, 2018; Jordan, 94% on CIFAR-10 in 3.29 Seconds on a Single GPU, 2024) a data set "
    "that lives on the device, bf16, a compiled network with pooled convolutions, orthogonalised momentum, averaged "
    "weights and smaller images at first.",
    (replace(_FAST, data=_DIGITS, training={"compile": True, "flip": 0.0}), _FAST),
    ("Its numbers follow from those found for processors; they have not been tuned on an accelerator.",),
)

_CPU = RecipeRow("compact-s", epochs=10, automatic=True)

CPU = Recipe(
    "cpu",
    "Ours, for two processor cores: a small network, Muon, ten epochs.",
    "backmix.fit.auto_options with ten epochs.",
    (replace(_CPU, data=_DIGITS, training={"flip": 0.0}), _CPU),
)

FROZEN = Recipe(
    "frozen",
    "Ours: published ImageNet weights that stay as they are, and a head on their features, in seconds.",
    "backmix.fit.frozen_training. The other recipes start from random weights.",
    (RecipeRow("tf_efficientnet_lite0", frozen=True),),
    ("The weights have seen ImageNet, whose classes may be among those that a trial calls unknown.",),
)

RECIPES: dict[str, Recipe] = {recipe.name: recipe for recipe in (PAPER, CLOSED_SET, FAST, CPU, FROZEN)}
"""The recipes by name."""
