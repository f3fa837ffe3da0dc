"""The network that is trained, saved and loaded: a backbone and a method in one module."""

from __future__ import annotations

from inspect import signature
from typing import Any

from torch import Tensor, nn

from backmix.methods import METHODS, Method, TrainingBatch
from backmix.models import create_backbone
from backmix.models.option_values import fitting_options


class Network(nn.Module):
    """A backbone, whose feature map goes to a method.

    Args:
        backbone: A module with `num_features`: images (B, 3, H, W) -> feature map (B, C, h, w).
        method: The method, see `backmix.methods.Method`.
    """

    def __init__(self, backbone: nn.Module, method: Method) -> None:
        super().__init__()
        self.backbone = backbone
        self.method = method

    def forward(self, images: Tensor, labels: Tensor | None = None, **more: Any) -> tuple[Tensor, Tensor]:
        """Return features and loss, or features and logits if there are no labels.

        The loss is computed inside the forward pass, so that wrappers for several processes see the whole computation.

        Args:
            images: (B, 3, H, W) float normalised images.
            labels: (B,) int64 known class of each image; None: return logits instead of a loss.
            more: Other attributes of `TrainingBatch`.
        """
        if labels is None:
            features = self.backbone(images)
            return features, self.head.logits(features)
        return self.head.training_loss(self.backbone, TrainingBatch(images, labels, **more))

    @property
    def head(self) -> Method:
        """The method."""
        return self.method


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
    """Make a network from the names of its model and method.

    Args:
        model: The name of the backbone.
        method: The name of the method, a key of `METHODS`.
        num_classes: The number of known classes K, at least 2.
        image_size: The side of the images in pixels.
        pretrained: Whether the backbone starts with published weights.
        model_options: The options of the backbone.
        method_options: The options of the method.

    Raises:
        ValueError: If a name or an option does not exist; the message lists those that do.
    """
    if method not in METHODS:
        raise ValueError(f"no method {method!r}; there are {', '.join(METHODS)}")
    options = method_options or {}
    accepted = [name for name in signature(METHODS[method]).parameters if name not in ("num_features", "num_classes")]
    wrong = [name for name in options if name not in accepted]
    if wrong:
        raise ValueError(f"method {method} has no option {', '.join(wrong)}; it has {', '.join(accepted) or 'none'}")
    options = fitting_options(f"method {method}", METHODS[method], options)
    backbone = create_backbone(model, image_size=image_size, pretrained=pretrained, **(model_options or {}))
    head = METHODS[method](backbone.num_features, num_classes, **options)
    head.prepare(backbone, image_size)
    return Network(backbone, head)
