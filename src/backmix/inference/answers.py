"""Turn the outputs of a network into the answers that people read."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor

from backmix.data.images import ImageError, as_rgb, open_image, readable
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
    best = logits.softmax(1).topk(min(top, len(classes)), 1)
    return [
        Prediction(
            name,
            classes[order[0]] if known else UNKNOWN,
            score,
            p_value,
            [(classes[k], p) for k, p in zip(order, probability, strict=True)],
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
    images: Iterable[str | Path | Image.Image],
    decode: Callable[[Image.Image], Tensor],
    answer: Callable[[Tensor, list[str], int], list[Prediction]],
    batch_size: int,
) -> list[Prediction]:
    """Decode paths and pictures, and answer them in full batches.

    Args:
        images: Paths, or pictures of any size.
        decode: A function that turns a picture into (3, S, S) uint8.
        answer: A function that takes (B, 3, S, S) images, their names and the batch size, and returns their
            predictions.
        batch_size: The number of images per batch.

    Returns:
        One prediction for each image, in order. An unreadable image has an error and no label.
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
        name = str(number) if isinstance(image, Image.Image) else readable(image)
        answers.append(Prediction(name))
        try:
            picture = as_rgb(image) if isinstance(image, Image.Image) else open_image(image)
            pending.append((number, name, decode(picture)))
        except ImageError as error:
            answers[number] = Prediction(name, error=error.reason)
        if len(pending) == batch_size:
            flush()
    flush()
    return answers
