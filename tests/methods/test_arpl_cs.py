"""ARPL with confusing samples: whose loss moves what, the generator, and a training that resumes."""

import math
from copy import deepcopy

import pytest
import torch
import torch.nn.functional as F

from backmix.methods.arpl import ARPL
from backmix.methods.arpl_cs import ARPLCS, make_discriminator, make_generator, run_frozen
from backmix.methods.base import TrainingBatch
from backmix.methods.network import Network
from backmix.models import create_backbone
from backmix.models.dual_batch_norm import DualBatchNorm2d, use_branch
from backmix.train.recipe import TrainOptions, make_optimizer

IMAGES = torch.randn(6, 3, 32, 32, generator=torch.Generator().manual_seed(0))
LABELS = torch.tensor([0, 1, 2, 0, 1, 2])


def make(model="compact-s", image_size=32, **options):
    torch.manual_seed(1)
    given = {"width": 0.25} if model == "compact-s" else {}
    backbone = create_backbone(model, image_size=image_size, **given)
    method = ARPLCS(backbone.num_features, 3, **options)
    method.prepare(backbone, image_size)
    return Network(backbone, method)


def step_loss(network, step=0, seed=5, images=IMAGES):
    torch.manual_seed(seed)
    return network(images, LABELS[: len(images)], step=step)


def gradients(network, loss):
    """Gradient of every parameter, None where it gets none."""
    named = dict(network.named_parameters())
    return dict(zip(named, torch.autograd.grad(loss, list(named.values()), allow_unused=True)))


def part(name):
    return next((each for each in ("generator", "discriminator") if each in name), "classifier")


def bce(logits, real):
    """The cross-entropy of a probability, written out."""
    probability = torch.sigmoid(logits)
    return -(probability if real else 1 - probability).log().mean()


def certainty(network, features):
    """H number by number: exp of the mean over images of sum_k q_k log q_k, on squared distances alone."""
    pooled, points = features.mean((2, 3)), network.method.points
    squared = ((pooled[:, None] - points) ** 2).sum(2) / pooled.shape[1]
    q = squared.softmax(1)
    return (q * q.log()).sum(1).mean().exp()


def three_losses(network, seed=5):
    """What D, G and the classifier each minimise, each on a copy of the network, from the same noise."""
    copies = [deepcopy(network) for _ in range(3)]
    torch.manual_seed(seed)
    noises = [torch.randn(6, 100, 1, 1) for _ in range(2)]

    def fakes(network, which):
        return (network.method.generator(noises[which]) - 0.5) / 0.25

    one, two, three = copies
    judge = one.method.discriminator
    yield "discriminator", one, bce(judge(IMAGES), True) + bce(judge(fakes(one, 0)), False)
    with use_branch(two.backbone, 1):
        unsure = certainty(two, two.backbone(fakes(two, 0)))
    yield "generator", two, bce(two.method.discriminator(fakes(two, 0)), True) + 0.1 * unsure
    loss = ARPL.loss(three.method, three.backbone(IMAGES), LABELS)
    with use_branch(three.backbone, 1):
        loss = loss + 0.1 * certainty(three, three.backbone(fakes(three, 1)))
    yield "classifier", three, loss


def test_each_part_gets_the_gradient_of_its_own_loss_and_no_other():
    network = make()
    losses = list(three_losses(network))
    _, loss = step_loss(network)
    assert loss.item() == pytest.approx(sum(each.item() for _, _, each in losses), abs=1e-5)
    got, seen = gradients(network, loss), set()
    for owner, copy, each in losses:
        for name, expected in gradients(copy, each).items():
            if part(name) == owner:
                seen.add(name)
                assert (expected is None) == (got[name] is None), name
                assert expected is None or torch.allclose(got[name], expected, atol=1e-6, rtol=1e-4), name
    assert seen == set(got) and all(value is not None and value.any() for value in got.values())


