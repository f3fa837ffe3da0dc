"""VGG32, the nine-convolution network of the open-set tables ("classifier32" of Neal et al., ECCV 2018)."""

from __future__ import annotations

from torch import Tensor, nn

from backmix.models.backbone import Backbone, ImageSize, scaled

_STAGES = ((64, 64, 128), (128, 128, 128), (128, 128, 128))
_SLOPE = 0.2


class VGG32(Backbone):
    """A network of nine 3x3 convolutions in three stages: 32 px give 4x4, 64 px give 8x8.

    The last convolution of each stage has stride 2. Every convolution has no bias and is followed by batch norm and
    leaky ReLU 0.2. A Dropout2d comes before each stage. Convolutions start from normal(0, 0.05), batch-norm weights
    from normal(1, 0.02). As in the ARPL release, the features are pooled by average (Neal et al. flatten them), and the
    published head has no bias.

    Args:
        in_channels: The number of channels of the images.
        image_size: Not used, because any size works. All networks have this argument.
        dropout: The probability that Dropout2d drops a channel.
        width: The factor of the numbers of channels.
    """

    def __init__(
        self, *, in_channels: int = 3, image_size: ImageSize | None = None, dropout: float = 0.2, width: float = 1.0
    ) -> None:
        super().__init__("vgg32", scaled(_STAGES[-1][-1], width), in_channels=in_channels)
        layers: list[nn.Module] = []
        channels = in_channels
        for stage in _STAGES:
            layers.append(nn.Dropout2d(dropout))
            for depth, out in enumerate(stage):
                stride = 2 if depth == len(stage) - 1 else 1
                out = scaled(out, width)
                layers.append(nn.Conv2d(channels, out, 3, stride=stride, padding=1, bias=False))
                layers.append(nn.BatchNorm2d(out))
                layers.append(nn.LeakyReLU(_SLOPE, inplace=True))
                channels = out
        self.layers = nn.Sequential(*layers)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.normal_(module.weight, 0.0, 0.05)
            elif isinstance(module, nn.BatchNorm2d):
                nn.init.normal_(module.weight, 1.0, 0.02)
                nn.init.zeros_(module.bias)

    def stages_inside(self) -> list[nn.Module]:
        """Return the last activation of each of the three stages."""
        ends = [place - 1 for place, layer in enumerate(self.layers) if isinstance(layer, nn.Dropout2d) and place]
        return [self.layers[place] for place in (*ends, len(self.layers) - 1)]

    def feature_map(self, images: Tensor) -> Tensor:
        """Compute the feature map: ``(B, in_channels, H, W)`` to ``(B, 128, H / 8, W / 8)``, rounded up."""
        features: Tensor = self.layers(images)
        return features
