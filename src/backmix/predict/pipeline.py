"""From paths to answers in bounded memory: threads decode ahead, the model answers batch by batch, in order."""

from __future__ import annotations

import os
import threading
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice

import numpy as np
import numpy.typing as npt

from backmix.data.images import ImageError, open_image, readable
from backmix.data.square import central_square
from backmix.predict.paths import Found
from backmix.predict.predictor import Predictor
from backmix.prediction.answer import Prediction

LARGE = 50_000_000
"""Pixels above which pictures are decoded one at a time, whatever the number of threads."""

_large = threading.Lock()

Pixels = npt.NDArray[np.uint8]


def default_workers() -> int:
    """Threads that decode: the processors this process may use, at most 8."""
    able = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(able, 8)


def default_batch_size(image_size: int) -> int:
    """Images at a time: as many as make about three million pixels, between 16 and 256."""
    return max(16, min(256, 3_000_000 // image_size**2))


def answer_images(
    found: Iterable[Found], predictor: Predictor, *, workers: int, batch_size: int, top: int
) -> Iterator[tuple[Found, Prediction]]:
    """Answers in the order of the paths, as soon as their batch is through.

    At most 2 x batch_size + 2 x workers decoded images are in memory, and `workers` pictures as they come from the
    file, of which one may have more than `LARGE` pixels.

    Args:
        found: looked at as far as is needed.
        predictor: answers.
        workers: threads that decode.
        batch_size: images the model sees at a time.
        top: how many of the likeliest classes to tell.
    """
    waiting: deque[tuple[Found, Future[Pixels | str]]] = deque()
    coming = iter(found)
    pool = ThreadPoolExecutor(workers, "decode")

    def look_ahead(images: int) -> None:
        for one in islice(coming, max(0, images - len(waiting))):
            waiting.append((one, pool.submit(_decode, one, predictor.image_size)))

    try:
        look_ahead(batch_size)
        while waiting:
            rows: list[tuple[Found, Pixels | str]] = []
            images = 0
            # Full batches, whatever is unreadable among them: for every other size the networks keep buffers and code.
            while waiting and images < batch_size and len(rows) < 2 * batch_size:
                one, future = waiting.popleft()
                look_ahead(batch_size + 2 * workers)  # What the threads do while the model is at this batch.
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
        # (N, S, S, 3) in memory, which is how networks on processors like it.
        images = np.stack([pixels for _, pixels in good]).transpose(0, 3, 1, 2)
        answers = iter(predictor.answer(images, [name for name, _ in good], top=top))
    for one, name, result in named:
        yield one, Prediction(name, error=result) if isinstance(result, str) else next(answers)


def _decode(found: Found, size: int) -> Pixels | str:
    """The central square (S, S, 3), or why there is none."""
    if found.problem is not None:
        return found.problem
    try:
        try:
            picture = open_image(found.path, max_pixels=LARGE)
        except ImageError:
            # Too large for several at once, or unreadable, which it then is once more.
            with _large:
                return np.asarray(central_square(open_image(found.path), size))
        return np.asarray(central_square(picture, size))
    except ImageError as error:
        return error.reason
    except MemoryError:
        return "does not fit into memory"
