"""The images with which a training began, by name, class and content, so that it is not resumed on others.

A checkpoint fits any data with as many classes and images, and what it learnt would silently belong to other names, or
images that were trained on would calibrate. So a run keeps a list of its images, and to resume is to compare.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from backmix.data.content import HasContentKey, content_keys
from backmix.data.folder import image_key
from backmix.data.images import ImageError
from backmix.data.source import ImageSource, Subset
from backmix.errors import RunError, in_one_line, some_of
from backmix.files import write_text
from backmix.fit.begun import CHECKPOINT
from backmix.fit.data import FitData

FILE = "images.json"
_SHOWN = 3  # The number of images of each kind that a message names.

Listed = dict[str, list[str]]
"""The class, the content and the mask of each image, by its name. The content is the first 16 digits of a SHA-256."""


def keep_images(run: Path, data: FitData, *, masks: bool, write: bool, workers: int = 2) -> None:
    """List the images of a training in its run folder; if there is a checkpoint, compare them with its list instead.

    Args:
        run: The run folder.
        data: The data of the training.
        masks: Whether the training uses the masks of the images.
        write: Whether this process may write the list.
        workers: The number of threads that read images.

    Raises:
        RunError: If the run began with other images.
    """
    images: dict[str, Any] = {"classes": data.classes, "train": list_images(data.source, masks=masks, workers=workers)}
    if data.held_out is not None:
        images["val"] = list_images(data.held_out, workers=workers)
    if (run / CHECKPOINT).is_file():
        check_same_images(run, images)
    elif write:
        write_text(run / FILE, json.dumps(images, ensure_ascii=False, indent=0) + "\n")


def list_images(source: ImageSource, *, masks: bool = False, workers: int = 2) -> Listed:
    """Return the class and the content of each image.

    Sources without encoded files are made by this package from their name, so their content is not looked at.

    Args:
        source: The images.
        masks: Whether the training uses the masks of the images, so that these are compared too.
        workers: The number of threads that read images.
    """
    inner = source.source if isinstance(source, Subset) else source
    digests = [""] * len(source)
    if isinstance(inner, HasContentKey):
        keys = content_keys(source, range(len(source)), workers=workers)
        digests = ["unreadable" if isinstance(key, ImageError) else key.hex()[:16] for key in keys]
    labels = source.labels.tolist()
    names = [image_key(source, i) for i in range(len(source))]
    return {
        name: [source.classes[labels[i]] if labels[i] >= 0 else "", digests[i], _mask(source, i) if masks else ""]
        for i, name in enumerate(names)
    }


def check_same_images(run: Path, images: Mapping[str, Any]) -> None:
    """Raise RunError, which names what differs, unless a run began with the same images.

    A run of an earlier version has no list, so nothing is compared.

    Args:
        run: The run folder.
        images: What would be written now: the classes, and what `list_images` found of each part of the data.
    """
    try:
        before = json.loads((run / FILE).read_text(encoding="utf-8"))
        changes = _changes(before, images)
    except FileNotFoundError:
        return
    except (OSError, ValueError, RecursionError, TypeError, AttributeError, LookupError) as error:
        raise RunError(f"{run / FILE} cannot be read ({in_one_line(error)}); train again into another --out") from error
    if changes:
        raise RunError(
            f"cannot resume {run} with other images than it began with: {'; '.join(changes)}. "
            "Put them back as they were, or choose another --out."
        )


def _changes(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    changes = []
    if before["classes"] != now["classes"]:
        changes.append(f"classes {some_of(before['classes'])} -> {some_of(now['classes'])}")
    for part in sorted({*before, *now} - {"classes"}):
        old, new = before.get(part) or {}, now.get(part) or {}
        both = old.keys() & new.keys()
        kinds = {
            "gone": old.keys() - new.keys(),
            "new": new.keys() - old.keys(),
            "in another class": {name for name in both if old[name][0] != new[name][0]},
            "of other content": {name for name in both if old[name][1] != new[name][1]},
            "with another mask": {name for name in both if old[name][2] != new[name][2]},
        }
        changes += [
            f"{len(names)} image{'s' * (len(names) != 1)} of {part} {what} ({some_of(sorted(names), _SHOWN)})"
            for what, names in kinds.items()
            if names
        ]
    return changes


def _mask(source: ImageSource, i: int) -> str:
    try:
        mask = source.read_mask(i)
    except ImageError:
        return "unreadable"
    return "" if mask is None else hashlib.sha256(f"{mask.size}".encode() + mask.tobytes()).hexdigest()[:16]
