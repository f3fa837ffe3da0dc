"""The average of weights against a loop; with a training around it, it is in test_loop."""

import torch
from torch import nn

from backmix.train.average import Average


def test_the_average_follows_slower_the_longer_it_has_gone_on():
    network = nn.BatchNorm1d(2)
    nn.init.zeros_(network.weight)
    average, expected = Average(network, 0.5), 0.0
    for step in range(20):
        nn.init.constant_(network.weight, step + 1.0)
        network.num_batches_tracked.fill_(step)
        average.move(network, step)
        decay = min(0.5, (step + 1) / (step + 10))
        expected = decay * expected + (1 - decay) * (step + 1)
        assert torch.allclose(average.network.weight, torch.full((2,), expected))
        assert int(average.network.num_batches_tracked) == step, "numbers that are no floats are copied"
    assert not average.network.weight.requires_grad and network.weight[0] == 20
    average.put_into(network)
    assert torch.equal(network.weight, average.network.weight) and network.weight.requires_grad
