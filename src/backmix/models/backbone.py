"""What every backbone is: a module from images to a feature map, with its name and its number of channels."""

from __future__ import annotations

from torch import Tensor, nn

ImageSize = int | tuple[int, int]
"""Side of a square image in pixels, or (height, width)."""


class Backbone(nn.Module):
    """Images ``(B, in_channels, H, W)`` float to a feature map ``(B, num_features, h, w)``, before any pooling.

    A subclass writes `feature_map`; calling the backbone checks the images first.

    Attributes:
        name: the name that `create_backbone` builds this network under.
        num_features: channels of the feature map.
        in_channels: channels of the images.
        mean, std: per-channel normalisation, for pixels in 0..1, that the pretrained weights were trained with;
            None where the weights are random.

    Raises:
        ValueError: on images of another shape than ``(B, in_channels, H, W)``.
        TypeError: on images that are not floating point.
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
        """Feature map ``(B, num_features, h, w)`` of images ``(B, in_channels, H, W)`` float."""
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
        """The network itself, on images that `forward` has checked."""
        raise NotImplementedError

    def stages_inside(self) -> list[nn.Module]:
        """Modules after which the feature map changes its width or size, from the images on; the last one ends it.

        For what works between layers, such as manifold mixup and MixStyle. Empty where a network does not tell.
        """
        return []

    def extra_repr(self) -> str:
        """The name and the channels, for `print`."""
        return f"name={self.name!r}, num_features={self.num_features}"


def scaled(channels: int, width: float) -> int:
    """Channels times a width multiplier, rounded to a multiple of 8 and at least 8 (unchanged at 1.0).

    Raises:
        ValueError: if the multiplier is not positive.
    """
    if not width > 0:
        raise ValueError(f"width multiplies the channels and must be above 0, got {width}")
    return channels if width == 1.0 else max(8, int(channels * width / 8 + 0.5) * 8)


def stages_inside(backbone: nn.Module) -> list[nn.Module]:
    """Modules inside any network whose outputs are maps to look at, in order; none where it does not name them."""
    find = getattr(backbone, "stages_inside", None)
    stages: list[nn.Module] = find() if find is not None else []
    return stages


def keeps_channels_last(model: nn.Module | None) -> bool:
    """Whether a model of timm says that its maps are (B, h, w, C)."""
    layout = getattr(model, "output_fmt", "NCHW")
    return bool(getattr(layout, "value", layout) == "NHWC")
