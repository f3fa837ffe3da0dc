"""The table of our own networks."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from backmix.models.backbone import Backbone
from backmix.models.compact import Compact
from backmix.models.resnet_small import ResNetSmall
from backmix.models.vgg32 import VGG32
from backmix.models.wide_resnet import WideResNet

BACKBONES: dict[str, Callable[..., Backbone]] = {
    "compact": Compact,
    "compact-s": partial(Compact, widths=(32, 64, 128), name="compact-s"),
    "wrn-40-4": WideResNet,
    "resnet18-small": ResNetSmall,
    "vgg32": VGG32,
}
"""Our own networks by name; each is built with ``in_channels``, ``image_size`` and options of its own."""
