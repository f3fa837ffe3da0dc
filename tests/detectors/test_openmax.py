"""OpenMax against loops, its distribution against SciPy and against libMR's Weibull fit."""

import math

import numpy as np
import pytest
import torch

from backmix.detectors import OpenMax
from backmix.detectors.openmax import fit_gumbel_of_minima
from backmix.metrics import open_set_metrics

stats = pytest.importorskip("scipy.stats")


def clusters(count, classes=6, seed=0, spread=1.0):
    """Logits that are large for their class, some of them classified wrongly."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(count) % classes
    logits = spread * torch.randn(count, classes, generator=generator, dtype=torch.float64)
    logits[torch.arange(count), labels] += 4
    return logits, labels


def fitted(**options):
    logits, labels = clusters(300)
    detector = OpenMax(**options)
    detector.fit(logits, None, labels)
    return detector


def slow_distance(z, v, distance):
    euclidean = math.sqrt(sum((a - b) ** 2 for a, b in zip(z, v))) / 200
    if distance == "euclidean":
        return euclidean
    dot, a, b = (sum(x * y for x, y in zip(p, q)) for p, q in ((z, v), (z, z), (v, v)))
    return euclidean + 1 - dot / math.sqrt(a * b)


def slow_openmax(training, labels, logits, tail, alpha, distance):
    """The formulas of the paper one after the other, with SciPy's fit."""
    classes = len(logits[0])
    means, laws = [], []
    for k in range(classes):
        rows = [z for z, y in zip(training, labels) if y == k and max(range(classes), key=z.__getitem__) == k]
        means.append([sum(column) / len(rows) for column in zip(*rows)])
        largest = sorted(slow_distance(z, means[k], distance) for z in rows)[-tail:]
        location, scale = stats.gumbel_l.fit(np.array(largest) - min(largest))
        laws.append((min(largest), location, scale))
    answers = []
    for z in logits:
        ranked = sorted(range(classes), key=lambda k: -z[k])
        revised = list(z)
        for i, k in enumerate(ranked[: min(alpha, classes)], start=1):
            share = (min(alpha, classes) + 1 - i) / min(alpha, classes)
            least, location, scale = laws[k]
            revised[k] = z[k] * (
                1 - share * stats.gumbel_l.cdf(slow_distance(z, means[k], distance) - least, location, scale)
            )
        unknown = sum(a - b for a, b in zip(z, revised))
        answers.append(np.exp([unknown, *revised]) / np.exp([unknown, *revised]).sum())
    return torch.tensor(np.array(answers))


@pytest.mark.parametrize("distance", ["eucos", "euclidean"])
@pytest.mark.parametrize(("tail", "alpha"), [(20, 10), (5, 3), (20, 1)])
def test_agrees_with_a_slow_reference(distance, tail, alpha):
    training, labels = clusters(300)
    assert 0 < (training.argmax(1) != labels).sum() < 100
    logits = torch.cat([clusters(30, seed=1)[0], clusters(30, seed=2, spread=4)[0]])
    expected = slow_openmax(training.tolist(), labels.tolist(), logits.tolist(), tail, alpha, distance)
    found = fitted(tail=tail, alpha=alpha, distance=distance).probabilities(logits)
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("count", [3, 20, 200])
@pytest.mark.parametrize("size", [1e-3, 1.0, 1e3])
def test_the_distribution_is_the_likeliest_one(count, size):
    values = size * torch.rand(count, generator=torch.Generator().manual_seed(count), dtype=torch.float64) ** 2
    values = values - values.min()
    location, scale = fit_gumbel_of_minima(values)
    expected = stats.gumbel_l.fit(values.numpy())
    assert (location.item(), scale.item()) == pytest.approx(expected, rel=1e-4, abs=1e-5 * size)
    likelihood = stats.gumbel_l.logpdf(values.numpy(), location.item(), scale.item()).sum()
    assert likelihood >= stats.gumbel_l.logpdf(values.numpy(), *expected).sum() - 1e-6


def test_the_distribution_is_libmrs_weibull_fit():
    """Which shifts the tail to begin at 10000 before a Weibull fit of two parameters."""
    tail = 1 + torch.rand(20, generator=torch.Generator().manual_seed(4), dtype=torch.float64)
    location, scale = fit_gumbel_of_minima(tail - tail.min())
    shifted = (tail - tail.min() + 10000).numpy()
    # Weibull likelihood in closed form for the scale, bisection for the shape.
    logs = np.log(shifted)
    low, high = 1e2, 1e7
    for _ in range(200):
        shape = math.sqrt(low * high)
        weights = np.exp(shape * (logs - logs.max()))
        low, high = (shape, high) if (weights * logs).sum() / weights.sum() - 1 / shape < logs.mean() else (low, shape)
    width = math.exp(logs.max() + math.log(np.mean(np.exp(shape * (logs - logs.max())))) / shape)
    for distance in (1.0, 1.3, 1.7, 1.95, 2.1):
        libmr = -math.expm1(-(((distance - tail.min().item() + 10000) / width) ** shape))
        ours = -torch.expm1(-torch.exp((distance - tail.min() - location) / scale)).item()
        assert ours == pytest.approx(libmr, abs=2e-4)


