"""The whitening map against the covariance that it makes the identity; more stands in test_pytorch_ood.py."""

import pytest
import torch
from pytorch_ood_reference import clusters

from backmix.detectors.whitening import Whitening, whitening_of


@pytest.mark.parametrize("rows", [7, 512])
@pytest.mark.parametrize("dtype", [torch.float16, torch.float32, torch.float64])
def test_means_and_covariance_of_all_blocks(monkeypatch, rows, dtype):
    monkeypatch.setattr("backmix.detectors.blocks.ROWS", rows)
    features, labels = clusters(100)
    features = features.to(dtype)
    white = Whitening(features, labels)
    wide = features.double()
    means = torch.stack([wide[labels == k].mean(0) for k in range(5)])
    torch.testing.assert_close(white.mean, wide.mean(0))
    torch.testing.assert_close(white.class_means, means)
    within = (wide - means[labels]) @ white.matrix
    torch.testing.assert_close(within.T @ within / 100, torch.eye(16).double(), rtol=0, atol=1e-9)


def test_directions_without_variance_are_dropped():
    features, labels = clusters(100)
    assert Whitening(torch.cat([features, features, 0 * features], 1), labels).matrix.shape == (48, 16)
    features, labels = clusters(12, classes=4, channels=30)
    assert Whitening(features, labels).matrix.shape == (30, 8)


def test_errors_begin_with_the_name():
    features, labels = clusters(10)
    with pytest.raises(ValueError, match="rmd: the features of no class vary"):
        whitening_of("rmd", torch.zeros(5, 5), features[:5], labels[:5])
    with pytest.raises(ValueError, match=r"gmm: logits \(N, K\), features \(N, C\) and labels \(N,\) belong"):
        whitening_of("gmm", torch.zeros(4, 5), features[:5], labels[:5])


@pytest.mark.parametrize("scale", [1e-38, 1e-20, 1.1e-19, 1e18])
def test_no_direction_is_lost_at_any_scale(scale):
    features, labels = clusters(100)
    white = Whitening(features.double() * scale, labels)
    assert white.matrix.shape == (16, 16)
    torch.testing.assert_close(white.matrix * scale, Whitening(features, labels).matrix, rtol=1e-4, atol=1e-4)
