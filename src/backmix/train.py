"""The one training loop: any method, any augmentation, any number of processes."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, cast

import torch
import torch.nn.functional as F
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from accelerate.utils import broadcast
from torch import Tensor, nn

from backmix.checkpoint import load_checkpoint, save_checkpoint
from backmix.colour_jitter import ColourJitter
from backmix.data.loader import Batch, Loader, seed_of
from backmix.erase import Erase
from backmix.errors import RunError, TrainingError, in_one_line
from backmix.mixing import BackMix, FlipCrop, View
from backmix.network import Network
from backmix.preprocess import Preprocess
from backmix.recipe import TrainOptions, make_optimizer, schedule_factor


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


def make_accelerator(precision: str = "bf16", *, log_dir: Path | None = None) -> Accelerator:
    """An accelerator for this machine: whatever devices and processes it was started with."""
    mixed_precision = "bf16" if precision == "bf16" else "no"
    if AcceleratorState._shared_state.get("_mixed_precision", mixed_precision) != mixed_precision:
        # It is kept for the whole process and refuses to change, but one program may train in both precisions.
        AcceleratorState._reset_state()
    return Accelerator(
        mixed_precision=mixed_precision,
        log_with="tensorboard" if log_dir is not None else None,
        project_dir=str(log_dir) if log_dir is not None else None,
    )


def train(
    network: Network,
    loader: Loader,
    preprocess: Preprocess,
    options: TrainOptions,
    augmentation: BackMix | None = None,
    *,
    accelerator: Accelerator | None = None,
    checkpoint: Path | None = None,
    resume: bool = False,
    on_step: Callable[[Progress], None] | None = None,
    on_epoch: Callable[[EpochReport], None] | None = None,
) -> list[EpochReport]:
    """Train a network in place; at the end it holds the averaged weights, in evaluation mode.

    All randomness of an epoch follows from (seed, epoch, process), so a training that was cut off and resumed from
    the checkpoint of the last whole epoch ends with the same weights, to the bit on the CPU.

    Args:
        network: what to train.
        loader: batches of uint8 images, by epoch.
        preprocess: how they are normalised.
        options: how to train.
        augmentation: BackMix or None.
        accelerator: devices and processes; None: made from the options.
        checkpoint: file written after every epoch; None: no checkpoints.
        resume: go on from `checkpoint` when it is there.
        on_step: told after every step.
        on_epoch: told after every epoch.

    Returns:
        A report for each epoch, those before the resume included.

    Raises:
        TrainingError: when the loss stops being finite, the checkpoint cannot be written, or options changed.
    """
    if len(loader) == 0:
        raise TrainingError(f"{loader.num_images} images make no batch of {options.batch_size}; add images")
    accelerator = accelerator or make_accelerator(options.precision)
    network.to(accelerator.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    average = deepcopy(network).requires_grad_(False) if options.ema else None
    optimizer = make_optimizer(network, options)
    if augmentation is not None:
        augmentation.to(accelerator.device)
    generators = {purpose: torch.Generator() for purpose in ("mix", "crop", "colour", "erase", "round")}
    if augmentation is not None:
        augmentation.generator = generators["mix"]
    history: list[EpochReport] = []
    fingerprint = json.dumps(
        {**asdict(options), "images": loader.num_images, "augmentation": repr(augmentation)}, sort_keys=True
    )
    if resume and checkpoint is not None and checkpoint.exists():
        history = _restore(checkpoint, fingerprint, network, average, optimizer, augmentation)
    wrapped, optimizer = accelerator.prepare(network, optimizer)
    steps = options.epochs * len(loader)
    for epoch in range(len(history), options.epochs):
        rank = accelerator.process_index
        torch.manual_seed(seed_of(options.seed, "network", epoch, rank))
        for purpose, generator in generators.items():
            # Every process rounds its copy of the bank alike, and mixes and crops its own part of the batch.
            generator.manual_seed(seed_of(options.seed, purpose, epoch, 0 if purpose == "round" else rank))
        network.train()
        totals = torch.zeros(3, dtype=torch.float64)
        lr = 0.0
        for number, batch in enumerate(loader.epoch(epoch)):
            step = epoch * len(loader) + number
            lr = options.lr * schedule_factor(options.schedule, (step + 0.5) / steps, options.warmup)
            for group in optimizer.param_groups:
                group["lr"] = lr
            small = step < options.small * steps
            loss, correct = train_step(
                accelerator,
                wrapped,
                network,
                batch,
                preprocess,
                options,
                augmentation,
                optimizer,
                generators,
                small=small,
            )
            if average is not None:
                _move_average(average, network, min(options.ema, (step + 1) / (step + 10)))
            if not math.isfinite(loss):
                raise TrainingError(
                    f"the loss became {loss} in epoch {epoch + 1}, step {number + 1}. "
                    f"Try a lower learning rate than {options.lr}; the checkpoint of the epoch before is kept."
                )
            totals += torch.tensor([loss * len(batch.labels), correct, len(batch.labels)], dtype=torch.float64)
            if on_step is not None:
                on_step(Progress(epoch, step + 1, steps, loss, correct / len(batch.labels)))
        totals = accelerator.reduce(totals.to(accelerator.device, torch.float32), "sum").cpu().double()
        if not all(bool(value.isfinite().all()) for value in network.parameters()):
            raise TrainingError(
                f"the weights stopped being finite in epoch {epoch + 1}. "
                f"Try a lower learning rate than {options.lr}; the checkpoint of the epoch before is kept."
            )
        report = EpochReport(epoch, float(totals[0] / totals[2]), float(totals[1] / totals[2]), lr)
        history.append(report)
        if checkpoint is not None and accelerator.is_main_process:
            state = {
                "options": fingerprint,
                "network": network.state_dict(),
                "average": average.state_dict() if average is not None else {},
                "optimizer": optimizer.state_dict(),
                "augmentation": augmentation.state_dict() if augmentation is not None else {},
                "history": [asdict(entry) for entry in history],
            }
            save_checkpoint(checkpoint, state)
        accelerator.wait_for_everyone()
        if on_epoch is not None:
            on_epoch(report)
    # Autocast belongs to the training; without this it would stay around the network's forward.
    accelerator.unwrap_model(wrapped, keep_fp32_wrapper=False)
    if average is not None:
        network.load_state_dict(average.state_dict())
    if accelerator.num_processes > 1:
        # Running statistics differ between processes; all go on with those of the first.
        network.load_state_dict(broadcast({k: v.contiguous() for k, v in network.state_dict().items()}))
    network.eval()
    return history


def train_step(
    accelerator: Accelerator,
    wrapped: nn.Module,
    network: Network,
    batch: Batch,
    preprocess: Preprocess,
    options: TrainOptions,
    augmentation: BackMix | None,
    optimizer: torch.optim.Optimizer,
    generators: dict[str, torch.Generator],
    *,
    small: bool = False,
) -> tuple[float, float]:
    """One step of the training: mix, crop, colour, hide, forward, backward, feed the bank, move the weights.

    `small` shows the images at three quarters of their side.

    Returns:
        Loss and number of right answers on the images as they were shown.
    """
    images = preprocess.normalise(batch.images)
    mixed = images
    if augmentation is not None:
        mixed = augmentation(images, batch.index, labels=batch.labels, masks=batch.masks, view=batch.view)
    shown, after = mixed, None
    if options.pad or options.flip or options.zoom:
        pad = round(options.pad * min(images.shape[2:]))
        crop = FlipCrop(pad, options.flip, padding=options.padding, zoom=options.zoom, generator=generators["crop"])
        shown, after = crop(mixed)
    if options.jitter:
        shown = ColourJitter(options.jitter, generator=generators["colour"])(shown)
    if options.erase:
        # A freely fed map is low where the image was hidden; as any place is hidden equally often, the order stays.
        shown = Erase(options.erase, generator=generators["erase"])(shown)
    if small:
        images, shown = (F.interpolate(x, scale_factor=0.75, mode="bilinear", antialias=True) for x in (images, shown))
    optimizer.zero_grad(set_to_none=True)
    features, loss = wrapped(shown, batch.labels)
    accelerator.backward(loss)
    if options.clip:
        accelerator.clip_grad_norm_(network.parameters(), options.clip)
    with torch.no_grad():
        # Before the weights move, so that a freely fed map belongs to the features it is read from.
        correct = (network.head.logits(features).argmax(1) == batch.labels).sum()
        if augmentation is not None:
            _feed(accelerator, network, augmentation, images, batch, features, after, generators["round"])
    optimizer.step()
    return float(loss.detach()), float(correct)


def _feed(
    accelerator: Accelerator,
    network: Network,
    augmentation: BackMix,
    images: Tensor,
    batch: Batch,
    features: Tensor,
    after: View | None,
    generator: torch.Generator,
) -> None:
    """Give the bank the maps of this batch, from all processes, so that every process holds the same bank."""
    if augmentation.foreground == "free":
        maps = network.head.evidence(features.detach(), batch.labels)
    elif augmentation.foreground == "clean":
        with _evaluating(network), accelerator.autocast():
            maps = network.head.evidence(network.backbone(images), batch.labels)
        after = None
    else:
        return
    maps, observed = augmentation.observe(batch.index, maps, view=batch.view, after=after)
    index = batch.index
    if accelerator.num_processes > 1:
        index, maps, observed = cast(
            tuple[Tensor, Tensor, Tensor], accelerator.gather((index, maps.contiguous(), observed.contiguous()))
        )
    augmentation.bank.update(index, maps, observed, generator=generator)


@contextmanager
def _evaluating(network: nn.Module) -> Iterator[None]:
    network.eval()
    try:
        yield
    finally:
        network.train()


@torch.no_grad()
def _move_average(average: nn.Module, network: nn.Module, decay: float) -> None:
    """Move the averaged weights, and the running statistics with them, towards the present ones."""
    ours, theirs = average.state_dict(), network.state_dict()
    moving = [name for name, value in ours.items() if value.is_floating_point()]
    torch._foreach_lerp_([ours[name] for name in moving], [theirs[name] for name in moving], 1 - decay)
    for name, value in ours.items():
        if not value.is_floating_point():
            value.copy_(theirs[name])


def _restore(
    path: Path,
    fingerprint: str,
    network: nn.Module,
    average: nn.Module | None,
    optimizer: torch.optim.Optimizer,
    augmentation: nn.Module | None,
) -> list[EpochReport]:
    state: dict[str, Any] = load_checkpoint(path)
    try:
        before, now = json.loads(state["options"]), json.loads(fingerprint)
        changed = [f"{k}: {before.get(k)!r} -> {now.get(k)!r}" for k in {*before, *now} if before.get(k) != now.get(k)]
        if changed:
            raise TrainingError(
                "cannot resume with other options than the training began with: "
                + "; ".join(sorted(changed))
                + ". Give the old options, or start a new run."
            )
        network.load_state_dict(state["network"])
        if average is not None:
            average.load_state_dict(state["average"])
        optimizer.load_state_dict(state["optimizer"])
        if augmentation is not None:
            augmentation.load_state_dict(state["augmentation"])
        return [EpochReport(**entry) for entry in state["history"]]
    except (KeyError, TypeError, ValueError, RuntimeError) as error:
        raise RunError(f"{path} does not fit this training: {in_one_line(error)}") from error
