"""Tell the class folders of a folder of photos from its splits, and from results, masks and previews among them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from backmix.data.entries import (
    entries,
    folders_in,
    holds_folders,
    holds_folders_alone,
    holds_images,
    images_in,
    is_folder,
    is_image,
    is_of_server,
    natural_key,
)
from backmix.data.images import ImageError, open_image, readable
from backmix.data.names import plain_name
from backmix.errors import DataError, some_of

SPLIT_NAMES = {
    "train": ("train", "training"),
    "val": ("val", "valid", "validation", "dev"),
    "test": ("test", "testing"),
}
CANONICAL = {name: split for split, names in SPLIT_NAMES.items() for name in names}
# Words that say nothing of their own beside the name of a split, as in "Training Data" or "test_images".
_FILLERS = frozenset(
    (
        *("set", "sets", "data", "dataset", "split", "folder"),
        *("image", "images", "img", "imgs", "photo", "photos", "picture", "pictures"),
    )
)
# Names of folders beside a single split that are splits as well, and no classes.
_FURTHER = frozenset(
    (
        *("unknown", "unknowns", "strange", "strangers", "stranger", "background", "backgrounds", "ood", "novel"),
        *("outlier", "outliers", "open", "extra", "holdout", "eval", "evaluation", "calibration"),
        *("pred", "predict", "prediction", "predictions"),
    )
)
_WITHOUT_CLASS = frozenset(("no label", "nolabel", "unlabeled", "unlabelled"))
_PREVIEWS = frozenset(("thumbnails", "thumbnail"))
_MASKS = frozenset(
    (
        *("mask", "masks", "segmentation", "segmentations", "segmentation masks", "annotation", "annotations"),
        *("label", "labels", "trimap", "trimaps", "gt", "groundtruth", "ground truth"),
    )
)
_MASK_FILE = re.compile(r"(?P<image>.+)[ _.-](masks?|seg|segmentation|trimap|gt|groundtruth)([ _.-]?\d+)?", re.I)
_SAMPLED = 8  # The number of images of a folder that show whether it holds masks.
_FEW_COLOURS, _EXTREME = 32, 0.95


def folder_splits(root: Path, names: Sequence[str]) -> dict[str, str]:
    """Return split -> its folder if the class folders lie one level down; empty for a plain folder of class folders.

    A folder stands for a split by its name ("valid", "training_set", "Testing Data"), or by such a word beside others
    if a second split has the same others ("seg_train" and "seg_test") and folders inside of the same names.

    Args:
        root: The folder.
        names: The folders in it that may be classes or splits.

    Raises:
        DataError: If it is not clear which folders are splits and which are classes.
    """
    usual = [name for name in names if _usual_split(name)] or _alike_splits(root, names)
    others = [name for name in names if name not in usual]
    if not any(holds_folders_alone(root / name) for name in usual):
        if usual and not others:
            raise DataError(
                f"{readable(root)} has {', '.join(usual)} inside, but no class folders in them; put the images of each "
                f"class into a folder of their own, as in {usual[0]}/cat/1.jpg"
            )
        _check_not_above(root, names)
        return {}
    others = [name for name in others if plain_name(name) not in _WITHOUT_CLASS | _MASKS | _PREVIEWS]
    if mixed := [name for name in others if holds_images(root / name) and not _is_further(name)]:
        raise DataError(
            f"{readable(root)} has the splits {', '.join(usual)} beside folders of images ({some_of(mixed)}), so it is "
            f"not clear which are classes; move one kind elsewhere"
        )
    inner = [name for name in others if holds_folders(root / name) or holds_images(root / name)]
    if len(usual) == 1 and inner and not any(_is_further(name) for name in inner):
        raise DataError(
            f"{readable(root)} has {usual[0]!r} beside {some_of(inner, 5, quoted=True)}, so it is not clear whether "
            f"{usual[0]!r} is a split or a class. If it holds the images to train on, give "
            f"{readable(root / usual[0])}; if it is a class, give the folder another name, such as '{usual[0]}s'"
        )
    splits = [(name, _usual_split(name) or _split_in(name)[0]) for name in usual]
    return by_split([*splits, *((name, None) for name in inner)])


def by_split(names: Iterable[tuple[str, str | None]]) -> dict[str, str]:
    """Return split -> its name in the data; train, val and test come first.

    Args:
        names: Each name, and the split that it stands for. None: what `CANONICAL` says, else the name itself.

    Raises:
        DataError: If two names stand for the same split.
    """
    found: dict[str, str] = {}
    for name, stands_for in names:
        split = stands_for or CANONICAL.get(name.lower(), name)
        if split in found:
            raise DataError(f"{found[split]!r} and {name!r} both stand for the split {split!r}; take one away")
        found[split] = name
    first = [split for split in SPLIT_NAMES if split in found]
    return {split: found[split] for split in [*first, *sorted(found.keys() - {*first}, key=natural_key)]}


def class_root(folder: Path) -> Path:
    """Return the folder of the class folders of a split: archives often have it twice, as in seg_train/seg_train."""
    while len(inner := folders_in(folder)) == 1 and not holds_images(folder):
        name = plain_name(inner[0])
        repeats = name == plain_name(folder.name) or _usual_split(inner[0]) is not None or name in _FILLERS
        if not repeats or not holds_folders_alone(folder / inner[0]):
            break
        folder = folder / inner[0]
    return folder


def not_classes(root: Path, names: Sequence[str]) -> dict[str, str]:
    """Return the folders among class folders that hold no class, and the reason for each, in words."""
    plain = {name: plain_name(name) for name in names}
    found: dict[str, str] = {}
    for name in names:
        if plain[name] in _WITHOUT_CLASS:
            found[name] = "images without a class"
        elif plain[name] in _PREVIEWS:
            found[name] = "previews of other images"
        elif plain[name] in _MASKS and are_masks(root / name):
            found[name] = "masks"
        elif holds_folders_alone(root / name):
            inner = {plain_name(one) for one in folders_in(root / name)} - {"unknown"}
            siblings = {other for one, other in plain.items() if one != name and holds_images(root / one)}
            if inner and inner <= siblings:
                found[name] = "folders inside that are called like the classes: results, masks or a copy"
    return found


def inner_folders_to_leave_out(folder: Path, relative: str) -> dict[str, str]:
    """Return the folders directly in a class folder that hold masks or previews, by path, and the reason for each."""
    found = server_folders(folder, relative)
    for name in folders_in(folder):
        plain = plain_name(name)
        if plain in _PREVIEWS and holds_images(folder):
            found[f"{relative}/{name}"] = "previews of other images"
        elif plain in _MASKS and holds_images(folder) and are_masks(folder / name):
            found[f"{relative}/{name}"] = "masks"
    return found


def server_folders(folder: Path, relative: str) -> dict[str, str]:
    """Return the folders directly in a folder that a file server made, by path, and the reason for each."""
    names = [entry.name for entry in entries(folder) if is_of_server(entry.name) and is_folder(entry)]
    start = f"{relative}/" if relative else ""
    return {f"{start}{name}": "bins or previews of a file server" for name in sorted(names)}


def mask_files(paths: Sequence[str]) -> set[str]:
    """Return the paths of masks that lie beside their images, as one_mask.png beside one.png."""
    stems = {path.rpartition(".")[0] for path in paths if is_image(path)}
    found = set()
    for path in paths:
        match = _MASK_FILE.fullmatch(path.rpartition(".")[0]) if is_image(path) else None
        if match and match["image"] in stems:
            found.add(path)
    return found


def are_masks(folder: Path) -> bool:
    """Return whether the first images of a folder look like masks: a few flat colours, or black and white."""
    looked = 0
    for name in images_in(folder)[:_SAMPLED]:
        try:
            picture = open_image(folder / name)
        except ImageError:
            continue
        looked += 1
        small = np.asarray(picture.resize((64, 64), Image.Resampling.NEAREST)).reshape(-1, 3).astype(np.int16)
        grey = small.max(1) - small.min(1) <= 8
        extreme = grey & ((small.max(1) <= 16) | (small.min(1) >= 239))
        if len(np.unique(small, axis=0)) > _FEW_COLOURS and extreme.mean() < _EXTREME:
            return False
    return looked > 0


def folder_to_give(root: Path, names: Sequence[str]) -> str | None:
    """Return a sentence that names the folder that a person probably means, if the given one lies above it."""
    folder, inner = root, list(names)
    while len(inner) == 1 and not holds_images(folder):
        folder = folder / inner[0]
        inner = folders_in(folder)
    if folder == root or len(inner) < 2 or holds_images(folder):
        return None
    return f"{readable(folder)} has {len(inner)} folders inside ({some_of(inner, 5)}): is it the one to give?"


def layout_notes(root: Path, names: Sequence[str]) -> list[str]:
    """Return sentences on class folders whose names or inner folders suggest that others were meant for classes."""
    notes = []
    by_word: dict[str, list[str]] = {}
    for name in names:
        split, rest = _split_in(name)
        if split:
            by_word.setdefault(rest, []).append(name)
    alike = next((group for rest, group in by_word.items() if rest and len(group) > 1), None)
    if alike:
        notes.append(f"{some_of(alike, 5, quoted=True)} look like the splits of one class; each is taken for a class")
    if len(names) > 1 and all(holds_folders_alone(root / name) for name in names):
        inner = sorted({one for name in names for one in folders_in(root / name)}, key=natural_key)
        notes.append(
            f"the classes are {some_of(names, 5)}; the folders inside them ({some_of(inner, 5)}) are taken for parts "
            f"of these classes, not for classes of their own"
        )
    return notes


def _check_not_above(root: Path, names: Sequence[str]) -> None:
    """Raise DataError if every folder is itself divided into splits: then it is a data set, or a class with splits."""
    inside = {name: [one for one in folders_in(root / name) if one.lower() in CANONICAL] for name in names}
    if len(names) < 2 or not all(len(splits) > 1 for splits in inside.values()):
        return
    first = names[0]
    if any(holds_folders_alone(root / first / split) for split in inside[first]):
        raise DataError(
            f"{readable(root)} holds several data sets, each with its splits ({some_of(inside[first])}); give one of "
            f"them: {some_of([readable(root / name) for name in names], 5)}"
        )
    raise DataError(
        f"every class folder in {readable(root)} has the splits {some_of(inside[first])} inside, which would all be "
        f"trained on; put the classes into the splits, as in {inside[first][0]}/{first}/1.jpg"
    )


def _words(name: str) -> list[str]:
    return re.findall(r"[^\W\d_]+|\d+", name.casefold())


def _usual_split(name: str) -> str | None:
    """Return the split that a name stands for as a whole, as in "training_set" or "testset", or None."""
    words = [word for word in _words(name) if word not in _FILLERS]
    if len(words) == 1:
        word = words[0]
        return CANONICAL.get(word) or (CANONICAL.get(word.removesuffix("set")) if word.endswith("set") else None)
    return None


def _split_in(name: str) -> tuple[str | None, str]:
    """Return the split that one word of a name stands for, and the other words; None if none or several do."""
    words = _words(name)
    of = [CANONICAL[word] for word in words if word in CANONICAL]
    return (of[0] if len(of) == 1 else None), " ".join(word for word in words if word not in CANONICAL)


def _alike_splits(root: Path, names: Sequence[str]) -> list[str]:
    """Return the folders whose names are those of splits beside the same other words, if they hold the same classes."""
    groups: dict[str, dict[str, str]] = {}
    for name in names:
        split, rest = _split_in(name)
        if split and holds_folders_alone(root / name):
            groups.setdefault(rest, {}).setdefault(split, name)
    for group in groups.values():
        inside = [set(folders_in(class_root(root / name))) for name in group.values()]
        if len(group) > 1 and "train" in group and all(one & inside[0] for one in inside[1:]):
            return list(group.values())
    return []


def _is_further(name: str) -> bool:
    return not _FURTHER.isdisjoint(_words(name))
