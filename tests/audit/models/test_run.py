"""A run as a model: the same answers as the classifier gives."""

import pytest
import torch

from backmix import OpenSetClassifier
from backmix.audit.models.base import ModelOptions
from backmix.audit.models.run import RunModel
from backmix.errors import DataError, RunError

IMAGES = torch.randint(0, 256, (5, 3, 32, 32), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("detector", ["max_logit", "method", "msp"])
def test_logits_and_the_score_that_decides(trained, tmp_path, detector):
    classifier = OpenSetClassifier.load(trained)
    classifier.detector = detector
    classifier.save(tmp_path / "run")
    model = RunModel(tmp_path / "run", ModelOptions())
    logits, score = model.answers(IMAGES)
    for k, answer in enumerate(classifier.predict(IMAGES, top=3)):
        shares = logits[k].softmax(0)
        assert answer.unknown_score == pytest.approx(float(score[k]))
        assert [p for _, p in answer.top] == pytest.approx(shares.sort(descending=True).values.tolist())
        assert model.names[int(shares.argmax())] == [answer.top[0][0]]
    assert model.score == detector and model.frame.image_size == 32


def test_another_size_is_refused_and_a_folder_that_is_no_run_named(trained, tmp_path):
    with pytest.raises(DataError, match="images of 32 pixels; it cannot be audited at 64"):
        RunModel(trained, ModelOptions(image_size=64))
    with pytest.raises(RunError, match="is not a run"):
        RunModel(tmp_path, ModelOptions())


def test_the_fingerprint_is_that_of_the_run(trained, tmp_path):
    first = RunModel(trained, ModelOptions())
    OpenSetClassifier.load(trained).save(tmp_path / "other", extra={"note": 1})
    assert first.fingerprint == RunModel(trained, ModelOptions()).fingerprint
    assert first.fingerprint != RunModel(tmp_path / "other", ModelOptions()).fingerprint
