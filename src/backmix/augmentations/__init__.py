"""The augmentations of training batches by name: BackMix, and the augmentations it is compared with.

An augmentation is an `Augmentation` whose options are keyword-only. To add one, write its file and name it in
`AUGMENTATIONS`. The two kinds of BackMix are in `BACKMIXES`, because they hold a bank for the images of the training
set.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from inspect import signature
from typing import Any

from backmix.augmentations.base import Augmentation, Chain
from backmix.augmentations.cutmix import CutMix
from backmix.augmentations.cutout import Cutout
from backmix.augmentations.gridmask import GridMask
from backmix.augmentations.hide_and_seek import HideAndSeek
from backmix.augmentations.mixstyle import MixStyle
from backmix.augmentations.mixup import Mixup
from backmix.augmentations.randaugment import RandAugment
from backmix.data.preprocess import Preprocess
from backmix.mixing import BackMix
from backmix.models.option_values import fitting_options

BACKMIXES: dict[str, Callable[..., BackMix]] = {"backmix": BackMix, "swap": partial(BackMix, apply="swap")}

AUGMENTATIONS: dict[str, Callable[..., Augmentation]] = {
    "mixup": Mixup,
    "cutmix": CutMix,
    "cutout": Cutout,
    "gridmask": GridMask,
    "hide-and-seek": HideAndSeek,
    "mixstyle": MixStyle,
    "randaugment": RandAugment,
}

__all__ = [
    "AUGMENTATIONS",
    "BACKMIXES",
    "Augmentation",
    "Chain",
    "CutMix",
    "Cutout",
    "GridMask",
    "HideAndSeek",
    "MixStyle",
    "Mixup",
    "RandAugment",
    "make_augmentation",
]


def make_augmentation(
    name: str, num_images: int, preprocess: Preprocess, options: Mapping[str, Any] | None = None
) -> Chain | None:
    """Build an augmentation by name.

    Args:
        name: "none", a name in `BACKMIXES` or `AUGMENTATIONS`, or several joined by "+", such as "randaugment+backmix".
        num_images: The number of images of the training set.
        preprocess: How the images are normalised. BackMix fills with mid grey in these units. Parts that hide pixels
            fill with 0, the mean pixel, whatever the normalisation, as their papers do.
        options: The options by name; each goes to the part that has it. If several parts have it, put the name of the
            part before it: "cutmix.probability".

    Returns:
        The augmentation, or None for "none".

    Raises:
        ValueError: If a name or an option does not exist, if several parts have an option, or if two parts are BackMix.
    """
    if name == "none":
        if options:
            raise ValueError(f"augmentation none has no option {', '.join(options)}")
        return None
    makers: dict[str, Callable[..., Augmentation | BackMix]] = {**BACKMIXES, **AUGMENTATIONS}
    names = name.split("+")
    wrong = [each for each in names if each not in makers]
    if wrong:
        raise ValueError(f"no augmentation {wrong[0]!r}; there are none, {', '.join(makers)}, or several joined by +")
    normalisation = {"mean": preprocess.mean, "std": preprocess.std}
    for_backmix = {"num_images": num_images, "fill_value": preprocess.grey}
    wanted = {option.replace("hide_and_seek.", "hide-and-seek."): value for option, value in (options or {}).items()}
    owner: dict[str, str] = {}
    parts: list[Augmentation | BackMix] = []
    for each in names:
        # `apply` is no option if the name decides it. Nor is `inplace`: the training loop needs the batch afterwards.
        takes = signature(makers[each]).parameters.keys() - getattr(makers[each], "keywords", {}).keys() - {"inplace"}
        defaults = for_backmix if each in BACKMIXES else normalisation
        chosen = {option: value for option, value in defaults.items() if option in takes}
        for option in [option for option in wanted if option in takes]:
            if option in owner:
                raise ValueError(f"both {owner[option]} and {each} have an option {option}; say which: {each}.{option}")
            owner[option] = each
            chosen[option] = wanted[option]
        for option in takes:
            if f"{each}.{option}" in wanted:
                owner[f"{each}.{option}"] = each
                chosen[option] = wanted[f"{each}.{option}"]
        parts.append(makers[each](**fitting_options(f"augmentation {each}", makers[each], chosen)))
    unknown = [option for option in wanted if option not in owner]
    if unknown:
        raise ValueError(f"augmentation {name} has no option {', '.join(unknown)}")
    return Chain(parts)
