"""The foreground by a self-supervised vision transformer: the attention of its class token to the patches."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from backmix.errors import in_one_line
from backmix.foregrounds.base import ForegroundSource, Pixels, Segmentation
from backmix.foregrounds.weights import check_weights, find_weights, require
from backmix.mixing.checks import check

DEFAULT_MODEL = "vit_small_patch16_224.dino"


class AttentionForeground(ForegroundSource):
    """An estimator that reads the last layer of a vision transformer trained without labels (Caron et al., ICCV 2021).

    The picture is resized to a square of `image_size`. In the last block, softmax(q k / sqrt(d)) of the class token
    over all tokens is the weight of each patch, for each head. The mean over the heads, of the patches alone, is
    resized to the size of the picture. The mask is the smallest set of pixels that holds `mass` of the map: 0.6 as in
    the figures of the paper. The soft map is divided by its largest value.

    Weights come from a file or from the cache of the Hugging Face hub. They are downloaded only with download=True.
    These networks were trained without labels on ImageNet pictures, which include unknown classes of a benchmark:
    mention this beside results made with them.

    Args:
        model: The name of a plain vision transformer of timm with a class token, and the tag of its weights after a
            dot.
        pretrained: Whether to load the published weights. False: random weights, for tests.
        weights: A .safetensors file to load instead of the published weights.
        cache_dir: The folder where the client of the hub keeps its files. None: its own folder.
        download: Whether weights may be downloaded.
        image_size: The side of the square in pixels, a multiple of the patch side of the model.
        mass: The share of the attention that the mask holds, above 0 and under 1.
        batch_size: The number of pictures that go through the network at once.
        device: The device of the network.

    Raises:
        MissingLibraryError: If timm is not installed.
        MissingWeightsError: If the weights are neither given nor in the cache; the message says how to get them.
        ValueError: If an option is out of its range, or if the model has no class token.
    """

    name = "attention"

    def __init__(
        self,
        *,
        model: str = DEFAULT_MODEL,
        pretrained: bool = True,
        weights: str | os.PathLike[str] | None = None,
        cache_dir: str | os.PathLike[str] | None = None,
        download: bool = False,
        image_size: int = 224,
        mass: float = 0.6,
        batch_size: int = 16,
        device: str | torch.device = "cpu",
    ) -> None:
        super().__init__(working_size=image_size)
        check(0 < mass < 1, f"{self.name}: mass is a share of the attention, above 0 and under 1; got {mass}")
        check(batch_size >= 1, f"{self.name}: batch_size is at least 1; got {batch_size}")
        timm = require("timm", self.name)
        timm_name = model.removeprefix("timm/")
        if not timm.is_model(timm_name.partition(".")[0]):
            raise ValueError(f"{self.name}: timm has no model {model!r}; the usual one is {DEFAULT_MODEL}")
        file = None
        if weights is not None or pretrained:
            file = find_weights(timm, timm_name, weights, cache_dir, download)
        self.network = _create(timm, timm_name, file, image_size).to(device).eval().requires_grad_(False)
        self.image_size, self.mass, self.batch_size = image_size, mass, batch_size
        config = self.network.pretrained_cfg
        self._mean = torch.tensor(config["mean"], device=device)[:, None, None]
        self._std = torch.tensor(config["std"], device=device)[:, None, None]

    def segment(self, pixels: Pixels) -> Segmentation:
        """See `ForegroundSource.segment`."""
        return self.segment_batch([pixels])[0]

    def segment_batch(self, batch: Sequence[Pixels]) -> list[Segmentation]:
        """See `ForegroundSource.segment_batch`. Up to `batch_size` pictures go through the network at once."""
        found = []
        for start in range(0, len(batch), self.batch_size):
            part = batch[start : start + self.batch_size]
            maps = self.attention(torch.stack([self._square(pixels) for pixels in part])).cpu()
            for pixels, values in zip(part, maps, strict=True):
                soft = F.interpolate(values[None, None], size=pixels.shape[:2], mode="bilinear")[0, 0]
                mask = hold_mass(soft, self.mass)
                found.append(Segmentation((soft / soft.max()).numpy(), mask.numpy()))
        return found

    @torch.no_grad()
    def attention(self, images: Tensor) -> Tensor:
        """Return the attention of the class token in the last block, averaged over the heads.

        Args:
            images: The images, (B, 3, S, S) uint8.

        Returns:
            The maps, (B, g, g) float32 on the device of the network, at least 0. The attention to class and register
            tokens is left out, so a map sums to less than 1.
        """
        network = self.network
        device = self._mean.device
        images = (images.to(device, torch.float32) / 255 - self._mean) / self._std
        # These are the tokens before the last block. The block itself returns no attention weights, so it is not run.
        ((patches, first),) = network.forward_intermediates(
            images,
            indices=[len(network.blocks) - 2],
            return_prefix_tokens=True,
            stop_early=True,
            output_fmt="NLC",
            intermediates_only=True,
        )
        last = network.blocks[-1]
        tokens = last.norm1(torch.cat([first, patches], 1))
        batch, count, _ = tokens.shape
        attend = last.attn
        query, key, _ = attend.qkv(tokens).reshape(batch, count, 3, attend.num_heads, -1).permute(2, 0, 3, 1, 4)
        query, key = attend.q_norm(query[:, :, :1]), attend.k_norm(key)
        weights = (query * attend.scale @ key.transpose(-2, -1)).softmax(-1).mean(1)[:, 0]
        maps: Tensor = weights[:, first.shape[1] :].unflatten(1, network.patch_embed.grid_size)
        return maps

    def _square(self, pixels: Pixels) -> Tensor:
        picture = Image.fromarray(pixels).resize((self.image_size, self.image_size), Image.Resampling.BICUBIC)
        return torch.from_numpy(np.array(picture)).permute(2, 0, 1)


def hold_mass(soft: Tensor, mass: float) -> Tensor:
    """Mark the fewest of the largest values that hold at least the share `mass` of the sum: (h, w) -> (h, w) bool."""
    values, order = soft.flatten().double().sort(descending=True, stable=True)
    before = values.cumsum(0) - values
    mask = torch.zeros(len(values), dtype=torch.bool)
    mask[order] = before < mass * values.sum()
    return mask.reshape(soft.shape)


def _create(timm: Any, name: str, file: Path | None, image_size: int) -> Any:
    overlay = None if file is None else {"file": str(file), "hf_hub_id": None, "url": None}
    options = {"pretrained": file is not None, "pretrained_cfg_overlay": overlay, "num_classes": 0}
    try:
        network = timm.create_model(name, img_size=image_size, **options)
    except (TypeError, RuntimeError, AssertionError) as error:
        source = "" if file is None else f" with the weights in {file.name}"
        raise ValueError(
            f"attention: {name} cannot be made for {image_size} pixels{source}: {in_one_line(error)}"
        ) from error
    if file is not None:
        check_weights(file, network.state_dict().keys(), name)
    plain = isinstance(network, require("timm.models.vision_transformer", "attention").VisionTransformer)
    if not plain or not network.has_class_token or not hasattr(network.blocks[-1], "norm1"):
        raise ValueError(
            f"attention: {name} is no plain vision transformer with a class token; take {DEFAULT_MODEL} for one"
        )
    if image_size % network.patch_embed.patch_size[0]:
        raise ValueError(
            f"attention: image_size must be a multiple of the patches of {name}, {network.patch_embed.patch_size[0]} "
            f"pixels; got {image_size}"
        )
    return network
