"""The data sets of the benchmark: their classes, the number of their images, and where they come from.

Ids on the hub and numbers of images are those of the original releases. `open_data` checks the numbers. Where classes
differ in size and a subset of them cannot be checked more closely, the sizes are given as a range.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from backmix.benchmark.class_names import canonical_names
from backmix.benchmark.splits import split_lists


@dataclass(frozen=True)
class Split:
    """The content of a split of a data set.

    Attributes:
        images: The number of images of all classes.
        per_class: The number of images of each class: one number for all classes, one for each class, or a range in
            which the numbers lie.
        hub: The name of the split on the hub if it differs.
        parts: The splits that make up this split, for copies that do not have it under its own name.
    """

    images: int
    per_class: int | tuple[int, ...] | range
    hub: str | None = None
    parts: tuple[str, ...] = ()


@dataclass(frozen=True)
class NamedData:
    """A data set of the benchmark.

    Attributes:
        classes: The class names in canonical order.
        splits: The splits by name. In a copy, "train", "val" and "test" may have another of their usual names.
        folders: The names that a local copy may have, the usual name first.
        hub: The id on the Hugging Face hub; None if no complete copy is known there.
        config: The configuration on the hub.
        column: The column of the labels on the hub, if there are several columns of labels.
        more_classes: Whether a copy may hold classes that are not listed. Their images are skipped.
        pooled: The number of classes that count as one, because copies do not tell them apart; 0 for none.
        hint: Advice on how to make a readable copy from the original release.
    """

    classes: tuple[str, ...]
    splits: Mapping[str, Split]
    folders: tuple[str, ...]
    hub: str | None = None
    config: str | None = None
    column: str | None = None
    more_classes: bool = False
    pooled: int = 0
    hint: str = ""


# The numbers of images of the digits 0 to 9.
_MNIST_TRAIN = (5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949)
_MNIST_TEST = (980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009)
_SVHN_TRAIN = (4948, 13861, 10585, 8497, 7458, 6882, 5727, 5595, 5045, 4659)
_SVHN_TEST = (1744, 5099, 4149, 2882, 2523, 2384, 1977, 2019, 1660, 1595)
_WINTER21 = split_lists("imagenet-1k")["winter21"]

DATA: dict[str, NamedData] = {
    "mnist": NamedData(
        canonical_names("mnist"),
        {"train": Split(60_000, _MNIST_TRAIN), "test": Split(10_000, _MNIST_TEST)},
        ("mnist",),
        hub="ylecun/mnist",
    ),
    "svhn": NamedData(
        canonical_names("svhn"),
        {"train": Split(73_257, _SVHN_TRAIN), "test": Split(26_032, _SVHN_TEST)},
        ("svhn",),
        hub="ufldl-stanford/svhn",
        config="cropped_digits",
        hint="use the cropped digits, with the label 10 turned into 0",
    ),
    "cifar10": NamedData(
        canonical_names("cifar10"),
        {"train": Split(50_000, 5000), "test": Split(10_000, 1000)},
        ("cifar10", "cifar-10"),
        hub="uoft-cs/cifar10",
    ),
    "cifar100": NamedData(
        canonical_names("cifar100"),
        {"train": Split(50_000, 500), "test": Split(10_000, 100)},
        ("cifar100", "cifar-100"),
        hub="uoft-cs/cifar100",
        hint="use the 100 fine labels",
    ),
    "tiny-imagenet": NamedData(
        canonical_names("tiny-imagenet"),
        {"train": Split(100_000, 500), "val": Split(10_000, 50, hub="valid")},
        ("tiny-imagenet", "tiny-imagenet-200"),
        hub="zh-plus/tiny-imagenet",
        hint="the archive has the images of val in one folder: sort them into folders named by the wnids in "
        "val_annotations.txt, and leave out test, which has no labels",
    ),
    "cub": NamedData(
        canonical_names("cub"),
        {"train": Split(5994, range(29, 31)), "test": Split(5794, range(11, 31))},
        ("cub", "cub-200-2011", "CUB_200_2011"),
        hub="Donghyun99/CUB-200-2011",
        hint="the archive is not divided: put the class folders into train and test by train_test_split.txt",
    ),
    "stanford-cars": NamedData(
        canonical_names("stanford-cars"),
        {"train": Split(8144, range(20, 71)), "test": Split(8041, range(20, 71))},
        ("stanford-cars", "stanford_cars"),
        hub="tanganke/stanford_cars",
    ),
    "fgvc-aircraft": NamedData(
        canonical_names("fgvc-aircraft"),
        {
            "train": Split(3334, range(33, 35)),
            "val": Split(3333, range(33, 35), hub="validation"),
            "trainval": Split(6667, range(66, 68), parts=("train", "val")),
            "test": Split(3333, range(33, 35)),
        },
        ("fgvc-aircraft", "fgvc_aircraft"),
        hub="HuggingFaceM4/FGVC-Aircraft",
        column="variant",
        hint="the labels are the 100 variants, not families or manufacturers; in a Parquet copy their column is "
        "'label', in a copy of folders 'F-16A/B' may be spelt F-16A_B",
    ),
    "imagenet-1k": NamedData(
        canonical_names("imagenet-1k"),
        {"train": Split(1_281_167, range(732, 1301)), "val": Split(50_000, 50, hub="validation")},
        ("imagenet-1k", "imagenet"),
        hub="ILSVRC/imagenet-1k",
        hint="class folders are named by their wnids, in val too; on the hub the terms must be accepted first",
    ),
    "imagenet-21k-p": NamedData(
        tuple(sorted({*_WINTER21["easy"], *_WINTER21["hard"]})),
        {"val": Split(99_000, 50)},
        ("imagenet-21k-p", "imagenet21k-p", "imagenet21k"),
        more_classes=True,
        hint="link the folder imagenet21k_val of the processed winter21 release (Alibaba-MIIL) as val; class folders "
        "are named by their wnids",
    ),
    "inaturalist-ood": NamedData(
        ("plant",),
        {"test": Split(10_000, 10_000)},
        ("inaturalist-ood", "inaturalist", "iNaturalist"),
        pooled=110,
        hint="use the 10 000 images of 110 plants of the MOS benchmark, in one or more folders inside",
    ),
    "dtd": NamedData(
        canonical_names("dtd"),
        {"train": Split(3760, 80), "test": Split(1880, 40)},
        ("dtd",),
        hub="tanganke/dtd",
        hint="test is that of the first of its ten divisions, train the other two thirds",
    ),
    "dtd-part": NamedData(
        canonical_names("dtd-part"),
        {"train": Split(800, 80), "test": Split(400, 40)},
        ("dtd-part",),
        hint="ten classes of dtd",
    ),
    "intel-scenes": NamedData(
        canonical_names("intel-scenes"),
        {"train": Split(600, 100), "test": Split(300, 50)},
        ("intel-scenes",),
        hint="100 and 50 images a class, a part of the original release",
    ),
}
"""The data sets by name. dtd-part and intel-scenes are parts of larger sets and only serve as unknown images."""
