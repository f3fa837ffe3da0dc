"""What holds for every method: the calls and their shapes, learning, saving, and errors that name the method."""

from copy import deepcopy

import pytest
import torch

from backmix.methods import METHODS, Method, TrainingBatch
from backmix.methods.network import Network, create_network
from backmix.models import create_backbone

CHANNELS, CLASSES, SIZE = 8, 3, 32


def make(name, seed=0):
    torch.manual_seed(seed)
    return create_network("compact-s", name, CLASSES, image_size=SIZE, model_options={"width": 0.25})


def make_batch(method, seed=0, images=6, progress=0.0, step=0):
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(images) % CLASSES
    # Colour goes with the class, so that there is something to learn.
    pixels = torch.randn(images * method.views, 3, SIZE, SIZE, generator=generator)
    pixels += 2 * torch.eye(3)[labels.repeat(method.views)][:, :, None, None]
    outliers = torch.randn(4, 3, SIZE, SIZE, generator=generator) if method.uses_outliers else None
    return TrainingBatch(pixels, labels, outliers=outliers, progress=progress, step=step)


def optimizers(network):
    own = network.method.own_optimizer()
    apart = {id(p) for group in own.param_groups for p in group["params"]} if own else set()
    main = torch.optim.SGD([p for p in network.parameters() if id(p) not in apart], lr=0.02, momentum=0.9)
    return [main] if own is None else [main, own]


def learn_or_step(network, batch):
    """One pass in training mode, or what the method computes at once."""
    with torch.no_grad():
        if network.method.learns_at_once:
            network.method.learn(lambda: [(network.backbone(batch.images), batch.labels)])
            return
        network.method.training_loss(network.backbone, batch)


every = pytest.mark.parametrize("name", METHODS)
with_loss = pytest.mark.parametrize("name", [name for name, method in METHODS.items() if not method.learns_at_once])


@every
def test_names_are_those_of_the_classes(name):
    assert METHODS[name].name == name and issubclass(METHODS[name], Method)


@every
@pytest.mark.parametrize("progress", [0.0, 0.95])
def test_the_calls_give_what_they_promise(name, progress):
    network = make(name)
    batch = make_batch(network.method, progress=progress)
    if network.method.learns_at_once:
        learn_or_step(network, batch)
    else:
        features, loss = network.method.training_loss(network.backbone, batch)
        assert features.shape[:2] == (6, network.backbone.num_features) and features.ndim == 4
        assert loss.shape == () and loss.isfinite() and loss.requires_grad
    network.eval()
    with torch.no_grad():
        maps = network.backbone(batch.images[:6])
        logits, score = network.method.logits(maps), network.method.unknown_score(maps)
        answer = network.method.respond(network.backbone, batch.images[:6])
    evidence = network.method.evidence(maps, batch.labels)
    assert logits.shape == (6, CLASSES) and score.shape == (6,)
    assert evidence.shape == (6, *maps.shape[2:]) and not evidence.requires_grad
    assert evidence.min() >= 0 and evidence.max() <= 1
    assert answer.logits.shape == (6, CLASSES) and answer.score.shape == (6,) and answer.features.shape[0] == 6
    assert answer.logits.dtype == answer.score.dtype == answer.features.dtype == torch.float32
    assert all(value.isfinite().all() for value in (logits, score, evidence, answer.score))


@with_loss
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_ten_steps_lower_the_loss(name, precision):
    network = make(name)
    steps = optimizers(network)

    def loss_of(step):
        torch.manual_seed(step)  # The noise of generators and of mixing.
        with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16"):
            return network.method.training_loss(network.backbone, make_batch(network.method, step=step))[1]

    first = float(loss_of(1).detach())
    for _ in range(10):
        for optimizer in steps:
            optimizer.zero_grad()
        loss_of(1).backward()
        for optimizer in steps:
            optimizer.step()
    assert float(loss_of(1).detach()) < first


@every
def test_a_copy_and_a_saved_state_answer_alike(name):
    network = make(name)
    learn_or_step(network, make_batch(network.method))
    network.eval()
    images = make_batch(network.method).images[:6]
    fresh = make(name, seed=1)
    fresh.load_state_dict(network.state_dict())
    with torch.no_grad():
        expected = network.method.respond(network.backbone, images)
        for other in (deepcopy(network), fresh.eval()):
            answer = other.method.respond(other.backbone, images)
            assert torch.equal(answer.logits, expected.logits) and torch.equal(answer.score, expected.score)


