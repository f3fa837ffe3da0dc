"""What is done to a training batch, by name: BackMix and what it is compared to.

An augmentation is an `Augmentation` made with keyword-only options. To add one, write its file and name it in
`AUGMENTATIONS`. The two kinds of BackMix have names apart, as they hold a bank for the images of the training set.
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
        num_images: images of the training set.
        preprocess: how they are normalised. BackMix fills with mid grey in these units; parts that hide something fill
            with 0, the mean pixel, whatever the normalisation, as their papers do.
        options: by name of option; each goes to the part that has it. Where several have it, the name of the part goes
            before it: "cutmix.probability".

    Raises:
        ValueError: for a name or an option that is not there, for an option that several parts have, and for two parts
            that are BackMix.
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
        # What the name itself decides is no option, nor is what only a loop can know: ours needs the batch once more.
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
        parts.append(makers[each](**chosen))
    unknown = [option for option in wanted if option not in owner]
    if unknown:
        raise ValueError(f"augmentation {name} has no option {', '.join(unknown)}")
    return Chain(parts)
