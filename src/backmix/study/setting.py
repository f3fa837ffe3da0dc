"""The settings of a study: the embedded digits, objects laid over scenes, or photographs as they are."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from backmix.audit.gather import has_masks
from backmix.data.digits import CONTRAST, DEFAULT_KNOWN, DigitsOnTextures
from backmix.data.known import holdout_split
from backmix.data.objects_on_scenes import ObjectsOnScenes
from backmix.data.source import ImageSource, Subset
from backmix.errors import DataError
from backmix.fit.auto_options import auto_batch_size
from backmix.fit.digits import COPIES, IMAGE_SIZE, MODEL, OPTIONS
from backmix.train.recipe import TrainOptions

HELD_OUT = 0.15
PICTURES = 2400
"""The number of training pictures of objects on scenes. It is reached by drawing each object several times."""
SHOWN = 30_000
"""The number of pictures that a training on few images shows in all."""


@dataclass(frozen=True)
class Sources:
    """The images of one cell.

    Attributes:
        train: The training images of known classes. It may hold images of other classes, which are not trained on.
        held_out: The held-out images for the threshold.
        test: Known and unknown objects on backgrounds of known classes, at the prior of the training.
        independent: The same objects on backgrounds that say nothing about the class; None if that cannot be made.
        elsewhere: Known and unknown objects on backgrounds of other kinds; None if that cannot be made.
    """

    train: ImageSource
    held_out: ImageSource
    test: ImageSource
    independent: ImageSource | None = None
    elsewhere: ImageSource | None = None


class Setting(Protocol):
    """The data, the known classes and the training that a study is made with.

    Attributes:
        name: The name of the setting for people.
        known: The names of the known classes.
        model: The backbone.
        image_size: The side of the images in pixels.
        options: The options of the training.
        priors: The rates at which backgrounds go with classes, ascending; empty if the rate cannot be chosen.
    """

    name: str
    known: list[str]
    model: str
    image_size: int
    options: TrainOptions
    priors: tuple[float, ...]

    def sources(self, prior: float | None, seed: int) -> Sources:
        """Return the images of the cells with a prior and a seed."""

    def outliers(self, kind: str, prior: float | None, seed: int) -> str | ImageSource | None:
        """Return the outliers of a kind in `trainings.OUTLIERS`; None if the setting has none of that kind."""

    def describe(self) -> dict[str, Any]:
        """Return everything that decides the figures, as JSON."""


class TexturesAlone(DigitsOnTextures):
    """The textures of the digits without a digit. The options are those of `DigitsOnTextures`."""

    def __init__(self, split: str = "train", **options: Any) -> None:
        super().__init__(split, **options)
        self._digits = np.zeros_like(self._digits)


class ScrambledDigits(DigitsOnTextures):
    """Digits whose quarters change places: the same strokes on the same textures, but no digit.

    The new place of each quarter is drawn for each image, and no quarter stays at its place. The options are those of
    `DigitsOnTextures`. Digits of unknown classes are scrambled too. Use only the known classes, because the unknown
    ones are for tests.
    """

    def __init__(self, split: str = "train", **options: Any) -> None:
        super().__init__(split, **options)
        self._digits = np.stack([_scrambled(digit, i) for i, digit in enumerate(self._digits)])


class DigitsSetting:
    """The embedded digits. 0 to 5 are known, 6 to 9 are unknown, and the textures of 6 to 9 are the other backgrounds.

    Args:
        priors: The priors. None: Independent, 0.5, 0.8 and 0.95.
        options: The options of the training. None: The options of `backmix demo`.
        model: The backbone. None: The backbone of the demo.
    """

    name = "digits"
    image_size = IMAGE_SIZE

    def __init__(
        self, priors: tuple[float, ...] | None = None, options: TrainOptions | None = None, model: str | None = None
    ) -> None:
        self.known = list(DEFAULT_KNOWN)
        self.model = model or MODEL
        self.options = options or OPTIONS
        self.priors = priors or (1 / len(self.known), 0.5, 0.8, 0.95)

    def sources(self, prior: float | None, seed: int) -> Sources:
        """See `Setting.sources`."""
        assert prior is not None
        others = "".join(name for name in "0123456789" if name not in self.known)
        return Sources(
            DigitsOnTextures("train", prior=prior, copies=COPIES, seed=seed),
            DigitsOnTextures("val", prior=prior, seed=seed),
            DigitsOnTextures("test", prior=prior, copies=2, seed=seed),
            DigitsOnTextures("test", prior=1 / len(self.known), copies=2, seed=seed),
            # With 6 to 9 as `known`, all digits stand on the textures of 6 to 9.
            DigitsOnTextures("test", prior=1 / len(others), copies=2, seed=seed, known=others),
        )

    def outliers(self, kind: str, prior: float | None, seed: int) -> str | ImageSource | None:
        """See `Setting.outliers`."""
        assert prior is not None
        if kind == "backgrounds":
            return "backgrounds"
        maker = TexturesAlone if kind == "scenes" else ScrambledDigits
        # The seed differs, so that the outliers do not show the very textures of the training images.
        made = maker("train", prior=prior, copies=COPIES, seed=seed + 1000)
        return Subset(made, (made.labels < len(self.known)).nonzero()[:, 0])

    def describe(self) -> dict[str, Any]:
        """See `Setting.describe`."""
        return {"data": "digits", "contrast": CONTRAST, "copies": COPIES, "known": self.known}


class ObjectsSetting:
    """Objects of one data set on scenes of another. Training and test images are kept apart in both.

    Args:
        data: The training images and the test images, with masks.
        scenes: The training scenes and the test scenes, which are the backgrounds of known classes.
        known: The names of the known classes. All other classes are unknown.
        names: The names of the three data sets, for the record.
        others: Scenes that no known class stands on. None: There is no test on other backgrounds.
        outlier_set: Images of other objects than the classes of the data. None: There is no outlier set.
        priors: The priors. None: Independent, 0.5, 0.8 and 0.95.
        image_size: The side of the pictures in pixels.
        model: The backbone.
        options: The options of the training. None: They follow from the number of pictures.
        pictures: The approximate number of training pictures.
    """

    name = "objects on scenes"

    def __init__(
        self,
        data: tuple[ImageSource, ImageSource],
        scenes: tuple[ImageSource, ImageSource],
        known: list[str],
        names: dict[str, str | None],
        *,
        others: ImageSource | None = None,
        outlier_set: ImageSource | None = None,
        priors: tuple[float, ...] | None = None,
        image_size: int = 64,
        model: str = "compact-s",
        options: TrainOptions | None = None,
        pictures: int = PICTURES,
    ) -> None:
        self.known, self.image_size, self.model, self._names = known, image_size, model, names
        kinds = len(scenes[0].labels[scenes[0].labels >= 0].unique())
        self.priors = priors or tuple(sorted({1 / kinds, 0.5, 0.8, 0.95}))
        self._kinds, self._others, self._outlier_set = kinds, others, outlier_set
        labels = _of_known(data[0], known)
        kept, held = _train_and_held(labels)
        # A scene in a training picture is in no held-out or test picture.
        ground, held_ground = _train_and_held(scenes[0].labels)
        self._train, self._train_scenes = Subset(data[0], kept), Subset(scenes[0], ground)
        self._held, self._held_scenes = Subset(data[0], held), Subset(scenes[0], held_ground)
        self._test, self._test_scenes = data[1], scenes[1]
        self._copies = max(1, round(pictures / len(kept)))
        count = len(kept) * self._copies
        self.options = options or few_images_options(count)

    def sources(self, prior: float | None, seed: int) -> Sources:
        """See `Setting.sources`."""
        assert prior is not None

        def made(objects: ImageSource, scenes: ImageSource, rate: float, copies: int, salt: int) -> ObjectsOnScenes:
            return ObjectsOnScenes(
                objects,
                scenes,
                self.known,
                prior=rate,
                image_size=self.image_size,
                seed=10 * seed + salt,
                copies=copies,
            )

        elsewhere = None
        if self._others is not None:
            kinds = len(self._others.labels[self._others.labels >= 0].unique())
            elsewhere = made(self._test, self._others, 1 / kinds, 2, 4)
        return Sources(
            made(self._train, self._train_scenes, prior, self._copies, 0),
            made(self._held, self._held_scenes, prior, 2, 1),
            made(self._test, self._test_scenes, prior, 2, 2),
            made(self._test, self._test_scenes, 1 / self._kinds, 2, 2),
            elsewhere,
        )

    def outliers(self, kind: str, prior: float | None, seed: int) -> str | ImageSource | None:
        """See `Setting.outliers`."""
        if kind == "backgrounds":
            return "backgrounds"
        return self._train_scenes if kind == "scenes" else self._outlier_set

    def describe(self) -> dict[str, Any]:
        """See `Setting.describe`."""
        return {**self._names, "copies": self._copies, "known": self.known}


class PhotosSetting:
    """Photographs with masks, as they are. The rate at which backgrounds go with classes cannot be changed.

    Args:
        data: The training images and the test images, with masks.
        known: The names of the known classes. Images of other classes are unknown.
        name: The name of the data, for the record.
        image_size: The side of the images in pixels.
        model: The backbone.
        options: The options of the training. None: They follow from the number of images.
    """

    name = "photographs"

    def __init__(
        self,
        data: tuple[ImageSource, ImageSource],
        known: list[str],
        name: str,
        *,
        image_size: int = 64,
        model: str = "compact-s",
        options: TrainOptions | None = None,
    ) -> None:
        self.known, self.image_size, self.model, self._data_name = known, image_size, model, name
        self.priors: tuple[float, ...] = ()
        kept, held = _train_and_held(_of_known(data[0], known))
        self._train, self._held, self._test = Subset(data[0], kept), Subset(data[0], held), data[1]
        self.options = options or few_images_options(len(kept))

    def sources(self, prior: float | None, seed: int) -> Sources:
        """See `Setting.sources`."""
        return Sources(self._train, self._held, self._test)

    def outliers(self, kind: str, prior: float | None, seed: int) -> str | None:
        """See `Setting.outliers`."""
        return "backgrounds" if kind == "backgrounds" else None

    def describe(self) -> dict[str, Any]:
        """See `Setting.describe`."""
        return {"data": self._data_name, "known": self.known}


def few_images_options(count: int) -> TrainOptions:
    """Return options for a training on few images: `SHOWN` pictures in all, in 8 to 150 epochs, in about a minute."""
    epochs = max(8, min(150, round(SHOWN / count)))
    return replace(OPTIONS, epochs=epochs, batch_size=auto_batch_size(count, largest=128), flip=0.5)


def default_known(source: ImageSource) -> list[str]:
    """Return the first 60 % or so of the classes with images, in the order of their numbers; at least two, never all.

    Raises:
        DataError: If fewer than three classes have images.
    """
    present = [source.classes[number] for number in source.labels.unique().tolist() if number >= 0]
    if len(present) < 3:
        raise DataError(f"a study needs three classes or more, some of them unknown; the data has {len(present)}")
    return present[: min(len(present) - 1, max(2, round(0.6 * len(present))))]


def check_masks(source: ImageSource, name: str) -> None:
    """Raise DataError unless the data has masks."""
    if not has_masks(source):
        raise DataError(
            f"{name} has no masks; the study compares with what is known of the objects. Data with masks is Parquet "
            f"with a column mask, or digits"
        )


def _of_known(source: ImageSource, known: list[str]) -> Tensor:
    """Return the class of each image, (N,) int64; -1 for a class that is not known."""
    table = torch.tensor([number if name in known else -1 for number, name in enumerate(source.classes)] + [-1])
    return table[source.labels]


def _train_and_held(labels: Tensor) -> tuple[Tensor, Tensor]:
    """Return the positions of training images (n,) and held-out images (m,), among the images with a class.

    A share of each class is held out. The choice is always the same.
    """
    there = (labels >= 0).nonzero()[:, 0]
    kept, held = holdout_split(labels[there], HELD_OUT, torch.Generator().manual_seed(0))
    return there[kept], there[held]


def _scrambled(digit: Any, i: int) -> Any:
    quarters = [digit[row : row + 4, column : column + 4] for row in (0, 4) for column in (0, 4)]
    random = np.random.default_rng([8_128, i])
    order = random.permutation(4)
    while (order == np.arange(4)).any():  # If a quarter keeps its place, half of the digit may look as before.
        order = random.permutation(4)
    first, second, third, last = (quarters[k] for k in order)
    return np.block([[first, second], [third, last]])
