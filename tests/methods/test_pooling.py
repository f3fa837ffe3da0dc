"""Squared distances against differences taken number by number."""

import torch

from backmix.methods.pooling import cell_distance, mean_squared_distance

GENERATOR = torch.Generator().manual_seed(0)
VECTORS, POINTS = torch.randn(6, 5, generator=GENERATOR), torch.randn(4, 5, generator=GENERATOR)


def slow(vector, point):
    return sum((f - p) ** 2 for f, p in zip(vector.tolist(), point.tolist())) / len(vector)


def test_vectors_against_a_loop():
    distances = mean_squared_distance(VECTORS, POINTS)
    expected = torch.tensor([[slow(v, p) for p in POINTS] for v in VECTORS])
    assert distances.dtype == torch.float32 and (distances - expected).abs().max() < 1e-5


def test_a_point_is_at_distance_zero_of_itself():
    assert mean_squared_distance(POINTS, POINTS).diagonal().abs().max() < 1e-6


def test_autocast_does_not_round_the_product():
    exact = mean_squared_distance(VECTORS + 10, POINTS + 10)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(mean_squared_distance(VECTORS + 10, POINTS + 10), exact)


def test_gradient_is_twice_the_difference():
    vectors = VECTORS.clone().requires_grad_()
    mean_squared_distance(vectors, POINTS)[:, 2].sum().backward()
    assert torch.allclose(vectors.grad, 2 * (VECTORS - POINTS[2]) / 5, atol=1e-6)


def test_cells_against_a_loop():
    features = torch.randn(4, 5, 2, 3, generator=GENERATOR)
    before = features.clone()
    cells = cell_distance(features, POINTS.requires_grad_())
    assert cells.shape == (4, 2, 3) and not cells.requires_grad and torch.equal(features, before)
    for b in range(4):
        for y in range(2):
            for x in range(3):
                assert abs(cells[b, y, x].item() - slow(features[b, :, y, x], POINTS[b])) < 1e-5
