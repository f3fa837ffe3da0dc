"""The one training loop: any method, any augmentation, any number of processes."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from accelerate.utils import DistributedDataParallelKwargs, broadcast
from torch import Tensor, nn

from backmix.augmentations import Augmentation, Chain
from backmix.data.loader import Loader
from backmix.data.preprocess import Preprocess
from backmix.data.seeds import seed_of
from backmix.errors import TrainingError, in_one_line
from backmix.methods import TrainingBatch
from backmix.methods.network import Network
from backmix.mixing import BackMix
from backmix.models.precision import resolve_precision
from backmix.outliers import Outliers
from backmix.train.average import Average
from backmix.train.checkpoint import TrainingState
from backmix.train.recipe import TrainOptions, make_optimizer, make_schedule
from backmix.train.step import train_step

READ_EVERY = 20  # Steps between two looks at the loss on an accelerator, which has to stop for each.


@dataclass(frozen=True)
class EpochReport:
    """What an epoch came to: mean training loss and accuracy (on mixed images), learning rate at its end."""

    epoch: int
    loss: float
    accuracy: float
    lr: float


@dataclass(frozen=True)
class Progress:
    """Where a training stands after a step; `steps` counts over the whole training."""

    epoch: int
    step: int
    steps: int
    loss: float
    accuracy: float


def make_accelerator(precision: str = "auto", *, log_dir: Path | None = None) -> Accelerator:
    """An accelerator for this machine: whatever devices and processes it was started with.

    Args:
        precision: see `TrainOptions`.
        log_dir: folder for TensorBoard; None: no logs.
    """
    mixed_precision = "bf16" if resolve_precision(precision) == "bf16" else "no"
    if AcceleratorState._shared_state.get("_mixed_precision", mixed_precision) != mixed_precision:
        # It is kept for the whole process and refuses to change, but one program may train in both precisions.
        AcceleratorState._reset_state()
    # Of several processes on processors alone, each would think it is the only one and train a network of its own.
    cpu = int(os.environ.get("WORLD_SIZE", "1")) > 1 and not torch.accelerator.is_available()
    return Accelerator(
        cpu=cpu,
        mixed_precision=mixed_precision,
        log_with="tensorboard" if log_dir is not None else None,
        project_dir=str(log_dir) if log_dir is not None else None,
    )


def train(
    network: Network,
    loader: Loader,
    preprocess: Preprocess,
    options: TrainOptions,
    augmentation: Chain | Augmentation | BackMix | None = None,
    *,
    outliers: Outliers | None = None,
    accelerator: Accelerator | None = None,
    checkpoint: Path | None = None,
    resume: bool = False,
    read_every: int | None = None,
    on_step: Callable[[Progress], None] | None = None,
    on_epoch: Callable[[EpochReport], None] | None = None,
) -> list[EpochReport]:
    """Train a network in place; at the end it holds the averaged weights, in evaluation mode.

    All randomness of an epoch follows from (seed, epoch), so a training that was cut off and resumed from the
    checkpoint of the last whole epoch ends with the same weights, to the bit on the CPU.

    Several processes that train together hold a part of each batch. They train as one process would that has all of
    it, within what floating point rounds, but for three things that each does with its part alone: batch norm, what a
    network or a method draws for itself (dropout, the mixtures of ConOSR, the styles that MixStyle exchanges), and a
    loss that compares images of a batch with one another.

    Args:
        network: what to train.
        loader: batches of uint8 images, by epoch.
        preprocess: how they are normalised.
        options: how to train.
        augmentation: what is done to the batches.
        outliers: where images of no known class come from, for methods that learn from them.
        accelerator: devices and processes; None: made from the options.
        checkpoint: file written after every epoch; None: no checkpoints.
        resume: go on from `checkpoint` when it is there.
        read_every: how many steps are taken before their losses are read, at least 1; at the end of an epoch they are
            read in any case. Weights and reports do not depend on it. None: 1 on a CPU, `READ_EVERY` on an
            accelerator, which would stand still while each is read.
        on_step: told of every step, in order, when its loss is read.
        on_epoch: told after every epoch.

    Returns:
        A report for each epoch, those before the resume included.

    Raises:
        TrainingError: when the loss stops being finite, the checkpoint cannot be written, options changed, or
            `options.compile` finds no compiler.
        ValueError: when outliers and augmentation have a foreground bank each, of which one would starve.
    """
    if len(loader) == 0:
        raise TrainingError(f"{loader.num_images} images make no batch of {options.batch_size}; add images")
    accelerator = accelerator or make_accelerator(options.precision)
    if read_every is None:
        read_every = 1 if accelerator.device.type == "cpu" else READ_EVERY
    if read_every < 1:
        raise ValueError(f"read_every is a number of steps, at least 1; got {read_every}")
    chain = augmentation if isinstance(augmentation, Chain) else Chain([augmentation] if augmentation else [])
    training = _Training(network, loader, preprocess, options, chain, outliers, accelerator)
    history: list[EpochReport] = []
    if resume and checkpoint is not None and checkpoint.exists():
        history = training.state.restore(checkpoint, EpochReport)
    training.prepare()
    # Images change their size once, by `small`, and code for either size is quicker than code for any; batches of
    # outliers may have any length.
    dynamic = False if outliers is None else None
    with _attached(chain, network.backbone), _compiled(network.backbone, options.compile, dynamic=dynamic):
        for epoch in range(len(history), options.epochs):
            report = training.epoch(epoch, read_every, on_step)
            history.append(report)
            if checkpoint is not None and accelerator.is_main_process:
                training.state.save(checkpoint, history)
            accelerator.wait_for_everyone()
            if on_epoch is not None:
                on_epoch(report)
    training.finish()
    return history


class _Training:
    """All that changes while a network is trained, set up for the first epoch; arguments as of `train`."""

    def __init__(
        self,
        network: Network,
        loader: Loader,
        preprocess: Preprocess,
        options: TrainOptions,
        chain: Chain,
        outliers: Outliers | None,
        accelerator: Accelerator,
    ) -> None:
        self.network, self.loader, self.preprocess, self.options = network, loader, preprocess, options
        self.chain, self.outliers, self.accelerator = chain, outliers, accelerator
        network.to(accelerator.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.average = Average(network, options.ema) if options.ema else None
        self.own = network.head.own_optimizer()
        self.optimizer = make_optimizer(network, options, apart=self.own)
        purposes = ("mix", "crop", "colour", "erase", "round", "outliers")
        self.generators = {purpose: torch.Generator() for purpose in purposes}
        chain.to(accelerator.device)
        chain.set_generator(self.generators["mix"])
        if outliers is not None:
            outliers.to(accelerator.device)
            outliers.generator = self.generators["outliers"]
            outliers.check_bank(chain.backmix)
        if network.head.needs_outliers and outliers is None:
            network.head.check_outliers(TrainingBatch(torch.empty(0), torch.empty(0)))
        fingerprint = json.dumps(
            {
                **options.to_dict(),
                "images": loader.num_images,
                "augmentation": " + ".join(_one_line(part) for part in chain.parts) or "none",
                "outliers": _one_line(outliers),
            },
            sort_keys=True,
        )
        average = None if self.average is None else self.average.network
        kept: dict[str, Any] = {"network": network, "optimizer": self.optimizer, "augmentation": chain}
        kept |= {name: each for name, each in (("average", average), ("own", self.own), ("outliers", outliers)) if each}
        self.state = TrainingState(fingerprint, kept)
        self.steps = options.epochs * len(loader)
        self.schedule = make_schedule(options)

    def prepare(self) -> None:
        """Hand network and optimisers to the devices and processes; after that no checkpoint is read."""
        if self.network.head.partial_gradients:
            self.accelerator.ddp_handler = DistributedDataParallelKwargs(find_unused_parameters=True)
        self.wrapped, optimizer = self.accelerator.prepare(self.network, self.optimizer)
        self.optimizers = [optimizer] if self.own is None else [optimizer, self.accelerator.prepare(self.own)]

    def epoch(self, epoch: int, read_every: int, on_step: Callable[[Progress], None] | None) -> EpochReport:
        """Train for one epoch.

        Raises:
            TrainingError: when the loss or the weights stop being finite.
        """
        network, options, accelerator = self.network, self.options, self.accelerator
        torch.manual_seed(seed_of(options.seed, "network", epoch, accelerator.process_index))
        for purpose, generator in self.generators.items():
            # Alike on all processes: each draws for the whole batch and keeps its part (`train_step`).
            generator.manual_seed(seed_of(options.seed, purpose, epoch, 0))
        network.train()
        before = epoch * len(self.loader)
        figures = _Figures(epoch, before, self.steps, options.lr, on_step)
        lr = 0.0
        for number, batch in enumerate(self.loader.epoch(epoch)):
            step = before + number
            lr = options.lr * network.head.rate((step + 0.5) / self.steps, self.schedule)
            for group in self.optimizers[0].param_groups:
                group["lr"] = lr
            loss, correct = train_step(
                accelerator,
                self.wrapped,
                network,
                batch,
                self.preprocess,
                options,
                self.chain,
                self.outliers,
                self.optimizers,
                self.generators,
                step=step,
                steps=self.steps,
            )
            if self.average is not None:
                self.average.move(network, step)
            figures.add(loss, correct, len(batch.labels))
            if (number + 1) % read_every == 0:
                figures.read()
        totals = figures.read().to(accelerator.device, torch.float32)
        totals = accelerator.reduce(totals, "sum").cpu().double()
        if not bool(torch.stack([value.isfinite().all() for value in network.parameters()]).all()):
            raise TrainingError(
                f"the weights stopped being finite in epoch {epoch + 1}. "
                f"Try a lower learning rate than {options.lr}; the checkpoint of the epoch before is kept."
            )
        return EpochReport(epoch, float(totals[0] / totals[2]), float(totals[1] / totals[2]), lr)

    def finish(self) -> None:
        """Leave the network with the averaged weights, alike on all processes, in evaluation mode."""
        # Autocast belongs to the training; without this it would stay around the network's forward.
        self.accelerator.unwrap_model(self.wrapped, keep_fp32_wrapper=False)
        if self.average is not None:
            self.average.put_into(self.network)
        if self.accelerator.num_processes > 1:
            # Running statistics differ between processes; all go on with those of the first.
            state = {name: value.contiguous() for name, value in self.network.state_dict().items()}
            self.network.load_state_dict(broadcast(state))
        self.network.eval()


class _Figures:
    """Losses and right answers of an epoch, left on the device until those of several steps are read at once."""

    def __init__(
        self, epoch: int, before: int, steps: int, rate: float, on_step: Callable[[Progress], None] | None
    ) -> None:
        self.epoch, self.before, self.steps, self.rate, self.on_step = epoch, before, steps, rate, on_step
        self.totals = torch.zeros(3, dtype=torch.float64)  # Loss times images, right answers, images.
        self.unread: list[tuple[Tensor, Tensor, int]] = []
        self.done = 0

    def add(self, loss: Tensor, correct: Tensor, shown: int) -> None:
        """Take loss and right answers of a step that showed so many images; does not wait for them."""
        self.unread.append((loss, correct, shown))

    def read(self) -> Tensor:
        """Wait for all steps so far, tell of them one by one, and return the totals of the epoch up to here.

        Raises:
            TrainingError: for the first step whose loss is not finite.
        """
        if not self.unread:
            return self.totals
        losses, corrects, counts = zip(*self.unread, strict=True)
        self.unread.clear()
        found = torch.stack([torch.stack(losses).float(), torch.stack(corrects).float()]).T.tolist()
        for (loss, correct), shown in zip(found, counts, strict=True):
            self.done += 1
            if not math.isfinite(loss):
                raise TrainingError(
                    f"the loss became {loss} in epoch {self.epoch + 1}, step {self.done}. "
                    f"Try a lower learning rate than {self.rate}; the checkpoint of the epoch before is kept."
                )
            self.totals += torch.tensor([loss * shown, correct, shown], dtype=torch.float64)
            if self.on_step is not None:
                self.on_step(Progress(self.epoch, self.before + self.done, self.steps, loss, correct / shown))
        return self.totals


@contextmanager
def _attached(chain: Chain, backbone: nn.Module) -> Iterator[None]:
    chain.attach(backbone)
    try:
        yield
    finally:
        chain.detach()


@contextmanager
def _compiled(backbone: nn.Module, wanted: bool, *, dynamic: bool | None) -> Iterator[None]:
    """Compile what a call of the backbone does, and take that back.

    In place, not by `torch.compile(backbone)`: a module around it would rename the weights in every file.
    """
    if not wanted:
        yield
        return
    from torch._dynamo.exc import BackendCompilerFailed

    backbone.compile(dynamic=dynamic)
    try:
        yield
    except BackendCompilerFailed as error:
        raise TrainingError(
            f"torch could not compile the network: {in_one_line(error.inner_exception)[:300]}. compile=True needs a "
            "C++ compiler on a CPU, Triton and a C compiler on an accelerator; install what is missing, or train "
            "without it."
        ) from error
    finally:
        backbone._compiled_call_impl = None  # What `compile` sets; torch has no call that takes it back.


def _one_line(thing: object) -> str:
    return " ".join(repr(thing).split())
