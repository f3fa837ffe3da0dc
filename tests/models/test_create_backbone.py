"""The family, and what every one of our own networks does."""

import subprocess
import sys

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from backmix.models import BACKBONES, Backbone, create_backbone

OWN = list(BACKBONES)


def small(name: str, **options: object) -> Backbone:
    """A narrow copy, for speed."""
    torch.manual_seed(0)
    return create_backbone(name, width=0.125, **options)


def test_importing_the_family_and_building_from_it_leaves_timm_alone() -> None:
    code = "import sys, backmix.models as m; m.create_backbone('compact-s'); sys.exit('timm' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize("name", OWN)
def test_knows_its_name_and_has_no_normalisation(name: str) -> None:
    backbone = create_backbone(name)
    assert (backbone.name, backbone.mean, backbone.std) == (name, None, None)
    assert backbone.training


@pytest.mark.parametrize("name", OWN)
@settings(max_examples=5, deadline=None)
@given(height=st.integers(32, 80), width=st.integers(32, 80))
def test_any_size_from_32_pixels_on(name: str, height: int, width: int) -> None:
    backbone = small(name, image_size=32).eval()
    with torch.no_grad():
        features = backbone(torch.rand(1, 3, height, width))
    assert features.shape[:2] == (1, backbone.num_features)
    assert min(features.shape[2:]) >= 4
    assert features.isfinite().all()


@pytest.mark.parametrize("name", OWN)
def test_gradients_reach_every_parameter_and_ten_steps_lower_the_loss(name: str) -> None:
    backbone = small(name)
    head = torch.nn.Linear(backbone.num_features, 2)
    images = torch.rand(16, 3, 32, 32)
    labels = torch.arange(16) % 2
    images[labels == 1, 0] += 1.0
    optimiser = torch.optim.SGD([*backbone.parameters(), *head.parameters()], lr=0.05, momentum=0.9)
    losses = []
    for _ in range(11):
        loss = torch.nn.functional.cross_entropy(head(backbone(images).mean((2, 3))), labels)
        optimiser.zero_grad()
        loss.backward()
        assert all(p.grad is not None and p.grad.isfinite().all() for p in backbone.parameters())
        optimiser.step()
        losses.append(loss.item())
    assert losses[-1] < 0.8 * losses[0]


@pytest.mark.parametrize("name", OWN)
def test_channels_last_and_bf16(name: str) -> None:
    backbone = small(name).eval()
    images = torch.rand(2, 3, 32, 32)
    with torch.no_grad():
        plain = backbone(images)
        backbone = backbone.to(memory_format=torch.channels_last)
        images = images.contiguous(memory_format=torch.channels_last)
        last = backbone(images)
        with torch.autocast("cpu", torch.bfloat16):
            half = backbone(images)
    assert torch.allclose(plain, last, rtol=1e-3, atol=1e-5 * plain.abs().max().item())
    assert last.is_contiguous(memory_format=torch.channels_last)
    assert half.dtype == torch.bfloat16
    assert torch.nn.functional.cosine_similarity(plain.flatten(), half.float().flatten(), dim=0) > 0.99


@pytest.mark.parametrize("name", OWN)
def test_same_seed_same_weights_and_state_goes_round(name: str) -> None:
    one, two = small(name).eval(), small(name).eval()
    images = torch.rand(2, 3, 32, 32)
    assert torch.equal(one(images), two(images))
    other = create_backbone(name, width=0.125).eval()
    assert not torch.equal(one(images), other(images))
    other.load_state_dict(one.state_dict())
    assert torch.equal(one(images), other(images))


@pytest.mark.parametrize("name", OWN)
def test_other_channels(name: str) -> None:
    backbone = small(name, in_channels=1).eval()
    assert backbone(torch.rand(1, 1, 32, 32)).shape[1] == backbone.num_features


@pytest.mark.parametrize("name", OWN)
def test_no_pretrained_weights_of_our_own(name: str) -> None:
    with pytest.raises(ValueError, match=f"{name} has no published weights"):
        create_backbone(name, pretrained=True)


@pytest.mark.parametrize(("name", "close"), [("WRN40-4", "wrn-40-4"), ("resnet-18", "resnet18"), ("compct", "compact")])
def test_unknown_name_lists_close_ones(name: str, close: str) -> None:
    with pytest.raises(ValueError) as caught:
        create_backbone(name)
    message = str(caught.value)
    assert f"no model is called '{name}'" in message
    assert close in message.partition("close names:")[2].partition(";")[0].replace(",", "").split()
    assert "own models: " + ", ".join(OWN) in message
    assert "timm names are lower case with underscores" in message


def test_name_like_no_other() -> None:
    with pytest.raises(ValueError, match="close names: none"):
        create_backbone("?????")


@pytest.mark.parametrize("name", OWN)
def test_unknown_option(name: str) -> None:
    with pytest.raises(TypeError, match="colour"):
        create_backbone(name, colour="red")


@pytest.mark.parametrize("size", [0, -32, (32, 0)])
def test_image_size_out_of_range(size: int | tuple[int, int]) -> None:
    with pytest.raises(ValueError, match="image_size is in pixels and at least 1"):
        create_backbone("compact", image_size=size)


def test_no_channels() -> None:
    with pytest.raises(ValueError, match="in_channels must be at least 1, got 0"):
        create_backbone("vgg32", in_channels=0)
