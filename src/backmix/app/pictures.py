"""Turn dropped files into answers: read them, make small pictures of them, and run them through the network."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor

from backmix.classifier import OpenSetClassifier
from backmix.data.images import ImageError, open_photo
from backmix.data.photo import GAP, Photo
from backmix.inference.evidence import evidence_maps
from backmix.pages.pictures import data_uri, spotlight, thumbnail
from backmix.prediction.answer import Prediction

LARGE, SMALL = 384, 72  # The sides in pixels of the pictures beside an answer and in the table.


@dataclass(frozen=True)
class Upload:
    """A file that was dropped on the page.

    Attributes:
        path: The path of the file on this machine. It is never shown.
        name: The name of the file on the machine of the user. It can be any text.
    """

    path: str
    name: str


@dataclass(frozen=True)
class Seen:
    """A file, and the answer of the network for it.

    Attributes:
        upload: The file.
        answer: The answer at the run's own share of known images to accept.
        small: The small picture for the table, as a data address; empty for an unreadable file and outside the table.
    """

    upload: Upload
    answer: Prediction
    small: str = ""


def read_photo(upload: Upload, max_pixels: int, classifier: OpenSetClassifier, shown: int) -> tuple[Photo, Image.Image]:
    """Open a file as a classifier reads it, and as it is shown.

    Args:
        upload: The file.
        max_pixels: The width times height above which a file is refused.
        classifier: The classifier, which says how deep pixels are read and how many pixels are decoded.
        shown: The side of the square to show, in pixels.

    Returns:
        The photograph for the network, and the central square to show.

    Raises:
        ImageError: If the file is no picture, is damaged, or is too large. The error names no path.
    """
    try:
        content = Path(upload.path).read_bytes()
    except OSError:
        raise ImageError(upload.name, "the file is not there any more; drop it again") from None
    ranges = classifier.value_ranges or {}
    opened = partial(open_photo, content, max_pixels=max_pixels, name=upload.name, ranges=ranges)
    photo = opened(at_least=classifier.preprocess.at_least)
    # A small network asks for fewer pixels than people want to see.
    return photo, thumbnail(photo if photo.has(GAP * shown) else opened(at_least=GAP * shown), shown)


def look(
    classifier: OpenSetClassifier,
    uploads: Sequence[Upload],
    *,
    max_pixels: int,
    top: int = 5,
    batch_size: int = 32,
    on_images: Callable[[int], object] | None = None,
) -> list[Seen]:
    """Run files through the network.

    Args:
        classifier: A trained classifier.
        uploads: The files.
        max_pixels: The width times height above which a file is refused.
        top: The number of the likeliest classes in each answer.
        batch_size: The number of images at a time. No more are held in memory.
        on_images: A function that is called with the number of files done so far.

    Returns:
        One entry for each file, in order. The answer for a file that cannot be read has an error and no label.
    """
    found: list[Seen] = []
    for start in range(0, len(uploads), batch_size):
        part = [_opened(classifier, upload, max_pixels) for upload in uploads[start : start + batch_size]]
        pixels = [one for _, one in part if one is not None]
        answers = iter(classifier.predict(torch.stack(pixels), top=top) if pixels else ())
        for seen, one in part:
            if one is not None:
                seen = replace(seen, answer=replace(next(answers), path=seen.upload.name))
            found.append(seen)
        if on_images is not None:
            on_images(len(found))
    return found


def look_at(classifier: OpenSetClassifier, upload: Upload, photo: Photo, *, top: int = 5) -> Seen:
    """Run one photograph that is already open through the network, as `look` does. The result has no small picture."""
    answer = classifier.predict(classifier.preprocess.decode(photo)[None], top=top)[0]
    return Seen(upload, replace(answer, path=upload.name))


def picture_and_evidence(classifier: OpenSetClassifier, photo: Photo, square: Image.Image) -> tuple[str, str]:
    """Return the picture that the network sees, and the same picture with the evidence for the likeliest class lit up.

    Args:
        classifier: A trained classifier.
        photo: The photograph for the network.
        square: Its central square, to show.

    Returns:
        Two data addresses, each with a picture of the central square.
    """
    evidence = evidence_maps(classifier, classifier.preprocess.decode(photo)[None])[0]
    return data_uri(square), data_uri(spotlight(square, evidence))


def uploads_in(given: object, folder: Path) -> list[Upload]:
    """Return the files that a browser names, if they lie in the folder of uploads.

    Args:
        given: The data that the browser sent: an entry with `path` and `orig_name`, a list of entries, or None.
        folder: The folder of the uploads.

    Raises:
        ValueError: If the browser names a file outside the folder, or if an entry names no file.
    """
    entries: Iterable[object] = given if isinstance(given, list) else [] if given is None else [given]
    uploads = []
    for entry in entries:
        path = entry.get("path") if isinstance(entry, dict) else None
        if not isinstance(entry, dict) or not isinstance(path, str):
            raise ValueError("a file was expected")
        if not Path(path).resolve().is_relative_to(folder.resolve()):
            raise ValueError("a file was named that was not dropped on this page")
        name = entry.get("orig_name")
        uploads.append(Upload(path, name if isinstance(name, str) and name else Path(path).name))
    return uploads


def _opened(classifier: OpenSetClassifier, upload: Upload, max_pixels: int) -> tuple[Seen, Tensor | None]:
    try:
        photo, small = read_photo(upload, max_pixels, classifier, SMALL)
    except ImageError as error:
        return Seen(upload, Prediction(upload.name, error=error.reason)), None
    return Seen(upload, Prediction(upload.name), data_uri(small)), classifier.preprocess.decode(photo)
