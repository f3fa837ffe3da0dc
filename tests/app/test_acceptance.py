"""Another share to accept gives what another calibration would have given, without running the network."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from backmix import OpenSetClassifier
from backmix.app.acceptance import Rule, answers_at, rule_at
from backmix.data.load import load_source
from backmix.prediction.answer import UNKNOWN, Prediction
from backmix.threshold.conformal import ConformalThreshold

SHARES = [0.5, 0.7, 0.9, 0.95, 0.975, 0.999]


@pytest.fixture(scope="module")
def files(pictures):
    return sorted((pictures / "test").rglob("*.png"))


@pytest.fixture(scope="module")
def calibrated(trained, pictures):
    """The trained run with a threshold for each class as well; "blue" has fewer images for it than the others."""
    classifier = OpenSetClassifier.load(trained)
    source = load_source(str(pictures), "train")
    positions = [i for i in range(len(source)) if source.classes[int(source.labels[i])] != "blue" or i % 4 == 0]
    classifier.calibrate(source, positions=positions, accept=0.9, per_class=True)
    return classifier


def test_at_the_share_of_the_run_the_answers_stay(trained, files):
    classifier = OpenSetClassifier.load(trained)
    answers = classifier.predict(files)
    assert {answer.label for answer in answers} > {UNKNOWN}
    assert answers_at(classifier, answers, classifier.accept) == answers


@pytest.mark.parametrize("accept", SHARES)
def test_another_share_is_another_calibration(trained, files, accept):
    classifier, again = OpenSetClassifier.load(trained), OpenSetClassifier.load(trained)
    held_out = classifier.thresholds[classifier.detector].scores
    again.thresholds[again.detector] = ConformalThreshold.fit(held_out, accept)
    assert answers_at(classifier, classifier.predict(files), accept) == again.predict(files)


@pytest.mark.parametrize("accept", [0.9, 0.95, 0.98])
def test_so_it_is_with_a_threshold_for_each_class(calibrated, pictures, files, accept):
    assert [own is None for own in calibrated.class_thresholds].count(False) >= 2
    answers = calibrated.predict(files)
    found = answers_at(calibrated, answers, accept)
    # A slow reference: one image at a time, by the scores of its own class where there are enough of them.
    for before, after in zip(answers, found, strict=True):
        own = calibrated.class_thresholds[calibrated.classes.index(before.top[0][0])]
        overall = calibrated.thresholds[calibrated.detector]
        enough = own is not None and len(own.scores) >= accept / (1 - accept) - 1e-9
        deciding = own if enough else overall
        scores, asked = deciding.scores.tolist(), before.unknown_score - deciding.tolerance
        p_value = (1 + sum(score >= asked for score in scores)) / (len(scores) + 1)
        assert after.p_value == pytest.approx(p_value, abs=1e-12)
        assert (after.label == UNKNOWN) == (p_value <= 1 - accept + 1e-12)


@given(
    st.lists(st.floats(-5, 5), min_size=3, max_size=40), st.floats(-5, 5), st.lists(st.floats(0.01, 0.99), min_size=2)
)
def test_who_is_accepted_at_a_share_is_accepted_at_a_larger_one(held_out, score, shares):
    scores = torch.tensor(held_out, dtype=torch.float64)
    accepted = [
        bool(ConformalThreshold.fit(scores, share).accept(torch.tensor([score], dtype=torch.float64)))
        for share in sorted(shares)
    ]
    assert accepted == sorted(accepted)


def test_errors_stay_and_nothing_is_decided_without_a_threshold(trained, files):
    classifier = OpenSetClassifier.load(trained)
    broken = Prediction("x", error="empty (0 bytes)")
    found = answers_at(classifier, [broken, *classifier.predict(files[:1]), broken], 0.9)
    assert found[0] == found[2] == broken and found[1].error is None
    assert answers_at(classifier, [], 0.9) == [] and answers_at(classifier, [broken], 0.9) == [broken]
    classifier.thresholds.clear()
    answers = classifier.predict(files)
    assert rule_at(classifier, 0.9) is None and answers_at(classifier, answers, 0.9) == answers
    assert UNKNOWN not in {answer.label for answer in answers}


@pytest.mark.parametrize("accept", [0, 1, -0.5, 1.5])
def test_a_share_that_is_none_is_refused(trained, accept):
    with pytest.raises(ValueError, match="above 0 and below 1"):
        rule_at(OpenSetClassifier.load(trained), accept)


def test_a_class_without_a_threshold_takes_the_one_for_all():
    overall, own = (ConformalThreshold.fit(torch.arange(40.0), 0.9), ConformalThreshold.fit(torch.arange(20.0), 0.9))
    assert Rule(overall, [None, own]).of_class(0) is overall and Rule(overall, [None, own]).of_class(1) is own
    assert Rule(overall, None).of_class(1) is overall
