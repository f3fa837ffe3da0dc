import itertools

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from backmix.models.timm_layout import as_map


class Fake(nn.Module):
    """Carries what timm models tell about their layout."""

    def __init__(self, class_token: bool = False, **attributes: object) -> None:
        super().__init__()
        if class_token:
            self.cls_token = nn.Parameter(torch.zeros(1))
        for name, value in attributes.items():
            setattr(self, name, value)


def lay_out(features: object, size: tuple[int, int], **attributes: object) -> Tensor:
    return as_map("fake", Fake(**attributes), features, size)  # type: ignore[arg-type]


def test_channels_first_is_left_alone() -> None:
    features = torch.rand(2, 5, 3, 4)
    assert lay_out(features, (96, 128)) is features


def test_channels_last_is_permuted() -> None:
    features = torch.rand(2, 3, 4, 5)
    assert torch.equal(lay_out(features, (96, 128), output_fmt="NHWC"), features.permute(0, 3, 1, 2))


@given(st.integers(1, 9), st.integers(1, 9), st.integers(1, 16), st.integers(0, 5), st.booleans())
def test_tokens_go_back_to_their_place(rows: int, columns: int, stride: int, prefix: int, up: bool) -> None:
    # Sizes that the stride does not divide: up to one pixel more than the grid, or one less than the next.
    size = (rows * stride + (stride - 1 if up else 0), columns * stride)
    tokens = torch.rand(2, prefix + rows * columns, 3)
    features = lay_out(tokens, size, num_prefix_tokens=prefix)
    assert features.shape == (2, 3, rows, columns)
    for i, j in itertools.product(range(rows), range(columns)):
        assert torch.equal(features[:, :, i, j], tokens[:, prefix + i * columns + j])


def test_tokens_are_viewed_not_copied() -> None:
    tokens = torch.rand(2, 1 + 12, 5)
    assert lay_out(tokens, (48, 64), num_prefix_tokens=1).data_ptr() == tokens[:, 1:].data_ptr()


def test_class_token_that_is_not_counted() -> None:
    tokens = torch.rand(2, 1 + 12, 5)
    assert torch.equal(lay_out(tokens, (48, 64), class_token=True)[0, :, 0, 1], tokens[0, 2])


def test_counted_tokens_win_over_found_ones() -> None:
    tokens = torch.rand(2, 12, 5)
    features = lay_out(tokens, (48, 64), class_token=True, num_prefix_tokens=0)
    assert torch.equal(features[0, :, 0, 1], tokens[0, 1])


def test_patches_that_are_not_square() -> None:
    class Embed:
        def dynamic_feat_size(self, size: tuple[int, int]) -> tuple[int, int]:
            return size[0] // 8, size[1] // 16

    assert lay_out(torch.rand(1, 32, 5), (64, 64), patch_embed=Embed()).shape == (1, 5, 8, 4)


@pytest.mark.parametrize(
    ("features", "found"),
    [
        (torch.rand(2, 7), r"shape \(2, 7\)"),
        (torch.rand(2, 10, 5), r"shape \(2, 10, 5\), of which 0 tokens lead and 10 are left"),
        ([torch.rand(2, 16, 5), torch.rand(2, 4, 5)], r"list of shape \(2, 16, 5\), shape \(2, 4, 5\)"),
        ((torch.rand(2, 5), (torch.rand(3),)), r"tuple of shape \(2, 5\), tuple of shape \(3,\)"),
        ({"map": torch.rand(2, 5, 4, 4)}, r"dict of shape \(2, 5, 4, 4\)"),
        (None, "NoneType of no tensors"),
        ([], "list of no tensors"),
    ],
)
def test_features_that_are_no_map(features: object, found: str) -> None:
    with pytest.raises(ValueError, match=r"'fake' cannot become a map for images of 64x64: found " + found):
        lay_out(features, (64, 64))


def test_nothing_but_leading_tokens() -> None:
    with pytest.raises(ValueError, match="of which 1 tokens lead and 0 are left"):
        lay_out(torch.rand(2, 1, 5), (64, 64), class_token=True)


def test_tokens_of_another_aspect() -> None:
    with pytest.raises(ValueError, match="cannot become a map"):
        lay_out(torch.rand(2, 8 * 2, 5), (64, 96))
