"""A file that does not answer as PyTorch does is told, with the worst difference."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from exported_files import calibrated, some_images

from backmix.errors import RunError
from backmix.export.agreement import compare, pytorch_answers, verify
from backmix.threshold.conformal import ConformalThreshold

NAMES = [f"{number}.png" for number in range(30)]


@pytest.fixture(scope="module")
def classifier():
    return calibrated()


@pytest.fixture(scope="module")
def expected(classifier):
    return pytorch_answers(classifier, some_images(30, 16, seed=3).numpy())


def moved(classifier, answers, by):
    """Answers with scores that differ by `by`, and p-values and decisions that follow from them."""
    scores = answers.unknown_score + by
    predicted = torch.from_numpy(answers.logits).argmax(1)
    accepted, p_values = classifier.decide(torch.from_numpy(scores), predicted)
    decision = np.where(accepted, predicted, -1)
    return replace(answers, unknown_score=scores, p_value=p_values.numpy(), decision=decision)


def test_pytorch_answers_as_the_classifier(classifier, expected):
    labels = [answer.label for answer in classifier.predict(some_images(30, 16, seed=3))]
    assert labels == ["unknown" if k < 0 else classifier.classes[k] for k in expected.decision]
    assert 0 < labels.count("unknown") < 30


def test_the_same_answers_agree(classifier, expected):
    found = compare(classifier, expected, expected, NAMES, [30])
    assert (found.score, found.logit, found.same_decisions, found.same_p_values) == (0.0, 0.0, 30, 30)
    assert found.unknown == (expected.decision < 0).sum() and found.batches == [30]


def test_a_little_noise_is_measured_and_passes(classifier, expected):
    found = compare(classifier, expected, moved(classifier, expected, 9e-5), NAMES)
    assert found.score == pytest.approx(9e-5) and found.same_decisions >= 30 - found.close
    with pytest.raises(RunError, match="on 30 of 30 images: the worst unknown score is .* in PyTorch, of"):
        compare(classifier, expected, moved(classifier, expected, 3e-4), NAMES)


def test_less_noise_passes_where_all_scores_are_alike():
    alike = calibrated(method="proser")
    spread = float(alike.thresholds["method"].scores.std())
    assert spread < 1e-3  # 1e-4 would be a good part of that.
    expected = pytorch_answers(alike, some_images(30, 16, seed=3).numpy())
    compare(alike, expected, moved(alike, expected, 5e-4 * spread), NAMES)
    with pytest.raises(RunError, match="the worst unknown score is"):
        compare(alike, expected, moved(alike, expected, 5e-3 * spread), NAMES)


def test_a_single_score_to_calibrate_on_has_no_spread(classifier, expected):
    alone = calibrated()
    alone.thresholds = {"max_logit": ConformalThreshold.fit(torch.tensor([-0.3]), 0.5)}
    answers = moved(alone, expected, 0.0)
    assert compare(alone, answers, moved(alone, expected, 5e-5), NAMES).score == pytest.approx(5e-5)


def test_the_worst_image_is_named(classifier, expected):
    by = np.zeros(30)
    by[[4, 7]] = 0.1, -0.3
    with pytest.raises(RunError, match=r"2 of 30 images: .* of 7\.png; at most"):
        compare(classifier, expected, moved(classifier, expected, by), NAMES)
    logits = expected.logits.copy()
    logits[11, 2] *= 1.5
    with pytest.raises(RunError, match=r"1 of 30 images: the worst logit .* of 11\.png"):
        compare(classifier, expected, replace(expected, logits=logits), NAMES)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_what_is_no_number_does_not_pass(classifier, expected, value):
    scores = expected.unknown_score.copy()
    scores[3] = value
    with pytest.raises(RunError, match=r"3\.png"):
        compare(classifier, expected, replace(expected, unknown_score=scores), NAMES)


def test_a_p_value_or_decision_that_does_not_follow_from_the_score(classifier, expected):
    p_values = expected.p_value.copy()
    p_values[5] = np.nextafter(p_values[5], 0)
    with pytest.raises(RunError, match=r"does not keep to its threshold: p_value of 5\.png"):
        compare(classifier, expected, replace(expected, p_value=p_values), NAMES)
    decision = np.where(expected.decision < 0, 0, expected.decision)
    with pytest.raises(RunError, match="does not keep to its threshold: decision of .* makes that -1"):
        compare(classifier, expected, replace(expected, decision=decision), NAMES)


def with_first(classifier, answers, score):
    """Answers whose first image has another score, and what follows from it."""
    scores = answers.unknown_score.copy()
    scores[0] = score
    return moved(classifier, replace(answers, unknown_score=scores), 0.0)


def test_the_image_that_is_the_threshold_is_answered_alike_when_its_last_digits_change(classifier, expected):
    threshold = classifier.thresholds["max_logit"]
    tied = with_first(classifier, expected, threshold.threshold)
    again = with_first(classifier, expected, threshold.threshold + 0.01 * threshold.tolerance)
    assert tied.decision[0] == again.decision[0] >= 0
    found = compare(classifier, tied, again, NAMES)
    assert found.same_decisions == found.same_p_values == 30


def test_the_largest_score_accepted_is_counted_as_close_and_may_be_decided_either_way(classifier, expected):
    threshold = classifier.thresholds["max_logit"]
    largest = threshold.threshold + threshold.tolerance
    within = with_first(classifier, expected, largest - 0.001 * threshold.tolerance)
    beyond = with_first(classifier, expected, largest + 0.001 * threshold.tolerance)
    assert within.decision[0] >= 0 > beyond.decision[0]
    found = compare(classifier, within, beyond, NAMES)
    assert found.close >= 1 and found.same_decisions == 29


def test_close_is_within_what_a_score_may_differ_by_of_the_largest_accepted(classifier, expected):
    threshold = classifier.thresholds["max_logit"]
    largest, spread = threshold.threshold + threshold.tolerance, float(threshold.scores.std(correction=0))
    allowed = 1e-4 * abs(largest) + min(1e-4, 1e-3 * spread)
    assert threshold.tolerance > 0.002 * allowed  # Or it could be left out and nobody would see.

    def close(score):
        answers = with_first(classifier, expected, score)
        return compare(classifier, answers, answers, NAMES).close

    others = close(largest + 1)
    for times, near in ((-1.001, 0), (-0.999, 1), (0.999, 1), (1.001, 0)):
        assert close(largest + times * allowed) == others + near


def test_another_class_is_a_difference_unless_two_are_as_likely(classifier, expected):
    known = int((expected.decision >= 0).argmax())
    logits = expected.logits.copy()
    best, second = logits[known].argsort()[::-1][:2]
    gap = logits[known, best] - logits[known, second]
    assert gap > 1e-5
    tied = logits.copy()
    tied[known, second] = np.nextafter(tied[known, best], np.float32(-np.inf))
    other = tied.copy()
    other[known, second] = np.nextafter(tied[known, best], np.float32(np.inf))
    found = compare(
        classifier,
        moved(classifier, replace(expected, logits=tied), 0.0),
        moved(classifier, replace(expected, logits=other), 0.0),
        NAMES,
    )
    assert found.same_decisions == 29 and found.close >= 1


def test_a_file_is_asked_in_several_batches_and_must_answer_each(classifier, expected):
    asked = []
    images = some_images(30, 16, seed=3).numpy()

    def answer(part):
        asked.append(len(part))
        return pytorch_answers(classifier, part)

    assert verify(classifier, answer, images, NAMES).batches == asked == [1, 2, 27]

    def answers_two(part):
        return pytorch_answers(classifier, images[:2])

    with pytest.raises(RunError, match=r"does not answer 1 images as it should: output logits is \(2, 3\)"):
        verify(classifier, answers_two, images, NAMES)
