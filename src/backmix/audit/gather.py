"""Turn the data and masks that a person names into the items of an audit, with notes on images that are left out."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from backmix.audit.class_map import Matching, Names, match_classes, some
from backmix.audit.items import Group, Items, Role, scene_group
from backmix.audit.mask_files import MaskFiles
from backmix.audit.masks import CentreMasks, EstimatedBy, GivenMasks, Masks
from backmix.data.images import ImageError
from backmix.data.source import ImageSource
from backmix.errors import DataError
from backmix.foregrounds import FOREGROUND_SOURCES

MASKS = ("true", *FOREGROUND_SOURCES, "centre")


def has_masks(source: ImageSource) -> bool:
    """Return whether any of the first 32 images has a mask, even a broken one."""

    def has_mask(i: int) -> bool:
        try:
            return source.read_mask(i) is not None
        except ImageError:
            return True

    return any(has_mask(i) for i in range(min(len(source), 32)))


def choose_masks(name: str | None, source: ImageSource, split: str | None = None) -> Masks:
    """Return the masks that a name stands for.

    Args:
        name: One of `MASKS`, or a path, see `MaskFiles`. If None, the masks of the data, or saliency if the data has
            no masks.
        source: The images.
        split: The name of the split of the images.

    Raises:
        DataError: If the masks do not exist.
        MissingLibraryError: If a foreground source needs packages that are not installed.
    """
    if name is None:
        name = "true" if has_masks(source) else "saliency"
    if name == "true":
        if not has_masks(source):
            raise DataError(
                f"the data has no masks; give their path as --masks PATH, or let them be estimated, --masks "
                f"{', '.join(MASKS[1:])}"
            )
        return GivenMasks("true", source.read_mask)
    if name == "centre":
        return CentreMasks()
    if name in FOREGROUND_SOURCES:
        return EstimatedBy(FOREGROUND_SOURCES[name]())
    path = Path(name).expanduser()
    if not path.exists():
        raise DataError(f"masks are one of {', '.join(MASKS)}, or a path; there is no file or folder {name!r}")
    return GivenMasks("given", MaskFiles(path, source, split).read)


def masks_of_unknown(masks: Masks, unknown: ImageSource) -> Masks:
    """Return the masks of the unknown images: estimated if the other masks are estimated, otherwise their own masks.

    Raises:
        DataError: If the unknown images need masks of their own and have none.
    """
    if masks.estimated:
        return masks
    if not has_masks(unknown):
        raise DataError("the unknown images have no masks; let all be estimated, as with --masks saliency")
    return GivenMasks("true", unknown.read_mask)


@dataclass(frozen=True)
class Gathered:
    """The images and classes of an audit.

    Attributes:
        items: The images.
        names: The names of the outputs of the model.
        matching: The match between the outputs and the classes of the data.
        notes: Sentences on images that are left out and on how the classes were matched.
    """

    items: Items
    names: Names
    matching: Matching
    notes: list[str]


def gather(
    source: ImageSource,
    masks: Masks,
    names: Names | None,
    outputs: int,
    mapping: dict[str, list[str]] | None = None,
    *,
    open_set: bool = False,
    unknown: ImageSource | None = None,
    unknown_masks: Masks | None = None,
    scenes: ImageSource | None = None,
) -> Gathered:
    """Sort the images into those of known classes, those of unknown classes, and scenes.

    Args:
        source: The images of DATA.
        masks: The masks of the objects in `source`.
        names: The names of the outputs of the model. If None, the outputs are numbered; if there are as many outputs as
            classes of the data, they are matched to the classes in order.
        outputs: The number of outputs, K.
        mapping: Class of the data -> outputs, see `match_classes`.
        open_set: Whether images of DATA of a class that the model does not know count as unknown, if `unknown` is None.
        unknown: Images of unknown classes.
        unknown_masks: The masks of the objects in `unknown`.
        scenes: Images of backgrounds.

    Raises:
        DataError: If the model knows none of the classes, or if the number of its class names is not the number of its
            outputs.
    """
    notes: list[str] = []
    if names is None:
        names = [[str(number)] for number in range(outputs)]
        if outputs == len(source.classes) and mapping is None:
            names = [[name] for name in source.classes]
            notes.append("The model's outputs have no names; they are taken for the data's classes in their order.")
    if len(names) != outputs:
        raise DataError(
            f"the model names {len(names)} classes, but gives {outputs} logits: there is one for each class"
        )
    matching = match_classes(names, source.classes, mapping)
    known = torch.tensor([name not in matching.unmatched for name in source.classes] + [False])[source.labels]
    if not known.any():
        raise DataError(
            f"the model knows none of the classes that the images are of. The data has "
            f"{some(_present(source))}; the model {some([called[0] for called in names])}. Say which outputs stand "
            f"for which class by --class-map FILE"
        )
    groups = [_group(Role.known, source, known, masks)]
    strange = [name for name in _present(source) if name in matching.unmatched]
    others = (source.labels >= 0) & ~known
    if others.any():
        use = "count as unknown" if open_set and unknown is None else "are left out"
        notes.append(
            f"{int(others.sum())} images of {_classes(len(strange))} that the model does not know {use}: "
            f"{some(strange)}."
        )
    if without := int((source.labels < 0).sum()):
        notes.append(f"{without} images without a class are left out.")
    if unknown is not None and unknown_masks is not None:
        new, given = _unknown(unknown, names, set(source.classes) - set(matching.unmatched))
        if len(given):
            notes.append(f"The unknown images have classes that the model knows, which are left out: {some(given)}.")
        if not new.any():
            raise DataError("the unknown images are all of classes that the model knows, or of none")
        groups.append(_group(Role.unknown, unknown, new, unknown_masks))
    elif open_set and unknown is None and others.any():
        groups.append(_group(Role.unknown, source, others, masks))
    if scenes is not None:
        groups.append(scene_group(scenes))
    if matching.idle and mapping is None:
        notes.append(
            f"The model has {_classes(len(matching.idle), 'other')} that the images are not of: {some(matching.idle)}. "
            f"Such an answer counts as wrong."
        )
    return Gathered(Items(groups), names, matching, notes)


def _group(part: Role, source: ImageSource, chosen: Tensor, masks: Masks) -> Group:
    positions = chosen.nonzero()[:, 0]
    return Group(part, source, positions, source.labels[positions], list(source.classes), masks)


def _unknown(source: ImageSource, names: Names, known: set[str]) -> tuple[Tensor, list[str]]:
    """Return which images are of classes that the model does not know (N,), and the names of the other classes."""
    matched = set(source.classes) - set(match_classes(names, source.classes).unmatched)
    given = [name for name in _present(source) if name in known | matched]
    table = torch.tensor([name not in given for name in source.classes] + [False])
    return table[source.labels], given


def _present(source: ImageSource) -> list[str]:
    return [source.classes[number] for number in source.labels.unique().tolist() if number >= 0]


def _classes(count: int, kind: str = "") -> str:
    words = f"{count} {kind}".strip()
    return f"{words} class{'' if count == 1 else 'es'}"
