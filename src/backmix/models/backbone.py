"""The base class of backbones: modules from images to a feature map, with a name and a number of channels."""

from __future__ import annotations

from torch import Tensor, nn

ImageSize = int | tuple[int, int]
"""The side of a square image in pixels, or (height, width)."""


class Backbone(nn.Module):
    """The base class of networks from images to a feature map, before any pooling.

    Images are ``(B, in_channels, H, W)`` float, and the feature map is ``(B, num_features, h, w)``. A subclass writes
    `feature_map`. A call of the backbone checks the images first.

    Attributes:
        name: The name by which `create_backbone` builds this network.
        num_features: The number of channels of the feature map.
        in_channels: The number of channels of the images.
        mean, std: The mean and standard deviation of each channel, for pixels in 0..1, by which images were normalised
            when the pretrained weights were trained. None if the weights are random.

    Raises:
        ValueError: If the images have another shape than ``(B, in_channels, H, W)``.
        TypeError: If the images are not floating point.
    """

    def __init__(
        self,
        name: str,
        num_features: int,
        *,
        in_channels: int = 3,
        mean: tuple[float, ...] | None = None,
        std: tuple[float, ...] | None = None,
    ) -> None:
        super().__init__()
        self.name = name
        self.num_features = num_features
        self.in_channels = in_channels
        self.mean = mean
        self.std = std

    def forward(self, images: Tensor) -> Tensor:
        """Return the feature map ``(B, num_features, h, w)`` of images ``(B, in_channels, H, W)`` float."""
        if images.dim() != 4 or images.shape[1] != self.in_channels:
            raise ValueError(
                f"{self.name} takes images of shape (B, {self.in_channels}, H, W), got {tuple(images.shape)}"
            )
        if not images.is_floating_point():
            raise TypeError(
                f"{self.name} takes floating-point images, got {images.dtype}: scale and normalise them first"
            )
        return self.feature_map(images)

    def feature_map(self, images: Tensor) -> Tensor:
        """Compute the feature map of images that `forward` has checked."""
        raise NotImplementedError

    def stages_inside(self) -> list[nn.Module]:
        """Return the modules after which the feature map changes its width or size, in order.

        The last module ends the network. Methods that work between layers, such as manifold mixup and MixStyle, use
        these modules. The list is empty if a network does not name its stages.
        """
        return []

    def extra_repr(self) -> str:
        """Return the name and the number of channels, for `print`."""
        return f"name={self.name!r}, num_features={self.num_features}"


def scaled(channels: int, width: float) -> int:
    """Return channels times a width multiplier, rounded to a multiple of 8 and at least 8 (unchanged at 1.0).

    Raises:
        ValueError: If the multiplier is not positive.
    """
    if not width > 0:
        raise ValueError(f"width multiplies the channels and must be above 0, got {width}")
    return channels if width == 1.0 else max(8, int(channels * width / 8 + 0.5) * 8)


def stages_inside(backbone: nn.Module) -> list[nn.Module]:
    """Return the stages of any network in order, see `Backbone.stages_inside`; none if it does not name them."""
    find = getattr(backbone, "stages_inside", None)
    stages: list[nn.Module] = find() if find is not None else []
    return stages


def keeps_channels_last(model: nn.Module | None) -> bool:
    """Return whether a model of timm declares that its maps are (B, h, w, C)."""
    layout = getattr(model, "output_fmt", "NCHW")
    return bool(getattr(layout, "value", layout) == "NHWC")
