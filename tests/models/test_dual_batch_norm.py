"""Two batch norms in one: which branch is in use, what moves, what stays."""

from copy import deepcopy

import pytest
import torch
from torch import nn

from backmix.models import create_backbone
from backmix.models.dual_batch_norm import DualBatchNorm2d, add_second_batch_norm, use_branch

IMAGES = torch.randn(4, 3, 32, 32, generator=torch.Generator().manual_seed(0))


def make():
    torch.manual_seed(1)
    return create_backbone("compact-s", image_size=32, width=0.25)


def statistics(network, branch):
    norms = [module for module in network.modules() if isinstance(module, DualBatchNorm2d)]
    return [value.clone() for norm in norms for value in norm.branches[branch].state_dict().values()]


def same(first, second):
    return all(torch.equal(a, b) for a, b in zip(first, second, strict=True))


@pytest.mark.parametrize("model", ["compact-s", "vgg32", "resnet18-small", "wrn-40-4", "resnet10t"])
def test_nothing_changes_until_a_branch_is_chosen(model):
    torch.manual_seed(1)
    network = create_backbone(model, image_size=32)
    before = deepcopy(network)
    norms = sum(isinstance(module, nn.BatchNorm2d) for module in network.modules())
    assert add_second_batch_norm(network) == norms > 0
    for training in (True, False):
        torch.manual_seed(2)  # Dropout.
        expected = before.train(training)(IMAGES)
        torch.manual_seed(2)
        assert torch.equal(network.train(training)(IMAGES), expected)


def test_branch_zero_is_the_norm_itself_and_branch_one_its_copy():
    network = make()
    norms = [module for module in network.modules() if isinstance(module, nn.BatchNorm2d)]
    add_second_batch_norm(network)
    dual = [module for module in network.modules() if isinstance(module, DualBatchNorm2d)]
    assert len(dual) == len(norms)
    for new, old in zip(dual, norms):
        assert new.branches[0] is old and new.branches[1].weight is not old.weight
        assert same(new.branches[0].state_dict().values(), new.branches[1].state_dict().values())


@pytest.mark.parametrize("branch", [0, 1])
def test_only_the_branch_in_use_moves_and_learns(branch):
    network = make()
    add_second_batch_norm(network)
    before = [statistics(network, each) for each in (0, 1)]
    with use_branch(network, branch):
        network(IMAGES).sum().backward()
    assert not same(statistics(network, branch), before[branch])
    assert same(statistics(network, 1 - branch), before[1 - branch])
    for module in network.modules():
        if isinstance(module, DualBatchNorm2d):
            assert module.branches[branch].weight.grad is not None
            assert module.branches[1 - branch].weight.grad is None


def test_evaluation_uses_branch_zero_whatever_is_chosen():
    network = make()
    add_second_batch_norm(network)
    with use_branch(network, 1):
        network(IMAGES * 3 + 1)
    network.eval()
    expected = network(IMAGES)
    with use_branch(network, 1):
        assert torch.equal(network(IMAGES), expected)
    network.train()
    first = network(IMAGES)
    with torch.no_grad():
        for module in network.modules():
            if isinstance(module, DualBatchNorm2d):
                module.branches[1].weight.fill_(2.0)
    assert torch.equal(network(IMAGES), first)
    with use_branch(network, 1):
        assert not torch.equal(network(IMAGES), first)


def test_blocks_nest_and_end_with_an_error_too():
    norm = DualBatchNorm2d(nn.BatchNorm2d(3))
    with pytest.raises(KeyError), use_branch(norm, 1):
        with use_branch(norm, 0):
            assert norm.branch == 0
        assert norm.branch == 1 and "branch=1" in repr(norm)
        raise KeyError
    assert norm.branch == 0


def test_twice_is_once_and_a_shared_norm_stays_shared():
    shared = nn.BatchNorm2d(3)
    network = nn.Sequential(shared, nn.Sequential(shared, nn.ReLU()), shared)
    assert add_second_batch_norm(network) == 1 and add_second_batch_norm(network) == 1
    assert network[0] is network[1][0] is network[2] and network[0].branches[0] is shared


def test_a_network_without_batch_norm_stays_as_it_is():
    network = nn.Sequential(nn.Linear(2, 2), nn.LayerNorm(2), nn.BatchNorm1d(2))
    before = repr(network)
    assert add_second_batch_norm(network) == 0 and repr(network) == before
    with use_branch(network, 1):
        pass


def test_both_branches_are_saved_and_the_choice_is_not():
    network, fresh = make(), make()
    for each in (network, fresh):
        add_second_batch_norm(each)
    with use_branch(network, 1):
        network(IMAGES)
        fresh.load_state_dict(network.state_dict())
    assert same(statistics(fresh, 1), statistics(network, 1)) and not same(statistics(fresh, 0), statistics(fresh, 1))
    assert torch.equal(fresh(IMAGES), network(IMAGES)), "both are back at branch 0"
    assert not any(name.endswith("branch") for name in network.state_dict())


def test_bad_branch_and_bad_network():
    with pytest.raises(ValueError, match="branches 0 and 1; got 2"), use_branch(make(), 2):
        pass
    with pytest.raises(ValueError, match="single BatchNorm2d"):
        add_second_batch_norm(nn.BatchNorm2d(3))
