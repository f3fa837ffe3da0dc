"""What a self-supervised vision transformer looks at: the attention of its class token to the patches."""

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
    """Estimate from the last layer of a vision transformer that was trained without labels (Caron et al., ICCV 2021).

    The picture is brought to a square of `image_size`. In the last block, for each head, softmax(q k / sqrt(d)) of the
    class token over all tokens says how much each patch counts; the mean over heads, of the patches alone, is brought
    to the size of the picture. The mask is the fewest pixels that hold `mass` of the map: 0.6 as in the paper's
    figures. The soft map is divided by its largest value.

    Weights come from a file or from the cache of the Hugging Face hub. They are downloaded only with download=True.
    These networks were trained on ImageNet pictures, unknown classes of a benchmark among them, without labels: say so
    beside figures made with them.

    Args:
        model: name of a plain vision transformer of timm with a class token, and its weights after the dot.
        pretrained: load the published weights; False: random ones, for trying things out.
        weights: a .safetensors file to load instead.
        cache_dir: where the hub's client keeps its files; its own folder by default.
        download: whether weights may be fetched.
        image_size: side in pixels, a multiple of the model's patch side.
        mass: share of the attention that the mask holds, above 0 and under 1.
        batch_size: pictures that go through the network at once.
        device: where the network runs.

    Raises:
        MissingLibraryError: timm is not installed.
        MissingWeightsError: the weights are not at hand; says how to get them.
        ValueError: for an option out of its range, or a model without a class token.
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
        """See `ForegroundSource.segment_batch`; `batch_size` pictures go through the network together."""
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
        """Attention of the class token in the last block, averaged over heads.

        Args:
            images: (B, 3, S, S) uint8.

        Returns:
            (B, g, g) float32 on the device of the network, at least 0; what class and register tokens get is left
            out, so a map sums to less than 1.
        """
        network = self.network
        device = self._mean.device
        images = (images.to(device, torch.float32) / 255 - self._mean) / self._std
        # The tokens before the last block; running it would only give the patches' values, not their weights.
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
    """(h, w) bool: the fewest of the largest values that hold at least the share `mass` of the sum."""
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
