import itertools

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from backmix.models import Compact, create_backbone
from backmix.models.compact import stem_stride_for


def narrow(image_size: int | tuple[int, int] | None = None, **options: object) -> Compact:
    return Compact(image_size=image_size, widths=(8, 8, 8), stem_channels=8, **options).eval()  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("size", "stride", "grid"),
    [(32, 1, 4), (48, 1, 6), (63, 1, 7), (64, 2, 4), (96, 2, 6), (127, 2, 8), (128, 4, 4), (224, 4, 7), (256, 8, 4)],
)
def test_grid(size: int, stride: int, grid: int) -> None:
    net = narrow(size)
    assert net.stem_stride == stride
    with torch.no_grad():
        assert net(torch.rand(1, 3, size, size)).shape == (1, 8, grid, grid)


def test_defaults() -> None:
    net = Compact().eval()
    assert net(torch.rand(2, 3, 32, 32)).shape == (2, 256, 4, 4)
    assert (net.name, net.num_features, net.stem_stride) == ("compact", 256, 1)
    convs = [(m.in_channels, m.out_channels) for m in net.modules() if isinstance(m, nn.Conv2d)]
    assert convs == [(3, 24), (24, 64), (64, 64), (64, 128), (128, 128), (128, 256), (256, 256)]
    assert sum(p.numel() for p in net.parameters()) == sum(9 * i * o + 2 * o for i, o in convs)


def test_small_variant() -> None:
    net = create_backbone("compact-s").eval()
    assert (net.name, net.num_features) == ("compact-s", 128)
    assert net(torch.rand(1, 3, 32, 32)).shape == (1, 128, 4, 4)


def test_width_multiplies_all_channels() -> None:
    net = Compact(width=0.5)
    assert [m.out_channels for m in net.modules() if isinstance(m, nn.Conv2d)] == [16, 32, 32, 64, 64, 128, 128]


@given(st.integers(32, 256))
def test_grid_is_never_below_4_nor_above_8(size: int) -> None:
    grid = size
    for _ in range(stem_stride_for(size).bit_length() - 1):
        grid = (grid + 1) // 2  # a padded convolution of stride 2 rounds up
    for _ in range(3):
        grid //= 2  # a pooling rounds down
    assert 4 <= grid <= 8


@given(st.integers(1, 5000))
def test_stem_stride_is_the_largest_power_of_two_that_leaves_4_cells(size: int) -> None:
    candidates = [2**k for k in range(12) if size // 2**k >= 32]
    assert stem_stride_for(size) == max(candidates, default=1)


def test_stem_stride_follows_the_shorter_side() -> None:
    assert stem_stride_for((64, 200)) == stem_stride_for((200, 64)) == 2
    assert stem_stride_for(None) == 1


@settings(max_examples=15, deadline=None)
@given(st.integers(8, 70), st.integers(8, 70))
def test_takes_any_size_whatever_it_was_built_for(height: int, width: int) -> None:
    with torch.no_grad():
        assert narrow(32)(torch.rand(1, 3, height, width)).shape == (1, 8, height // 8, width // 8)


@pytest.mark.parametrize("stride", [1, 2, 4, 8])
def test_the_stem_looks_at_every_pixel(stride: int) -> None:
    torch.manual_seed(0)
    images = torch.rand(1, 3, 32, 32, requires_grad=True)
    Compact(stem_stride=stride).stem(images).square().sum().backward()
    assert images.grad is not None
    assert (images.grad.abs().sum(1) > 0).all()


def test_stage_written_out() -> None:
    torch.manual_seed(0)
    stage = Compact().eval().stages[0]
    features = torch.randn(2, 24, 6, 6)
    conv, _, norm, _ = stage.halve
    inner = conv(features)
    pooled = torch.empty(2, 64, 3, 3)
    for i, j in itertools.product(range(3), range(3)):
        pooled[:, :, i, j] = inner[:, :, 2 * i : 2 * i + 2, 2 * j : 2 * j + 2].amax((2, 3))
    halved = nn.functional.gelu(norm(pooled))
    expected = halved + nn.functional.gelu(stage.residual[1](stage.residual[0](halved)))
    assert torch.allclose(stage(features), expected, atol=1e-5)


def test_start() -> None:
    torch.manual_seed(0)
    for conv in [m for m in Compact().modules() if isinstance(m, nn.Conv2d)]:
        assert conv.weight.std().item() == pytest.approx((2 / (9 * conv.out_channels)) ** 0.5, rel=0.1)
        assert conv.bias is None


def test_images_too_small() -> None:
    with pytest.raises(ValueError, match="stem of stride 4 takes images of at least 32x32, got 40x31"):
        narrow(128)(torch.rand(1, 3, 40, 31))


@pytest.mark.parametrize("stride", [0, 3, -2])
def test_stem_stride_that_is_no_power_of_two(stride: int) -> None:
    with pytest.raises(ValueError, match=f"power of two .* got {stride}"):
        Compact(stem_stride=stride)


def test_no_stages() -> None:
    with pytest.raises(ValueError, match="widths is empty"):
        Compact(widths=())
