"""Backbones, networks from images to a feature map: our own networks by name, and every network of timm.

Initial weights and dropout are drawn from PyTorch's global generator, as in every torch module. For repeatable weights,
call `torch.manual_seed` before `create_backbone`, and put both into `torch.random.fork_rng` to keep the generator.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from backmix.models.backbone import Backbone, ImageSize
from backmix.models.compact import Compact
from backmix.models.option_values import fitting_options
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
        name: The name: "compact", "compact-s", "wrn-40-4", "resnet18-small", "vgg32", or a timm name such as
            "resnet18" or "vit_small_patch14_dinov2.lvd142m", with or without "timm/" before it.
        image_size: The side of the images in pixels, or (height, width). Transformers are built for this size, and the
            compact networks choose their stride by it. Other networks do not need it.
        pretrained: Whether to load published weights (timm models only). Random weights never replace missing ones.
        cache_dir: The folder of pretrained weights. None: the default folder of the Hugging Face hub.
        in_channels: The number of channels of the images.
        options: Further options of the network, such as ``width=0.5``, ``dropout=0.0`` or ``drop_path_rate=0.1``.

    Returns:
        The `Backbone`, in training mode.

    Raises:
        ValueError: If no model has this name, or if the model has no pretrained weights, cannot take this image size
            or has no feature map.
        TypeError: If the network does not have an option.
        OSError: If the pretrained weights are not in the cache and cannot be downloaded.
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
    options = fitting_options(f"model {name}", BACKBONES[name], options)
    try:
        return BACKBONES[name](image_size=image_size, in_channels=in_channels, **options)
    except RuntimeError as error:  # PyTorch refuses layers of no or fewer channels.
        raise ValueError(f"model {name} cannot be built with {options}: {' '.join(str(error).split())}") from error
