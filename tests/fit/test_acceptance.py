"""The share to accept follows from the number of held-out images, and is told before the training."""

import json

import pytest
import torch
from command_folders import colour, small

from backmix.classifier import OpenSetClassifier
from backmix.cli.fit_command import fit_command
from backmix.errors import DataError
from backmix.fit.acceptance import accept_in_words, choose_accept, keep_in_reach
from backmix.fit.session import FitSession
from backmix.threshold.conformal import ConformalThreshold, min_held_out


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    """Two classes of 12 photos."""
    folder = tmp_path_factory.mktemp("tiny")
    for name, value in (("red", (200, 40, 40)), ("blue", (50, 60, 200))):
        for number in range(12):
            colour(folder / name / f"{number}.png", value)
    return folder


@pytest.mark.parametrize(
    ("asked", "held_out", "chosen"),
    [(None, 200, 0.95), (None, 19, 0.95), (None, 18, 0.947), (None, 3, 0.75), (None, 1, 0.5), (0.99, 99, 0.99)],
)
def test_the_share_that_the_images_allow(asked, held_out, chosen):
    assert choose_accept(asked, held_out) == chosen
    assert min_held_out(chosen) <= held_out


def test_a_share_out_of_reach_is_refused_with_the_one_that_is_not():
    with pytest.raises(DataError, match=r"takes 99 photos.*come to 84.*Take --accept 0\.988, hold out more"):
        choose_accept(0.99, 84)
    assert choose_accept(0.988, 84) == 0.988


def test_words_stand_only_where_the_share_is_smaller_than_usual():
    assert accept_in_words(0.95, 200) == [] and accept_in_words(0.8, 10) == []
    (line,) = accept_in_words(choose_accept(None, 3), 3)
    assert "only 3 photos are held out" in line and "75 %" in line and "not 95 %, which takes 19" in line


def test_a_share_out_of_reach_is_refused_before_the_training_and_leaves_nothing(tiny, tmp_path):
    with pytest.raises(DataError, match="Take --accept"):
        FitSession(small(tiny, near_duplicates=False, accept=0.99), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_tiny_set_ends_in_a_model_that_can_say_unknown(tiny, tmp_path, capsys):
    fit_command(small(tiny, near_duplicates=False), tmp_path / "run")
    said = " ".join(capsys.readouterr().out.split())
    classifier = OpenSetClassifier.load(tmp_path / "run")
    threshold = classifier.thresholds[classifier.detector]
    held = len(threshold.scores)
    assert held < 19 and threshold.note is None and classifier.accept == pytest.approx(held / (held + 1), abs=1e-3)
    assert said.index(f"only {held} photos are held out") < said.index("epoch 1: loss")
    metrics = json.loads((tmp_path / "run" / "metrics.json").read_text())
    assert metrics["accept"] == classifier.accept and metrics["images"]["held_out"] == held


def test_held_out_photos_that_cannot_be_read_lower_the_share():
    classifier = OpenSetClassifier(["a", "b"], model="compact-s", model_options={"width": 0.25})
    own = ConformalThreshold.fit(torch.arange(10.0))
    classifier.thresholds, classifier.class_thresholds = {"max_logit": own}, [own, None]
    keep_in_reach(classifier)
    assert classifier.accept == 0.909 and classifier.thresholds["max_logit"].threshold == 9.0
    assert classifier.thresholds["max_logit"].scores is own.scores
    classifier.set_accept(0.5)
    keep_in_reach(classifier)
    assert classifier.accept == 0.5


def test_the_lower_share_keeps_its_promise():
    """Of new scores of the same law at most 1 - accept are refused on average, and nearly as many."""
    generator = torch.Generator().manual_seed(0)
    for held_out in (1, 3, 7):
        accept = choose_accept(None, held_out)
        draws = torch.rand(20_000, held_out + 1, generator=generator, dtype=torch.float64)
        refused = (draws[:, -1] > draws[:, :-1].max(1).values).double().mean()
        assert ConformalThreshold.fit(draws[0, :-1], accept).threshold == draws[0, :-1].max()
        assert float(refused) == pytest.approx(1 / (held_out + 1), abs=0.01)
        assert 1 / (held_out + 1) <= 1 - accept + 1e-12
