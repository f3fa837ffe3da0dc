import pytest
import torch
from torch import nn

from backmix.mixing import class_activation_map, grad_cam
from backmix.mixing.cam import check_labels, scale_map


def slow_map(features, weight, labels):
    """The head at each cell, one by one; negative evidence cut; scaled by its own minimum and maximum."""
    batch, _, height, width = features.shape
    maps = torch.zeros(batch, height, width, dtype=torch.float64)
    for image in range(batch):
        for row in range(height):
            for column in range(width):
                evidence = sum(
                    float(w) * float(f) for w, f in zip(weight[labels[image]], features[image, :, row, column])
                )
                maps[image, row, column] = max(evidence, 0.0)
        low, high = maps[image].min(), maps[image].max()
        maps[image] = (maps[image] - low) / (high - low) if high > low else torch.zeros(height, width)
    return maps.float()


@pytest.fixture
def case():
    generator = torch.Generator().manual_seed(0)
    features = torch.randn(5, 6, 4, 3, generator=generator)
    return features, torch.randn(7, 6, generator=generator), torch.tensor([6, 0, 3, 3, 1])


def test_equals_the_loop(case):
    maps = class_activation_map(*case)
    assert maps.dtype == torch.float32 and not maps.requires_grad
    torch.testing.assert_close(maps, slow_map(*case), atol=1e-5, rtol=0)


def test_equals_the_head_applied_at_every_cell(case):
    features, weight, labels = case
    head = nn.Linear(6, 7, bias=False)
    head.weight.data.copy_(weight)
    logits = head(features.permute(0, 2, 3, 1))
    evidence = logits.gather(3, labels[:, None, None, None].expand(-1, 4, 3, 1))[..., 0].detach()
    torch.testing.assert_close(class_activation_map(features, weight, labels), scale_map(evidence.relu()))
    # Averaged over the cells, evidence is the logit itself: that is what makes the map one of the decision.
    logit = head(features.mean((2, 3)))[torch.arange(5), labels].detach()
    torch.testing.assert_close(evidence.mean((1, 2)), logit)


def test_takes_the_weight_of_a_1x1_convolution(case):
    features, weight, labels = case
    assert torch.equal(class_activation_map(features, weight[:, :, None, None], labels), class_activation_map(*case))


def test_lies_in_0_to_1_and_reaches_both_ends(case):
    maps = class_activation_map(*case)
    assert torch.equal(maps.amin((1, 2)), torch.zeros(5)) and torch.equal(maps.amax((1, 2)), torch.ones(5))


def test_negative_evidence_alone_gives_zeros_not_a_map_of_the_background():
    # Trap 3 of the release: a map that sums to less than 0 would turn the order round.
    maps = class_activation_map(-torch.rand(3, 4, 5, 5), torch.ones(2, 4), torch.tensor([0, 1, 1]))
    assert torch.equal(maps, torch.zeros(3, 5, 5))


def test_is_finite_for_constant_huge_and_tiny_features():
    weight, labels = torch.ones(1, 2), torch.zeros(1, dtype=torch.int64)
    for features in (torch.ones(1, 2, 3, 3), torch.full((1, 2, 3, 3), 1e30), torch.rand(1, 2, 3, 3) * 1e-30):
        maps = class_activation_map(features, weight, labels)
        assert maps.isfinite().all() and maps.min() >= 0 and maps.max() <= 1


def test_half_precision_features(case):
    features, weight, labels = case
    maps = class_activation_map(features.bfloat16(), weight.bfloat16(), labels)
    assert maps.dtype == torch.float32
    torch.testing.assert_close(maps, class_activation_map(*case), atol=0.03, rtol=0)


def test_autocast_does_not_round_the_map(case):
    with torch.autocast("cpu", dtype=torch.bfloat16):
        maps = class_activation_map(*case)
    assert maps.dtype == torch.float32
    assert torch.equal(maps, class_activation_map(*case))


def test_channels_last_features_give_the_same(case):
    features, weight, labels = case
    last = features.to(memory_format=torch.channels_last)
    torch.testing.assert_close(class_activation_map(last, weight, labels), class_activation_map(*case))


