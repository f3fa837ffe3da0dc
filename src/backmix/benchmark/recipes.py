"""The recipes of the benchmark as data: published recipes, and two of our own."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from backmix.data.preprocess import MEAN, STD
from backmix.fit.training import auto_batch_size, auto_epochs, auto_options
from backmix.train.recipe import TrainOptions

Channels = tuple[float, float, float]


@dataclass(frozen=True)
class TrialSetting:
    """The settings of a recipe for one trial.

    Attributes:
        model: The name of the backbone.
        image_size: The side of the images in pixels.
        options: The options of the training.
        augmentation: The name of the recipe's own augmentation. The augmentation under comparison is joined to it by
            "+".
        augmentation_options: The options of the augmentation, under the name of the part ("randaugment.strength").
        method_options: The options of the method.
        model_options: The options of the backbone.
        mean: The mean of each channel for the normalisation, of pixels in 0..1.
        std: The standard deviation of each channel for the normalisation, of pixels in 0..1.
        images: The size of the training set for which the settings were made.
    """

    model: str
    image_size: int
    options: TrainOptions
    augmentation: str
    augmentation_options: dict[str, Any]
    method_options: dict[str, Any]
    model_options: dict[str, Any]
    mean: Channels
    std: Channels
    images: int


@dataclass(frozen=True)
class RecipeRow:
    """The part of a recipe for some data sets and methods.

    Attributes:
        model: The name of the backbone.
        data: The names of data sets or protocols. If it is empty, the row holds for any that no earlier row names.
        methods: The training objectives. If it is empty, the row holds for any that no earlier row names.
        image_size: The side of the images in pixels; None for any. If `data` is given, images are resized to it.
        epochs: The number of passes over the training set. None: It follows from `shown`.
        shown: The approximate number of images shown in all, see `backmix.fit.auto_epochs`.
        warmup_epochs: The number of epochs in which the rate rises, for rows with `epochs`.
        milestones: The epochs after which the rate falls to a tenth, for rows with `epochs`.
        training: Further `TrainOptions`.
        automatic: Whether `backmix.fit.auto_options` chooses all other options, with batches of at most
            `largest_batch`.
        largest_batch: The largest size of a batch if `automatic`.
        augmentation: The name of the augmentation of batches.
        augmentation_options: The options of the augmentation, under the name of the part.
        method_options: Method -> options of the method.
        model_options: The options of the backbone.
        mean: The mean of each channel for the normalisation.
        std: The standard deviation of each channel for the normalisation.
        notes: Sentences that say how this row differs from the source.
    """

    model: str
    data: tuple[str, ...] = ()
    methods: tuple[str, ...] = ()
    image_size: int | None = None
    epochs: int | None = None
    shown: int = 870_000
    warmup_epochs: int = 0
    milestones: tuple[int, ...] = ()
    training: Mapping[str, Any] = field(default_factory=dict)
    automatic: bool = False
    largest_batch: int = 512
    augmentation: str = "none"
    augmentation_options: Mapping[str, Any] = field(default_factory=dict)
    method_options: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    model_options: Mapping[str, Any] = field(default_factory=dict)
    mean: Channels = MEAN
    std: Channels = STD
    notes: tuple[str, ...] = ()

    def train_options(self, images: int, *, seed: int, epochs: int | None, precision: str) -> TrainOptions:
        """Return the options for a training set with this number of images.

        If `epochs` differs from the row's, the warm-up and the milestones keep their shares of the training.
        """
        own = auto_epochs(images, shown=self.shown) if self.epochs is None else self.epochs
        count = own if epochs is None else epochs
        if self.automatic:
            options = auto_options(
                images,
                model=self.model,
                epochs=count,
                batch_size=auto_batch_size(images, largest=self.largest_batch),
                seed=seed,
                precision=precision,
            )
            return replace(options, **self.training)
        shares = {"milestones": tuple(epoch / own for epoch in self.milestones)} if self.milestones else {}
        named: dict[str, Any] = {"warmup": self.warmup_epochs / own, **shares, **self.training}
        return TrainOptions(epochs=count, seed=seed, precision=precision, **named)


@dataclass(frozen=True)
class Recipe:
    """A complete description of how to train on each data set.

    Attributes:
        name: The name in `RECIPES`.
        description: The recipe in a sentence.
        source: The publication or code that the numbers come from.
        rows: The rows. The first row that fits a trial is used, so rows for some methods and data sets come before rows
            for any.
        notes: Sentences that say how all rows differ from the source.
    """

    name: str
    description: str
    source: str
    rows: tuple[RecipeRow, ...]
    notes: tuple[str, ...] = ()

    def for_trial(
        self,
        *,
        image_size: int,
        data: str,
        images: int,
        seed: int = 0,
        method: str = "softmax",
        protocol: str = "",
        epochs: int | None = None,
        precision: str = "auto",
    ) -> TrialSetting:
        """Return the settings of this recipe for a trial.

        Args:
            image_size: The side in pixels that the trial asks for.
            data: The name of the data set of the training images, such as "cifar10". Text after a colon is ignored.
            images: The number of training images.
            seed: The seed from which everything random follows.
            method: The training objective.
            protocol: The name of the protocol, for recipes with rows for single protocols of a data set.
            epochs: The number of epochs. Schedules keep their shape. None: The number in the recipe.
            precision: See `TrainOptions`.

        Raises:
            ValueError: If the recipe has no row for these images.
        """
        row = self.row(image_size=image_size, data=data, method=method, protocol=protocol)
        return TrialSetting(
            model=row.model,
            image_size=row.image_size or image_size,
            options=row.train_options(images, seed=seed, epochs=epochs, precision=precision),
            augmentation=row.augmentation,
            augmentation_options=dict(row.augmentation_options),
            method_options=dict(row.method_options.get(method, {})),
            model_options=dict(row.model_options),
            mean=row.mean,
            std=row.std,
            images=images,
        )

    def row(self, *, image_size: int, data: str, method: str = "softmax", protocol: str = "") -> RecipeRow:
        """Return the row for a trial. The arguments are those of `for_trial`.

        Raises:
            ValueError: If there is no row for the trial. The error lists the data that the recipe has rows for.
        """
        name = data.partition(":")[0]
        for row in self.rows:
            named = name in row.data or protocol in row.data
            fits = named if row.data else row.image_size in (None, image_size)
            if fits and (not row.methods or method in row.methods):
                return row
        there = dict.fromkeys(each for row in self.rows for each in row.data or (f"images of {row.image_size} px",))
        raise ValueError(
            f"recipe {self.name} does not say how to train on {name} at {image_size} px; it does for "
            f"{', '.join(there)}. Choose another recipe"
        )


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

RECIPES: dict[str, Recipe] = {recipe.name: recipe for recipe in (PAPER, CLOSED_SET, FAST, CPU)}
"""The recipes by name."""
