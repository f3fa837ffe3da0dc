"""Choose the number of epochs that fit into a given time."""

from __future__ import annotations

import copy
import math
import re
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from backmix.augmentations.base import Chain
from backmix.data.loader import Batch, Loader
from backmix.data.preprocess import Preprocess
from backmix.methods.network import Network
from backmix.outliers import Outliers
from backmix.train.loop import make_accelerator, train
from backmix.train.recipe import TrainOptions

_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
_SPARE = 0.9  # The rest is a reserve, because epochs differ and the work after training takes time too.


def read_duration(text: str) -> float:
    """Return the seconds of a text such as "90", "90s", "10m", "1h30m" or "1.5h".

    Raises:
        ValueError: If the text is not a duration, or the duration is 0.
    """
    pattern = r"\s*(?:(?P<plain>\d+(?:\.\d+)?)|(?:\d+(?:\.\d+)?\s*[smhd]\s*)+)\s*"
    match = re.fullmatch(pattern, text, re.IGNORECASE | re.ASCII)
    if match is None:
        raise ValueError(f"{text!r} is no duration; write it as 10m, 1h30m or 90s")
    if match["plain"]:
        seconds = float(match["plain"])
    else:
        parts = re.findall(r"(\d+(?:\.\d+)?)\s*([smhd])", text.lower(), re.ASCII)
        seconds = sum(float(number) * _UNITS[unit] for number, unit in parts)
    if seconds <= 0:
        raise ValueError(f"{text!r} is no time at all; write it as 10m, 1h30m or 90s")
    return seconds


def epochs_within(seconds: float, epoch_seconds: float, *, most: int) -> int:
    """Return the number of epochs that fit into a time, at least one and at most `most`.

    Args:
        seconds: The seconds left for the training and the work after it.
        epoch_seconds: The average seconds of an epoch, see `measure_epoch`.
        most: The number of epochs that is enough.
    """
    return max(1, min(most, math.floor(seconds * _SPARE / epoch_seconds)))


def measure_epoch(
    network: Network,
    loader: Loader,
    preprocess: Preprocess,
    options: TrainOptions,
    chain: Chain | None = None,
    *,
    outliers: Outliers | None = None,
    seconds: float = 10.0,
    folder: Path | None = None,
) -> float:
    """Measure the average seconds of an epoch by training a copy of the network for some steps.

    Args:
        network: The network to train; it is not changed.
        loader: The loader of the training images, as for `backmix.train.train`.
        preprocess: The preprocessing that normalises the images.
        options: The training options. Epochs in which `small` shows smaller images are measured separately.
        chain: The augmentation of the batches. It cannot be used again for the training.
        outliers: The outliers that the method learns from.
        seconds: The approximate time to measure for. The first steps are left out, because they are slower. Epochs
            shorter than this time are measured whole.
        folder: The folder in which a checkpoint is written and removed, because a training writes a checkpoint after
            every epoch; None: the training writes no checkpoints.

    Returns:
        The average seconds of an epoch.

    Raises:
        TrainingError: If the checkpoint cannot be written.
    """
    accelerator = make_accelerator(options.precision)
    # The value of `small` for an epoch with images of full size or of smaller size -> the share of these epochs.
    sizes = {0.0: 1 - options.small, 1.0: options.small}
    sizes = {small: share for small, share in sizes.items() if share > 0}
    total = 0.0
    with ExitStack() as scratch:
        checkpoint = None
        if folder is not None and accelerator.is_main_process:
            checkpoint = (
                Path(scratch.enter_context(TemporaryDirectory(prefix=".measure-", dir=folder))) / "checkpoint.pt"
            )
        for small, share in sizes.items():

            def run(timed: Loader, epochs: int, small: float = small) -> None:
                # The learning rate is small, because at the full rate without warmup the loss may diverge.
                how = replace(options, epochs=epochs, small=small, warmup=0.0, lr=options.lr / 1000)
                rest: dict[str, Any] = {"outliers": outliers, "accelerator": accelerator, "checkpoint": checkpoint}
                train(copy.deepcopy(network), timed, preprocess, how, chain, **rest)

            # Processes that train together must take the same number of steps.
            some = _Timed(loader, seconds / len(sizes), 8 if accelerator.num_processes > 1 else None)
            run(some, 1)
            # Batches are requested before an accelerator finishes its steps. The time until the end counts the rest.
            epoch = some.seconds_per_batch * len(loader) + time.monotonic() - some.ended
            if some.whole:  # The epoch was short, so the time before its first step counts too.
                again = _Timed(loader, math.inf, None)
                run(again, 2)
                epoch = again.ends[1] - again.ends[0]
            total += share * epoch
    return total


class _Timed:
    """A loader that gives the first batches of an epoch, until enough time has passed or a number of them is done."""

    def __init__(self, loader: Loader, seconds: float, batches: int | None) -> None:
        self.loader, self.seconds, self.batches = loader, seconds, batches
        self.num_images = loader.num_images
        self.seconds_per_batch = self.ended = math.nan
        self.ends: list[float] = []  # The times at which the last steps of short epochs were done.

    @property
    def whole(self) -> bool:
        """Whether an epoch ended within the time, so that whole epochs can be measured."""
        return bool(self.ends)

    def __len__(self) -> int:
        return len(self.loader)

    def epoch(self, number: int) -> Iterator[Batch]:
        times = [time.monotonic()]  # The times at which the next batch is requested, after reading and training.
        warm = 2 if len(self.loader) > 4 else 0
        for done, batch in enumerate(self.loader.epoch(number)):
            measured = done - warm
            enough = measured >= 3 and times[-1] - times[warm] > self.seconds
            if enough if self.batches is None else done == self.batches:
                return
            yield batch
            self.ended = time.monotonic()
            times.append(self.ended)
            if done >= warm:
                self.seconds_per_batch = (times[-1] - times[warm]) / (done + 1 - warm)
        # If processes must agree, only the number of steps decides.
        if self.batches is not None or times[-1] - times[0] <= self.seconds:
            self.ends.append(self.ended)
