"""OpenMax against loops, its distribution against SciPy and against libMR's Weibull fit."""

import math

import numpy as np
import pytest
import torch

from backmix.detectors import Detector, OpenMax
from backmix.detectors.openmax import fit_gumbel_of_minima
from backmix.metrics.figures import open_set_metrics

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
    scores = fitted(tail=tail, alpha=alpha, distance=distance)(logits)
    torch.testing.assert_close(scores, expected[:, 0].logit(), rtol=1e-4, atol=1e-4)


def with_tails(*tails, alpha=10):
    """Fitted such that each W_c is 0 or 1 everywhere."""
    detector = OpenMax(alpha=alpha)
    detector.means = torch.eye(len(tails), dtype=torch.float64)
    detector.location = torch.tensor([-1e3 if tail else 1e3 for tail in tails], dtype=torch.float64)
    detector.scale = torch.ones(len(tails), dtype=torch.float64)
    return detector


def test_known_answers():
    logits = torch.tensor([[4.0, 2.0]])
    cases = [
        (with_tails(1, 1), [5.0, 0.0, 1.0], 1),  # The first gives all, the second half.
        (with_tails(0, 0), [0.0, 4.0, 2.0], 2),
        (with_tails(0, 1), [1.0, 4.0, 1.0], 2),
        (with_tails(1, 1, alpha=1), [4.0, 0.0, 2.0], 1),
    ]
    for detector, revised, likeliest in cases:
        assert detector.revised(logits).tolist() == [revised]
        assert detector(logits).item() == pytest.approx(
            revised[0] - math.log(math.exp(revised[1]) + math.exp(revised[2])), abs=1e-12
        )
        assert detector.decide(logits).tolist() == [likeliest - 2]
    assert with_tails(1, 1)(logits).item() == pytest.approx(3.6867383, abs=1e-7)
    assert with_tails(0, 0)(logits).item() == pytest.approx(-4.1269280, abs=1e-7)


def test_strong_logits_do_not_tie():
    detector = OpenMax()
    training, labels = clusters(300)
    detector.fit(40 * training, None, labels)
    logits = 40 * clusters(200, seed=1, spread=3)[0]
    certain = detector.probabilities(logits)[:, 0]
    scores = detector(logits)
    assert (certain == 1).sum() > 20 and len(scores.unique()) == 200
    # The same order: sorted by scores, the probabilities never fall.
    assert (certain[scores.argsort()].diff() >= 0).all()
    assert (detector.decide(logits)[scores > 0] == -1).all()


def test_the_likeliest_of_k_plus_one_decides():
    detector, logits = fitted(), torch.cat([clusters(50, seed=3)[0], clusters(50, seed=4, spread=5)[0]])
    answers = detector.decide(logits, torch.rand(100, 3))
    assert answers.dtype == torch.int64 and torch.equal(answers, detector.probabilities(logits).argmax(1) - 1)
    assert 0 < (answers == -1).sum() < 100
    assert Detector().decide(logits, logits) is None


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


def test_probabilities_are_some_and_the_score_is_the_log_odds_of_column_zero():
    detector, logits = fitted(), clusters(50, seed=3)[0]
    found = detector.probabilities(logits)
    assert found.shape == (50, 7) and found.dtype == torch.float64
    torch.testing.assert_close(found.sum(1), torch.ones(50, dtype=torch.float64))
    torch.testing.assert_close(detector(logits), found[:, 0].logit())
    assert torch.equal(detector(logits), detector(logits, torch.rand(50, 3)))
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
    assert -math.inf < near < far < math.inf


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
