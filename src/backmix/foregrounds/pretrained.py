"""The foreground by a network that was trained on ImageNet, together with the colours of the picture."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from backmix.foregrounds.base import ForegroundSource, Pixels, Segmentation, shrink
from backmix.foregrounds.centre import centre_prior
from backmix.foregrounds.saliency import SaliencyForeground
from backmix.foregrounds.weights import MissingWeightsError, require
from backmix.mixing.cam import scale_map
from backmix.mixing.checks import check
from backmix.models import create_backbone
from backmix.models.published import PACKAGES, in_hub_cache, installed_weights

MODEL = "tf_efficientnet_lite0"
IMAGE_SIZE = PACKAGES[MODEL].image_size
STAGES = (3, 4)
"""The stages whose cells are read, by their place in timm's `feature_info`: strides 16 and 32, 14x14 and 7x7 cells."""


class PretrainedForeground(ForegroundSource):
    """An estimator that adds the features of EfficientNet-lite0 with ImageNet weights to the cues of saliency.

    The picture is resized to a square of 224 pixels for the network. Its map is the product of two maps, each scaled to
    0..1 and neither of which asks for a class:

    1. *Contrast.* The first principal component of the 14x14 cells of stride 16. Its sign is the one that makes it
       higher in the middle.
    2. *Energy.* The norm of the features in each of the 7x7 cells of stride 32, before the last convolution.

    The first has finer cells and finds edges of texture too; the second is coarse and seldom misses the object. The
    product is stretched to the picture, multiplied by `evidence` and added to the two cues of `SaliencyForeground`, so
    that the mask follows colours and edges, which 14x14 cells cannot.

    The constants were set on the training half of Leeds butterflies, MSRC and ETH-80 by IoU with true masks. The
    network learnt from ImageNet and its labels, which include unknown classes of many benchmarks: mention this beside
    results made with it.

    Args:
        working_size: The longer side in pixels to which larger pictures are scaled down before anything else.
        colour_size: The longer side in pixels at which colours and edges are looked at.
        evidence: The weight of the map of the network beside the two cues of saliency, at least 0.
        centre_weight: How much less likely an object is at the border of the picture, 0..1; 0: no prior.
        batch_size: The number of pictures that go through the network at once.
        device: The device of the network.

    Raises:
        MissingLibraryError: If scikit-image is not installed.
        MissingWeightsError: If the weights are not on this machine; the message names the command that brings them.
            Nothing is downloaded.
        ValueError: If an option is out of its range, or if the file of the weights was altered.
    """

    name = "pretrained"

    def __init__(
        self,
        *,
        working_size: int = IMAGE_SIZE,
        colour_size: int = 128,
        evidence: float = 2.0,
        centre_weight: float = 0.4,
        batch_size: int = 16,
        device: str | torch.device = "cpu",
    ) -> None:
        super().__init__(working_size=working_size)
        check(colour_size >= 16, f"{self.name}: colour_size is a side in pixels, at least 16; got {colour_size}")
        check(evidence >= 0, f"{self.name}: evidence is a weight, at least 0; got {evidence}")
        check(0 <= centre_weight <= 1, f"{self.name}: centre_weight lies in 0..1; got {centre_weight}")
        check(batch_size >= 1, f"{self.name}: batch_size is at least 1; got {batch_size}")
        self.evidence, self.batch_size, self.device = evidence, batch_size, torch.device(device)
        self._saliency = SaliencyForeground(working_size=colour_size, centre_weight=centre_weight)
        self.network = _load().to(self.device)

    def segment(self, pixels: Pixels) -> Segmentation:
        """See `ForegroundSource.segment`."""
        return self.segment_batch([pixels])[0]

    def segment_batch(self, batch: Sequence[Pixels]) -> list[Segmentation]:
        """See `ForegroundSource.segment_batch`. Up to `batch_size` pictures go through the network at once."""
        found = []
        for start in range(0, len(batch), self.batch_size):
            part = batch[start : start + self.batch_size]
            maps = self.maps(torch.stack([_square(pixels) for pixels in part])).cpu()
            found += [self._combine(pixels, values) for pixels, values in zip(part, maps, strict=True)]
        return found

    @torch.no_grad()
    def maps(self, images: Tensor) -> Tensor:
        """Return the maps of the network alone: (B, 3, 224, 224) uint8 -> (B, 14, 14) float32 in 0..1."""
        mean, std = (
            torch.tensor(each, device=self.device)[:, None, None] for each in (self.network.mean, self.network.std)
        )
        images = (images.to(self.device, torch.float32) / 255 - mean) / std
        fine, coarse = self.network.model.forward_intermediates(
            images.contiguous(memory_format=torch.channels_last), indices=list(STAGES), intermediates_only=True
        )
        contrast = scale_map(principal_component(fine.float()))
        energy = scale_map(coarse.float().norm(dim=1))
        energy = F.interpolate(energy[:, None], size=contrast.shape[1:], mode="bilinear")[:, 0]
        return scale_map(contrast * energy)

    def _combine(self, pixels: Pixels, values: Tensor) -> Segmentation:
        small = np.asarray(shrink(Image.fromarray(pixels), self._saliency.working_size))
        cue = F.interpolate(values[None, None].double(), size=small.shape[:2], mode="bilinear")[0, 0]
        soft = self._saliency._soft(small, self.evidence * cue.numpy())
        mask = self._saliency._threshold(soft)
        size = (pixels.shape[1], pixels.shape[0])
        if soft.shape != pixels.shape[:2]:
            soft = np.asarray(Image.fromarray(soft.astype(np.float32)).resize(size, Image.Resampling.BILINEAR))
            mask = np.asarray(Image.fromarray(mask).resize(size, Image.Resampling.NEAREST))
        return Segmentation(soft.astype(np.float32).clip(0.0, 1.0), mask)


def principal_component(features: Tensor) -> Tensor:
    """Return the first principal component of the cells of each feature map, (B, C, h, w) -> (B, h, w), of mean 0.

    A component has no sign of its own. It gets the one with which it goes along with the prior for the middle.
    """
    cells = features.flatten(2).transpose(1, 2)
    cells = cells - cells.mean(1, keepdim=True)
    # Channels are usually fewer than cells, so their covariance is the smaller matrix.
    _, vectors = torch.linalg.eigh(cells.transpose(1, 2) @ cells)
    component = (cells @ vectors[:, :, -1:])[..., 0]
    centre = torch.from_numpy(centre_prior(*features.shape[2:])).to(component)
    along = component @ (centre - centre.mean()).flatten()
    turned: Tensor = torch.where(along[:, None] < 0, -component, component)
    return turned.view(len(features), *features.shape[2:])


def _square(pixels: Pixels) -> Tensor:
    picture = Image.fromarray(pixels).resize((IMAGE_SIZE, IMAGE_SIZE), Image.Resampling.BILINEAR)
    return torch.from_numpy(np.array(picture)).permute(2, 0, 1)


def _load() -> Any:
    require("timm", PretrainedForeground.name)
    command = PACKAGES[MODEL].command
    try:
        at_hand = in_hub_cache(MODEL) or installed_weights(MODEL) is not None
    except FileNotFoundError as error:
        raise MissingWeightsError(f"{PretrainedForeground.name}: {error}") from error
    if not at_hand:
        raise MissingWeightsError(
            f"{PretrainedForeground.name}: the weights of {MODEL} are not on this machine, and nothing is downloaded "
            f"unasked. One command brings them: {command}"
        )
    network = create_backbone(MODEL, pretrained=True)
    return network.to(memory_format=torch.channels_last).eval().requires_grad_(False)  # type: ignore[call-overload]
