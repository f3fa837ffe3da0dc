"""What the card says of figures and threshold: true of the run, and no more than was measured."""

import re

import pytest
import torch

from backmix.classifier import OpenSetClassifier
from backmix.hub.card_figures import figures_section, spread_in_words, threshold_section
from backmix.metrics.chance import accepted_by_chance
from backmix.threshold.conformal import ConformalThreshold

MEASURED = {
    "images": {"known": 120, "unknown": 80},
    "accuracy": 0.9,
    "detectors": {"max_logit": {"auroc": 0.8, "oscr": None, "fpr95": float("nan"), "accepted_known": 0.94}},
}


def section(classifier, metrics, evaluation=None):
    """As of a run whose threshold is still that of fit."""
    config = {"arguments": {"accept": classifier.accept}}
    images = {"held_out": len(classifier.thresholds["max_logit"].scores)}
    return figures_section(classifier, config, {"images": images, **metrics}, evaluation)


@pytest.fixture(scope="module")
def classifier():
    return OpenSetClassifier(["a", "b"], model="compact-s")


def calibrated(classifier, images, accept=0.95, per_class=False):
    scores = torch.linspace(0, 1, images)
    classifier.accept = accept
    classifier.thresholds = {"max_logit": ConformalThreshold.fit(scores, accept=accept)}
    classifier.per_class = per_class
    classifier.class_thresholds = [ConformalThreshold.fit(scores, accept=accept), None]
    return classifier


def test_figures_of_fit_and_of_a_test_set_are_told_apart(classifier):
    calibrated(classifier, 40)
    own = section(classifier, {"test": MEASURED})
    assert "kept apart when it was trained: the network did not see them, nor did the threshold." in own
    other = section(classifier, {"test": MEASURED}, {**MEASURED, "accuracy": 0.7})
    assert "a test set chosen by whoever shared it" in other and "| accuracy | 70 % |" in other


def test_only_figures_that_are_numbers_are_told(classifier):
    text = section(calibrated(classifier, 40), {"test": MEASURED})
    assert "| AUROC | 80 % |" in text and "OSCR" not in text and "FPR95" not in text and "nan" not in text
    assert "120 images of the known classes and 80 of other classes" in text


def test_what_was_not_measured_is_said(classifier):
    calibrated(classifier, 40)
    none = {**MEASURED, "images": {"known": 9, "unknown": 0}}
    assert "No unknown image was tested" in section(classifier, {"test": none})
    held = section(classifier, {"held_out_accuracy": 0.75})
    assert "Of known images held out from training to fit a threshold on, 75 % are given the right class" in held
    assert "how well it tells unknown images apart is not known" in held
    assert section(classifier, {}).endswith("Measure it on images of your own before you rely on it.")


@pytest.mark.parametrize("broken", [{}, {"images": 3, "detectors": []}, {"detectors": {"max_logit": 7}}])
def test_broken_figures_give_none(classifier, broken):
    assert "No figure is given" in section(calibrated(classifier, 40), {}, broken)


@pytest.mark.parametrize(
    ("accept", "held_out", "per_class", "current"),
    [(0.95, 40, False, True), (0.9, 40, False, False), (0.95, 41, False, False), (0.95, 40, True, False)],
)
def test_what_a_threshold_did_that_is_no_more_is_not_told(classifier, accept, held_out, per_class, current):
    calibrated(classifier, 40, per_class=per_class)
    metrics = {"images": {"held_out": held_out}, "test": MEASURED}
    text = figures_section(classifier, {"arguments": {"accept": accept}}, metrics, None)
    assert ("| accepted | 94 % |" in text) is current and ("nor did the threshold" in text) is current
    assert ("The threshold was fitted anew since then" in text) is not current
    assert "| AUROC | 80 % |" in text
    assert "| accepted | 94 % |" in figures_section(classifier, {}, metrics, MEASURED)


def test_example_unknowns_that_chose_are_told(classifier):
    calibrated(classifier, 40)
    assert "30 example images of no known class chose" in threshold_section(classifier, {"images": 30})
    assert "example images" not in threshold_section(classifier)


def test_the_promise_names_share_and_images(classifier):
    text = threshold_section(calibrated(classifier, 200, accept=0.9))
    assert "**200 known images**" in text and "accept **90 %** of new known images" in text
    assert "at most the other 10 % of new known images are called unknown" in text
    assert "threshold of their own" not in text
    per_class = threshold_section(calibrated(classifier, 200, per_class=True))
    assert "1 of 2 classes have a threshold of their own" in per_class and "nine draws of ten" not in per_class


def test_no_promise_without_a_threshold(classifier):
    classifier.thresholds = {}
    assert threshold_section(classifier).startswith("## Threshold\n\nNone")


def test_too_few_images_to_reject_any_are_told(classifier):
    text = threshold_section(calibrated(classifier, 10))
    assert "As it is, every image is accepted" in text and "nine draws of ten" not in text


@pytest.mark.parametrize(("images", "accept"), [(24, 0.95), (200, 0.9), (19, 0.95)])
def test_the_spread_is_that_of_many_draws(images, accept):
    """Against thresholds fitted on drawn scores: uniform ones, so that a threshold is the share it accepts."""
    generator = torch.Generator().manual_seed(0)
    draws = torch.rand(4000, images, generator=generator, dtype=torch.float64)
    held = ConformalThreshold.fit(draws[0], accept=accept)
    shares = torch.tensor([ConformalThreshold.fit(scores, accept=accept).threshold for scores in draws])
    expected = torch.quantile(shares, torch.tensor([0.05, 0.95])) * 100
    low, high = map(float, re.search(r"between ([\d.]+) % and ([\d.]+) %", spread_in_words(held)).groups())
    assert [low, high] == pytest.approx(expected.tolist(), abs=1.0)

    tests = torch.rand(4000, 50, generator=generator, dtype=torch.float64)
    observed = (tests <= shares[:, None]).double().mean(1)
    low, high = accepted_by_chance(images, accept, 50)
    assert 0.93 <= float(((observed >= low) & (observed <= high)).double().mean()) <= 1.0
    assert low < accept < high
