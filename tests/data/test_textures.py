import numpy as np
import pytest

from backmix.data.textures import NUM_PARAMETERS, PATTERNS, chroma, draw_textures


def draw(kinds, size=32, seed=0):
    kinds = np.asarray(kinds, dtype=np.int64)
    parameters = np.random.default_rng(seed).random((len(kinds), NUM_PARAMETERS))
    return draw_textures(kinds, parameters, size)


@pytest.mark.parametrize("kind", range(10), ids=list(PATTERNS))
def test_every_texture_has_a_pattern_in_both_directions_of_colour(kind):
    colours, light = draw([kind] * 20)
    assert colours.shape == (20, 32, 32, 3) and light.shape == (20,)
    assert np.isfinite(colours).all() and colours.min() > -0.2 and colours.max() < 1.2
    brightness = colours @ [0.299, 0.587, 0.114]
    assert np.abs(brightness.mean((1, 2)) - light).max() < 0.16
    assert brightness.std((1, 2)).min() > 0.03


def test_a_texture_depends_on_its_own_numbers_alone():
    kinds = np.arange(30) % 10
    together, _ = draw(kinds)
    parameters = np.random.default_rng(0).random((30, NUM_PARAMETERS))
    for i in range(30):
        alone, _ = draw_textures(kinds[i : i + 1], parameters[i : i + 1], 32)
        # Batches of other sizes may take other instructions, which round differently in the last place.
        assert np.abs(alone[0] - together[i]).max() < 1e-12


def test_kinds_are_told_apart_by_pattern_and_not_by_colour():
    per_kind = 60
    colours, _ = draw(np.repeat(np.arange(10), per_kind))
    means = colours.mean((1, 2)).reshape(10, per_kind, 3)
    # The mean colour of a kind lies where chance puts it.
    assert np.abs(means.mean(1) - means.mean((0, 1))).max() < 4 * means.std((0, 1)).max() / np.sqrt(per_kind)
    # The spectrum of brightness, which knows neither colour nor place, finds the nearest kind far above one in ten.
    grey = colours @ [0.299, 0.587, 0.114]
    grey = (grey - grey.mean((1, 2), keepdims=True)) / grey.std((1, 2), keepdims=True)
    power = np.log1p(np.abs(np.fft.fft2(grey)).reshape(10, per_kind, -1))
    centres = power[:, : per_kind // 2].mean(1)
    distance = ((power[:, None, per_kind // 2 :] - centres[None, :, None]) ** 2).sum(-1)
    assert (distance.argmin(1) == np.arange(10)[:, None]).mean() > 0.6


@pytest.mark.parametrize("size", [16, 33, 64])
def test_the_pattern_is_the_same_at_any_size(size):
    kinds = np.arange(10)
    small, large = draw(kinds, 32)[0], draw(kinds, size)[0]
    quarters = [
        [image[:, : len(image[0]) // 2].mean() - image[:, len(image[0]) // 2 :].mean() for image in s]
        for s in (small, large)
    ]
    assert np.abs(np.subtract(*quarters)).max() < 0.03


def test_chroma_leaves_brightness_alone():
    colour = chroma(np.linspace(0, 1, 50), np.full(50, 0.2))
    assert np.abs(colour @ [0.299, 0.587, 0.114]).max() < 1e-12
    assert np.abs(colour).max() > 0.1
