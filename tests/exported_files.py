"""Calibrated classifiers that nothing was trained for, and files exported from them, for the tests of an export."""

from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from torch import nn

from backmix.classifier import OpenSetClassifier
from backmix.detectors import METHOD
from backmix.detectors.training_outputs import TrainingOutputs
from backmix.export.export import export
from backmix.export.trial_images import TrialImages, made_images
from backmix.inference.evaluation import run_network, unknown_scores
from backmix.methods import METHODS
from backmix.methods.network import Network
from backmix.models.backbone import Backbone
from backmix.threshold.by_class import fit_class_thresholds
from backmix.threshold.conformal import ConformalThreshold

_folder = TemporaryDirectory(prefix="exported")


def some_images(count, size, seed=1):
    """Coloured noise, (count, 3, size, size) uint8."""
    random = torch.Generator().manual_seed(seed)
    colours = torch.randint(0, 256, (count, 3, 1, 1), generator=random)
    noise = torch.randint(-60, 61, (count, 3, size, size), generator=random)
    return (colours + noise).clamp(0, 255).to(torch.uint8)


class Tiny(Backbone):
    """One convolution: exported in a second."""

    def __init__(self):
        super().__init__("tiny", 8)
        self.convolution = nn.Conv2d(3, 8, 4, stride=4)

    def feature_map(self, images):
        return self.convolution(images).relu()


def calibrated(
    model="tiny", method="softmax", size=16, classes=3, accept=0.8, per_class=False, references=None, **options
):
    """A classifier of random weights with thresholds on the scores of random images."""
    names = [f"class {number}" for number in range(classes)]
    named = "compact-s" if model == "tiny" else model
    classifier = OpenSetClassifier(
        names, model=named, method=method, image_size=size, accept=accept, precision="fp32", **options
    )
    if model == "tiny":
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            backbone, head = Tiny(), METHODS[method](8, classes)
            head.prepare(backbone, size)
            classifier.network = Network(backbone, head)
    network, head = classifier.network.eval(), classifier.network.head
    images, labels = some_images(40, size), torch.arange(40) % classes
    if head.needs_statistics:
        with torch.no_grad():
            maps = network.backbone(classifier.preprocess.normalise(images))
        head.learn(lambda: [(maps, labels)])
    response = run_network(network, classifier.preprocess, images, precision="fp32").response
    classifier.training_outputs = TrainingOutputs.of(response.logits, response.features, labels, (), references)
    name = classifier.detector
    ready = {name: None if name == METHOD else classifier.ready_detector(name)}
    scores = unknown_scores(response, {}, ready)[0][name]
    classifier.thresholds = {name: ConformalThreshold.fit(scores, accept)}
    predicted = response.logits.argmax(1)
    classifier.class_thresholds = fit_class_thresholds(scores, predicted, classes, accept)
    classifier.per_class = per_class
    return classifier


def made_trial(size):
    """Images to compare on, without a run."""
    made = made_images(size)
    return TrialImages(made, [f"made image {number}" for number in range(len(made))], 0, "there is no run")


@cache
def exported(form="onnx", **options) -> Path:
    """A file of `calibrated(**options)`, to be read only."""
    classifier = calibrated(**options)
    path = Path(_folder.name, f"{len(list(Path(_folder.name).iterdir()))}.{'onnx' if form == 'onnx' else 'pt'}")
    export(classifier, path, form=form, trial=made_trial(classifier.preprocess.image_size))
    return path
