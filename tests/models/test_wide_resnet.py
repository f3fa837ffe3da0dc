import math

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from backmix.models import WideResNet


@pytest.mark.parametrize(("size", "grid"), [(32, 8), (64, 16), (33, 9)])
def test_grid(size: int, grid: int) -> None:
    net = WideResNet().eval()
    with torch.no_grad():
        assert net(torch.rand(1, 3, size, size)).shape == (1, 256, grid, grid)
    assert (net.name, net.num_features) == ("wrn-40-4", 256)


def test_has_8_95_million_parameters_with_a_head_for_ten_classes() -> None:
    net = WideResNet()
    count = sum(p.numel() for p in net.parameters()) + 256 * 10 + 10
    # conv 16, then in each group 12 convolutions of 3x3 and one shortcut of 1x1, then the norms.
    convs = 9 * 3 * 16
    norms = 0
    channels = 16
    for out in (64, 128, 256):
        convs += 9 * channels * out + 11 * 9 * out * out + channels * out
        norms += 2 * channels + 11 * 2 * out
        channels = out
    assert count == convs + norms + 2 * 256 + 2570
    assert count == 8_949_210


def test_settings() -> None:
    net = WideResNet()
    norms = [m for m in net.modules() if isinstance(m, nn.BatchNorm2d)]
    assert len(norms) == 2 * 18 + 1
    assert {norm.momentum for norm in norms} == {0.001}
    assert not [m for m in net.modules() if isinstance(m, nn.modules.dropout._DropoutNd)]
    assert [block.conv1.stride[0] for block in net.blocks] == [1] * 6 + [2] + [1] * 5 + [2] + [1] * 5


def test_start() -> None:
    torch.manual_seed(0)
    for conv in [m for m in WideResNet().modules() if isinstance(m, nn.Conv2d)]:
        expected = math.sqrt(2 / (conv.kernel_size[0] ** 2 * conv.out_channels))
        assert conv.weight.std().item() == pytest.approx(expected, rel=0.2 if conv.weight.numel() < 3000 else 0.05)
        assert conv.bias is None


def test_only_the_first_block_activates_before_the_shortcut_leaves() -> None:
    net = WideResNet().eval()
    for place, block in enumerate(net.blocks):
        nn.init.zeros_(block.conv2.weight)  # only the shortcut is left
        features = torch.randn(1, block.conv1.in_channels, 4, 4)
        block.norm1.running_mean.fill_(0.5)
        if place == 0:
            expected = block.shortcut(F.leaky_relu(block.norm1(features), 0.1))
        elif block.conv1.in_channels != block.conv1.out_channels:
            expected = block.shortcut(features)
        else:
            expected = features
        assert torch.equal(block(features), expected)


def test_block_written_out() -> None:
    torch.manual_seed(0)
    block = WideResNet(depth=10).eval().blocks[1]
    features = torch.randn(2, 64, 8, 8)
    active = block.norm1(features)
    active = torch.where(active > 0, active, 0.1 * active)
    inner = block.norm2(F.conv2d(active, block.conv1.weight, stride=2, padding=1))
    inner = F.conv2d(torch.where(inner > 0, inner, 0.1 * inner), block.conv2.weight, padding=1)
    expected = inner + F.conv2d(features, block.shortcut.weight, stride=2)
    assert torch.allclose(block(features), expected, atol=1e-5)


def test_the_map_is_activated_with_slope_a_tenth() -> None:
    torch.manual_seed(0)
    net = WideResNet(depth=10, widen=1).eval()
    images = torch.randn(1, 3, 32, 32)
    normed = net.norm(net.blocks(net.stem(images)))
    assert normed.min() < 0
    assert torch.equal(net(images), torch.where(normed > 0, normed, 0.1 * normed))


@pytest.mark.parametrize("depth", [4, 12, 41, -2])
def test_depth_that_is_none(depth: int) -> None:
    with pytest.raises(ValueError, match=rf"6 n \+ 4 .* got {depth}"):
        WideResNet(depth=depth)


def test_other_members_of_the_family() -> None:
    assert WideResNet(depth=28, widen=10, width=0.1).name == "wrn-28-10"
    assert WideResNet(depth=16, widen=2).num_features == 128