def test_every_part_learns_under_autocast_as_in_full_precision():
    """Weights that autocast rounded once for a pass without gradient must not be used again for one with it."""
    network = make()
    with torch.autocast("cpu", torch.bfloat16):
        _, loss = step_loss(network)
    assert loss.dtype == torch.float32
    exact = make()
    got, expected = gradients(network, loss), gradients(exact, step_loss(exact)[1])
    for owner in ("generator", "discriminator", "classifier"):
        ours = torch.cat([value.flatten() for name, value in got.items() if part(name) == owner])
        theirs = torch.cat([value.flatten() for name, value in expected.items() if part(name) == owner])
        assert F.cosine_similarity(ours, theirs, dim=0) > 0.9, owner


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_a_frozen_run_passes_gradient_on_and_takes_none(precision):
    """Also after a run with gradient, whose rounded weights autocast has kept."""
    judge = make().method.discriminator
    images = IMAGES.clone().requires_grad_()
    with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16"):
        plain = judge(IMAGES)
        frozen = run_frozen(judge, images)
    assert torch.equal(plain, frozen)
    frozen.sum().backward()
    assert images.grad.any() and all(p.grad is None and p.requires_grad for p in judge.parameters())


def test_odd_steps_are_plain_arpl():
    network = make()
    plain = deepcopy(network)
    features, loss = step_loss(network, step=3)
    expected = ARPL.loss(plain.method, plain.backbone(IMAGES), LABELS)
    assert torch.equal(loss, expected)
    got = gradients(network, loss)
    assert all(got[name] is None for name in got if part(name) != "classifier" or "branches.1" in name)
    even, _ = step_loss(make(), step=2)
    assert torch.equal(features, even), "both steps return the features of the images, by branch 0"


def test_mixed_labels_are_weighted():
    network = make()
    torch.manual_seed(5)
    _, loss = network(IMAGES, LABELS, targets=((LABELS, 0.3), (LABELS.flip(0), 0.7)), step=1)
    features = deepcopy(network).backbone(IMAGES)
    expected = 0.3 * network.method.loss(features, LABELS) + 0.7 * network.method.loss(features, LABELS.flip(0))
    assert loss.item() == pytest.approx(expected.item(), abs=1e-5)


def running(network, branch):
    norms = [module.branches[branch] for module in network.modules() if isinstance(module, DualBatchNorm2d)]
    return {
        f"{place}.{name}": value.clone() for place, norm in enumerate(norms) for name, value in norm.named_buffers()
    }


def test_generated_images_move_the_statistics_of_branch_one_alone():
    network, plain = make(), make()
    before = running(network, 1)
    step_loss(network, step=0)
    step_loss(plain, step=1)
    zero, one = running(network, 0), running(network, 1)
    assert all(torch.equal(value, zero[name]) for name, value in running(plain, 0).items())
    assert all(not torch.equal(value, one[name]) for name, value in before.items())
    assert {int(value) for name, value in one.items() if "num_batches" in name} == {2}
    assert all(torch.equal(value, before[name]) for name, value in running(plain, 1).items())


@pytest.mark.parametrize(("value", "expected"), [(0.0, 1 / 3), (40.0, 1.0)])
def test_certainty_is_one_for_one_class_and_one_over_k_for_none(value, expected):
    method = ARPLCS(4, 3)
    with torch.no_grad():
        method.points.copy_(-value * torch.eye(4)[:3])
    features = value * torch.eye(4)[:2, :, None, None]
    assert method.certainty(features, method.points).item() == pytest.approx(expected, abs=1e-5)


def test_certainty_leaves_out_the_dot_product():
    """Points of one length all around: squared distances alone decide, as in a loop."""
    method = ARPLCS(5, 3)
    torch.nn.init.normal_(method.points)
    features = torch.randn(4, 5, 2, 2)
    total = 0.0
    for image in features.mean((2, 3)).tolist():
        d = [sum((f - p) ** 2 for f, p in zip(image, point)) / 5 for point in method.points.tolist()]
        weights = [math.exp(each) for each in d]
        total += sum(w / sum(weights) * math.log(w / sum(weights)) for w in weights) / 4
    assert method.certainty(features, method.points).item() == pytest.approx(math.exp(total), abs=1e-5)


