"""How many epochs fit into the time at hand."""

from __future__ import annotations

import copy
import math
import re
import time
from collections.abc import Iterator
from dataclasses import replace

from backmix.augmentations.base import Chain
from backmix.data.loader import Batch, Loader
from backmix.network import Network
from backmix.outliers import Outliers
from backmix.preprocess import Preprocess
from backmix.recipe import TrainOptions
from backmix.train import make_accelerator, train

_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
_SPARE = 0.9  # Epochs are not all alike, and what comes after training takes time too.


def read_duration(text: str) -> float:
    """Seconds of "90", "90s", "10m", "1h30m" or "1.5h".

    Raises:
        ValueError: for anything else, and for nothing at all.
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


def epochs_within(seconds: float, epoch_seconds: float, options: TrainOptions, *, most: int) -> int:
    """Epochs that fit into some seconds, at least one and at most `most`.

    Args:
        seconds: what is left for training and for what follows it.
        epoch_seconds: of one epoch at full size, see `measure_epoch`.
        options: `small` says how many of the epochs are shown at three quarters of the side, in about half the time.
        most: epochs that are enough.
    """
    fits = seconds * _SPARE / (epoch_seconds * (1 - 0.5 * options.small))
    return max(1, min(most, math.floor(fits)))


def measure_epoch(
    network: Network,
    loader: Loader,
    preprocess: Preprocess,
    options: TrainOptions,
    chain: Chain | None = None,
    *,
    outliers: Outliers | None = None,
    seconds: float = 10.0,
) -> float:
    """Seconds that one epoch will take, from some steps of a copy of the network, which is then thrown away.

    Args:
        network: as it will be trained; not changed.
        loader: as for `backmix.train.train`, and the other arguments likewise. `chain` is used up.
        preprocess: normalises.
        options: how it will be trained.
        chain: what is done to the batches.
        outliers: where other images come from.
        seconds: how long to measure, about; the first steps, in which everything is slower, are left out.
    """
    accelerator = make_accelerator(options.precision)
    # Processes that train together must take equally many steps.
    timed = _Timed(loader, seconds, 8 if accelerator.num_processes > 1 else None)
    once = replace(options, epochs=1, small=0.0, warmup=0.0)
    train(copy.deepcopy(network), timed, preprocess, once, chain, outliers=outliers, accelerator=accelerator)
    # Steps on an accelerator run ahead of the batches; over the whole measurement they cannot.
    return timed.seconds_per_batch * len(loader)


class _Timed:
    """The first batches of an epoch: until enough time has gone by, or a number of them."""

    def __init__(self, loader: Loader, seconds: float, batches: int | None) -> None:
        self.loader, self.seconds, self.batches = loader, seconds, batches
        self.num_images = loader.num_images
        self.seconds_per_batch = math.nan

    def __len__(self) -> int:
        return len(self.loader)

    def epoch(self, number: int) -> Iterator[Batch]:
        ends = [time.monotonic()]  # Of each batch, when the next one is asked for: reading and training together.
        warm = 2 if len(self.loader) > 4 else 0
        for done, batch in enumerate(self.loader.epoch(number)):
            measured = done - warm
            enough = measured >= 3 and ends[-1] - ends[warm] > self.seconds
            if enough if self.batches is None else done == self.batches:
                return
            yield batch
            ends.append(time.monotonic())
            if done >= warm:
                self.seconds_per_batch = (ends[-1] - ends[warm]) / (done + 1 - warm)
