"""All weights against the head alone: compared on images that neither saw, and the better one is kept."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from backmix.classifier import OpenSetClassifier
from backmix.data.folder import FolderSource
from backmix.data.split import Split
from backmix.fit.fine_tuning import accuracy, fine_tune, set_aside
from backmix.fit.fit_report import FitReport
from backmix.fit.frozen_training import fit_frozen
from backmix.train.recipe import TrainOptions

OPTIONS = TrainOptions(epochs=1, batch_size=16, lr=1e-4, precision="fp32", ema=0.0)


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    root = tmp_path_factory.mktemp("colours")
    random = np.random.default_rng(0)
    for number in range(3):
        (root / f"c{number}").mkdir()
        for each in range(30):
            pixels = random.normal(60 + 60 * number, 20, (36, 44, 3)).clip(0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(root / f"c{number}" / f"{each:02d}.png")
    return FolderSource(root)


def classifier():
    model = {"model": "compact-s", "model_options": {"width": 0.5}, "image_size": 32, "precision": "fp32"}
    return OpenSetClassifier(["c0", "c1", "c2"], **model)


def start(source, folder):
    frozen = classifier()
    return frozen, fit_frozen(frozen, source, cache=folder)


def test_a_fifth_of_each_class_is_set_aside_and_groups_stay_together():
    labels, train = torch.arange(200) % 4, torch.arange(0, 200, 2)
    used, aside = set_aside(labels, train, None, 0)
    assert torch.equal(torch.cat([used, aside]).sort().values, train)
    assert torch.bincount(labels[aside]).tolist() == [10, 0, 10]
    groups = torch.arange(200) // 20
    used, aside = set_aside(labels, train, groups, 0)
    for label in (0, 2):
        of_class = [set(groups[part[labels[part] == label]].tolist()) for part in (used, aside)]
        assert not of_class[0] & of_class[1]
    assert len(set_aside(torch.tensor([0, 1]), torch.tensor([0, 1]), None, 0)[1]) == 0


@pytest.mark.parametrize("better", [True, False])
def test_the_better_one_is_kept(source, tmp_path, monkeypatch, better):
    frozen, report = start(source, tmp_path)
    tuned = classifier()
    figures = {id(tuned): 0.9 if better else 0.7}
    monkeypatch.setattr(
        "backmix.fit.fine_tuning.accuracy", lambda each, *_: figures.get(id(each), 0.8 if better else 0.7)
    )
    kept, found = fine_tune(frozen, tuned, source, report, cache=tmp_path, options=OPTIONS)
    assert kept is (tuned if better else frozen), "of two equally good ones, the head alone is kept"
    comparison = found.comparison
    assert comparison.kept == ("all" if better else "head") and comparison.all == figures[id(tuned)]
    assert comparison.images == len(set_aside(tuned.labels_for(source), report.split.train, None, 0)[1])
    assert kept.frozen != better and bool(found.history) == better and kept.thresholds


def test_neither_sees_the_images_set_aside(source, tmp_path):
    frozen, report = start(source, tmp_path)
    head = frozen.network.head.head.weight.clone()
    tuned, seen = classifier(), []

    def train(each, images, *, split, **_):
        seen.append(split)
        assert float(each.network.head.head.weight.detach().norm()) > 1, "training begins from the head"
        return FitReport([], split, 1.0, [], None)

    kept, found = fine_tune(frozen, tuned, source, report, cache=tmp_path, train=train)
    used, aside = set_aside(tuned.labels_for(source), report.split.train, None, 0)
    assert torch.equal(seen[0].train, used) and torch.equal(seen[0].held, report.split.held)
    assert not set(aside.tolist()) & {*seen[0].train.tolist(), *seen[0].held.tolist(), *seen[0].test.tolist()}
    assert torch.equal(frozen.network.head.head.weight, head), "the rival is another head"
    assert kept is frozen and 0 <= found.comparison.head <= 1
    assert found.comparison.all == accuracy(tuned, source, aside, 2)


def test_one_image_a_class_leaves_nothing_to_compare_on(source, tmp_path):
    frozen, report = start(source, tmp_path)
    labels = frozen.labels_for(source)
    few = torch.stack([(labels == k).nonzero()[0, 0] for k in range(3)])
    alone = replace(report, split=Split(few, report.split.held))
    kept, found = fine_tune(frozen, classifier(), source, alone, cache=tmp_path)
    assert kept is frozen and found.comparison.all is None and "no class has an image to spare" in found.comparison.why
