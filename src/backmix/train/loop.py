"""The training loop, for any method, any augmentation and any number of processes."""

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
from backmix.mixing.default_dtype import in_float32
from backmix.models.precision import resolve_precision
from backmix.outliers import Outliers
from backmix.train.average import Average
from backmix.train.checkpoint import TrainingState
from backmix.train.modes import training_mode
from backmix.train.recipe import TrainOptions, make_optimizer, make_schedule
from backmix.train.step import train_step

READ_EVERY = 20  # The number of steps between two readings of the loss. An accelerator has to wait for each reading.


@dataclass(frozen=True)
class EpochReport:
    """The result of an epoch.

    Attributes:
        epoch: The number of the epoch, from 0.
        loss: The mean training loss.
        accuracy: The training accuracy, on mixed images, 0..1.
        lr: The learning rate at the end of the epoch.
        mixed: The share of the images into which BackMix put a part of another image, 0..1; None without BackMix.
    """

    epoch: int
    loss: float
    accuracy: float
    lr: float
    mixed: float | None = None


@dataclass(frozen=True)
class Progress:
    """The state of a training after a step.

    Attributes:
        epoch: The number of the epoch, from 0.
        step: The number of steps done so far, over all epochs.
        steps: The number of steps of the whole training.
        loss: The loss of this step.
        accuracy: The training accuracy of this step, 0..1.
    """

    epoch: int
    step: int
    steps: int
    loss: float
    accuracy: float


def make_accelerator(precision: str = "auto", *, log_dir: Path | None = None) -> Accelerator:
    """Make an accelerator that uses the devices and processes with which this program was started.

    Args:
        precision: The precision, see `TrainOptions`.
        log_dir: The folder for TensorBoard logs; None: no logs.
    """
    mixed_precision = "bf16" if resolve_precision(precision) == "bf16" else "no"
    if AcceleratorState._shared_state.get("_mixed_precision", mixed_precision) != mixed_precision:
        # Accelerate keeps the precision for the whole process and refuses to change it. But one program may train in
        # both precisions, so the state is reset.
        AcceleratorState._reset_state()
    # Without `cpu=True`, each of several processes on CPUs would act as the only one and train its own network.
    cpu = int(os.environ.get("WORLD_SIZE", "1")) > 1 and not torch.accelerator.is_available()
    return Accelerator(
        cpu=cpu,
        mixed_precision=mixed_precision,
        log_with="tensorboard" if log_dir is not None else None,
        project_dir=str(log_dir) if log_dir is not None else None,
    )


