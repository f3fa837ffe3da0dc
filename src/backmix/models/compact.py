"""A compact network for CPUs: few layers, plain 3x3 convolutions, pooling before the activations.

The network is ours. One idea comes from the CIFAR-10 speed records (Page 2018; Jordan, "94% on CIFAR-10 in 3.29
seconds", 2024): at small sizes, a shallow wide network with pooled convolutions reaches a good accuracy soonest.
"""

from __future__ import annotations

from torch import Tensor, nn

from backmix.models.backbone import Backbone, ImageSize, scaled

_SMALLEST_SIZE = 32  # With a stem of stride 1 this size gives the smallest grid that we want, 4x4.


def stem_stride_for(image_size: ImageSize | None) -> int:
    """Return the largest power of two that leaves a grid of at least 4x4: 1 below 64 px, 2 below 128, 4 below 256, ...

    Args:
        image_size: The size of the images in pixels, of which the shorter side counts. None: 32.
    """
    side = _SMALLEST_SIZE if image_size is None else image_size
    side = side if isinstance(side, int) else min(side)
    return 1 << max(0, (side // _SMALLEST_SIZE).bit_length() - 1)


def _conv(inputs: int, outputs: int, stride: int = 1) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, 3, stride=stride, padding=1, bias=False)


class _Stage(nn.Module):
    """Convolve and halve, then add one residual convolution."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        # The pooling comes before the norm and the activation, so these have only a quarter of the work.
        self.halve = nn.Sequential(_conv(inputs, outputs), nn.MaxPool2d(2), nn.BatchNorm2d(outputs), nn.GELU())
        self.residual = nn.Sequential(_conv(outputs, outputs), nn.BatchNorm2d(outputs), nn.GELU())

    def forward(self, features: Tensor) -> Tensor:
        halved: Tensor = self.halve(features)
        added: Tensor = halved + self.residual(halved)
        return added


class Compact(Backbone):
    """A network of a stem and one stage per width, each of which halves the grid: 32 px give 4x4, with 256 channels.

    The stride of the stem follows the image size, so that the work for an image hardly grows with its size. Three
    stages give 4x4 to 7x7 for images of 32 to 63 px (stride 1), 64 to 127 px (stride 2; 8x8 where rounding up adds a
    row) and 128 to 255 px (stride 4; 7x7 at 224 px), 4x4 again at 256 px, and so on: never below 4x4, never above 8x8.
    With three stages the network takes any size of at least 8 times the stride of the stem. Convolutions start from He
    normal (fan out).

    Args:
        in_channels: The number of channels of the images.
        image_size: The usual size of the images in pixels. It only chooses the stride of the stem. None: 32.
        widths: The number of channels of each stage.
        stem_channels: The number of channels of the stem.
        stem_stride: The stride of the stem, a power of two. None: the stride that follows from image_size.
        width: The factor of all numbers of channels.
        name: The name of the network.

    Raises:
        ValueError: If there is no stage, if the stride is not a power of two, or (on a call) if the images are too
            small.
    """

    def __init__(
        self,
        *,
        in_channels: int = 3,
        image_size: ImageSize | None = None,
        widths: tuple[int, ...] = (64, 128, 256),
        stem_channels: int = 24,
        stem_stride: int | None = None,
        width: float = 1.0,
        name: str = "compact",
    ) -> None:
        if not widths:
            raise ValueError("widths is empty: give the channels of at least one stage, such as (64, 128, 256)")
        stride = stem_stride_for(image_size) if stem_stride is None else stem_stride
        if stride < 1 or stride & (stride - 1):
            raise ValueError(f"stem_stride must be a power of two (1, 2, 4, ...), got {stride}")
        outputs = [scaled(channels, width) for channels in widths]
        super().__init__(name, outputs[-1], in_channels=in_channels)
        self.stem_stride = stride
        self.min_size = stride * 2 ** len(widths)

        # Strides above 2 take several layers: a 3x3 kernel with stride 4 would skip pixels.
        strides = [2] * (stride.bit_length() - 1) or [1]
        channels = in_channels
        stem: list[nn.Module] = []
        for step in strides:
            out = scaled(stem_channels, width)
            stem += [_conv(channels, out, step), nn.BatchNorm2d(out), nn.GELU()]
            channels = out
        self.stem = nn.Sequential(*stem)
        self.stages = nn.Sequential(*[_Stage(i, o) for i, o in zip([channels, *outputs], outputs, strict=False)])
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def stages_inside(self) -> list[nn.Module]:
        """Return the stages, each of which halves the grid."""
        return list(self.stages)

    def feature_map(self, images: Tensor) -> Tensor:
        """Compute the feature map: ``(B, in_channels, H, W)`` to ``(B, widths[-1], h, w)``."""
        if min(images.shape[-2:]) < self.min_size:
            raise ValueError(
                f"{self.name} with a stem of stride {self.stem_stride} takes images of at least "
                f"{self.min_size}x{self.min_size}, got {images.shape[-2]}x{images.shape[-1]}: "
                "build it with the image_size you have"
            )
        features: Tensor = self.stages(self.stem(images))
        return features
