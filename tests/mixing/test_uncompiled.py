"""A step that is compiled does the same as the step itself, and warns of nothing."""

import logging
import subprocess
import sys
import warnings

import pytest
import torch
from torch import nn

from backmix.augmentations import make_augmentation
from backmix.data.preprocess import Preprocess
from backmix.mixing import BackMix, FlipCrop, class_activation_map
from backmix.mixing.uncompiled import uncompiled


@pytest.fixture(autouse=True)
def fresh_compiler():
    torch.compiler.reset()
    yield
    torch.compiler.reset()


def make_step(**options):
    torch.manual_seed(0)
    mix = BackMix(8, generator=torch.Generator().manual_seed(0), **options)
    crop = FlipCrop(2, generator=torch.Generator().manual_seed(1))
    network, head = nn.Conv2d(3, 8, 3, stride=4), nn.Linear(8, 4)
    optimizer = torch.optim.SGD([*network.parameters(), *head.parameters()], lr=0.1)

    def step(images, index, labels):
        mixed, after = crop(mix(images, index))
        features = network(mixed)
        mix.update(index, class_activation_map(features, head.weight, labels), after=after)
        loss = nn.functional.cross_entropy(head(features.mean((2, 3))), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return loss.detach()

    return mix, step


@pytest.mark.parametrize("options", [{}, {"apply": "swap"}, {"foreground": "centre"}, {"selection": "random"}], ids=str)
def test_a_compiled_step_is_the_same_step(options, caplog):
    batch = torch.randn(8, 3, 32, 32), torch.arange(8), torch.arange(8) % 4
    (mix, step), (other, same) = make_step(**options), make_step(**options)
    compiled = torch.compile(same, backend="eager")
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        for _ in range(3):
            torch.testing.assert_close(step(*batch), compiled(*batch), rtol=0, atol=0)
    if torch.__version__ < (2, 8):  # It rounds a map otherwise in a graph, by one unit in the last place.
        torch.testing.assert_close(mix.bank.maps, other.bank.maps, rtol=0, atol=1e-7)
    else:
        assert torch.equal(mix.bank.maps, other.bank.maps)
    assert torch.equal(mix.mixed, other.mixed) and mix.mixed.any()
    # torch itself may warn where a graph ends; of what backmix does inside, nothing is said.
    assert not [each for each in caplog.records if each.levelno >= logging.WARNING and "break" in each.getMessage()]
    assert not [each for each in said if "lru_cache" in str(each.message)]


def test_errors_reach_a_compiled_step():
    _, step = make_step()
    compiled = torch.compile(step, backend="eager")
    with pytest.raises(ValueError, match=r"index must lie in 0..7"):
        compiled(torch.randn(8, 3, 32, 32), torch.arange(8) + 1, torch.arange(8) % 4)
    with pytest.raises(ValueError, match=r"labels must lie in 0..3"):
        compiled(torch.randn(8, 3, 32, 32), torch.arange(8), torch.arange(8))


@pytest.mark.parametrize("name", ["mixup", "cutmix", "cutout", "gridmask", "hide-and-seek", "randaugment"])
def test_other_augmentations_in_a_compiled_step(name):
    images = torch.rand(4, 3, 32, 32)
    one, other = (make_augmentation(name, 4, Preprocess(32)).parts[0] for _ in range(2))
    for part in (one, other):
        part.generator = torch.Generator().manual_seed(0)
    assert torch.equal(torch.compile(lambda batch: other(batch) + 1, backend="eager")(images), one(images) + 1)


def test_the_compiler_is_not_imported_without_need():
    code = "import sys, torch; before = 'torch._dynamo' in sys.modules; import backmix.mixing, backmix.augmentations; "
    code += "assert before or 'torch._dynamo' not in sys.modules"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_a_function_keeps_its_name_and_its_result():
    @uncompiled
    def double(value: int) -> int:
        """Twice."""
        return 2 * value

    assert double(3) == 6 and double.__name__ == "double" and double.__doc__ == "Twice."
