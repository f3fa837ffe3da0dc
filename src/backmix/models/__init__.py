"""Backbones: networks from images to a feature map, our own by name and all of timm's.

Initial weights and dropout are drawn from PyTorch's global generator, as in every torch module: call
`torch.manual_seed` (or `torch.random.fork_rng`) around `create_backbone` for weights that repeat.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from backmix.models.backbone import Backbone, ImageSize
from backmix.models.compact import Compact
from backmix.models.own import BACKBONES
from backmix.models.resnet_small import ResNetSmall
from backmix.models.timm_backbone import TimmBackbone, create_timm_backbone
from backmix.models.vgg32 import VGG32
from backmix.models.wide_resnet import WideResNet

__all__ = [
    "BACKBONES",
    "VGG32",
    "Backbone",
    "Compact",
    "ImageSize",
    "ResNetSmall",
    "TimmBackbone",
    "WideResNet",
    "create_backbone",
    "create_timm_backbone",
]


def create_backbone(
    name: str,
    *,
    image_size: ImageSize | None = None,
    pretrained: bool = False,
    cache_dir: str | Path | None = None,
    in_channels: int = 3,
    **options: Any,
) -> Backbone:
    """Build a backbone by name: one of `BACKBONES`, or any timm model.

    Args:
        name: "compact", "compact-s", "wrn-40-4", "resnet18-small", "vgg32", or a timm name such as "resnet18" or
            "vit_small_patch14_dinov2.lvd142m", with or without "timm/" before it.
        image_size: side of the images in pixels, or (height, width). Transformers are built for it, the compact
            networks choose their stride by it, the others do not need it.
        pretrained: load published weights (timm models only). There is no fall-back to random weights.
        cache_dir: folder of pretrained weights; None for the default one of the Hugging Face hub.
        in_channels: channels of the images.
        options: further options of that network, such as ``width=0.5``, ``dropout=0.0`` or ``drop_path_rate=0.1``.

    Returns:
        a `Backbone`, in training mode.

    Raises:
        ValueError: if no model has that name, if it has no pretrained weights, cannot take that image size, or has no
            feature map.
        TypeError: if the network has no such option.
        OSError: if the pretrained weights are neither in the cache nor within reach.
    """
    sides = image_size if isinstance(image_size, tuple) else (image_size,)
    if any(side is not None and side < 1 for side in sides):
        raise ValueError(f"image_size is in pixels and at least 1, got {image_size}")
    if in_channels < 1:
        raise ValueError(f"in_channels must be at least 1, got {in_channels}")
    if name not in BACKBONES:
        return create_timm_backbone(
            name, image_size=image_size, pretrained=pretrained, cache_dir=cache_dir, in_channels=in_channels, **options
        )
    if pretrained:
        raise ValueError(f"{name} has no published weights: use pretrained=False, or a timm model such as 'resnet18'")
    return BACKBONES[name](image_size=image_size, in_channels=in_channels, **options)
