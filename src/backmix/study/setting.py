"""What a study is made on: the embedded digits, objects laid over scenes, or photographs as they are."""

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
from backmix.fit.digits import COPIES, IMAGE_SIZE, MODEL, OPTIONS
from backmix.fit.training import auto_batch_size
from backmix.train.recipe import TrainOptions

HELD_OUT = 0.15
PICTURES = 2400
"""Training pictures that objects on scenes are brought to, by drawing each object several times."""
SHOWN = 30_000
"""Pictures that a training on few images shows in all."""


@dataclass(frozen=True)
class Sources:
    """The images of one cell.

    Attributes:
        train: of known classes, and maybe of others, which are not trained on.
        held_out: for the threshold.
        test: known and unknown objects on backgrounds of known ones, at the prior of the training.
        independent: the same where backgrounds say nothing of the class; None where that cannot be made.
        elsewhere: known and unknown objects on backgrounds of other kinds; None where that cannot be made.
    """

    train: ImageSource
    held_out: ImageSource
    test: ImageSource
    independent: ImageSource | None = None
    elsewhere: ImageSource | None = None


class Setting(Protocol):
    """What a study is made on.

    Attributes:
        name: for people.
        known: names of the known classes.
        model: backbone.
        image_size: in pixels.
        options: of the training.
        priors: rates at which backgrounds go with classes, ascending; empty where nobody can say.
    """

    name: str
    known: list[str]
    model: str
    image_size: int
    options: TrainOptions
    priors: tuple[float, ...]

    def sources(self, prior: float | None, seed: int) -> Sources:
        """The images of a cell."""

    def outliers(self, kind: str, prior: float | None, seed: int) -> str | ImageSource | None:
        """Outliers of a kind in `trainings.OUTLIERS`; None where there are none of it."""

    def describe(self) -> dict[str, Any]:
        """Everything that decides the figures, as JSON has it."""


class TexturesAlone(DigitsOnTextures):
    """The textures of the digits without a digit. Options are those of `DigitsOnTextures`."""

    def __init__(self, split: str = "train", **options: Any) -> None:
        super().__init__(split, **options)
        self._digits = np.zeros_like(self._digits)


class ScrambledDigits(DigitsOnTextures):
    """Digits of known classes whose quarters change places: the same strokes on the same textures, and no digit.

    Which quarter goes where is drawn for each image; never do all stay. Options are those of `DigitsOnTextures`. Digits
    of unknown classes are scrambled too; take the known ones alone, as the others are for tests.
    """

    def __init__(self, split: str = "train", **options: Any) -> None:
        super().__init__(split, **options)
        self._digits = np.stack([_scrambled(digit, i) for i, digit in enumerate(self._digits)])


class DigitsSetting:
    """The embedded digits: 0 to 5 known, 6 to 9 unknown, and the textures of 6 to 9 for other backgrounds.

    Args:
        priors: rates; None: independent, 0.5, 0.8 and 0.95.
        options: of the training; None: those of `backmix demo`.
        model: backbone; None: that of the demo.
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
            # With 6 to 9 "known", all digits stand on their textures.
            DigitsOnTextures("test", prior=1 / len(others), copies=2, seed=seed, known=others),
        )

    def outliers(self, kind: str, prior: float | None, seed: int) -> str | ImageSource | None:
        """See `Setting.outliers`."""
        assert prior is not None
        if kind == "backgrounds":
            return "backgrounds"
        maker = TexturesAlone if kind == "scenes" else ScrambledDigits
        # Another seed: not the very textures that the digits of the training stand on.
        made = maker("train", prior=prior, copies=COPIES, seed=seed + 1000)
        return Subset(made, (made.labels < len(self.known)).nonzero()[:, 0])

    def describe(self) -> dict[str, Any]:
        """See `Setting.describe`."""
        return {"data": "digits", "contrast": CONTRAST, "copies": COPIES, "known": self.known}


class ObjectsSetting:
    """Objects of one data set on scenes of another, training and test apart in both.

    Args:
        data: train and test images with masks.
        scenes: train and test scenes, the backgrounds of known classes.
        known: names of the known classes; the others are unknown.
        names: what the three data sets were called, for the record.
        others: scenes that no known class stands on; None: there is no test on other backgrounds.
        outlier_set: images of no class of the data; None: none.
        priors: rates; None: independent, 0.5, 0.8 and 0.95.
        image_size: side of the pictures.
        model: backbone.
        options: of the training; None: by the number of pictures.
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
    ) -> None:
        self.known, self.image_size, self.model, self._names = known, image_size, model, names
        kinds = len(scenes[0].labels[scenes[0].labels >= 0].unique())
        self.priors = priors or tuple(sorted({1 / kinds, 0.5, 0.8, 0.95}))
        self._kinds, self._others, self._outlier_set = kinds, others, outlier_set
        labels = _of_known(data[0], known)
        kept, held = _train_and_held(labels)
        # A scene that a training picture shows is in no other picture.
        ground, held_ground = _train_and_held(scenes[0].labels)
        self._train, self._train_scenes = Subset(data[0], kept), Subset(scenes[0], ground)
        self._held, self._held_scenes = Subset(data[0], held), Subset(scenes[0], held_ground)
        self._test, self._test_scenes = data[1], scenes[1]
        self._copies = max(1, round(PICTURES / len(kept)))
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
    """Photographs with masks, as they are: nobody can turn how backgrounds go with classes.

    Args:
        data: train and test images with masks.
        known: names of the known classes; images of others are unknown.
        name: what the data was called.
        image_size: side of the images.
        model: backbone.
        options: of the training; None: by the number of images.
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
    """Options for a training on few images, of a minute or so: `SHOWN` pictures in all, in 8 to 150 epochs."""
    epochs = max(8, min(150, round(SHOWN / count)))
    return replace(OPTIONS, epochs=epochs, batch_size=auto_batch_size(count, largest=128), flip=0.5)


def default_known(source: ImageSource) -> list[str]:
    """Six of ten classes that have images, in the order of their numbers; at least two, and not all."""
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
    """(N,) int64 the class, -1 where it is not known."""
    table = torch.tensor([number if name in known else -1 for number, name in enumerate(source.classes)] + [-1])
    return table[source.labels]


def _train_and_held(labels: Tensor) -> tuple[Tensor, Tensor]:
    """Positions (n,) and (m,) of images with a class, a share of each class held out; always the same."""
    there = (labels >= 0).nonzero()[:, 0]
    kept, held = holdout_split(labels[there], HELD_OUT, torch.Generator().manual_seed(0))
    return there[kept], there[held]


def _scrambled(digit: Any, i: int) -> Any:
    quarters = [digit[row : row + 4, column : column + 4] for row in (0, 4) for column in (0, 4)]
    random = np.random.default_rng([8_128, i])
    order = random.permutation(4)
    while (order == np.arange(4)).any():  # A quarter at its place may leave half of a digit as it was.
        order = random.permutation(4)
    first, second, third, last = (quarters[k] for k in order)
    return np.block([[first, second], [third, last]])
