"""Batch norms that keep their statistics, and modules that get back the mode that they had."""

import pytest
import torch
from torch import nn

from backmix.train.modes import evaluating, training_mode


def network():
    return nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4), nn.Dropout(0.5), nn.Sequential(nn.BatchNorm2d(4)))


def test_frozen_batch_norms_normalise_as_in_prediction_and_learn_all_the_same():
    net = network()
    training_mode(net, freeze_norm=True)
    assert [module.training for module in net] == [True, False, True, True] and not net[3][0].training
    before = {name: value.clone() for name, value in net.state_dict().items()}
    net(torch.rand(8, 3, 5, 5)).sum().backward()
    assert all(torch.equal(before[name], value) for name, value in net.state_dict().items())
    assert net[1].weight.grad is not None and net[1].weight.requires_grad
    training_mode(net)
    assert all(module.training for module in net.modules())


def test_modules_get_back_the_mode_that_they_had_even_after_an_error():
    net = network()
    training_mode(net, freeze_norm=True)
    modes = [module.training for module in net.modules()]
    with pytest.raises(RuntimeError), evaluating(net):
        assert not any(module.training for module in net.modules())
        raise RuntimeError
    assert [module.training for module in net.modules()] == modes
