"""What is exported answers as the classifier does, and what cannot answer is refused."""

import pytest
import torch
from exported_files import calibrated, some_images

from backmix.errors import RunError
from backmix.export.module import describe, exported_model
from backmix.inference.evaluation import run_network
from backmix.methods import PCSSR


@pytest.mark.parametrize("detector, per_class", [("method", False), ("max_logit", True), ("msp", False)])
@torch.no_grad()
def test_it_answers_as_the_classifier(detector, per_class):
    classifier = calibrated(detector=detector, per_class=per_class, classes=2)
    images = some_images(30, 16, seed=3)
    logits, scores, p_values, decisions = exported_model(classifier)(images)
    answers = classifier.predict(images, top=2)
    assert [answer.label for answer in answers] == [
        "unknown" if k < 0 else classifier.classes[k] for k in decisions.tolist()
    ]
    assert len({answer.label for answer in answers}) > 1  # Some of each, or little was compared.
    assert torch.allclose(scores, torch.tensor([answer.unknown_score for answer in answers]).double(), rtol=1e-6)
    assert p_values.tolist() == pytest.approx([answer.p_value for answer in answers], abs=0.06)
    assert logits.dtype == torch.float32 and scores.dtype == p_values.dtype == torch.float64


@torch.no_grad()
def test_pixels_are_normalised_to_the_same_bits():
    classifier = calibrated(mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))
    model = exported_model(classifier)
    every = torch.arange(256, dtype=torch.uint8).view(1, 1, 16, 16).expand(1, 3, 16, 16)
    assert torch.equal(every.float() * model.scale - model.shift, classifier.preprocess.normalise(every))


@torch.no_grad()
def test_a_method_that_looks_at_more_than_the_image_keeps_its_score():
    classifier = calibrated(method="rotation")
    images = some_images(4, 16)
    due = run_network(classifier.network, classifier.preprocess, images, precision="fp32").response
    assert torch.allclose(exported_model(classifier)(images)[1], due.score.double(), rtol=1e-5)


@torch.no_grad()
def test_a_score_that_nobody_asks_for_is_not_computed(monkeypatch):
    classifier = calibrated(method="pcssr", detector="max_logit")
    monkeypatch.setattr(PCSSR, "unknown_score", lambda self, features: pytest.fail("computed"))
    exported_model(classifier)(some_images(2, 16))


def test_a_run_that_is_not_calibrated_is_refused_with_what_to_do():
    classifier = calibrated()
    classifier.thresholds = {}
    with pytest.raises(RunError, match="no threshold for max_logit.*backmix calibrate RUN"):
        exported_model(classifier)


@pytest.mark.parametrize(
    "name, why",
    [
        ("entropy", "comes from pytorch-ood"),
        ("odin", "runs the network on an image"),
        ("knn", "computes outside of the network"),
    ],
)
def test_a_detector_that_no_file_can_hold_is_named(name, why):
    pytest.importorskip("pytorch_ood")
    classifier = calibrated()
    classifier.detector = name
    classifier.thresholds[name] = classifier.thresholds["max_logit"]
    with pytest.raises(RunError, match=f"detector {name} {why}.*--detector max_logit"):
        exported_model(classifier)


def test_the_description_holds_what_decides():
    one = describe(calibrated())
    assert one.detector == "max_logit" and one.class_thresholds is None and one.held_out == 40 and one.image_size == 16
    assert one.classes == ["class 0", "class 1", "class 2"] and one.accept == 0.8 and one.method == "softmax"
    classifier = calibrated(per_class=True, classes=2)
    own = describe(classifier).class_thresholds
    assert own == [threshold and threshold.threshold for threshold in classifier.class_thresholds]
    assert any(isinstance(threshold, float) for threshold in own)
