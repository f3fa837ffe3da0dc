"""The head on pooled features: which one is trained how, and what the report says."""

import json

import pytest
import torch

from backmix.classifier import OpenSetClassifier
from backmix.errors import DataError
from backmix.fit.head import choose_after_training, train_head
from backmix.fit.logistic import STRENGTHS
from backmix.methods import METHODS

CHANNELS = 32


def classifier(classes=6, **options):
    model = {"model": "compact-s", "model_options": {"width": 0.25}, "image_size": 32, **options}
    made = OpenSetClassifier([f"class {k}" for k in range(classes)], **model)
    assert made.network.backbone.num_features == CHANNELS
    made.cache_folder = None
    return made


def features(classes=6, each=15, seed=0):
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(classes * each) % classes
    return 2 * torch.eye(CHANNELS)[labels] + 0.5 * torch.randn(len(labels), CHANNELS, generator=generator), labels


def answers(made, values):
    with torch.no_grad():
        return made.network.head.logits(values[:, :, None, None])


def test_softmax_becomes_a_logistic_regression_and_its_score_is_chosen():
    made, (values, labels) = classifier(), features()
    report = train_head(made, values, labels, computed=7)
    assert (answers(made, values).argmax(1) == labels).all()
    assert made.detector == report.score.detector and report.why == ""
    assert report.computed == 7 and report.images == 90 and report.engine.startswith("torch")
    assert report.strength.folds == 5 and report.strength.accuracy[report.strength.strength] > 0.9
    told = json.loads(json.dumps(report.to_dict()))
    assert told["unknown_score"]["detector"] == made.detector and len(told["unknown_score"]["folds"]) == 15
    tried = [float(strength) for strength in told["strength"]["log_loss"]]
    assert tried == sorted(STRENGTHS)[: len(tried)] and report.strength.strength in tried
    again = classifier()
    assert train_head(again, values, labels, computed=7).to_dict() == report.to_dict()
    assert torch.equal(answers(again, values), answers(made, values))


def test_a_score_that_a_person_chose_stays_and_a_pair_gets_its_references():
    made, (values, labels) = classifier(), features()
    made.detector = "max_logit+cosine_mean"
    report = train_head(made, values, labels, choose=False)
    assert (
        made.detector == "max_logit+cosine_mean" and report.score is None and report.why == "it was asked for by name"
    )
    assert {name: len(scores) for name, scores in report.references.items()} == {"max_logit": 90, "cosine_mean": 90}


def test_few_classes_keep_the_usual_score_and_say_why():
    made, (values, labels) = classifier(3), features(3)
    report = train_head(made, values, labels)
    assert made.detector == "max_logit" and report.score is None
    assert report.why == "3 known classes are too few to leave some out, which takes 5"
    made, (values, labels) = classifier(6), features(6, each=1)
    report = train_head(made, values, labels)
    assert report.why == "the classes have too few images to leave some out" and report.strength.folds == 0
    assert (answers(made, values).argmax(1) == labels).all()


@pytest.mark.parametrize(
    "method", [name for name, of in METHODS.items() if of.on_pooled_features and name != "softmax"]
)
def test_other_methods_follow_their_own_loss(method):
    made, (values, labels) = classifier(3, method=method), features(3)
    strangers = 2 * torch.eye(CHANNELS)[5 + labels] + 0.5
    report = train_head(made, values, labels, outliers=strangers)
    assert (answers(made, values).argmax(1) == labels).float().mean() > 0.95
    assert made.detector == "method" and report.strength is None and "score of its own" in report.why


def test_a_head_without_bias_and_smoothing():
    values, labels = features(3)
    made = classifier(3, method_options={"bias": False})
    assert train_head(made, values, labels).strength is None
    assert (answers(made, values).argmax(1) == labels).all()
    sharp, smooth = classifier(3), classifier(3, method_options={"label_smoothing": 0.2})
    for each in (sharp, smooth):
        train_head(each, values, labels)
    assert answers(smooth, values).softmax(1).amax(1).mean() < answers(sharp, values).softmax(1).amax(1).mean() - 0.05


def test_weights_move_the_border():
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(400) % 2
    values = torch.randn(400, CHANNELS, generator=generator)
    values[:, 0] += labels
    plain, heavy = classifier(2), classifier(2)
    train_head(plain, values, labels)
    train_head(heavy, values, labels, weights=1 + 9 * labels.float())
    assert (answers(heavy, values).argmax(1) == 1).sum() > (answers(plain, values).argmax(1) == 1).sum() + 50


def test_a_class_without_images_is_named():
    values, labels = features(3)
    with pytest.raises(DataError, match="no readable training image is left of class 1$"):
        train_head(classifier(3), values[labels != 1], labels[labels != 1])


def test_the_score_of_trained_weights_is_a_single_one():
    from backmix.detectors.training_outputs import TrainingOutputs

    made, (values, labels) = classifier(), features()
    made.training_outputs = TrainingOutputs.of(answers(made, values), values, labels)
    report = choose_after_training(made, None, torch.arange(90), 0)
    assert made.detector == report.score.detector and "+" not in "".join(report.score.auroc)
    grouped = choose_after_training(made, torch.arange(90) // 2, torch.arange(90), 0)
    assert grouped.score.images == 90
