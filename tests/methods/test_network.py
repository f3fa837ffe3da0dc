"""A backbone and a method in one module."""

import copy

import pytest
import torch

from backmix.methods import METHODS, Softmax
from backmix.methods.network import Network, create_network
from backmix.models import Compact


def small(classes=3, **options):
    torch.manual_seed(0)
    return create_network("compact-s", "softmax", classes, image_size=32, model_options={"width": 0.25}, **options)


def test_without_labels_features_and_logits():
    network = small().eval()
    images = torch.randn(2, 3, 32, 32)
    features, logits = network(images)
    assert features.shape == (2, 32, 4, 4) and logits.shape == (2, 3)
    assert torch.equal(features, network.backbone(images))
    assert torch.equal(logits, network.head.logits(features))


def test_with_labels_features_and_loss():
    network = small().eval()
    images, labels = torch.randn(2, 3, 32, 32), torch.tensor([2, 0])
    features, loss = network(images, labels)
    assert loss.shape == () and loss.requires_grad
    assert torch.equal(loss, network.head.loss(features, labels))
    loss.backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in network.parameters())


def test_the_head_is_the_method():
    network = small()
    assert network.head is network.method and isinstance(network.head, Softmax)


def test_options_reach_backbone_and_method():
    network = small(5, method_options={"label_smoothing": 0.1, "bias": False})
    assert network.head.label_smoothing == 0.1
    assert network.head.head.weight.shape == (5, 32) and network.head.head.bias is None


def test_weights_follow_from_the_global_seed():
    first, second = small(), small()
    assert all(
        torch.equal(a, b) for a, b in zip(first.state_dict().values(), second.state_dict().values(), strict=True)
    )


def test_any_two_modules_can_be_joined():
    backbone = Compact(widths=(8, 8), stem_channels=8)
    network = Network(backbone, Softmax(8, 2))
    assert network(torch.randn(2, 3, 32, 32))[1].shape == (2, 2)
    assert copy.deepcopy(network).backbone is not backbone


@pytest.mark.parametrize("method", sorted(METHODS))
def test_every_method_has_the_calls_the_loop_asks_for(method):
    head = METHODS[method](16, 3)
    features, labels = torch.randn(4, 16, 5, 6).relu(), torch.tensor([0, 1, 2, 0])
    if not head.learns_at_once:
        assert head.loss(features, labels).shape == ()
    assert head.logits(features).shape == (4, 3)
    assert head.unknown_score(features).shape == (4,)
    evidence = head.evidence(features, labels)
    assert evidence.shape == (4, 5, 6) and not evidence.requires_grad
    assert 0 <= evidence.min() <= evidence.max() <= 1


def test_names_that_do_not_exist():
    with pytest.raises(ValueError, match="no method 'softmin'; there are softmax"):
        create_network("compact-s", "softmin", 3, image_size=32)
    with pytest.raises(ValueError, match="compakt"):
        create_network("compakt", "softmax", 3, image_size=32)
    with pytest.raises(ValueError, match="method softmax has no option smooth; it has label_smoothing, bias"):
        create_network("compact-s", "softmax", 3, image_size=32, method_options={"smooth": 1})