@every
def test_one_class_is_refused_by_name(name):
    with pytest.raises(ValueError, match=rf"^{name} needs at least two known classes; got 1"):
        METHODS[name](CHANNELS, 1)


@every
@pytest.mark.parametrize("shape", [(2, CHANNELS), (2, CHANNELS + 1, 4, 4)])
def test_a_wrong_map_is_refused_by_name(name, shape):
    method = METHODS[name](CHANNELS, CLASSES)
    with pytest.raises(ValueError, match=rf"^{name}\b.*{CHANNELS}"):
        method.evidence(torch.zeros(shape), torch.zeros(2, dtype=torch.int64))
    with pytest.raises(ValueError, match=rf"^{name}\b"):
        method.loss(torch.zeros(2, CHANNELS, 4, 4), torch.tensor([0, CLASSES]))


@pytest.mark.parametrize("name", [name for name, method in METHODS.items() if method.learns_at_once])
def test_what_is_computed_at_once_has_nothing_to_train(name):
    network = make(name)
    assert network.method.needs_statistics and network.method.on_pooled_features
    assert not list(network.method.parameters())
    with pytest.raises(ValueError, match=rf"^{name} has no loss.*Take --train head, without --epochs and --budget"):
        network.method.training_loss(network.backbone, make_batch(network.method))
    batches = [(torch.randn(4, 32, 2, 3), torch.tensor([0, 1, 1, 0]))]
    for given, said in (([], "was given none"), (batches, "no training image of class number 2")):
        with pytest.raises(ValueError, match=f"^{name}.*{said}"):
            network.method.learn(lambda given=given: given)


@pytest.mark.parametrize("name", [name for name, method in METHODS.items() if method.learns_at_once])
def test_what_is_computed_at_once_depends_on_neither_batches_nor_cells_nor_length(name):
    generator = torch.Generator().manual_seed(0)
    features, labels = torch.randn(30, CHANNELS, 2, 3, generator=generator), torch.arange(30) % CLASSES
    answers = []
    for maps, size in ((features, 30), (features, 7), (features.mean((2, 3), keepdim=True), 30), (8 * features, 30)):
        method = METHODS[name](CHANNELS, CLASSES).eval()
        method.learn(lambda maps=maps, size=size: zip(maps.split(size), labels.split(size), strict=True))
        again = deepcopy(method.state_dict())
        method.learn(lambda maps=maps: [(maps, labels)])
        assert all(torch.allclose(value, again[key], atol=1e-5) for key, value in method.state_dict().items())
        answers.append((method.logits(maps), method.unknown_score(maps)))
    for logits, score in answers[1:]:
        torch.testing.assert_close(logits, answers[0][0], atol=1e-4, rtol=1e-4)
        torch.testing.assert_close(score, answers[0][1], atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("name", [name for name, method in METHODS.items() if method.needs_outliers])
def test_missing_outliers_are_named(name):
    network = make(name)
    batch = make_batch(network.method)
    with pytest.raises(ValueError, match=rf"^{name} learns from images of no known class.*--outliers backgrounds"):
        network.method.training_loss(network.backbone, TrainingBatch(batch.images, batch.labels))


@with_loss
def test_mixed_labels_are_weighed(name):
    """With both labels of a pair the same, mixing them changes nothing."""
    network = make(name)
    batch = make_batch(network.method)
    same = TrainingBatch(
        batch.images, batch.labels, targets=((batch.labels, 0.3), (batch.labels, 0.7)), outliers=batch.outliers
    )
    losses = []
    for given in (batch, same):
        torch.manual_seed(0)
        losses.append(float(network.train().method.training_loss(network.backbone, given)[1].detach()))
    assert losses[0] == pytest.approx(losses[1], rel=1e-4)


@with_loss
def test_a_transformer_carries_it_too(name):
    torch.manual_seed(0)
    backbone = create_backbone("vit_tiny_patch16_224", image_size=32, depth=2, embed_dim=24, num_heads=2)
    method = METHODS[name](backbone.num_features, CLASSES)
    method.prepare(backbone, 32)
    network = Network(backbone, method)
    features, loss = network.method.training_loss(network.backbone, make_batch(method))
    loss.backward()
    assert loss.isfinite() and features.shape == (6, 24, 2, 2)
