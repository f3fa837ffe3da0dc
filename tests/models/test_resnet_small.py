import math

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from backmix.models import ResNetSmall


@pytest.mark.parametrize(("size", "grid"), [(32, 4), (64, 8), (33, 5)])
def test_grid(size: int, grid: int) -> None:
    net = ResNetSmall().eval()
    with torch.no_grad():
        assert net(torch.rand(1, 3, size, size)).shape == (1, 512, grid, grid)
    assert (net.name, net.num_features) == ("resnet18-small", 512)


def test_has_11_17_million_parameters_with_a_head_for_ten_classes() -> None:
    count = sum(p.numel() for p in ResNetSmall().parameters()) + 512 * 10 + 10
    assert count == 11_173_962


def test_settings() -> None:
    net = ResNetSmall()
    assert net.stem.kernel_size == (3, 3)
    assert net.stem.stride == (1, 1)
    assert [block.conv1.stride[0] for block in net.blocks] == [1, 1, 2, 1, 2, 1, 2, 1]
    assert [block.conv1.out_channels for block in net.blocks] == [64, 64, 128, 128, 256, 256, 512, 512]
    assert {m.momentum for m in net.modules() if isinstance(m, nn.BatchNorm2d)} == {0.1}
    assert not [m for m in net.modules() if isinstance(m, nn.MaxPool2d | nn.AvgPool2d)]


def test_start() -> None:
    torch.manual_seed(0)
    for conv in [m for m in ResNetSmall().modules() if isinstance(m, nn.Conv2d)]:
        expected = math.sqrt(2 / (conv.kernel_size[0] ** 2 * conv.out_channels))
        assert conv.weight.std().item() == pytest.approx(expected, rel=0.1 if conv.weight.numel() < 3000 else 0.05)
        assert conv.bias is None


@pytest.mark.parametrize("slope", [0.01, 0.2])
@pytest.mark.parametrize("place", [0, 2])
def test_block_written_out(slope: float, place: int) -> None:
    torch.manual_seed(0)
    block = ResNetSmall(slope=slope).eval().blocks[place]
    features = torch.randn(2, 64, 8, 8)
    stride = 2 if place == 2 else 1
    inner = block.norm1(F.conv2d(features, block.conv1.weight, stride=stride, padding=1))
    inner = torch.where(inner > 0, inner, slope * inner)
    inner = block.norm2(F.conv2d(inner, block.conv2.weight, padding=1))
    shortcut = features
    if stride == 2:
        shortcut = block.shortcut[1](F.conv2d(features, block.shortcut[0].weight, stride=2))
    assert torch.allclose(block(features), (inner + shortcut).clamp(min=0), atol=1e-5)


def test_projection() -> None:
    net = ResNetSmall(projection=40, width=0.25).eval()
    assert net.num_features == 40
    with torch.no_grad():
        features = net(torch.rand(2, 3, 32, 32))
    assert features.shape == (2, 40, 4, 4)
    assert features.min() < 0  # no activation stands behind it
