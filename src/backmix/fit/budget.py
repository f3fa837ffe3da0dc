"""How many epochs fit into the time at hand."""

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


def epochs_within(seconds: float, epoch_seconds: float, *, most: int) -> int:
    """Epochs that fit into some seconds, at least one and at most `most`.

    Args:
        seconds: what is left for training and for what follows it.
        epoch_seconds: of one epoch, on average, see `measure_epoch`.
        most: epochs that are enough.
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
    """Seconds that an epoch will take on average, from some steps of a copy of the network, which is then thrown away.

    Args:
        network: as it will be trained; not changed.
        loader: as for `backmix.train.train`, and the other arguments likewise. `chain` is used up.
        preprocess: normalises.
        options: how it will be trained. Images that `small` shows smaller are measured apart.
        chain: what is done to the batches.
        outliers: where other images come from.
        seconds: how long to measure, about; the first steps, in which everything is slower, are left out. Epochs
            shorter than that are measured whole.
        folder: where a checkpoint is written, and removed, because one is after every epoch; None: there will be none.

    Raises:
        TrainingError: when the checkpoint cannot be written.
    """
    accelerator = make_accelerator(options.precision)
    sizes = {0.0: 1 - options.small, 1.0: options.small}  # Share of the epochs by what is shown smaller in them.
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
                # In small steps: at full rate and without warmup the loss may run away.
                how = replace(options, epochs=epochs, small=small, warmup=0.0, lr=options.lr / 1000)
                rest: dict[str, Any] = {"outliers": outliers, "accelerator": accelerator, "checkpoint": checkpoint}
                train(copy.deepcopy(network), timed, preprocess, how, chain, **rest)

            # Processes that train together must take equally many steps.
            some = _Timed(loader, seconds / len(sizes), 8 if accelerator.num_processes > 1 else None)
            run(some, 1)
            # Steps on an accelerator run ahead of the batches; over the whole measurement they cannot.
            epoch = some.seconds_per_batch * len(loader) + time.monotonic() - some.ended
            if some.whole:  # It was short: what comes before its first step counts too.
                again = _Timed(loader, math.inf, None)
                run(again, 2)
                epoch = again.ends[1] - again.ends[0]
            total += share * epoch
    return total


class _Timed:
    """The first batches of an epoch: until enough time has gone by, or a number of them."""

    def __init__(self, loader: Loader, seconds: float, batches: int | None) -> None:
        self.loader, self.seconds, self.batches = loader, seconds, batches
        self.num_images = loader.num_images
        self.seconds_per_batch = self.ended = math.nan
        self.ends: list[float] = []  # Of short epochs, when their last step was done.

    @property
    def whole(self) -> bool:
        """Whether an epoch was through within the time, so that whole ones can be measured."""
        return bool(self.ends)

    def __len__(self) -> int:
        return len(self.loader)

    def epoch(self, number: int) -> Iterator[Batch]:
        times = [time.monotonic()]  # Of each batch, when the next one is asked for: reading and training together.
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
        # By their number of steps alone where processes must agree.
        if self.batches is not None or times[-1] - times[0] <= self.seconds:
            self.ends.append(self.ended)
