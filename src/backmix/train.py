"""The one training loop: any method, any augmentation, any number of processes."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any, cast

import torch
import torch.nn.functional as F
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from accelerate.utils import DistributedDataParallelKwargs, broadcast
from torch import Tensor, nn
from torch.nn.utils import parametrize

from backmix.augmentations import Augmentation, Chain
from backmix.checkpoint import load_checkpoint, save_checkpoint
from backmix.colour_jitter import ColourJitter
from backmix.data.loader import Batch, Loader, seed_of
from backmix.erase import Erase
from backmix.errors import RunError, TrainingError, in_one_line
from backmix.methods import TrainingBatch
from backmix.mixing import BackMix, FlipCrop, View
from backmix.network import Network
from backmix.outliers import Outliers
from backmix.precision import resolve_precision
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
    augmentation: Chain | Augmentation | BackMix | None = None,
    *,
    outliers: Outliers | None = None,
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
        augmentation: what is done to the batches.
        outliers: where images of no known class come from, for methods that learn from them.
        accelerator: devices and processes; None: made from the options.
        checkpoint: file written after every epoch; None: no checkpoints.
        resume: go on from `checkpoint` when it is there.
        on_step: told after every step.
        on_epoch: told after every epoch.

    Returns:
        A report for each epoch, those before the resume included.

    Raises:
        TrainingError: when the loss stops being finite, the checkpoint cannot be written, or options changed.
        ValueError: when outliers and augmentation have a foreground bank each, of which one would starve.
    """
    if len(loader) == 0:
        raise TrainingError(f"{loader.num_images} images make no batch of {options.batch_size}; add images")
    accelerator = accelerator or make_accelerator(options.precision)
    network.to(accelerator.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    average = deepcopy(network).requires_grad_(False) if options.ema else None
    own = network.head.own_optimizer()
    optimizer = make_optimizer(network, options, apart=own)
    generators = {purpose: torch.Generator() for purpose in ("mix", "crop", "colour", "erase", "round", "outliers")}
    chain = augmentation if isinstance(augmentation, Chain) else Chain([augmentation] if augmentation else [])
    chain.to(accelerator.device)
    chain.set_generator(generators["mix"])
    if outliers is not None:
        outliers.to(accelerator.device)
        outliers.generator = generators["outliers"]
        outliers.check_bank(chain.backmix)
    if network.head.needs_outliers and outliers is None:
        network.head.check_outliers(TrainingBatch(torch.empty(0), torch.empty(0)))
    history: list[EpochReport] = []
    fingerprint = json.dumps(
        {
            **asdict(options),
            "images": loader.num_images,
            "augmentation": " + ".join(_one_line(part) for part in chain.parts) or "none",
            "outliers": _one_line(outliers),
        },
        sort_keys=True,
    )
    kept: dict[str, Any] = {"network": network, "optimizer": optimizer, "augmentation": chain}
    kept |= {name: each for name, each in (("average", average), ("own", own), ("outliers", outliers)) if each}
    if resume and checkpoint is not None and checkpoint.exists():
        history = _restore(checkpoint, fingerprint, kept)
    if network.head.partial_gradients:
        accelerator.ddp_handler = DistributedDataParallelKwargs(find_unused_parameters=True)
    wrapped, optimizer = accelerator.prepare(network, optimizer)
    optimizers = [optimizer] if own is None else [optimizer, accelerator.prepare(own)]
    steps = options.epochs * len(loader)
    schedule = partial(schedule_factor, options.schedule, warmup=options.warmup)
    with _attached(chain, network.backbone):
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
                lr = options.lr * network.head.rate((step + 0.5) / steps, schedule)
                for group in optimizer.param_groups:
                    group["lr"] = lr
                loss, correct = train_step(
                    accelerator,
                    wrapped,
                    network,
                    batch,
                    preprocess,
                    options,
                    chain,
                    outliers,
                    optimizers,
                    generators,
                    step=step,
                    steps=steps,
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
                state = {name: each.state_dict() for name, each in kept.items()}
                save_checkpoint(
                    checkpoint, {"options": fingerprint, **state, "history": [asdict(entry) for entry in history]}
                )
            accelerator.wait_for_everyone()
            if on_epoch is not None:
                on_epoch(report)
    # Autocast belongs to the training; without this it would stay around the network's forward.
    accelerator.unwrap_model(wrapped, keep_fp32_wrapper=False)
    if average is not None:
        network.load_state_dict(average.state_dict())
        _settle(network)
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
    augmentation: Chain,
    outliers: Outliers | None,
    optimizers: Sequence[torch.optim.Optimizer],
    generators: dict[str, torch.Generator],
    *,
    step: int = 0,
    steps: int = 1,
) -> tuple[float, float]:
    """One step of the training: mix, crop, colour, hide, forward, backward, feed the bank, move the weights.

    In the first share `options.small` of all steps images are shown at three quarters of their side.

    Returns:
        Loss and number of right answers on the images as they were shown.
    """
    images = preprocess.normalise(batch.images)
    seen: dict[str, Any] = {"labels": batch.labels, "masks": batch.masks, "view": batch.view}
    # Targets belong to the batch, so what mixes labels is drawn once for all views; anything else for each view.
    mixes_labels = any(getattr(part, "mixes_labels", False) for part in augmentation.parts)
    draws = 1 if mixes_labels else network.head.views
    mixed = [augmentation.before_crop(images, batch.index, **seen) for _ in range(draws)]
    others: Tensor | None = None if outliers is None else outliers(images, batch.index, **seen)
    # The last draw makes the first view, whose features feed the bank: `moved` and pasted cells tell of that draw.
    views = [_show(mixed[-1 - view % draws], options, generators) for view in range(network.head.views)]
    shown = torch.cat([augmentation.behind_crop(view, batch.index, labels=batch.labels) for view, _ in views])
    if others is not None and len(others):
        # From a generator of their own: the known images are shown alike with and without outliers.
        others, _ = _show(others, options, dict.fromkeys(generators, generators["outliers"]))
    if step < options.small * steps:
        images, shown = _smaller(images), _smaller(shown)
        others = None if others is None else _smaller(others)
    for optimizer in optimizers:
        optimizer.zero_grad(set_to_none=True)
    targets = augmentation.targets(batch.labels)
    features, loss = wrapped(shown, batch.labels, targets=targets, outliers=others, progress=step / steps, step=step)
    accelerator.backward(loss)
    if options.clip:
        for optimizer in optimizers:
            # Each on its own: the gradient of an adversary says nothing of how far the classifier may go.
            own = [parameter for group in optimizer.param_groups for parameter in group["params"]]
            accelerator.clip_grad_norm_(own, options.clip)
    with torch.no_grad():
        # Before the weights move, so that a freely fed map belongs to the features it is read from.
        correct = (network.head.logits(features).argmax(1) == batch.labels).sum()
        bank = augmentation.backmix if outliers is None else outliers.backmix or augmentation.backmix
        if bank is not None:
            _feed(
                accelerator,
                network,
                bank,
                images,
                batch,
                features,
                views[0][1],
                augmentation.moved(),
                generators["round"],
            )
    for optimizer in optimizers:
        optimizer.step()
    return float(loss.detach()), float(correct)


def _smaller(images: Tensor) -> Tensor:
    if not len(images):  # Outliers made of backgrounds may be none yet, and torch does not resize nothing.
        return images.new_empty(0, images.shape[1], *(int(0.75 * side) for side in images.shape[2:]))
    return F.interpolate(images, scale_factor=0.75, mode="bilinear", antialias=True)


def _show(images: Tensor, options: TrainOptions, generators: dict[str, torch.Generator]) -> tuple[Tensor, View | None]:
    """Flip, crop, colour and hide: images as the network sees them, and what they show of those given."""
    after = None
    if options.pad or options.flip or options.zoom:
        pad = round(options.pad * min(images.shape[2:]))
        crop = FlipCrop(pad, options.flip, padding=options.padding, zoom=options.zoom, generator=generators["crop"])
        images, after = crop(images)
    if options.jitter:
        images = ColourJitter(options.jitter, generator=generators["colour"])(images)
    if options.erase:
        # A freely fed map is low where the image was hidden; as any place is hidden equally often, the order stays.
        images = Erase(options.erase, generator=generators["erase"])(images)
    return images, after


def _feed(
    accelerator: Accelerator,
    network: Network,
    mix: BackMix,
    images: Tensor,
    batch: Batch,
    features: Tensor,
    after: View | None,
    moved: Tensor | None,
    generator: torch.Generator,
) -> None:
    """Give the bank the maps of this batch, from all processes, so that every process holds the same bank."""
    if mix.foreground == "free":
        maps = network.head.evidence(features.detach(), batch.labels)
    elif mix.foreground == "clean":
        with _evaluating(network), accelerator.autocast():
            maps = network.head.evidence(network.backbone(images), batch.labels)
        after = moved = None
    else:
        return
    maps, observed = mix.observe(batch.index, maps, view=batch.view, after=after)
    if moved is not None:
        observed = observed & ~moved.to(observed.device)[:, None, None]
    index = batch.index
    if accelerator.num_processes > 1:
        index, maps, observed = cast(
            tuple[Tensor, Tensor, Tensor], accelerator.gather((index, maps.contiguous(), observed.contiguous()))
        )
    mix.bank.update(index, maps, observed, generator=generator)


@contextmanager
def _attached(chain: Chain, backbone: nn.Module) -> Iterator[None]:
    chain.attach(backbone)
    try:
        yield
    finally:
        chain.detach()


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


@torch.no_grad()
def _settle(network: nn.Module, readings: int = 30) -> None:
    """Let parametrized weights catch up with averaged ones, and leave their modules in training mode.

    Reading a weight in training mode is one step of the power iteration behind a spectral norm. The mean of singular
    vectors over a training belongs to no weights and is shorter than 1, so that norms would come out too large.
    """
    for module in network.modules():
        if parametrize.is_parametrized(module):
            module.train()
            for name in cast(nn.ModuleDict, module.parametrizations):
                for _ in range(readings):
                    getattr(module, name)


def _one_line(thing: object) -> str:
    return " ".join(repr(thing).split())


def _restore(path: Path, fingerprint: str, kept: dict[str, Any]) -> list[EpochReport]:
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
        for name, each in kept.items():
            each.load_state_dict(state[name])
        return [EpochReport(**entry) for entry in state["history"]]
    except (KeyError, TypeError, ValueError, RuntimeError) as error:
        raise RunError(f"{path} does not fit this training: {in_one_line(error)}") from error
