"""Answer images in bounded memory: threads decode ahead, and the model answers batch by batch, in order."""

from __future__ import annotations

import os
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from itertools import islice

import numpy as np
import numpy.typing as npt

from backmix.data.images import ImageError, OnGuess, open_photo, readable
from backmix.data.photo import Photo
from backmix.predict.paths import Found
from backmix.predict.predictor import Predictor
from backmix.prediction.answer import Prediction

LARGE = 50_000_000
"""The number of pixels above which images are decoded one at a time, whatever the number of threads."""

_large = threading.Lock()

Pixels = npt.NDArray[np.uint8]


def default_workers() -> int:
    """Return the number of threads that decode images: the processors that this process may use, at most 8."""
    able = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(able, 8)


def default_batch_size(image_size: int) -> int:
    """Return the number of images in a batch: about three million pixels in total, between 16 and 256 images."""
    return max(16, min(256, 3_000_000 // image_size**2))


def answer_images(
    found: Iterable[Found],
    predictor: Predictor,
    *,
    workers: int,
    batch_size: int,
    top: int,
    on_guess: OnGuess | None = None,
) -> Iterator[tuple[Found, Prediction]]:
    """Yield the answers in the order of the paths, each as soon as its batch is answered.

    The memory holds at most 2 x batch_size + 2 x workers decoded squares, and `workers` images at the size they have
    in the file. Of these, one at most has more than `LARGE` pixels.

    Args:
        found: The paths; they are read only as far ahead as needed.
        predictor: The predictor that answers.
        workers: The number of threads that decode images.
        batch_size: The number of images that the model sees at a time.
        top: The number of likeliest classes in each answer.
        on_guess: A function that is called, by any thread, for an image whose range of values had to be guessed.
    """
    waiting: deque[tuple[Found, Future[Pixels | str]]] = deque()
    coming = iter(found)
    pool = ThreadPoolExecutor(workers, "decode")
    opened = partial(open_photo, at_least=predictor.at_least, ranges=predictor.value_ranges, on_guess=on_guess)
    decode = partial(_decode, size=predictor.image_size, opened=opened)

    def look_ahead(images: int) -> None:
        for one in islice(coming, max(0, images - len(waiting))):
            waiting.append((one, pool.submit(decode, one)))

    try:
        look_ahead(batch_size)
        while waiting:
            rows: list[tuple[Found, Pixels | str]] = []
            images = 0
            # Unreadable images do not make a batch smaller: networks keep buffers and code for every batch size.
            while waiting and images < batch_size and len(rows) < 2 * batch_size:
                one, future = waiting.popleft()
                look_ahead(batch_size + 2 * workers)  # The threads decode these while the model works.
                rows.append((one, future.result()))
                images += not isinstance(rows[-1][1], str)
            yield from _answer(rows, predictor, top)
    finally:
        pool.shutdown(wait=False, cancel_futures=True)


def _answer(
    rows: list[tuple[Found, Pixels | str]], predictor: Predictor, top: int
) -> Iterator[tuple[Found, Prediction]]:
    named = [(one, readable(one.path), result) for one, result in rows]
    good = [(name, result) for _, name, result in named if not isinstance(result, str)]
    answers: Iterator[Prediction] = iter(())
    if good:
        # The layout in memory is (N, S, S, 3), in which networks are fast on processors.
        images = np.stack([pixels for _, pixels in good]).transpose(0, 3, 1, 2)
        answers = iter(predictor.answer(images, [name for name, _ in good], top=top))
    for one, name, result in named:
        yield one, Prediction(name, error=result) if isinstance(result, str) else next(answers)


def _decode(found: Found, *, size: int, opened: Callable[..., Photo]) -> Pixels | str:
    """Return the central square (S, S, 3), or the reason why there is none."""
    if found.problem is not None:
        return found.problem
    try:
        try:
            photo = opened(found.path, max_pixels=LARGE)
        except ImageError:
            # The image is too large to be decoded beside others, or it is unreadable, and fails here again.
            with _large:
                return np.asarray(opened(found.path).square(size))
        return np.asarray(photo.square(size))
    except ImageError as error:
        return error.reason
    except MemoryError:
        return "does not fit into memory"
