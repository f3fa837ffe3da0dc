"""One step of the training, on one process or on several processes that share a batch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import torch
import torch.nn.functional as F
from accelerate import Accelerator
from torch import Tensor, nn

from backmix.augmentations import Chain
from backmix.augmentations.colour_jitter import ColourJitter
from backmix.augmentations.erase import Erase
from backmix.augmentations.share import ALL, ProcessPart
from backmix.data.loader import Batch
from backmix.data.preprocess import Preprocess
from backmix.methods.network import Network
from backmix.mixing import BackMix, FlipCrop, View
from backmix.outliers import Outliers
from backmix.train.modes import evaluating
from backmix.train.recipe import SMALLER, TrainOptions


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
) -> tuple[Tensor, Tensor]:
    """Do one step: mix, crop, colour and hide images, run forward and backward, update the bank and the weights.

    In the first share `options.small` of all steps, images are shown at three quarters of their side.

    If there are several processes, each has a part of the batch, and their `generators` have the same state. Each
    process draws the random numbers for the whole batch and keeps its part, so the images are the same as with one
    process that has the whole batch. If images are mixed, the parts are gathered first, as bytes, because a donor may
    be in any part. Then every process mixes all images, which is cheaper than to exchange only the needed ones.

    Args:
        accelerator: The devices and processes.
        wrapped: The network as the accelerator prepared it.
        network: The network itself.
        batch: The images and labels of this process.
        preprocess: The normalisation of the images.
        options: The training options.
        augmentation: The augmentations of the batch.
        outliers: The source of images of no known class; None: no outliers.
        optimizers: The optimisers, which each make a step.
        generators: The random number generators, by purpose.
        step: The number of this step in the whole training, from 0.
        steps: The number of steps of the whole training.

    Returns:
        The loss (scalar float) and the number of correct answers (scalar int64), on the images of this process as they
        were shown. Both stay on the device, because reading them would wait for the device.
    """
    share = ProcessPart(accelerator.process_index, accelerator.num_processes)
    gathered = share.world > 1 and (augmentation.looks_at_others or outliers is not None)
    whole = _gather(accelerator, batch) if gathered else batch
    own = share if gathered else ALL  # The part of `whole` that belongs to this process.
    augmentation.set_share(before_crop=ALL if gathered else share, behind_crop=share)
    everything = preprocess.normalise(whole.images)
    images = own.own(everything)
    seen: dict[str, Any] = {"labels": whole.labels, "masks": whole.masks, "view": whole.view}
    # Targets belong to the batch, so an augmentation that mixes labels is drawn once for all views. Others are drawn
    # for each view.
    mixes_labels = any(getattr(part, "mixes_labels", False) for part in augmentation.parts)
    draws = 1 if mixes_labels else network.head.views
    mixed = [own.own(augmentation.before_crop(everything, whole.index, **seen)) for _ in range(draws)]
    others: Tensor | None = None if outliers is None else outliers(everything, whole.index, **seen)
    # The last draw makes the first view, whose features feed the bank: `moved` and pasted cells refer to that draw.
    views = [_show(mixed[-1 - view % draws], options, generators, share) for view in range(network.head.views)]
    shown = torch.cat([augmentation.behind_crop(view, batch.index, labels=batch.labels) for view, _ in views])
    if others is not None and len(others):
        # Outliers use their own generator, so the known images are shown in the same way with and without outliers.
        others, _ = _show(others, options, dict.fromkeys(generators, generators["outliers"]), ALL)
    others = None if others is None else own.own(others)
    if step < options.small * steps:
        images, shown = _smaller(images), _smaller(shown)
        others = None if others is None else _smaller(others)
    for optimizer in optimizers:
        optimizer.zero_grad(set_to_none=True)
    targets = augmentation.targets(whole.labels)
    if targets is not None:
        targets = tuple((own.own(labels), weight) for labels, weight in targets)
    features, loss = wrapped(shown, batch.labels, targets=targets, outliers=others, progress=step / steps, step=step)
    accelerator.backward(loss)
    if options.clip:
        for optimizer in optimizers:
            # Each optimiser is clipped alone, because the gradient of an adversary must not limit the classifier.
            trained = [parameter for group in optimizer.param_groups for parameter in group["params"]]
            accelerator.clip_grad_norm_(trained, options.clip)
    with torch.no_grad():
        # This comes before the weights move, so that a freely fed map belongs to the features from which it is read.
        correct = (network.head.logits(features).argmax(1) == batch.labels).sum()
        bank = augmentation.backmix if outliers is None else outliers.backmix or augmentation.backmix
        if bank is not None:
            maps = _maps(accelerator, network, bank, images, batch, features)
            if maps is not None:
                after = views[0][1] if bank.foreground == "free" else None
                moved = augmentation.moved() if bank.foreground == "free" else None
                _feed(accelerator, bank, whole, maps, after, moved, generators["round"])
    for optimizer in optimizers:
        optimizer.step()
    return loss.detach(), correct


def _gather(accelerator: Accelerator, batch: Batch) -> Batch:
    """Return the batches of all processes as one batch, in the order of the processes."""

    def gather(part: Tensor) -> Tensor:
        return cast(Tensor, accelerator.gather(part.contiguous()))

    view = None if batch.view is None else View(gather(batch.view.boxes), gather(batch.view.flip))
    masks = None if batch.masks is None else gather(batch.masks)
    return Batch(gather(batch.images), gather(batch.labels), gather(batch.index), masks, view)


def _smaller(images: Tensor) -> Tensor:
    if not len(images):  # There may be no outliers from backgrounds yet, and torch cannot resize an empty batch.
        return images.new_empty(0, images.shape[1], *(int(SMALLER * side) for side in images.shape[2:]))
    return F.interpolate(images, scale_factor=SMALLER, mode="bilinear", antialias=True)


def _show(
    images: Tensor, options: TrainOptions, generators: dict[str, torch.Generator], share: ProcessPart
) -> tuple[Tensor, View | None]:
    """Flip, crop, colour and hide images. Return them, and the view of the whole batch on the given images."""
    count, (height, width) = share.whole(len(images)), images.shape[2:]
    after = None
    if options.pad or options.flip or options.zoom:
        pad = round(options.pad * min(height, width))
        crop = FlipCrop(pad, options.flip, padding=options.padding, zoom=options.zoom, generator=generators["crop"])
        after = crop.draw(count, height, width)
        images = crop.apply(images, View(share.own(after.boxes), share.own(after.flip)))
    if options.jitter:
        jitter = ColourJitter(options.jitter, generator=generators["colour"])
        images = jitter.apply(images, share.own(jitter.draw(count), -1))
    if options.erase:
        # A freely fed map is low where the image was hidden. Every place is hidden equally often, so the order of the
        # places stays the same.
        erase = Erase(options.erase, generator=generators["erase"])
        images = erase.apply(images, share.own(erase.draw(count, height, width), -1))
    return images, after


def _maps(
    accelerator: Accelerator, network: Network, mix: BackMix, images: Tensor, batch: Batch, features: Tensor
) -> Tensor | None:
    """Return the class activation maps (B, h, w) of this process for the bank; None if the bank needs no maps."""
    if mix.foreground == "free":
        return network.head.evidence(features.detach(), batch.labels)
    if mix.foreground == "clean":
        with evaluating(network), accelerator.autocast():
            return network.head.evidence(network.backbone(images), batch.labels)
    return None


def _feed(
    accelerator: Accelerator,
    mix: BackMix,
    whole: Batch,
    maps: Tensor,
    after: View | None,
    moved: Tensor | None,
    generator: torch.Generator,
) -> None:
    """Give the bank the maps of the whole batch, so that every process has the same bank."""
    if accelerator.num_processes > 1:
        maps = cast(Tensor, accelerator.gather(maps.contiguous()))
    maps, observed = mix.observe(whole.index, maps, view=whole.view, after=after)
    if moved is not None:
        observed = observed & ~moved.to(observed.device)[:, None, None]
    mix.bank.update(whole.index, maps, observed, generator=generator)
