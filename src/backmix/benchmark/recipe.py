"""What a recipe of the benchmark says: which network a trial trains, and with which options."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import torch

from backmix.data.preprocess import MEAN, STD
from backmix.fit.auto_options import auto_batch_size, auto_epochs, auto_options
from backmix.fit.choices import published_size
from backmix.methods import METHODS
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
        mean: The mean of each channel for the normalisation, of pixels in 0..1; None: that of the published weights.
        std: The standard deviation of each channel for the normalisation, of pixels in 0..1; None: as for `mean`.
        images: The size of the training set for which the settings were made.
        frozen: Whether the backbone keeps its published weights, and the head alone is trained. Of the options, only
            seed and precision count then.
    """

    model: str
    image_size: int
    options: TrainOptions
    augmentation: str
    augmentation_options: dict[str, Any]
    method_options: dict[str, Any]
    model_options: dict[str, Any]
    mean: Channels | None
    std: Channels | None
    images: int
    frozen: bool = False

    @property
    def epochs(self) -> int:
        """The number of passes over the training set; 0 if the backbone is frozen."""
        return 0 if self.frozen else self.options.epochs


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
        frozen: Whether the backbone keeps its published weights, and the head alone is trained. Images have the side,
            the mean and the deviation that the weights were trained with.
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
    frozen: bool = False
    notes: tuple[str, ...] = ()

    def train_options(self, images: int, *, seed: int, epochs: int | None, precision: str) -> TrainOptions:
        """Return the options for a training set with this number of images.

        If `epochs` differs from the row's, the warm-up and the milestones keep their shares of the training.
        """
        if self.frozen:
            if precision == "auto" and not torch.accelerator.is_available():
                precision = "fp32"  # The fastest engine on a CPU computes in float32.
            return TrainOptions(epochs=1, seed=seed, precision=precision)
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
            ValueError: If the recipe has no row for these images, or trains heads alone and the method needs more.
        """
        row = self.row(image_size=image_size, data=data, method=method, protocol=protocol)
        if row.frozen:
            self.check(method, epochs)
            image_size = published_size(row.model) or image_size
        return TrialSetting(
            model=row.model,
            image_size=row.image_size or image_size,
            options=row.train_options(images, seed=seed, epochs=epochs, precision=precision),
            augmentation=row.augmentation,
            augmentation_options=dict(row.augmentation_options),
            method_options=dict(row.method_options.get(method, {})),
            model_options=dict(row.model_options),
            mean=None if row.frozen else row.mean,
            std=None if row.frozen else row.std,
            images=images,
            frozen=row.frozen,
        )

    @property
    def methods(self) -> tuple[str, ...]:
        """The methods that a grid of all methods takes: those that train on nothing but pooled features if frozen."""
        return tuple(
            name
            for name, of in METHODS.items()
            if (of.on_pooled_features and not of.needs_outliers if self.frozen else not of.learns_at_once)
        )

    @property
    def frozen(self) -> bool:
        """Whether the recipe trains heads alone."""
        return any(row.frozen for row in self.rows)

    def check(self, method: str, epochs: int | None) -> None:
        """Raise ValueError if the recipe trains heads alone, and the method needs more or epochs are asked for."""
        if not self.frozen:
            return
        if not METHODS[method].on_pooled_features:
            able = ", ".join(name for name, of in METHODS.items() if of.on_pooled_features)
            raise ValueError(
                f"recipe {self.name} trains heads on pooled features, and {method} learns from more than these. Choose "
                f"another recipe, or one of the methods {able}"
            )
        if epochs is not None:
            raise ValueError(f"recipe {self.name} trains the head alone and has no epochs; leave --epochs out")

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
