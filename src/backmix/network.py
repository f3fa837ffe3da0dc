"""A backbone and a method in one module: what is trained, saved and loaded."""

from __future__ import annotations

from typing import Any, cast

from torch import Tensor, nn

from backmix.methods import METHODS, Method
from backmix.models import create_backbone


class Network(nn.Module):
    """Backbone -> feature map -> method.

    Args:
        backbone: module with `num_features`, images (B, 3, H, W) -> (B, C, h, w).
        method: module with the calls of `backmix.methods.Method`.
    """

    def __init__(self, backbone: nn.Module, method: nn.Module) -> None:
        super().__init__()
        self.backbone = backbone
        self.method = method

    def forward(self, images: Tensor, labels: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Features and loss, or features and logits when there are no labels.

        The loss is taken inside the forward pass, so that wrappers for several processes see all of it.
        """
        features = self.backbone(images)
        if labels is None:
            return features, self.head.logits(features)
        return features, self.head.loss(features, labels)

    @property
    def head(self) -> Method:
        """The method, with its calls."""
        return cast(Method, self.method)


def create_network(
    model: str,
    method: str,
    num_classes: int,
    *,
    image_size: int,
    pretrained: bool = False,
    model_options: dict[str, Any] | None = None,
    method_options: dict[str, Any] | None = None,
) -> Network:
    """Build a network by names.

    Raises:
        ValueError: for a name that is not there, with those that are.
    """
    if method not in METHODS:
        raise ValueError(f"no method {method!r}; there are {', '.join(METHODS)}")
    backbone = create_backbone(model, image_size=image_size, pretrained=pretrained, **(model_options or {}))
    return Network(backbone, METHODS[method](backbone.num_features, num_classes, **(method_options or {})))