def test_grad_cam_of_pooling_and_a_linear_head_is_the_class_activation_map(case):
    features, weight, labels = case
    features.requires_grad_(True)
    logits = features.mean((2, 3)) @ weight.T + 3.0
    maps = grad_cam(logits[torch.arange(5), labels], features)
    torch.testing.assert_close(maps, class_activation_map(features, weight, labels))
    assert maps.dtype == torch.float32 and not maps.requires_grad
    logits.sum().backward()  # The graph is still there for the loss.
    assert features.grad is not None


def test_grad_cam_through_a_layer_between_map_and_head(case):
    features, _, labels = case
    torch.manual_seed(1)
    head = nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 7))
    features.requires_grad_(True)
    scores = head(features.mean((2, 3)))[torch.arange(5), labels]
    expected = torch.zeros(5, 4, 3)
    for image in range(5):
        (gradient,) = torch.autograd.grad(scores[image], features, retain_graph=True)
        for channel in range(6):
            expected[image] += gradient[image, channel].mean() * features[image, channel].detach()
    torch.testing.assert_close(grad_cam(scores, features), scale_map(expected.relu()), atol=1e-5, rtol=0)


def test_grad_cam_agrees_with_the_grad_cam_library():
    library = pytest.importorskip("pytorch_grad_cam", reason="grad-cam is not installed")
    targets = pytest.importorskip("pytorch_grad_cam.utils.model_targets")
    torch.manual_seed(2)
    body = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 5, 3, padding=1))
    head = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(5, 6), nn.Tanh(), nn.Linear(6, 4))
    model = nn.Sequential(body, head).eval()
    images, labels = torch.randn(3, 3, 8, 8), torch.tensor([2, 0, 3])
    with library.GradCAM(model, [body[2]]) as cam:
        theirs = torch.from_numpy(cam(images, [targets.ClassifierOutputTarget(int(y)) for y in labels]))
    features = body(images)
    ours = grad_cam(head(features)[torch.arange(3), labels], features)
    torch.testing.assert_close(ours, theirs.float(), atol=1e-4, rtol=0)


@pytest.mark.parametrize(
    ("features", "weight", "labels", "message"),
    [
        (torch.rand(2, 3), torch.rand(4, 3), torch.tensor([0, 1]), r"feature map \(B, C, h, w\) before pooling"),
        (torch.rand(2, 3, 4, 4), torch.rand(4, 5), torch.tensor([0, 1]), r"weight must be \(K, 3\).*grad_cam"),
        (torch.rand(2, 3, 4, 4), torch.rand(4, 3, 3, 3), torch.tensor([0, 1]), r"weight must be \(K, 3\)"),
        (torch.rand(2, 3, 4, 4), torch.rand(4, 3), torch.tensor([0, 4]), r"labels must lie in 0..3; got 0..4"),
        (torch.rand(2, 3, 4, 4), torch.rand(4, 3), torch.tensor([-1, 0]), r"Unknown images \(-1\) have no place"),
        (torch.rand(2, 3, 4, 4), torch.rand(4, 3), torch.tensor([0]), r"labels must be \(2,\) int64; got \(1,\)"),
        (torch.rand(2, 3, 4, 4), torch.rand(4, 3), torch.tensor([0.0, 1.0]), r"labels must be \(2,\) int64.*float32"),
    ],
)
def test_class_activation_maps_that_cannot_be(features, weight, labels, message):
    with pytest.raises(ValueError, match=message):
        class_activation_map(features, weight, labels)


def test_grad_cams_that_cannot_be():
    features = torch.rand(2, 3, 4, 4, requires_grad=True)
    scores = features.mean((1, 2, 3))
    with pytest.raises(ValueError, match=r"features must be a feature map \(B, C, h, w\); got \(2, 3\)"):
        grad_cam(scores, features.mean((2, 3)))
    with pytest.raises(ValueError, match="features and scores must require grad"):
        grad_cam(scores, features.detach())
    with pytest.raises(ValueError, match="features and scores must require grad"):
        grad_cam(scores.detach(), features)
    with pytest.raises(ValueError, match="do not depend on these features"):
        grad_cam(scores, torch.rand(2, 3, 4, 4, requires_grad=True))
    with pytest.raises(ValueError, match=r"scores must be \(2,\), one number per image; got \(2, 3\)"):
        grad_cam(features.mean((2, 3)), features)


def test_labels_of_an_empty_batch_pass():
    check_labels(torch.empty(0, dtype=torch.int64), 0, 3)
