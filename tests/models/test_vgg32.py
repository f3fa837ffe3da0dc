import itertools

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from backmix.models import VGG32


def reference(net: VGG32, images: Tensor) -> Tensor:
    """The nine layers written out, in evaluation mode."""
    convs = [m for m in net.modules() if isinstance(m, nn.Conv2d)]
    norms = [m for m in net.modules() if isinstance(m, nn.BatchNorm2d)]
    for place, (conv, norm) in enumerate(zip(convs, norms, strict=True), start=1):
        images = F.conv2d(images, conv.weight, stride=2 if place in (3, 6, 9) else 1, padding=1)
        images = (images - norm.running_mean[:, None, None]) / (norm.running_var[:, None, None] + norm.eps).sqrt()
        images = images * norm.weight[:, None, None] + norm.bias[:, None, None]
        images = torch.where(images > 0, images, 0.2 * images)
    return images


@pytest.mark.parametrize(("size", "grid"), [(32, 4), (64, 8), (33, 5)])
def test_grid(size: int, grid: int) -> None:
    net = VGG32().eval()
    assert net(torch.rand(1, 3, size, size)).shape == (1, 128, grid, grid)
    assert net.num_features == 128


def test_same_as_the_layers_written_out() -> None:
    torch.manual_seed(0)
    net = VGG32().eval()
    images = torch.randn(2, 3, 32, 32)
    assert torch.allclose(net(images), reference(net, images), atol=1e-4)


def test_parameters() -> None:
    widths = [3, 64, 64, 128, 128, 128, 128, 128, 128, 128]
    expected = sum(9 * i * o + 2 * o for i, o in itertools.pairwise(widths))
    assert sum(p.numel() for p in VGG32().parameters()) == expected == 999_104


def test_dropout_stands_before_each_stage() -> None:
    kinds = [type(layer).__name__ for layer in VGG32().layers]
    stage = ["Dropout2d"] + ["Conv2d", "BatchNorm2d", "LeakyReLU"] * 3
    assert kinds == stage * 3
    assert {layer.p for layer in VGG32().layers if isinstance(layer, nn.Dropout2d)} == {0.2}


def test_dropout_drops_whole_channels_while_training() -> None:
    torch.manual_seed(0)
    dropped = VGG32().layers[0](torch.ones(200, 3, 2, 2))
    assert set(dropped.unique().tolist()) == {0.0, 1.25}
    assert (dropped == dropped[:, :, :1, :1]).all()
    assert (dropped == 0).float().mean().item() == pytest.approx(0.2, abs=0.05)


def test_start() -> None:
    torch.manual_seed(0)
    net = VGG32()
    convs = torch.cat([m.weight.flatten() for m in net.modules() if isinstance(m, nn.Conv2d)])
    gains = torch.cat([m.weight for m in net.modules() if isinstance(m, nn.BatchNorm2d)])
    assert convs.mean().item() == pytest.approx(0.0, abs=1e-3)
    assert convs.std().item() == pytest.approx(0.05, rel=0.02)
    assert gains.mean().item() == pytest.approx(1.0, abs=0.005)
    assert gains.std().item() == pytest.approx(0.02, rel=0.15)
    assert all(m.bias is None for m in net.modules() if isinstance(m, nn.Conv2d))
    assert all(m.bias.eq(0).all() and m.momentum == 0.1 for m in net.modules() if isinstance(m, nn.BatchNorm2d))
