"""Answers for the images of a report are those that the classifier gives."""

import pytest
import torch
from command_folders import colour

from backmix.data.load import load_source
from backmix.report.chosen_images import ChosenImages
from backmix.report.tested import NO_CLASS, Thresholds, run_tests
from backmix.runs.folder import load_run


@pytest.fixture(scope="module")
def classifier(trained):
    return load_run(trained)


def test_answers_are_those_of_predict_and_figures_those_of_evaluate(classifier, pictures):
    source = load_source(str(pictures), "test")
    told = []
    tested = run_tests(classifier, ChosenImages(source), on_images=lambda *numbers: told.append(numbers))
    answers = classifier.predict([source.path(i) for i in range(len(source))])
    for row, answer in enumerate(answers):
        likeliest = tested.classes[int(tested.predicted[row])]
        assert answer.label == (likeliest if tested.accepted[row] else "unknown")
        assert answer.unknown_score == pytest.approx(float(tested.scores[row]), abs=1e-5)
        assert answer.p_value == pytest.approx(float(tested.p_values[row]))
        assert answer.path == tested.name(row) and tested.truth[row] in answer.path
    result = classifier.evaluate(source, detectors=[classifier.detector])["detectors"][classifier.detector]
    figures = tested.figures()
    assert all(figures[name] == pytest.approx(result[name]) for name in figures)
    assert told[-1] == (24, 24)
    assert tested.read(0).size == (40, 40)


def test_images_of_two_sources_are_told_apart(classifier, pictures, tmp_path):
    for number in range(3):
        colour(tmp_path / "red" / f"{number}.png", (200, 40, 40))
        colour(tmp_path / "odd" / f"{number}.png", (20, 240, 240))
    (tmp_path / "odd" / "broken.png").write_bytes(b"no picture")
    own, others = load_source(str(pictures), "test"), load_source(str(tmp_path))
    tested = run_tests(classifier, ChosenImages(own, others))
    assert len(tested) == 30 and int(tested.known.sum()) == 18
    # Whatever it shows, an image given as unknown counts as unknown.
    assert tested.labels[24:].tolist() == [-1] * 6 and tested.truth[24:].count("red") == 3
    assert tested.name(29).startswith(str(tmp_path)) and [reason for _, reason in tested.unreadable]
    assert bool((tested.right <= tested.known).all()) and not bool((tested.right & tested.wrong).any())


def test_images_without_a_class_have_a_name_that_says_so(classifier, pictures):
    source = load_source(str(pictures), "test")
    source.labels = torch.full((24,), -1)
    tested = run_tests(classifier, ChosenImages(None, source))
    assert set(tested.truth) == {NO_CLASS} and tested.figures() is None


def test_no_images_no_answers(classifier):
    assert run_tests(classifier, ChosenImages(missing="gone")) is None


def test_a_class_decides_by_its_own_threshold_where_it_has_one(classifier):
    overall = Thresholds.of(classifier)
    assert overall.overall is not None and overall.by_class == [] and overall.of_class(0) is overall.overall
    mixed = Thresholds(overall.overall, [None, overall.overall, None], 0.95, "max_logit")
    assert mixed.of_class(0) is overall.overall and mixed.of_class(1) is overall.overall
