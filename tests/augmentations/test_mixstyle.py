"""MixStyle against a loop over its definition, and its hold on a backbone."""

import copy
import math
import pickle

import pytest
import torch
from torch import nn

from backmix.augmentations import MixStyle
from backmix.augmentations.mixstyle import MixStyleDraw
from backmix.models import create_backbone

FEATURES = torch.randn(4, 3, 2, 5, generator=torch.Generator().manual_seed(0)) * 2 + 1
DRAW = MixStyleDraw(torch.tensor([2, 0, 3, 1]), torch.tensor([0.0, 0.3, 1.0, 0.8]))
IMAGES = torch.randn(4, 3, 32, 32, generator=torch.Generator().manual_seed(1))


def make(seed=0, **options):
    return MixStyle(**{"probability": 1.0, "generator": torch.Generator().manual_seed(seed), **options})


def small(**options):
    torch.manual_seed(0)
    return create_backbone("compact-s", image_size=32, width=0.25, **options)


def statistics(cells):
    mean = sum(cells) / len(cells)
    return mean, math.sqrt(sum((cell - mean) ** 2 for cell in cells) / len(cells) + 1e-6)


def slow(features, draw):
    result = features.double().clone()
    for b in range(len(features)):
        share = draw.share[b].item()
        for c in range(features.shape[1]):
            mean, deviation = statistics(features[b, c].flatten().tolist())
            other_mean, other_deviation = statistics(features[int(draw.partner[b]), c].flatten().tolist())
            normalised = (features[b, c].double() - mean) / deviation
            result[b, c] = normalised * (share * deviation + (1 - share) * other_deviation)
            result[b, c] += share * mean + (1 - share) * other_mean
    return result


def test_agrees_with_a_loop():
    before = FEATURES.clone()
    assert (make().change(FEATURES, DRAW).double() - slow(FEATURES, DRAW)).abs().max() < 1e-5
    assert torch.equal(FEATURES, before)


def test_a_share_of_one_changes_nothing_and_of_zero_takes_the_whole_style():
    mixed = make().change(FEATURES, DRAW)
    assert torch.allclose(mixed[2], FEATURES[2], atol=1e-5)
    assert torch.allclose(mixed[0].mean((1, 2)), FEATURES[2].mean((1, 2)), atol=1e-5)
    assert torch.allclose(mixed[0].std((1, 2)), FEATURES[2].std((1, 2)), atol=1e-4)


def test_no_gradient_goes_through_means_and_deviations():
    features = FEATURES.clone().requires_grad_()
    make().change(features, DRAW).sum().backward()
    # Were they not detached, the gradient of a channel would see its mean.
    for b in range(4):
        for c in range(3):
            _, own = statistics(FEATURES[b, c].flatten().tolist())
            _, other = statistics(FEATURES[int(DRAW.partner[b]), c].flatten().tolist())
            share = DRAW.share[b].item()
            expected = (share * own + (1 - share) * other) / own
            assert torch.allclose(features.grad[b, c], torch.full((2, 5), expected), atol=1e-5)


def test_constant_channels_stay_finite_and_half_precision_is_kept():
    flat = torch.ones(2, 3, 4, 4)
    draw = MixStyleDraw(torch.tensor([1, 0]), torch.tensor([0.5, 0.5]))
    assert torch.allclose(make().change(flat, draw), flat)
    half = make().change(FEATURES.bfloat16(), DRAW)
    assert half.dtype == torch.bfloat16 and (half.float() - slow(FEATURES, DRAW)).abs().max() < 0.1


def test_shares_are_mostly_all_or_nothing_and_partners_a_permutation():
    draw = make().draw(4000)
    assert ((draw.share < 0.05) | (draw.share > 0.95)).float().mean() > 0.7
    assert torch.equal(draw.partner.sort().values, torch.arange(4000))


def test_probability_is_the_share_of_batches():
    style = make(probability=0.3)
    assert sum(style.draw(2) is not None for _ in range(2000)) / 2000 == pytest.approx(0.3, abs=0.04)


def test_images_pass_unchanged():
    style, labels = make(), torch.arange(4)
    assert style(IMAGES) is IMAGES and style.eval()(IMAGES) is IMAGES
    assert style.targets(labels) == ((labels, 1.0),) and style.moved() is None


def test_mixes_inside_the_backbone_while_it_trains_and_not_after_detach():
    backbone, style = small(), make()
    plain = {mode: backbone.train(mode)(IMAGES) for mode in (True, False)}
    style.attach(backbone)
    assert not torch.allclose(backbone.train()(IMAGES), plain[True], atol=1e-3)
    state = {name: value.clone() for name, value in backbone.state_dict().items()}
    assert torch.equal(backbone.eval()(IMAGES), small_with(state).eval()(IMAGES))
    style.eval()
    assert torch.allclose(backbone.train()(IMAGES), plain[True], atol=1e-5)
    style.train().detach()
    assert torch.allclose(backbone(IMAGES), plain[True], atol=1e-5)
    assert all(not module._forward_hooks for module in backbone.modules())


