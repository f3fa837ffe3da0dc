"""The map of few images against the inverse of the whole covariance, which tests/detectors compares with others."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from backmix.methods.shrunk_covariance import shrunk_covariance, shrunk_whitening
from backmix.methods.unit_features import unit_class_means


@settings(deadline=None, max_examples=60)
@given(st.integers(0, 10**6), st.integers(1, 40), st.integers(2, 5), st.integers(1, 20), st.floats(0, 1))
def test_few_images_give_the_distances_of_the_whole_matrix(seed, count, classes, directions, same):
    # Deviations in few directions, many of them exactly alike, are the worst that the inverse can meet.
    count, channels = count + classes, 2 * (count + classes) + seed % 50
    random = torch.Generator().manual_seed(seed)
    labels = torch.arange(count) % classes
    drawn = torch.randn(count, directions, generator=random) * (torch.rand(count, 1, generator=random) > same)
    spread = drawn @ torch.randn(directions, channels, generator=random)
    training = 3 * torch.randn(classes, channels, generator=random)[labels] + spread
    means = unit_class_means(training, labels, classes)
    covariance, share = shrunk_covariance(training, labels, means)
    whitening, found = shrunk_whitening(training, labels, means)
    assert whitening.outer is not None or share == 1  # Only images that are their class mean take the whole matrix.
    assert found == pytest.approx(share, rel=1e-9)
    rows = torch.cat([torch.randn(20, channels, generator=random), spread]).double()
    expected = (rows @ torch.linalg.inv(covariance) * rows).sum(1)
    torch.testing.assert_close(whitening(rows).square().sum(1), expected, rtol=1e-8, atol=1e-8)
    torch.testing.assert_close(rows @ whitening.matrix(), whitening(rows), rtol=1e-8, atol=1e-8)
