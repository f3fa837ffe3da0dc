"""Fill the foreground bank before the first epoch, with the maps of a network that has learnt before."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import cast

import torch
from accelerate import Accelerator
from torch import Tensor, nn

from backmix.data.loader import Batch
from backmix.data.preprocess import Preprocess
from backmix.data.seeds import seed_of
from backmix.methods.network import Network
from backmix.mixing import BackMix
from backmix.train.modes import evaluating
from backmix.train.recipe import SMALLER


@torch.no_grad()
def check_map(backbone: nn.Module, image_size: int, mix: BackMix | None, *, small: bool = False) -> None:
    """Raise ValueError if the maps of a network have one cell, and BackMix would take its foreground from them.

    A map of one cell says nothing about the place of an object, so no image would ever be mixed.

    Args:
        backbone: The network from images to a feature map; it is not changed.
        image_size: The side of the images in pixels.
        mix: The BackMix of the training; None: there is none.
        small: Whether images are also shown at three quarters of their side, see `TrainOptions.small`.
    """
    if mix is None or not mix.estimate.reads_bank:
        return
    shown = int(SMALLER * image_size) if small else image_size
    if any(cells > 1 for cells in map_size(backbone, shown)):
        return
    name = getattr(backbone, "name", type(backbone).__name__)
    larger = _size_of_more_cells(backbone, shown)
    size = "" if larger is None else f" (--image-size {larger} or more)"
    raise ValueError(
        f"the feature map of {name} has one cell for images of {shown} px, so BackMix with foreground "
        f"{mix.foreground!r} cannot tell an object from its background, and nothing would be mixed. Take larger "
        f"images{size}, a network for small images (--model compact), a network of timm "
        'that keeps a larger map (in Python model_options={"output_stride": 8}), or a foreground that needs no map: '
        "--augmentation-option foreground=saliency, or foreground=centre"
    )


def _size_of_more_cells(backbone: nn.Module, image_size: int) -> int | None:
    """Return a side in pixels at which the map has several cells; None if none was found, as for a fixed size."""
    for times in (2, 4, 8):
        try:
            if max(map_size(backbone, times * image_size)) > 1:
                return times * image_size
        except (ValueError, RuntimeError, AssertionError):
            break
    return None


@torch.no_grad()
def map_size(backbone: nn.Module, image_size: int) -> tuple[int, int]:
    """Return the rows and columns of a network's feature map, by a blank image; the network is not changed.

    Args:
        backbone: The network from images to a feature map.
        image_size: The side of the image in pixels.
    """
    first = next(backbone.parameters(), None)
    blank = torch.zeros(1, getattr(backbone, "in_channels", 3), image_size, image_size)
    with evaluating(backbone):
        features = backbone(blank if first is None else blank.to(first))
    return features.shape[-2], features.shape[-1]


@torch.no_grad()
def fill_bank(
    network: Network,
    batches: Iterable[Batch],
    preprocess: Preprocess,
    mix: BackMix,
    *,
    accelerator: Accelerator,
    seed: int = 0,
    on_images: Callable[[int], object] | None = None,
) -> int:
    """Put the evidence of a network for the label of each training image into the foreground bank.

    A bank is empty at first, and an image whose donor has no map yet is not mixed. So a first epoch mixes little. A
    network whose backbone is pretrained and whose head is fitted already has maps, and after this call the first step
    mixes all images. With a head of random weights the maps would say nothing, and the bank is better left empty.

    The network runs in evaluation mode over whole images, which are neither mixed nor cropped. Each map takes the place
    of what the bank held: later maps move it as ever. The network itself does not change.

    Call this before `train`. A checkpoint holds the bank, so a training that is resumed reads the bank from there, and
    this call may be left out. If several processes train together, all of them call this. Each runs the network over
    its own part, and all end with the same bank.

    Args:
        network: The network, with a fitted head.
        batches: The images of this process, each once, as `loader.whole()` gives them.
        preprocess: The normalisation of the images.
        mix: The augmentation whose bank is filled: `augmentation.backmix`, or that of the outliers.
        accelerator: The devices and processes.
        seed: The seed of the training. Only the rounding of a bank of bytes depends on it.
        on_images: A function that is called after every batch with the number of images that this process has done.

    Returns:
        The number of images that now have a map. An image without any evidence for its label gets none, and if the
        foreground comes from elsewhere than the bank (`masks`, `centre`, `random`, `none`), no image does.
    """
    if not mix.estimate.reads_bank:
        return 0
    device, bank = accelerator.device, mix.bank
    network.to(device)
    bank.to(device)
    maps = torch.zeros(len(bank), bank.grid, bank.grid, device=device)
    observed = torch.zeros(maps.shape, dtype=torch.bool, device=device)
    modes = {module: module.training for module in network.modules()}
    network.eval()
    done = 0
    try:
        for batch in batches:
            with accelerator.autocast():
                features = network.backbone(preprocess.normalise(batch.images.to(device)))
                found = network.head.evidence(features, batch.labels.to(device))
            index = batch.index.to(device)
            maps[index], observed[index] = mix.observe(index, found.float(), view=batch.view, mixed=False)
            done += len(index)
            if on_images is not None:
                on_images(done)
    finally:
        for module, mode in modes.items():
            module.training = mode
    if accelerator.num_processes > 1:
        # Every image belongs to one process, and the others have 0 for it.
        maps = cast(Tensor, accelerator.reduce(maps, "sum"))
        observed = cast(Tensor, accelerator.reduce(observed.float(), "sum")) > 0
    generator = torch.Generator().manual_seed(seed_of(seed, "round", "start"))
    index = torch.arange(len(bank), device=device)
    bank.update(index, maps, observed, momentum=1.0, generator=generator)
    return int(bank.seen.sum())