@in_float32
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
    """Train a network in place. At the end it has the averaged weights and is in evaluation mode.

    The random numbers of an epoch depend only on (seed, epoch). So a training that is interrupted and then resumed from
    the checkpoint of the last whole epoch ends with the same weights; on a CPU they are equal to the bit.

    If several processes train together, each has a part of each batch. Up to rounding, they train like one process that
    has the whole batch, with three exceptions. Each process works on its own part only for batch norm, for the random
    numbers that a network or a method draws itself (dropout, the mixtures of ConOSR, the styles that MixStyle
    exchanges), and for a loss that compares the images of a batch with one another.

    Args:
        network: The network to train.
        loader: The loader of the batches of uint8 images of each epoch.
        preprocess: The normalisation of the images.
        options: The training options.
        augmentation: The augmentation of the batches; None: no augmentation.
        outliers: The source of images of no known class, for methods that learn from them.
        accelerator: The devices and processes to use; None: made from the options.
        checkpoint: The file that is written after every epoch; None: no checkpoints.
        resume: Whether to go on from `checkpoint` if that file exists.
        read_every: The number of steps after which their losses are read, at least 1. The losses are always read at the
            end of an epoch. Weights and reports do not depend on this number. None: 1 on a CPU, and `READ_EVERY` on an
            accelerator, which waits for each reading.
        on_step: A function that is called with the progress of every step, in order, after its loss is read.
        on_epoch: A function that is called with the report of every epoch.

    Returns:
        A report for each epoch, including the epochs before the resume.

    Raises:
        TrainingError: If the loss or the weights stop being finite, there are too few images for a batch, the
            checkpoint cannot be written, the options changed, or `options.compile` finds no compiler.
        RunError: If `checkpoint` is not a checkpoint or belongs to another training.
        ValueError: If both outliers and augmentation have a foreground bank, because only one of them would be filled;
            or if `read_every` is below 1.
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
    # The size of the images changes only once, by `small`, and code that is compiled for each of the two sizes is
    # faster than code for any size. Batches of outliers may have any length.
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
    """All objects that change while a network is trained, ready for the first epoch. Arguments are as in `train`."""

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
                "division": getattr(loader, "division", None),
                "augmentation": " + ".join(_one_line(part) for part in chain.parts) or "none",
                "outliers": _one_line(outliers),
            },
            sort_keys=True,
        )
        average = None if self.average is None else self.average.network
        kept: dict[str, Any] = {"network": network, "optimizer": self.optimizer, "augmentation": chain}
        kept |= {
            name: each
            for name, each in (("average", average), ("own", self.own), ("outliers", outliers))
            if each is not None
        }
        self.state = TrainingState(fingerprint, kept)
        self.steps = options.epochs * len(loader)
        self.schedule = make_schedule(options)

    def prepare(self) -> None:
        """Prepare network and optimisers for the devices and processes. A checkpoint must be read before this."""
        if self.network.head.partial_gradients:
            self.accelerator.ddp_handler = DistributedDataParallelKwargs(find_unused_parameters=True)
        self.wrapped, optimizer = self.accelerator.prepare(self.network, self.optimizer)
        self.optimizers = [optimizer] if self.own is None else [optimizer, self.accelerator.prepare(self.own)]

    def epoch(self, epoch: int, read_every: int, on_step: Callable[[Progress], None] | None) -> EpochReport:
        """Train for one epoch.

        Raises:
            TrainingError: If the loss or the weights stop being finite.
        """
        network, options, accelerator = self.network, self.options, self.accelerator
        torch.manual_seed(seed_of(options.seed, "network", epoch, accelerator.process_index))
        for purpose, generator in self.generators.items():
            # All processes have the same seed: each draws for the whole batch and keeps its part (`train_step`).
            generator.manual_seed(seed_of(options.seed, purpose, epoch, 0))
        training_mode(network, freeze_norm=options.freeze_norm)
        before = epoch * len(self.loader)
        figures = _Figures(epoch, before, self.steps, options.lr, on_step)
        lr = 0.0
        mix, shares = self.chain.backmix, []
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
            if mix is not None and mix.mixed is not None:
                shares.append(mix.mixed.float().mean())
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
        mixed = float(torch.stack(shares).mean()) if shares else None  # All processes mix the same whole batch.
        return EpochReport(epoch, float(totals[0] / totals[2]), float(totals[1] / totals[2]), lr, mixed)

    def finish(self) -> None:
        """Give the network the averaged weights, the same on all processes, and put it in evaluation mode."""
        # This removes autocast from the network's forward, because only the training uses it.
        self.accelerator.unwrap_model(self.wrapped, keep_fp32_wrapper=False)
        if self.average is not None:
            self.average.put_into(self.network)
        if self.accelerator.num_processes > 1:
            # Running statistics differ between processes; all processes take those of the first.
            state = {name: value.contiguous() for name, value in self.network.state_dict().items()}
            self.network.load_state_dict(broadcast(state))
        self.network.eval()


class _Figures:
    """The losses and correct answers of an epoch. They stay on the device until those of several steps are read."""

    def __init__(
        self, epoch: int, before: int, steps: int, rate: float, on_step: Callable[[Progress], None] | None
    ) -> None:
        self.epoch, self.before, self.steps, self.rate, self.on_step = epoch, before, steps, rate, on_step
        self.totals = torch.zeros(3, dtype=torch.float64)  # Loss times images, correct answers, images.
        self.unread: list[tuple[Tensor, Tensor, int]] = []
        self.done = 0

    def add(self, loss: Tensor, correct: Tensor, shown: int) -> None:
        """Add the loss and the correct answers of a step with `shown` images, without waiting for them."""
        self.unread.append((loss, correct, shown))

    def read(self) -> Tensor:
        """Wait for all steps so far, call `on_step` for each, and return the totals of the epoch so far.

        Raises:
            TrainingError: If the loss of a step is not finite.
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
    """Compile the calls of the backbone within the block.

    The backbone is compiled in place. `torch.compile(backbone)` would wrap it in a module, which would rename the
    weights in every file.
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
        backbone._compiled_call_impl = None  # `compile` sets this attribute, and torch has no function to undo it.


def _one_line(thing: object) -> str:
    return " ".join(repr(thing).split())
