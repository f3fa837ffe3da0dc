"""Detectors learn from known training images alone: no held-out one, none of the test, none that is unknown."""

import pytest
import torch

from backmix.classifier import OpenSetClassifier
from backmix.data.folder import FolderSource
from backmix.data.split import split_apart
from backmix.detectors import (
    DETECTORS,
    METHOD,
    OURS,
    REWRITTEN,
    PytorchOOD,
    PytorchOODOnImages,
    PytorchOODOnStages,
)
from backmix.detectors.training_outputs import TrainingOutputs
from backmix.fit.data import open_data

pytest.importorskip("pytorch_ood")

FITTED = [name for name in DETECTORS if DETECTORS[name]().needs_fitting]


def test_what_is_kept_are_the_rows_trained_on(trained, pictures):
    classifier, source = OpenSetClassifier.load(trained), FolderSource(pictures / "train")
    labels = classifier.labels_for(source)
    data = open_data(str(pictures), known_classes="red,green,blue")
    split = split_apart(labels, classifier.classes, True, data.holdout, data.test_share, data.groups, 0)
    assert len(split.held) > 0 and (labels[split.train] >= 0).all() and (labels < 0).any()
    outputs = classifier._collect(source, labels, split.train.tolist(), 1, stages=True)
    kept = classifier.training_outputs
    assert torch.equal(kept.labels, labels[split.train])
    torch.testing.assert_close(kept.logits, outputs.logits, rtol=1e-3, atol=1e-3)
    for found, own in zip([kept.features, *kept.stages], [outputs.features, *outputs.stages], strict=True):
        torch.testing.assert_close(found.float(), own, rtol=2e-3, atol=2e-3)


def test_detectors_are_given_what_is_kept_and_nothing_else(trained, pictures, monkeypatch):
    """While held-out images calibrate, and test images, unknown ones among them, are scored."""
    given = []

    def record(cls, call, name=None):
        plain = getattr(cls, call)

        def recorded(self, *tensors):
            given.append((name or self.name, tensors))
            return plain(self, *tensors)

        monkeypatch.setattr(cls, call, recorded)

    for name in FITTED:
        if name in OURS | REWRITTEN:
            record((OURS | REWRITTEN)[name], "fit", name)
    record(PytorchOOD, "fit")
    record(PytorchOODOnImages, "fit")
    record(PytorchOODOnStages, "fit_layers")
    classifier = OpenSetClassifier.load(trained)
    kept = classifier.training_outputs
    classifier.calibrate(FolderSource(pictures / "train"))
    result = classifier.evaluate(FolderSource(pictures / "test"), detectors=FITTED)
    assert set(FITTED) <= {name for name, _ in given} and set(FITTED) <= set(result["detectors"])
    for name, tensors in given:
        *seen, labels = tensors
        own = [[*kept.stages, kept.features]] if name == "multi_mahalanobis" else [kept.logits, kept.features.float()]
        assert torch.equal(labels, kept.labels)
        for a, b in zip(seen, own, strict=True):
            assert all(torch.equal(x, y) for x, y in zip(a, b, strict=True))


@pytest.mark.parametrize("name", FITTED)
def test_rows_are_learnt_from_and_images_that_are_scored_are_not(name, trained, pictures):
    source = FolderSource(pictures / "test")

    def scores(classifier, positions):
        labels = classifier.labels_for(source)
        ready = {name: classifier.ready_detector(name)}
        outputs = classifier._collect(source, labels, positions, 1, detectors=ready)
        if ready[name].needs_images:
            return outputs.image_scores[name]
        return ready[name](outputs.logits, outputs.features)

    classifier = OpenSetClassifier.load(trained)
    known = (classifier.labels_for(source) >= 0).nonzero()[:, 0].tolist()
    unknown = [i for i in range(len(source)) if i not in known]
    before = scores(classifier, known)
    scores(classifier, unknown)
    assert torch.equal(scores(classifier, known), before)
    # Other rows, other scores: half of them, or, where these say the same, all of them, smaller, channels exchanged.
    kept, head = classifier.training_outputs, classifier.network.head.head
    half = torch.cat([(kept.labels == k).nonzero()[:, 0][::2] for k in range(len(classifier.classes))])
    classifier.training_outputs = TrainingOutputs.from_tensors({key: x[half] for key, x in kept.tensors().items()})
    if torch.equal(scores(classifier, known), before):
        features = kept.features.float().flip(1) / 2
        classifier.training_outputs = TrainingOutputs.of(head(features).detach(), features, kept.labels)
        assert not torch.equal(scores(classifier, known), before)


def test_the_methods_own_score_and_those_without_a_fit_need_no_rows(trained, pictures):
    classifier = OpenSetClassifier.load(trained)
    classifier.training_outputs = None
    names = [METHOD, *(name for name in DETECTORS if name not in FITTED and name != "mcd")]
    result = classifier.evaluate(FolderSource(pictures / "test"), detectors=names)
    assert set(result["detectors"]) == set(names)
