"""Colour jitter against one image at a time."""

import pytest
import torch

from backmix.augmentations.colour_jitter import ColourJitter


def slow(image, saturation, contrast, brightness):
    grey = image.mean(0)
    coloured = torch.stack([grey + saturation * (channel - grey) for channel in image])
    mean = coloured.mean()
    return mean + contrast * (coloured - mean) + brightness


def test_agrees_with_one_image_at_a_time():
    images = torch.randn(5, 3, 6, 7)
    jitter = ColourJitter(0.5, generator=torch.Generator().manual_seed(0))
    change = jitter.draw(5)
    expected = torch.stack([slow(image, *change[:, b].tolist()) for b, image in enumerate(images)])
    torch.testing.assert_close(jitter.apply(images, change), expected, rtol=1e-5, atol=1e-5)


def test_draws_for_each_image_within_the_strength():
    change = ColourJitter(0.3, generator=torch.Generator().manual_seed(1)).draw(2000)
    assert change.shape == (3, 2000)
    for row, centre in zip(change, (1, 1, 0), strict=True):
        assert centre - 0.3 <= row.min() < centre - 0.29
        assert centre + 0.29 < row.max() <= centre + 0.3
    assert len(change[0].unique()) > 1900


def test_strength_zero_changes_nothing_and_layout_is_kept():
    images = torch.randn(2, 3, 4, 4).to(memory_format=torch.channels_last)
    before = images.clone()
    shown = ColourJitter(0.0)(images)
    torch.testing.assert_close(shown, images)
    assert torch.equal(images, before)
    assert ColourJitter(0.4)(images).is_contiguous(memory_format=torch.channels_last)


def test_same_generator_same_images():
    images = torch.randn(3, 3, 4, 4)
    first, second = (ColourJitter(0.3, generator=torch.Generator().manual_seed(5))(images) for _ in range(2))
    assert torch.equal(first, second)
    assert not torch.equal(first, ColourJitter(0.3, generator=torch.Generator().manual_seed(6))(images))


def test_bad_input_is_refused():
    with pytest.raises(ValueError, match=r"strength lies in 0..1; got 1.5"):
        ColourJitter(1.5)
    with pytest.raises(ValueError, match="uint8"):
        ColourJitter()(torch.zeros(2, 3, 4, 4, dtype=torch.uint8))
    with pytest.raises(ValueError, match=r"\(3, 4, 4\)"):
        ColourJitter()(torch.zeros(3, 4, 4))