@pytest.mark.parametrize("side", [8, 16, 32, 64, 128])
def test_generator_and_discriminator_by_side(side):
    images = make_generator(7, side)(torch.randn(2, 7, 1, 1))
    assert images.shape == (2, 3, side, side) and 0 <= images.min() <= images.max() <= 1
    assert make_discriminator(side)(images).shape == (2, 1)


def test_layers_are_those_of_dcgan_at_64_pixels():
    shapes = [tuple(p.shape) for p in make_generator(100, 64).parameters() if p.ndim == 4]
    assert shapes == [(100, 512, 4, 4), (512, 256, 4, 4), (256, 128, 4, 4), (128, 64, 4, 4), (64, 3, 4, 4)]
    shapes = [tuple(p.shape) for p in make_discriminator(64).parameters() if p.ndim == 4]
    assert shapes == [(64, 3, 4, 4), (128, 64, 4, 4), (256, 128, 4, 4), (512, 256, 4, 4)]
    weights = torch.cat([p.flatten() for p in make_discriminator(64).parameters() if p.ndim == 4])
    assert weights.std().item() == pytest.approx(0.02, rel=0.05)


@pytest.mark.parametrize(("image_size", "shown"), [(32, 32), (48, 48), (32, 24), (16, 16)])
def test_generated_images_have_the_size_and_range_of_those_shown(image_size, shown):
    network = make(image_size=image_size)
    images = torch.randn(4, 3, shown, shown)
    fakes = network.method.generate(images)
    assert fakes.shape == images.shape and fakes.dtype == torch.float32 and fakes.abs().max() <= 2
    assert step_loss(network, images=images)[1].isfinite()


def test_generated_pixels_are_normalised_as_images_are():
    method = make().method
    torch.manual_seed(3)
    fakes = method.generate(IMAGES)
    torch.manual_seed(3)
    assert torch.equal(fakes, (method.generator(torch.randn(6, 100, 1, 1)) - 0.5) / 0.25)


def test_generated_pixels_are_normalised_as_the_published_weights_of_a_backbone_want_it():
    mean, std = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
    backbone = make().backbone
    backbone.mean, backbone.std = mean, std
    method = ARPLCS(backbone.num_features, 3)
    method.prepare(backbone, 32)
    torch.manual_seed(3)
    fakes = method.generate(IMAGES)
    torch.manual_seed(3)
    pixels = method.generator(torch.randn(6, 100, 1, 1))
    for channel in range(3):
        expected = (pixels[:, channel] - mean[channel]) / std[channel]
        assert torch.allclose(fakes[:, channel], expected, atol=1e-6)
    assert not {"mean", "std"} & set(method.state_dict()), "they follow the backbone, not the weights"
    assert torch.equal(deepcopy(method).mean, method.mean)


def test_a_transformer_has_no_branches_and_trains():
    network = make("test_vit")
    images = torch.randn(4, 3, 32, 32)
    _, loss = step_loss(network, images=images)
    loss.backward()
    assert not any(isinstance(module, DualBatchNorm2d) for module in network.modules())
    assert all(p.grad is not None for name, p in network.named_parameters() if part(name) != "classifier")


def optimisers(network):
    own = network.method.own_optimizer()
    return [make_optimizer(network, TrainOptions(lr=0.05), apart=own), own]


def train(network, both, steps, precision="fp32"):
    losses = []
    for step in steps:
        torch.manual_seed(step)
        with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16"):
            features, loss = network(IMAGES, LABELS, step=step)
        for each in both:
            each.zero_grad()
        loss.backward()
        for each in both:
            each.step()
        losses.append(F.cross_entropy(network.method.logits(features), LABELS).item())
    return losses


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_ten_steps_lower_the_classifier_loss(precision):
    network = make()
    losses = train(network, optimisers(network), range(11), precision)
    assert losses[-1] < 0.8 * losses[0]