@pytest.mark.parametrize("values", [[0.0], [0.0, 0.0, 0.0]])
def test_a_tail_of_one_value_makes_a_step(values):
    location, scale = fit_gumbel_of_minima(torch.tensor(values, dtype=torch.float64))
    assert location.abs() < 1e-5 and 0 < scale < 1e-5


def test_probabilities_are_some_and_column_zero_is_the_score():
    detector, logits = fitted(), clusters(50, seed=3)[0]
    found = detector.probabilities(logits)
    assert found.shape == (50, 7) and found.dtype == torch.float64
    torch.testing.assert_close(found.sum(1), torch.ones(50, dtype=torch.float64))
    assert torch.equal(detector(logits), found[:, 0]) and torch.equal(detector(logits, torch.rand(50, 3)), found[:, 0])
    answers = found.argmax(1) - 1
    assert (answers == clusters(50, seed=3)[1]).float().mean() > 0.6


def test_alpha_is_at_most_the_number_of_classes():
    logits = clusters(50, seed=3)[0]
    assert torch.equal(fitted(alpha=10)(logits), fitted(alpha=6)(logits))
    assert not torch.allclose(fitted(alpha=6)(logits), fitted(alpha=3)(logits))


def test_wrongly_classified_training_images_count_for_nothing():
    logits, labels = clusters(300)
    wrong = logits.argmax(1) != labels
    detector = OpenMax()
    detector.fit(logits[~wrong], None, labels[~wrong])
    assert torch.equal(detector(logits), fitted()(logits))


def test_a_class_never_classified_correctly_takes_all_its_images():
    logits, labels = clusters(60, classes=3)
    logits[labels == 2, 2] -= 20
    detector = OpenMax()
    detector.fit(logits, None, labels)
    torch.testing.assert_close(detector.means[2], logits[labels == 2].mean(0))
    assert detector(logits).isfinite().all()


def test_one_image_a_class_is_enough():
    detector = OpenMax()
    detector.fit(5 * torch.eye(3), None, torch.arange(3))
    near, far = detector(torch.tensor([[5.0, 0, 0], [5.0, 5.0, 1.0]]))
    assert 0 <= near < far <= 1


def test_negative_logits_are_pushed_up():
    detector = fitted(alpha=6)
    logits = torch.tensor([[8.0, 7.0, -6.0, -6.0, -6.0, -6.0]])
    revised = detector.probabilities(logits).log()
    plain = logits.double().log_softmax(1)
    assert (revised[0, 3] - revised[0, 1]) > (plain[0, 2] - plain[0, 0])


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_any_precision_in_float64_out(dtype):
    detector, logits = fitted(), clusters(20, seed=5)[0].to(dtype)
    assert detector(logits).dtype == torch.float64
    assert torch.equal(detector(logits), detector(logits.double()))


def test_images_do_not_depend_on_each_other():
    detector, logits = fitted(), clusters(20, seed=5)[0]
    torch.testing.assert_close(torch.cat([detector(row[None]) for row in logits]), detector(logits))
    assert detector(torch.empty(0, 6)).shape == (0,)


def test_far_unknowns_are_told_from_class_clusters():
    known, labels = clusters(300, seed=6, spread=0.7)
    training, own = clusters(600, seed=7, spread=0.7)
    unknown = 0.7 * torch.randn(300, 6, generator=torch.Generator().manual_seed(8)) + 1.5
    detector = OpenMax()
    detector.fit(training, None, own)
    figures = open_set_metrics(detector(known), known.argmax(1) == labels, detector(unknown))
    assert figures["auroc"] > 0.9


def test_a_broken_image_is_nan_and_others_are_not():
    logits = clusters(3, seed=5)[0]
    logits[1, 2] = math.nan
    assert fitted()(logits).isnan().tolist() == [False, True, False]


@pytest.mark.parametrize("options", [{"tail": 1}, {"alpha": 0}, {"distance": "cosine"}])
def test_bad_options(options):
    with pytest.raises(ValueError, match="openmax: "):
        OpenMax(**options)


def test_bad_input():
    with pytest.raises(ValueError, match="openmax: fit it on training images first"):
        OpenMax()(torch.rand(2, 3))
    with pytest.raises(ValueError, match=r"openmax: fitted on 6 classes; got logits \(2, 3\)"):
        fitted()(torch.rand(2, 3))
    with pytest.raises(ValueError, match="openmax: no training image of class number 1"):
        OpenMax().fit(torch.rand(4, 3), None, torch.tensor([0, 0, 2, 2]))
    with pytest.raises(ValueError, match=r"logits must be \(B, K\) float"):
        OpenMax().fit(torch.rand(4), None, torch.zeros(4))
