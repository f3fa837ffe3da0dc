"""From a source to a trained and calibrated classifier: splits, loaders, choices by size."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from backmix.classifier import OpenSetClassifier
from backmix.data.digits import DigitsOnTextures
from backmix.data.images import ImageError
from backmix.data.loader import ResidentLoader, WorkerLoader
from backmix.data.source import Subset
from backmix.errors import DataError, TrainingError
from backmix.fit import training as fit_module
from backmix.fit.training import fit
from backmix.foregrounds import FOREGROUND_SOURCES
from backmix.foregrounds.choose import choose_estimator
from backmix.methods import METHODS
from backmix.train.recipe import TrainOptions

OPTIONS = TrainOptions(epochs=2, batch_size=8, lr=0.05, ema=0.5)


class Noise:
    """Coloured noise of some classes; some images cannot be read, none has a mask."""

    def __init__(self, counts, broken=(), size=40):
        self.classes = list(counts)
        self.labels = torch.repeat_interleave(torch.arange(len(counts)), torch.tensor(list(counts.values())))
        self.broken, self.size, self.opened = set(broken), size, []

    def __len__(self):
        return len(self.labels)

    def read(self, i):
        self.opened.append(i)
        if i in self.broken:
            raise ImageError(self.name(i), "broken on purpose")
        pixels = np.random.default_rng(i).normal(40 + 60 * int(self.labels[i]), 20, (self.size, self.size, 3))
        return Image.fromarray(pixels.clip(0, 255).astype(np.uint8))

    def read_mask(self, i):
        return None

    def name(self, i):
        return f"noise/{i}"


def classifier(classes=("a", "b"), **options):
    return OpenSetClassifier(
        list(classes), **{"model": "compact-s", "model_options": {"width": 0.25}, "image_size": 32, **options}
    )


def test_a_fit_trains_and_calibrates_on_images_apart():
    source = Noise({"a": 20, "b": 20, "c": 10})
    model = classifier()
    before = model.network.head.head.weight.clone()
    started = []
    report = fit(model, source, options=OPTIONS, on_start=lambda *told: started.append(told))
    assert not torch.equal(before, model.network.head.head.weight)
    train, held = set(report.split.train.tolist()), set(report.split.held.tolist())
    assert not train & held and train | held == set(range(40))
    assert len(report.history) == 2 and report.skipped == [] and report.augmentation is None
    assert 0 <= report.held_out_accuracy <= 1
    assert {name: len(t.scores) for name, t in model.thresholds.items()} == dict.fromkeys(model.thresholds, len(held))
    assert started == [(OPTIONS, report.split, [])]
    assert model.predict([source.read(0)])[0].p_value is not None


def test_the_method_of_the_classifier_is_the_same():
    source = Noise({"a": 12, "b": 12})
    one, two = classifier(), classifier()
    report, again = fit(one, source, options=OPTIONS), two.fit(source, options=OPTIONS)
    assert report.history == again.history
    assert all(torch.equal(a, b) for a, b in zip(one.network.parameters(), two.network.parameters(), strict=True))


def test_unknown_images_are_never_read():
    source = Noise({"a": 10, "c": 10, "b": 10})
    fit(classifier(), source, options=OPTIONS)
    assert set(source.opened) == {*range(10), *range(20, 30)}


def test_held_out_images_of_their_own():
    source, apart = Noise({"a": 8, "b": 8}), Noise({"b": 5, "z": 3, "a": 4})
    model = classifier()
    report = fit(model, source, options=OPTIONS, held_out=apart)
    assert report.split.train.tolist() == list(range(16)) and len(report.split.held) == 0
    assert len(model.thresholds["msp"].scores) == 9
    assert set(apart.opened) == {*range(5), *range(8, 12)}


def test_held_out_images_without_a_known_class_are_refused_before_the_training():
    source = Noise({"a": 8, "b": 8})
    with pytest.raises(DataError, match="held out for calibration are of none of the classes a, b"):
        fit(classifier(), source, options=OPTIONS, held_out=Noise({"x": 4, "y": 4}))
    assert source.opened == []


@pytest.mark.parametrize("size", [32, 96])
def test_unreadable_images_are_listed_and_left_out(size):
    """The resident loader at 32 px, worker processes at 96."""
    source = Noise({"a": 12, "b": 12}, broken=(3, 20), size=100)
    told = []
    report = fit(
        classifier(image_size=size),
        source,
        options=OPTIONS,
        augmentation="backmix",
        workers=1,
        on_start=lambda options, split, skipped: told.extend(skipped),
    )
    names = {(f"noise/{i}", "broken on purpose") for i in (3, 20)}
    assert set(report.skipped) == names
    assert set(told) == {(f"noise/{i}", "broken on purpose") for i in (3, 20) if i in report.split.train}
    assert len(report.augmentation.bank) == len(report.split.train) - len(told)


def test_a_class_without_a_readable_image_stops_before_the_training():
    source = Noise({"a": 6, "b": 6}, broken=range(6))
    with pytest.raises(DataError, match=r"no readable training image is left of a\. Unreadable: noise/\d: broken"):
        fit(classifier(), source, options=OPTIONS)
    with pytest.raises(DataError, match=r"no readable training image is left of a"):
        fit(classifier(image_size=96), source, options=OPTIONS, workers=1)


def test_held_out_images_that_cannot_be_read():
    source = Noise({"a": 8, "b": 8})
    with pytest.raises(DataError, match="no image could be read; 2 were tried"):
        fit(classifier(), source, options=OPTIONS, held_out=Noise({"a": 1, "b": 1}, broken=(0, 1)))


@pytest.mark.parametrize(
    ("counts", "message"),
    [
        ({"a": 5, "b": 1}, r"two images, one of them to calibrate on; too few in: b \(1\)"),
        ({"a": 5}, r"too few in: b \(0\)"),
        ({"c": 5, "d": 5}, r"too few in: a \(0\), b \(0\)"),
    ],
)
def test_classes_with_too_few_images(counts, message):
    with pytest.raises(DataError, match=message):
        fit(classifier(), Noise(counts), options=OPTIONS)


def test_one_image_a_class_is_enough_with_held_out_images_of_their_own():
    report = fit(classifier(), Noise({"a": 1, "b": 1}), options=OPTIONS, held_out=Noise({"a": 3, "b": 3}))
    assert len(report.history) == 2
    with pytest.raises(DataError, match=r"an image to train on; too few in: b \(0\)"):
        fit(classifier(), Noise({"a": 1}), options=OPTIONS, held_out=Noise({"a": 3, "b": 3}))


@pytest.mark.parametrize("share", [0.0, 1.0, -0.1, float("nan")])
def test_a_share_that_is_none(share):
    with pytest.raises(ValueError, match="held-out share lies between 0 and 1"):
        fit(classifier(), Noise({"a": 8, "b": 8}), options=OPTIONS, holdout=share)


def test_a_method_without_a_loss_is_refused_before_the_training():
    classifier = OpenSetClassifier(["0", "1"], model="compact-s", method="nearest-mean")
    with pytest.raises(ValueError, match="^nearest-mean has no loss.*Take --train head"):
        fit(classifier, DigitsOnTextures("train"))


def test_an_augmentation_that_does_not_exist():
    with pytest.raises(ValueError, match="no augmentation 'cowmix'; there are none, backmix"):
        fit(classifier(), Noise({"a": 8, "b": 8}), options=OPTIONS, augmentation="cowmix")


@pytest.mark.parametrize("name", ["foreground", "backmix.foreground", "swap.foreground"])
def test_an_estimator_is_chosen_by_either_name_of_backmix(name):
    estimator, options = choose_estimator({name: "saliency", "probability": 0.5})
    assert type(estimator) is FOREGROUND_SOURCES["saliency"]
    assert options == {"foreground": "masks", "probability": 0.5}
    assert choose_estimator({name: "masks"}) == (None, {"foreground": "masks"})
    with pytest.raises(ValueError, match="foreground is one of free, clean, masks, .*saliency.*; got 'salient'"):
        choose_estimator({name: "salient"})


def test_true_masks_are_read_only_when_asked_for():
    digits = DigitsOnTextures("val")
    some = Subset(digits, (digits.labels < 2).nonzero().flatten())
    report = fit(
        classifier("01"),
        some,
        options=OPTIONS,
        augmentation="backmix",
        augmentation_options={"foreground": "masks", "apply": "swap"},
    )
    assert report.augmentation.foreground == "masks" and len(report.history) == 2
    with pytest.raises(DataError, match="has no mask, though true masks were asked for"):
        fit(
            classifier(),
            Noise({"a": 8, "b": 8}),
            options=OPTIONS,
            augmentation="backmix",
            augmentation_options={"foreground": "masks"},
        )


@pytest.mark.parametrize(
    ("size", "limit", "kind"), [(32, 2**31, ResidentLoader), (32, 1000, WorkerLoader), (96, 2**31, WorkerLoader)]
)
def test_small_images_in_small_sets_are_resident(size, limit, kind, monkeypatch):
    from backmix.train.loop import make_accelerator

    monkeypatch.setattr(fit_module, "RESIDENT_BYTES", limit)
    source = Noise({"a": 4, "b": 4})
    model = classifier(image_size=size)
    loader, _ = fit_module.make_loader(
        model, source, source.labels, torch.tensor([0, 1, 5, 6]), OPTIONS, make_accelerator()
    )
    assert isinstance(loader, kind) and loader.num_images == 4


def test_crops_that_come_with_the_data_are_not_cropped_again():
    told = []
    source = Noise({"a": 8, "b": 8}, size=100)
    options = replace(OPTIONS, zoom=0.1)
    fit(classifier(image_size=96), source, options=options, workers=1, on_start=lambda *a: told.append(a[0]))
    assert told[0].pad == told[0].flip == told[0].zoom == 0 and told[0].lr == OPTIONS.lr


def batches_of(method, monkeypatch):
    """What a method is given to learn from, step by step."""
    found, answer = [], METHODS[method].training_loss

    def spy(self, backbone, batch):
        found.append(batch)
        return answer(self, backbone, batch)

    monkeypatch.setattr(METHODS[method], "training_loss", spy)
    return found


def test_two_views_of_a_crop_that_comes_with_the_data_differ(monkeypatch):
    found, told = batches_of("conosr", monkeypatch), []
    source = Noise({"a": 8, "b": 8}, size=100)
    options = replace(OPTIONS, epochs=1)
    fit(
        classifier(method="conosr", image_size=96),
        source,
        options=options,
        augmentation="backmix",
        workers=1,
        on_start=lambda *a: told.append(a[0]),
    )
    assert told == [options]
    for batch in found:
        first, second = batch.images.split(len(batch.labels))
        apart = (first - second).abs().mean((1, 2, 3))
        # As far apart as images of noise are that have been shifted or flipped.
        assert (apart > 0.1 * first.std((1, 2, 3))).all()


@pytest.mark.parametrize(("method", "share"), [("outlier-exposure", 2), ("entropic", 1)])
def test_a_method_says_how_many_outliers_of_a_data_set_it_is_shown(method, share, monkeypatch):
    found = batches_of(method, monkeypatch)
    fit(classifier(method=method), Noise({"a": 8, "b": 8}), options=OPTIONS, outliers=Noise({"x": 30, "y": 30}))
    assert found and all(len(batch.outliers) == share * len(batch.images) for batch in found)


@pytest.mark.parametrize("method", ["pcssr", "rcssr", "cac"])
def test_methods_with_statistics_have_learned_them_after_a_fit(method):
    model = classifier(method=method)
    before = {name: value.clone() for name, value in model.network.head.named_buffers()}
    fit(model, Noise({"a": 16, "b": 16}), options=replace(OPTIONS, lr=0.01))
    now = dict(model.network.head.named_buffers())
    if method == "cac":
        assert torch.equal(now["anchors"], before["anchors"]) and not torch.equal(now["centres"], before["centres"])
    else:
        assert bool(now["learned"]) and (now["deviation"] != 1).all() and now["grams"].any()


def test_a_fit_that_was_cut_off_resumes_to_the_same_end(tmp_path):
    source = Noise({"a": 14, "b": 14})
    path = tmp_path / "checkpoint.pt"

    def once(model, **options):
        return fit(model, source, options=OPTIONS, augmentation="backmix", **options)

    def stop(_):
        raise KeyboardInterrupt

    whole, part, rest = classifier(), classifier(), classifier(seed=5)
    report = once(whole)
    with pytest.raises(KeyboardInterrupt):
        once(part, checkpoint=path, on_epoch=stop)
    again = once(rest, checkpoint=path, resume=True)
    assert report.history == again.history and report.held_out_accuracy == again.held_out_accuracy
    assert torch.equal(report.augmentation.bank.maps, again.augmentation.bank.maps)
    assert whole.thresholds["energy"].to_dict() == rest.thresholds["energy"].to_dict()
    with pytest.raises(TrainingError, match="lr: 0.05 -> 0.1"):
        fit(rest, source, options=replace(OPTIONS, lr=0.1), augmentation="backmix", checkpoint=path, resume=True)


def test_images_kept_for_a_test_are_never_read():
    source = Noise({"a": 20, "b": 20, "c": 5})
    groups = torch.arange(45) // 2  # Twins.
    report = fit(classifier(), source, options=OPTIONS, holdout=0.2, test_share=0.25, groups=groups)
    parts = report.split.train, report.split.held, report.split.test
    assert sorted(torch.cat(parts).tolist()) == list(range(40))
    assert [len(part) for part in parts] == [24, 8, 8]  # 5 of 20 would divide a pair.
    assert not set(source.opened) & set(report.split.test.tolist())
    for part in parts:
        assert {int(i) ^ 1 for i in part} == {int(i) for i in part}


def test_images_of_rare_classes_are_shown_more_than_once(monkeypatch):
    shown = []
    real = fit_module.make_loader
    monkeypatch.setattr(fit_module, "make_loader", lambda *args, **more: shown.append(args[3]) or real(*args, **more))
    fit(classifier(), Noise({"a": 40, "b": 5}), options=OPTIONS, balance=True)
    fit(classifier(), Noise({"a": 40, "b": 5}), options=OPTIONS)
    counts = [torch.bincount((positions >= 40).long()).tolist() for positions in shown]
    assert counts == [[32, 12], [32, 4]]  # sqrt(32 / 4) is nearly 3.


def test_a_plan_is_told_how_long_an_epoch_takes_and_decides():
    source = Noise({"a": 24, "b": 24})
    told = []

    def plan(measure, options):
        told.append(measure(options))
        return replace(options, epochs=1)

    one, other = classifier(), classifier()
    report = fit(one, source, options=OPTIONS, augmentation="backmix", plan=plan)
    assert len(report.history) == 1 and 0 < told[0] < 60
    # To measure changes nothing: the same training without.
    fit(other, source, options=replace(OPTIONS, epochs=1), augmentation="backmix")
    assert all(map(torch.equal, one.network.state_dict().values(), other.network.state_dict().values()))
