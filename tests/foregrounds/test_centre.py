import numpy as np
import pytest

from backmix.foregrounds.centre import centre_mask, centre_prior


@pytest.mark.parametrize("size", [(32, 32), (7, 40), (1, 9), (2, 2)])
def test_the_mask_is_the_quarter_nearest_to_the_middle(size):
    mask, prior = centre_mask(*size), centre_prior(*size)
    assert mask.shape == size
    assert mask.sum() == max(1, round(0.25 * size[0] * size[1]))
    assert prior[mask].min() >= prior[~mask].max()


def test_the_prior_is_the_same_on_all_sides_and_falls_outwards():
    prior = centre_prior(21, 31)
    np.testing.assert_allclose(prior, prior[::-1, ::-1])
    assert prior[10, 15] == 1 == prior.max()
    assert (np.diff(prior[10, 15:]) < 0).all() and (np.diff(prior[10:, 15]) < 0).all()
    # At the middle of a side the distance is half a side less half a pixel.
    assert prior[0, 15] == pytest.approx(np.exp(-((0.5 - 0.5 / 21) ** 2) / (2 * 0.4**2)))
