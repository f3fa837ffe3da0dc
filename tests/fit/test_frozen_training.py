"""A fit that leaves the backbone as it is: one pass, a head, a score, and thresholds that prediction computes alike."""

import contextlib

import numpy as np
import pytest
import torch
from PIL import Image

from backmix.classifier import OpenSetClassifier
from backmix.data.folder import FolderSource
from backmix.data.source import Subset
from backmix.errors import DataError
from backmix.fit.frozen_training import fit_frozen
from backmix.fit.training import fit
from backmix.train.recipe import TrainOptions

CLASSES = ("c0", "c1", "c2", "c3", "c4", "c5")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Eight classes of plain colours with noise, of which a classifier may know six."""
    root = tmp_path_factory.mktemp("colours")
    random = np.random.default_rng(0)
    for number in range(8):
        colour = random.integers(0, 256, 3)
        (root / f"c{number}").mkdir()
        for each in range(24):
            pixels = random.normal(colour, 20, (36, 44, 3)).clip(0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(root / f"c{number}" / f"{each:02d}.png")
    return root


def classifier(classes=CLASSES, **options):
    model = {"model": "compact-s", "model_options": {"width": 0.5}, "image_size": 32, "precision": "fp32", **options}
    return OpenSetClassifier(list(classes), **model)


def test_the_backbone_stays_and_the_answers_are_good(folder, tmp_path):
    made, source = classifier(), FolderSource(folder)
    before = {name: value.clone() for name, value in made.network.backbone.state_dict().items()}
    shown, begun = [], []

    @contextlib.contextmanager
    def bar(images, text):
        shown.append(images)
        yield shown.append

    report = fit_frozen(
        made,
        source,
        cache=tmp_path,
        holdout=0.25,
        test_share=0.25,
        image_bar=bar,
        on_start=lambda frozen, split, images: begun.append((frozen.engine.name, len(split.train), images)),
    )
    after = made.network.backbone.state_dict()
    assert all(torch.equal(value, after[name]) for name, value in before.items())
    assert made.frozen and report.history == [] and report.held_out_accuracy > 0.9
    assert shown[0] == shown[-1] == 192 == begun[0][2] and begun[0][1] == len(report.split.train)
    assert report.head.computed == 192 and report.head.score is not None
    figures = made.evaluate(Subset(source, torch.cat([report.split.test, (source.labels > 5).nonzero()[:, 0]])))
    assert figures["accuracy"] > 0.9 and figures["detectors"][made.detector]["auroc"] > 0.7


def test_a_second_fit_runs_the_network_on_nothing_and_is_equal(folder, tmp_path):
    first, second = classifier(), classifier()
    reports = [fit_frozen(made, FolderSource(folder), cache=tmp_path, test_share=0.2) for made in (first, second)]
    assert [report.head.computed for report in reports] == [192, 0]
    assert first.detector == second.detector
    assert torch.equal(first.thresholds[first.detector].scores, second.thresholds[second.detector].scores)
    without = classifier()
    assert fit_frozen(without, FolderSource(folder), cache=None, test_share=0.2).head.computed == 192


@pytest.mark.parametrize("cache", [True, False])
def test_the_scores_of_calibration_are_those_of_prediction(folder, tmp_path, cache):
    made, source = classifier(), FolderSource(folder)
    report = fit_frozen(made, source, cache=tmp_path / "cache" if cache else None, holdout=0.25)
    held = report.split.held.tolist()
    expected = made.thresholds[made.detector].scores
    answers = made.predict([source.path(i) for i in held])
    scores = torch.tensor([answer.unknown_score for answer in answers], dtype=torch.float64).sort().values
    torch.testing.assert_close(scores, expected.double().sort().values, rtol=1e-9, atol=1e-9)
    made.save(tmp_path / "run")
    loaded = OpenSetClassifier.load(tmp_path / "run")
    loaded.cache_folder = made.cache_folder
    assert loaded.frozen and loaded.detector == made.detector
    assert [answer.label for answer in loaded.predict([source.path(i) for i in held])] == [a.label for a in answers]


def test_only_known_images_are_computed_where_nothing_is_tested(folder, tmp_path):
    report = fit_frozen(classifier(), FolderSource(folder), cache=tmp_path)
    assert report.head.computed == 144 and not len(report.split.test)


def test_images_held_out_by_the_data_and_outliers(folder, tmp_path):
    source = FolderSource(folder)
    known, strange = (source.labels < 6).nonzero()[:, 0], (source.labels > 5).nonzero()[:, 0]
    made = classifier(method="entropic")
    report = fit_frozen(
        made,
        Subset(source, known[known % 4 > 0]),
        held_out=Subset(source, known[known % 4 == 0]),
        outliers=Subset(source, strange),
        cache=tmp_path,
    )
    assert made.detector == "method" and len(made.thresholds["method"].scores) == 36
    assert not len(report.split.held) and report.head.score is None


def test_a_detector_of_a_person_decides(folder, tmp_path):
    made = classifier()
    fit_frozen(made, FolderSource(folder), cache=tmp_path, detector="msp+cosine_mean")
    assert made.detector == "msp+cosine_mean" and len(made.thresholds[made.detector].scores) > 0


def test_unreadable_images_and_missing_classes(tmp_path):
    random = np.random.default_rng(0)
    for name in ("a", "b"):
        (tmp_path / "data" / name).mkdir(parents=True)
        for each in range(6):
            path = tmp_path / "data" / name / f"{each}.png"
            Image.fromarray(random.integers(0, 256, (40, 40, 3), dtype=np.uint8)).save(path)
    (tmp_path / "data" / "a" / "3.png").write_bytes(b"no picture")
    report = fit_frozen(classifier("ab"), FolderSource(tmp_path / "data"), cache=tmp_path / "cache")
    assert [name.rpartition("/")[2] for name, _ in report.skipped] == ["3.png"]
    for path in (tmp_path / "data" / "b").iterdir():
        path.write_bytes(b"no picture")
    with pytest.raises(DataError, match="no readable training image is left of b"):
        fit_frozen(classifier("ab"), FolderSource(tmp_path / "data"), cache=tmp_path / "cache")


def test_training_all_weights_ends_the_frozen_state(folder, tmp_path):
    made = classifier()
    fit_frozen(made, FolderSource(folder), cache=tmp_path)
    fit(made, FolderSource(folder), options=TrainOptions(epochs=1, batch_size=32, lr=0.01, precision="fp32"))
    assert not made.frozen


def test_rare_classes_count_more_where_sizes_are_balanced(folder, tmp_path):
    source = FolderSource(folder)
    rare = (source.labels != 0) | (torch.arange(len(source)) < 6)
    uneven = Subset(source, rare.nonzero()[:, 0])
    heads = []
    for balance in (False, True):
        made = classifier()
        fit_frozen(made, uneven, cache=tmp_path, balance=balance)
        heads.append(made.network.head.head.bias.detach().clone())
    assert not torch.equal(*heads)


def test_the_time_of_the_pass_is_measured_by_a_part_of_it(folder, tmp_path, monkeypatch):
    """The timed part is part of the pass: no image is computed twice, and the model is the same."""
    told, source, options = [], FolderSource(folder), {"holdout": 0.25, "test_share": 0.25}

    def start(frozen, *_):
        told.append(frozen.seconds_of_pass)

    plain = fit_frozen(classifier(), source, cache=tmp_path / "plain", on_start=start, **options)
    monkeypatch.setattr("backmix.fit.frozen_training.LEAST_TIMED", 100)
    made, again = classifier(), classifier()
    timed = fit_frozen(made, source, cache=tmp_path / "timed", on_start=start, **options)
    assert told[0] is None and told[1] > 0
    assert timed.head.computed == plain.head.computed and timed.held_out_accuracy == plain.held_out_accuracy
    assert fit_frozen(again, source, cache=tmp_path / "timed", on_start=start, **options).head.computed == 0
    assert all(map(torch.equal, made.network.state_dict().values(), again.network.state_dict().values()))
