"""WRN-40-4: the wide residual network (Zagoruyko and Komodakis, BMVC 2016) that CSSR and BackMix use at 32 pixels."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from backmix.models.backbone import Backbone, ImageSize, scaled

_SLOPE = 0.1
# In PyTorch's convention, new = 0.999 old + 0.001 batch. It takes about 5000 steps until evaluation sees the current
# statistics, so early evaluations lag behind the weights.
_BN_MOMENTUM = 0.001


class _Block(nn.Module):
    """Two pre-activated 3x3 convolutions beside a shortcut."""

    def __init__(self, inputs: int, outputs: int, stride: int, *, activate_before_split: bool) -> None:
        super().__init__()
        self.activate_before_split = activate_before_split
        self.norm1 = nn.BatchNorm2d(inputs, momentum=_BN_MOMENTUM)
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride=stride, padding=1, bias=False)
        self.norm2 = nn.BatchNorm2d(outputs, momentum=_BN_MOMENTUM)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1, bias=False)
        same = inputs == outputs and stride == 1
        self.shortcut = nn.Identity() if same else nn.Conv2d(inputs, outputs, 1, stride=stride, bias=False)

    def forward(self, features: Tensor) -> Tensor:
        active = F.leaky_relu(self.norm1(features), _SLOPE)
        shortcut: Tensor = self.shortcut(active if self.activate_before_split else features)
        residual = self.conv1(active)
        added: Tensor = shortcut + self.conv2(F.leaky_relu(self.norm2(residual), _SLOPE))
        return added


class WideResNet(Backbone):
    """A network of three groups of ``(depth - 4) / 6`` blocks: 32 px give an 8x8 grid of 256 channels.

    The groups have strides 1, 2, 2. The settings are those of CSSR: leaky ReLU 0.1, no dropout, batch-norm momentum
    0.001, and only the first block of the network activates its input before the shortcut branches off. Convolutions
    start from ``normal(0, sqrt(2 / (k^2 out)))``. With a linear head for ten classes it has 8.95 million parameters.

    Args:
        in_channels: The number of channels of the images.
        image_size: Not used, because any size works. All networks have this argument.
        depth: The number of layers, 6 n + 4 for n blocks per group.
        widen: The widening factor, the 4 of WRN-40-4: the groups have 16, 32 and 64 times as many channels.
        width: A further factor of all numbers of channels.

    Raises:
        ValueError: If the depth is not 6 n + 4.
    """

    def __init__(
        self,
        *,
        in_channels: int = 3,
        image_size: ImageSize | None = None,
        depth: int = 40,
        widen: int = 4,
        width: float = 1.0,
    ) -> None:
        if depth < 10 or (depth - 4) % 6:
            raise ValueError(f"the depth of a wide ResNet is 6 n + 4 (10, 16, 22, 28, 34, 40, ...), got {depth}")
        widths = [scaled(base * widen, width) for base in (16, 32, 64)]
        super().__init__(f"wrn-{depth}-{widen}", widths[-1], in_channels=in_channels)
        channels = scaled(16, width)
        self.stem = nn.Conv2d(in_channels, channels, 3, padding=1, bias=False)
        blocks: list[nn.Module] = []
        for outputs, stride in zip(widths, (1, 2, 2), strict=True):
            for place in range((depth - 4) // 6):
                blocks.append(_Block(channels, outputs, stride if place == 0 else 1, activate_before_split=not blocks))
                channels = outputs
        self.blocks = nn.Sequential(*blocks)
        self.norm = nn.BatchNorm2d(channels, momentum=_BN_MOMENTUM)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def stages_inside(self) -> list[nn.Module]:
        """Return the last block of each of the three groups."""
        third = len(self.blocks) // 3
        return [self.blocks[third * group - 1] for group in (1, 2, 3)]

    def feature_map(self, images: Tensor) -> Tensor:
        """Compute the feature map: ``(B, in_channels, H, W)`` to ``(B, 256, H / 4, W / 4)``, rounded up."""
        return F.leaky_relu(self.norm(self.blocks(self.stem(images))), _SLOPE)