def small_with(state):
    backbone = small()
    backbone.load_state_dict(state)
    return backbone


def test_what_leaves_a_stage_is_mixed_as_drawn():
    backbone = small()
    seen = {}
    first, second = backbone.stages_inside()[:2]
    first.register_forward_hook(lambda module, args, output: seen.update(before=output))
    style = make(3)
    style.attach(backbone)
    second.register_forward_pre_hook(lambda module, args: seen.update(after=args[0]))
    backbone(IMAGES)
    draw = make(3).draw(4)
    assert torch.allclose(seen["after"], make().change(seen["before"], draw))


@pytest.mark.parametrize("model", ["compact-s", "vgg32", "wrn-40-4", "resnet18-small", "resnet10t", "convnext_atto"])
@pytest.mark.parametrize("stages", [(1, 2), (2, 3)])
def test_attaches_behind_the_stages_asked_for(model, stages):
    backbone, style = create_backbone(model, image_size=32), make(stages=stages)
    style.attach(backbone)
    held = [module for module in backbone.modules() if module._forward_hooks]
    assert {id(each) for each in held} == {id(backbone.stages_inside()[number - 1]) for number in stages}
    assert backbone.train()(IMAGES).shape[0] == 4


def test_attaching_again_lets_go_of_the_backbone_before():
    first, second, style = small(), small(), make()
    style.attach(first)
    style.attach(second)
    assert all(not module._forward_hooks for module in first.modules())
    assert sum(len(module._forward_hooks) for module in second.modules()) == 2


@pytest.mark.parametrize(
    ("model", "size"),
    [("test_vit", 160), ("swin_tiny_patch4_window7_224", 64), ("volo_d1_224", 64), ("mambaout_femto", 64)],
)
def test_tokens_and_channels_last_are_refused_by_name(model, size):
    backbone, style = create_backbone(model, image_size=size), make()
    with pytest.raises(
        ValueError, match=rf"^mixstyle mixes feature maps \(B, C, h, w\) and the stages of {model} give"
    ):
        style.attach(backbone)
        backbone.train()(torch.randn(2, 3, size, size))


def test_backbones_without_stages_or_with_too_few_are_refused_by_name():
    class Silent(nn.Module):
        pass

    with pytest.raises(ValueError, match="^mixstyle works behind stages 1, 2 of a backbone, and Silent tells of 0"):
        make().attach(Silent())
    with pytest.raises(ValueError, match="behind stages 9 of a backbone, and compact-s tells of"):
        make(stages=(9,)).attach(small())


def test_nothing_of_it_ends_up_in_saved_weights():
    backbone, style = small(), make()
    names = set(backbone.state_dict())
    style.attach(backbone)
    assert style.state_dict() == {} and set(backbone.state_dict()) == names


def test_copies_and_pickles_stand_on_their_own():
    backbone, style = small(), make()
    style.attach(backbone)
    for twin in (copy.deepcopy(style), pickle.loads(pickle.dumps(style))):
        twin.detach()
        assert sum(len(module._forward_hooks) for module in backbone.modules()) == 2
        assert twin.draw(4).share.tolist() == make().draw(4).share.tolist()
    for other in (copy.deepcopy(backbone), pickle.loads(pickle.dumps(backbone))):
        assert torch.equal(other.eval()(IMAGES), backbone.eval()(IMAGES))
        before = style.generator.get_state()
        other.train()(IMAGES)
        assert torch.equal(style.generator.get_state(), before), "a copy draws for itself"


def test_follows_the_generator():
    def run(seed):
        backbone, style = small(), make(seed)
        style.attach(backbone)
        return backbone(IMAGES)

    assert torch.equal(run(5), run(5)) and not torch.equal(run(5), run(6))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"alpha": 0}, "alpha is above 0; got 0"),
        ({"probability": 3}, r"0\.\.1; got 3"),
        ({"stages": ()}, r"counted from 1; got \(\)"),
        ({"stages": (0, 1)}, r"counted from 1; got \(0, 1\)"),
        ({"stages": (1, 1)}, r"counted from 1; got \(1, 1\)"),
    ],
)
def test_bad_options_are_refused(options, message):
    with pytest.raises(ValueError, match=rf"^mixstyle: .*{message}"):
        MixStyle(**options)


def test_options_show_when_printed():
    assert "alpha=0.1, probability=0.5, stages=(1, 2)" in repr(MixStyle())
