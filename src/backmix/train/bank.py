"""Fill the foreground bank before the first epoch, with the maps of a network that has learnt before."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import cast

import torch
from accelerate import Accelerator
from torch import Tensor

from backmix.data.loader import Batch
from backmix.data.preprocess import Preprocess
from backmix.data.seeds import seed_of
from backmix.methods.network import Network
from backmix.mixing import BackMix


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
