"""NegCosSch: the temperature by hand, and that it is in the loss alone."""

import math
from copy import deepcopy

import pytest
import torch
import torch.nn.functional as F

from backmix.methods import Softmax, TrainingBatch
from backmix.methods.negcossch import SCHEDULES, NegCosSch
from backmix.methods.network import Network
from backmix.models import create_backbone

FEATURES = torch.randn(6, 5, 3, 4, generator=torch.Generator().manual_seed(0))
LABELS = torch.tensor([0, 3, 2, 1, 3, 0])


def make(**options):
    torch.manual_seed(1)
    return NegCosSch(5, 4, **options)


def slow_loss(method, features, labels, temperature, smoothing=0.0):
    total = 0.0
    for row, label in zip(method.logits(features).double().tolist(), labels.tolist(), strict=True):
        scaled = [z / temperature for z in row]
        log_sum = math.log(sum(map(math.exp, scaled)))
        for k, z in enumerate(scaled):
            total -= (1 - smoothing if k == label else smoothing / (len(row) - 1)) * (z - log_sum)
    return total / len(labels)


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, [0.5, 0.5 + 0.75 * (1 - math.sqrt(0.5)), 1.25, 0.5 + 0.75 * (1 + math.sqrt(0.5)), 2.0]),
        ({"schedule": "negcos"}, [0.5, 1.25, 2.0, 1.25, 2.0]),
        ({"schedule": "negcos", "period": 1.0}, [0.5, 1.25, 2.0, 2.0, 2.0]),
        ({"schedule": "negcos", "period": 0.5}, [0.5, 2.0, 0.5, 2.0, 2.0]),
        ({"schedule": "cosine"}, [2.0, 1.25, 0.5, 1.25, 2.0]),
        ({"schedule": "cosine", "period": 1.0}, [2.0, 1.25, 0.5, 1.25, 2.0]),
        ({"schedule": "cosine", "period": 0.5}, [2.0, 0.5, 2.0, 0.5, 2.0]),
        ({"schedule": "constant"}, [1.0] * 5),
        ({"low": 1.0, "high": 3.0}, [1.0, 2 - math.sqrt(0.5), 2.0, 2 + math.sqrt(0.5), 3.0]),
    ],
)
def test_temperature_at_the_quarters_of_the_training(options, expected):
    method = make(**options)
    assert [method.temperature(quarter / 4) for quarter in range(5)] == pytest.approx(expected)


def test_the_period_is_that_of_the_release_with_a_plateau_of_half_a_period_at_the_end():
    """200 of 600 epochs: peaks at 100, 300 and 500, and from the last one on the highest temperature."""
    method = make(schedule="negcos")
    assert method.period == pytest.approx(200 / 600)
    course = [method.temperature(epoch / 600) for epoch in range(601)]
    assert [course[epoch] for epoch in (0, 200, 400)] == pytest.approx([0.5] * 3)
    assert [course[epoch] for epoch in (100, 300, 500)] == pytest.approx([2.0] * 3)
    assert course[500:] == pytest.approx([2.0] * 101) and course[499] < 2.0 and course[450] == pytest.approx(1.25)


def test_temperature_of_the_default_only_rises():
    method = make()
    course = [method.temperature(step / 100) for step in range(101)]
    assert course == sorted(course) and course[0] < course[1]


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_temperature_stays_within_its_bounds(schedule):
    method = make(schedule=schedule, low=0.2, high=0.7, period=0.3)
    course = [method.temperature(step / 997) for step in range(998)]
    assert min(course) >= 0.2 - 1e-12 and max(course) <= 0.7 + 1e-12


@pytest.mark.parametrize("smoothing", [0.0, 0.3])
@pytest.mark.parametrize("progress", [0.0, 0.25, 0.99])
def test_training_loss_against_a_loop(smoothing, progress):
    method = make(label_smoothing=smoothing)
    features, loss = method.training_loss(lambda images: images, TrainingBatch(FEATURES, LABELS, progress=progress))
    temperature = 1.25 - 0.75 * math.cos(math.pi * progress)
    assert features is FEATURES
    assert loss.item() == pytest.approx(slow_loss(method, FEATURES, LABELS, temperature, smoothing), abs=1e-5)


def test_mixed_labels_are_weighed_at_the_same_temperature():
    method, other = make(), LABELS.flip(0)
    batch = TrainingBatch(FEATURES, LABELS, targets=((LABELS, 0.3), (other, 0.7)), progress=0.0)
    expected = 0.3 * slow_loss(method, FEATURES, LABELS, 0.5) + 0.7 * slow_loss(method, FEATURES, other, 0.5)
    assert method.training_loss(lambda images: images, batch)[1].item() == pytest.approx(expected, abs=1e-5)


def test_loss_alone_is_that_of_the_last_step():
    assert make().loss(FEATURES, LABELS).item() == pytest.approx(slow_loss(make(), FEATURES, LABELS, 2.0), abs=1e-5)


def test_constant_schedule_is_softmax_and_the_schedule_changes_no_answer():
    torch.manual_seed(1)
    softmax = Softmax(5, 4)
    constant, rising = make(schedule="constant"), make()
    batch = TrainingBatch(FEATURES, LABELS, progress=0.1)
    plain = F.cross_entropy(softmax.logits(FEATURES), LABELS)
    assert torch.allclose(constant.training_loss(lambda images: images, batch)[1], plain)
    assert not torch.allclose(rising.training_loss(lambda images: images, batch)[1], plain, rtol=0.01)
    assert torch.equal(rising.logits(FEATURES), softmax.logits(FEATURES))
    assert torch.equal(rising.unknown_score(FEATURES), -softmax.logits(FEATURES).amax(1))
    assert torch.equal(rising.evidence(FEATURES, LABELS), softmax.evidence(FEATURES, LABELS))


def test_weights_of_softmax_can_be_loaded_and_copies_are_equal():
    method, softmax = make(), Softmax(5, 4)
    method.load_state_dict(softmax.state_dict())
    assert torch.equal(deepcopy(method).logits(FEATURES), softmax.logits(FEATURES))


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_ten_steps_lower_the_loss(precision):
    torch.manual_seed(0)
    backbone = create_backbone("compact-s", image_size=32, width=0.25)
    network = Network(backbone, NegCosSch(backbone.num_features, 3))
    images, labels = torch.randn(12, 3, 32, 32), torch.arange(12) % 3
    optimizer = torch.optim.SGD(network.parameters(), lr=0.05, momentum=0.9)
    losses = []
    for _ in range(11):
        with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16"):
            _, loss = network(images, labels, progress=0.5)
        assert loss.dtype == torch.float32
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.8 * losses[0]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"schedule": "up"}, "negcossch has no schedule 'up'; there are monotonic"),
        ({"low": 0.0}, "negcossch needs temperatures"),
        ({"low": 3.0}, "negcossch needs temperatures"),
        ({"high": math.inf}, "negcossch needs temperatures"),
        ({"high": math.nan}, "negcossch needs temperatures"),
        ({"period": 0.0}, "negcossch: period"),
        ({"period": 1.5}, "negcossch: period"),
        ({"label_smoothing": -0.1}, "label_smoothing"),
    ],
)
def test_options_outside_their_range(options, message):
    with pytest.raises(ValueError, match=message):
        make(**options)


def test_wrong_labels_by_name():
    for call in (make().loss, lambda f, y: make().training_loss(lambda images: f, TrainingBatch(f, y))):
        with pytest.raises(ValueError, match="negcossch: labels must lie in 0..3"):
            call(FEATURES, LABELS - 1)
