"""The copy of a linear head; how it is taken from a method stands in test_pytorch_ood.py."""

import pytest
import torch

from backmix.detectors.linear_head import check_head, linear


def test_a_copy_shares_nothing_and_learns_nothing():
    weight, bias = torch.rand(3, 4, requires_grad=True), torch.rand(3)
    head = linear(weight, bias)
    assert torch.equal(head.weight, weight) and torch.equal(head.bias, bias) and not head.weight.requires_grad
    with torch.no_grad():
        weight.zero_()
    assert head.weight.abs().sum() > 0
    assert torch.equal(linear(weight, None).bias, torch.zeros(3))


def test_the_logits_of_the_head_are_returned_if_they_are_those_of_the_network():
    head = linear(torch.rand(3, 4), torch.rand(3))
    features = torch.rand(5, 4, dtype=torch.float64)
    own = head(features.float())
    assert torch.equal(check_head("vim", head, 1.01 * own, features), own)
    assert check_head("vim", head, own[:0], features[:0]).shape == (0, 3)
    for logits, seen in [(1.1 * own, features), (own[:, :2], features), (own, features[:, :3]), (own[:4], features)]:
        with pytest.raises(ValueError, match="vim looks at a linear head on pooled features, and the logits of this"):
            check_head("vim", head, logits, seen)
    broken = own.clone()
    broken[2, 1] = float("nan")
    assert torch.equal(check_head("vim", head, broken, features), own)