def test_discriminator_learns_to_tell_generated_images():
    network = make()
    judge = network.method.discriminator
    both = optimisers(network)
    margins = []
    for step in range(0, 20, 2):
        train(network, both, [step])
        margins.append((judge(IMAGES).mean() - judge(network.method.generate(IMAGES)).mean()).item())
    assert margins[-1] > margins[0] + 0.2


def test_own_optimizer_holds_the_adversaries_alone_and_the_main_one_the_rest():
    network = make()
    main, own = optimisers(network)
    names = {id(p): name for name, p in network.named_parameters()}
    theirs = {names[id(p)] for group in own.param_groups for p in group["params"]}
    rest = {names[id(p)] for group in main.param_groups for p in group["params"]}
    assert theirs == {name for name in names.values() if part(name) != "classifier"}
    assert rest == set(names.values()) - theirs
    assert own.defaults["lr"] == 2e-4 and own.defaults["betas"] == (0.5, 0.999)


def test_a_training_in_two_parts_ends_as_one_in_one():
    whole = make()
    train(whole, optimisers(whole), range(5))
    first = make()
    both = optimisers(first)
    train(first, both, range(3))
    torch.manual_seed(99)
    second = make()
    resumed = optimisers(second)
    second.load_state_dict(first.state_dict())
    for each, state in zip(resumed, [deepcopy(each.state_dict()) for each in both]):
        each.load_state_dict(state)
    train(second, resumed, range(3, 5))
    expected = whole.state_dict()
    assert any("generator" in name for name in expected) and any("discriminator" in name for name in expected)
    assert all(torch.equal(value, expected[name]) for name, value in second.state_dict().items())


def test_the_rest_is_arpl():
    network = make()
    method = network.method.eval()
    plain = ARPL(method.num_features, 3)
    plain.load_state_dict(
        {
            name: value
            for name, value in method.state_dict().items()
            if "rator" not in name and "discriminator" not in name
        }
    )
    features = network.eval().backbone(IMAGES)
    assert torch.equal(method.logits(features), plain.logits(features))
    assert torch.equal(method.unknown_score(features), plain.unknown_score(features))
    assert torch.equal(method.evidence(features, LABELS), plain.evidence(features, LABELS))
    assert torch.equal(method.loss(features, LABELS), plain.loss(features, LABELS))
    assert deepcopy(network).method.generator is not method.generator


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"weight": -0.1}, "arpl-cs: weight is 0 or more; got -0.1"),
        ({"confusing_weight": -0.1}, "arpl-cs: confusing_weight is 0 or more; got -0.1"),
        ({"adversary_lr": 0.0}, "arpl-cs: adversary_lr is above 0; got 0.0"),
        ({"noise": 0}, "arpl-cs: noise .* at least 1; got 0"),
    ],
)
def test_options_outside_their_range(options, message):
    with pytest.raises(ValueError, match=message):
        ARPLCS(4, 3, **options)


def test_training_before_prepare_and_with_a_function():
    method = ARPLCS(4, 3)
    batch = TrainingBatch(IMAGES, LABELS)
    with pytest.raises(RuntimeError, match=r"arpl-cs has no generator yet: call prepare"):
        method.training_loss(torch.nn.Identity(), batch)
    with pytest.raises(RuntimeError, match=r"arpl-cs has no generator yet: call prepare"):
        method.own_optimizer()
    with pytest.raises(TypeError, match="arpl-cs trains a backbone that is an nn.Module; got function"):
        make().method.training_loss(lambda images: images, batch)


def test_bad_labels():
    with pytest.raises(ValueError, match=r"arpl-cs: labels must lie in 0\.\.2; got -1"):
        make()(IMAGES, LABELS - 1)
