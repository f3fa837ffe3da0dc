"""Turn the outputs of a network into the answers that people read."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from torch import Tensor

from backmix.data.images import ImageError, as_rgb, open_photo, readable
from backmix.data.photo import Photo
from backmix.data.value_range import NO_RANGES, Ranges
from backmix.prediction import UNKNOWN, Prediction


def predictions(
    names: Sequence[str],
    classes: Sequence[str],
    logits: Tensor,
    scores: Tensor,
    accepted: Tensor,
    p_values: Tensor | None,
    top: int,
) -> list[Prediction]:
    """Return one prediction for each image.

    Args:
        names: The names of the B images.
        classes: The names of the K known classes.
        logits: (B, K) float, the logits.
        scores: (B,) float, the unknown scores.
        accepted: (B,) bool, whether each image is accepted as known.
        p_values: (B,) float, the p-values; None if nothing was calibrated.
        top: The number of likeliest classes to give.
    """
    best = logits.softmax(1).topk(min(max(top, 1), len(classes)), 1)
    return [
        Prediction(
            name,
            classes[order[0]] if known else UNKNOWN,
            score,
            p_value,
            [(classes[k], p) for k, p in zip(order[:top], probability[:top], strict=True)],
        )
        for name, known, score, p_value, order, probability in zip(
            names,
            accepted.tolist(),
            scores.tolist(),
            [None] * len(scores) if p_values is None else p_values.tolist(),
            best.indices.tolist(),
            best.values.tolist(),
            strict=True,
        )
    ]


def answer_pictures(
    images: Iterable[Any],
    decode: Callable[[Photo], Tensor],
    answer: Callable[[Tensor, list[str], int], list[Prediction]],
    batch_size: int,
    ranges: Ranges = NO_RANGES,
    at_least: int | None = None,
) -> list[Prediction]:
    """Decode paths and pictures, and answer them in full batches.

    Args:
        images: Paths, encoded images as bytes, or pictures of any size, of Pillow or as arrays (H, W, 3), (H, W, 4) or
            (H, W).
        decode: A function that turns a photograph into (3, S, S) uint8.
        answer: A function that takes (B, 3, S, S) images, their names and the batch size, and returns their
            predictions.
        batch_size: The number of images per batch.
        ranges: The ranges with which deep pixels are read, see `backmix.data.value_range`.
        at_least: The side in pixels to which files and encoded images are decoded at least, see `open_photo`; pictures
            have all their pixels.

    Returns:
        One prediction for each image, in order. An unreadable image has an error and no label.

    Raises:
        TypeError: If one of the images is none of these.
    """
    answers: list[Prediction] = []
    pending: list[tuple[int, str, Tensor]] = []

    def flush() -> None:
        if pending:
            places, names, decoded = zip(*pending, strict=True)
            for place, found in zip(places, answer(torch.stack(decoded), list(names), batch_size), strict=True):
                answers[place] = found
            pending.clear()

    for number, image in enumerate(images):
        name = readable(image) if isinstance(image, (str, os.PathLike)) else str(number)
        answers.append(Prediction(name))
        try:
            pending.append((number, name, decode(_photo(image, name, ranges, at_least))))
        except ImageError as error:
            answers[number] = Prediction(name, error=error.reason)
        if len(pending) == batch_size:
            flush()
    flush()
    return answers


def _photo(image: Any, name: str, ranges: Ranges, at_least: int | None) -> Photo:
    if isinstance(image, np.ndarray):
        image = _from_array(image, name)
    if isinstance(image, Image.Image):
        return Photo.of(as_rgb(image, name=name, ranges=ranges))
    if isinstance(image, (str, os.PathLike, bytes)):
        return open_photo(image, at_least=at_least, name=name, ranges=ranges)
    found = f"image {name} is a {type(image).__name__}"
    if isinstance(image, tuple):
        found += "; data sets of torchvision give (picture, number), of which the picture is wanted"
    if isinstance(image, Tensor):
        found += "; several go into one tensor (N, 3, S, S) uint8"
    raise TypeError(f"predict takes paths, pictures of Pillow, encoded bytes and uint8 arrays (H, W, 3); {found}")


def _from_array(array: npt.NDArray[Any], name: str) -> Image.Image:
    """Return an array (H, W), (H, W, 1), (H, W, 3) or (H, W, 4) as a picture."""
    if array.size == 0:
        raise ImageError(name, f"has no pixels (an array {array.shape})")
    plain = array[..., 0] if array.ndim == 3 and array.shape[2] == 1 else array
    colour = plain.ndim == 3 and plain.shape[2] in (3, 4)
    if plain.dtype == np.uint8 and (plain.ndim == 2 or colour):
        return Image.fromarray(plain)
    if plain.dtype == np.uint16 and plain.ndim == 2:
        return Image.fromarray(plain)
    raise TypeError(
        f"arrays must be (H, W, 3), (H, W, 4) or (H, W) of uint8, with colours in the order red, green, blue; image "
        f"{name} is {array.shape} {array.dtype}"
    )
