"""ResNet-18 for small images (He et al., CVPR 2016), with the 3x3 stem that CSSR and MEDAF use at 32 and 64 pixels."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from backmix.models.backbone import Backbone, ImageSize, scaled


class _Block(nn.Module):
    """Two 3x3 convolutions with a leaky ReLU between them and a ReLU after the sum with the shortcut."""

    def __init__(self, inputs: int, outputs: int, stride: int, slope: float) -> None:
        super().__init__()
        self.slope = slope
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride=stride, padding=1, bias=False)
        self.norm1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1, bias=False)
        self.norm2 = nn.BatchNorm2d(outputs)
        self.shortcut: nn.Module = nn.Identity()
        if inputs != outputs or stride != 1:
            self.shortcut = nn.Sequential(
                nn.Conv2d(inputs, outputs, 1, stride=stride, bias=False), nn.BatchNorm2d(outputs)
            )

    def forward(self, features: Tensor) -> Tensor:
        residual = F.leaky_relu(self.norm1(self.conv1(features)), self.slope)
        return F.relu(self.norm2(self.conv2(residual)) + self.shortcut(features))


class ResNetSmall(Backbone):
    """ResNet-18 without the early pooling: 32 px give 4x4, 64 px give 8x8, with 512 channels.

    It has a 3x3 stem with stride 1 and four stages of two blocks, with 64, 128, 256, 512 channels and strides 1, 2, 2,
    2. With a linear head for ten classes it has 11.17 million parameters. Convolutions start from He normal (fan out).

    Args:
        in_channels: The number of channels of the images.
        image_size: Not used, because any size works. All networks have this argument.
        projection: The number of channels of a final 1x1 convolution. None: no such convolution.
        slope: The slope of the leaky ReLU inside the blocks. The papers do not state it; this is PyTorch's default.
        width: The factor of the numbers of channels of the stages.
    """

    def __init__(
        self,
        *,
        in_channels: int = 3,
        image_size: ImageSize | None = None,
        projection: int | None = None,
        slope: float = 0.01,
        width: float = 1.0,
    ) -> None:
        widths = [scaled(channels, width) for channels in (64, 128, 256, 512)]
        super().__init__("resnet18-small", projection or widths[-1], in_channels=in_channels)
        self.slope = slope
        channels = widths[0]
        self.stem = nn.Conv2d(in_channels, channels, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(channels)
        blocks: list[nn.Module] = []
        for outputs, stride in zip(widths, (1, 2, 2, 2), strict=True):
            blocks += [_Block(channels, outputs, stride, slope), _Block(outputs, outputs, 1, slope)]
            channels = outputs
        self.blocks = nn.Sequential(*blocks)
        self.projection = nn.Conv2d(channels, projection, 1) if projection else nn.Identity()
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def stages_inside(self) -> list[nn.Module]:
        """Return the last block of each of the four stages."""
        return [self.blocks[2 * stage - 1] for stage in (1, 2, 3, 4)]

    def feature_map(self, images: Tensor) -> Tensor:
        """Compute the feature map: ``(B, in_channels, H, W)`` to ``(B, 512, H / 8, W / 8)``, rounded up."""
        features: Tensor = self.blocks(F.leaky_relu(self.norm(self.stem(images)), self.slope))
        features = self.projection(features)
        return features
