import pytest
import torch
from torch import Tensor, nn

from backmix.models import create_backbone
from backmix.models.backbone import Backbone, keeps_channels_last, scaled, stages_inside


class Tiny(Backbone):
    def __init__(self) -> None:
        super().__init__("tiny", 2, in_channels=3)
        self.conv = nn.Conv2d(3, 2, 1)

    def feature_map(self, images: Tensor) -> Tensor:
        return self.conv(images)


def test_calls_the_feature_map_and_knows_its_name() -> None:
    backbone = Tiny()
    images = torch.rand(2, 3, 4, 5)
    assert torch.equal(backbone(images), backbone.conv(images))
    assert (backbone.name, backbone.num_features, backbone.mean, backbone.std) == ("tiny", 2, None, None)
    assert "name='tiny', num_features=2" in repr(backbone)


@pytest.mark.parametrize("shape", [(3, 4, 4), (2, 1, 4, 4), (2, 4, 4, 3)])
def test_images_of_another_shape(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"tiny takes images of shape \(B, 3, H, W\), got \(" + str(shape[0])):
        Tiny()(torch.rand(shape))


def test_images_of_bytes() -> None:
    with pytest.raises(TypeError, match=r"floating-point images, got torch\.uint8"):
        Tiny()(torch.zeros(1, 3, 4, 4, dtype=torch.uint8))


def test_half_images_are_welcome() -> None:
    assert Tiny().bfloat16()(torch.zeros(1, 3, 4, 4, dtype=torch.bfloat16)).dtype == torch.bfloat16


@pytest.mark.parametrize(
    ("channels", "width", "expected"),
    [(24, 1.0, 24), (12, 1.0, 12), (64, 0.5, 32), (64, 0.3, 16), (64, 0.01, 8), (24, 1.5, 40)],
)
def test_scaled_channels(channels: int, width: float, expected: int) -> None:
    assert scaled(channels, width) == expected


@pytest.mark.parametrize("width", [0.0, -1.0, float("nan")])
def test_scaled_by_nothing(width: float) -> None:
    with pytest.raises(ValueError, match="width multiplies the channels"):
        scaled(64, width)


def test_what_a_network_says_of_its_inside_and_nothing_where_it_is_silent():
    assert stages_inside(torch.nn.Identity()) == [] and not keeps_channels_last(None)
    backbone = create_backbone("compact-s", image_size=32)
    assert stages_inside(backbone) == backbone.stages_inside() != []
    swin = create_backbone("swin_tiny_patch4_window7_224", image_size=64)
    assert keeps_channels_last(swin.model) and not keeps_channels_last(create_backbone("resnet10t").model)
