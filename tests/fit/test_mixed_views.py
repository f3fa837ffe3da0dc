"""Mixed views as features: a loop by hand, what is found again and what is not, targets, and what cannot be mixed."""

import json
from functools import partial

import numpy as np
import pytest
import torch
from PIL import Image
from published_stand_in import MODEL, put_weights

from backmix.augmentations import make_augmentation
from backmix.data.folder import FolderSource
from backmix.data.images import ImageError
from backmix.data.seeds import seed_of
from backmix.data.source import Subset
from backmix.fit import mixed_views
from backmix.fit.feature_training import train_on_features
from backmix.fit.frozen_training import fit_frozen
from backmix.fit.mixed_views import mix_views
from backmix.inference.decider import Decider
from backmix.inference.frozen import FrozenFeatures
from backmix.methods import METHODS
from backmix.mixing.bank import resize_map

CLASSES = ["red", "green", "blue"]


def make(cache=None, method="softmax"):
    classifier = Decider(
        CLASSES, model="compact-s", method=method, precision="fp32", model_options={"width": 0.25}, seed=3
    )
    classifier.frozen = True
    backbone = classifier.network.backbone.eval()
    classifier.frozen_features = FrozenFeatures(backbone, classifier.preprocess, folder=cache, build=False)
    return classifier


@pytest.fixture
def source(pictures):
    return FolderSource(pictures / "train")


def arguments(classifier, source, count=20):
    labels = classifier.labels_for(source)
    return source, labels, (labels >= 0).nonzero()[:, 0][:: 120 // count]


def by_hand(classifier, source, labels, positions, name, options, views):
    """One batch: the bank is filled by the head's maps, then each view is mixed and pooled."""
    network, preprocess = classifier.network.eval(), classifier.preprocess
    images = torch.stack([preprocess.decode(source.read(int(p))) for p in positions])
    known = labels[positions]
    order = torch.randperm(len(known), generator=torch.Generator().manual_seed(seed_of(0, "order of mixed views")))
    chain = make_augmentation(name, len(known), preprocess, options)
    with torch.no_grad():
        maps = network.head.evidence(network.backbone(preprocess.normalise(images)), known)
        if chain.backmix is not None:
            chain.backmix.bank.maps.copy_(resize_map(maps, 8))
            chain.backmix.bank.seen.copy_((maps != 0).flatten(1).any(1))
        features, targets, pixels = [], [], []
        for view in range(views):
            chain.set_generator(torch.Generator().manual_seed(seed_of(0, "mixed view", view, 0)))
            shown = chain.before_crop(
                preprocess.normalise(images[order]), order, labels=known[order], masks=None, view=None
            )
            shown = chain.behind_crop(shown, order, labels=known[order])
            mean, std = (torch.tensor(each)[None, :, None, None] for each in (preprocess.mean, preprocess.std))
            mixed = ((shown * std + mean) * 255).round().clamp(0, 255)
            pooled = network.backbone((mixed / 255 - mean) / std).mean((2, 3))
            wanted = torch.zeros(len(known), 3)
            for given, share in chain.targets(known[order]) or ((known[order], 1.0),):
                wanted[torch.arange(len(known)), given] += share
            back = order.argsort()
            features.append(pooled[back])
            targets.append(wanted[back])
            pixels.append((mixed[back] != images).flatten(1).any(1))
    return torch.cat(features), torch.cat(targets), torch.cat(pixels)


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("backmix", {"patch_side": 0.5, "probability": 0.7}),
        ("swap", {}),
        ("backmix", {"foreground": "centre", "donor": "other", "fill": "noise"}),
        ("cutmix", {"probability": 1.0}),
        ("mixup", {}),
        ("randaugment+backmix+cutout", {}),
    ],
)
def test_views_are_those_of_a_loop_by_hand(source, name, options):
    classifier = make()
    found = mix_views(classifier, *arguments(classifier, source), name, options, views=2)
    features, targets, changed = by_hand(classifier, *arguments(classifier, source), name, options, 2)
    assert found.features.shape == (40, classifier.network.backbone.num_features) and found.computed == 40
    torch.testing.assert_close(found.features, features, atol=1e-4, rtol=1e-3)
    torch.testing.assert_close(found.targets, targets, atol=1e-6, rtol=0)
    assert changed.float().mean() > 0.3, "most images differ from themselves"
    assert not torch.equal(found.features[:20], found.features[20:]), "each view is another"
    assert (found.backmix is not None) == ("backmix" in name or name == "swap")


def test_a_second_run_computes_nothing_and_finds_the_bank(source, tmp_path):
    first, again = (
        mix_views(each, *arguments(each, source), "backmix", views=2) for each in (make(tmp_path), make(tmp_path))
    )
    assert first.computed == 40 and again.computed == 0
    assert torch.equal(first.features, again.features) and torch.equal(first.targets, again.targets)
    assert torch.equal(first.backmix.bank.maps, again.backmix.bank.maps) and again.backmix.bank.seen.any()
    more = mix_views(make(tmp_path), *arguments(make(), source), "backmix", views=3)
    assert more.computed == 20 and torch.equal(more.features[:40], first.features)


@pytest.mark.parametrize("change", ["seed", "option", "name", "label", "image", "order", "head"])
def test_anything_that_changes_the_views_computes_them_again(source, tmp_path, change):
    classifier = make(tmp_path)
    sources, labels, positions = arguments(classifier, source)
    mix_views(classifier, sources, labels, positions, "backmix", views=1)
    options, seed, name = None, 0, "backmix"
    if change == "seed":
        seed = 1
    elif change == "option":
        options = {"patch_side": 0.5}
    elif change == "name":
        name = "swap"
    elif change == "label":
        labels = labels.clone()
        labels[positions[0]] = 2 - labels[positions[0]]
    elif change == "image":
        positions = torch.cat([positions[:-1], positions[-1:] - 1])
    elif change == "order":
        positions = positions.flip(0)
    else:
        classifier.network.head.head.weight.data[0] += 1
    assert mix_views(classifier, sources, labels, positions, name, options, views=1, seed=seed).computed == 20


def test_an_interrupted_pass_goes_on(source, tmp_path, monkeypatch):
    monkeypatch.setattr(mixed_views, "BATCH", 8)
    whole = mix_views(make(), *arguments(make(), source), "mixup", views=2)

    def stop(done):
        if done >= 24:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        mix_views(make(tmp_path), *arguments(make(), source), "mixup", views=2, on_views=stop)
    done = []
    rest = mix_views(make(tmp_path), *arguments(make(), source), "mixup", views=2, on_views=done.append)
    assert 0 < rest.computed < 20 and done[-1] == 40
    torch.testing.assert_close(rest.features, whole.features, atol=1e-5, rtol=1e-5)


def test_the_targets_of_cutmix_are_the_shares_of_the_pixels(tmp_path, monkeypatch):
    grey = {"red": 0, "green": 100, "blue": 200}
    for name, level in grey.items():
        (tmp_path / name).mkdir()
        for number in range(7):
            Image.fromarray(np.full((32, 32, 3), level, np.uint8)).save(tmp_path / name / f"{number}.png")
    classifier, source = make(), FolderSource(tmp_path)
    labels = classifier.labels_for(source)
    shown = []
    monkeypatch.setattr(
        classifier.frozen_features, "of_images", lambda images: shown.append(images) or torch.zeros(len(images), 5)
    )
    found = mix_views(classifier, source, labels, torch.arange(21), "cutmix", {"probability": 1.0}, views=4, seed=2)
    order = torch.randperm(21, generator=torch.Generator().manual_seed(seed_of(2, "order of mixed views")))
    mixed = 0
    assert len(shown) == 4
    for view, images in enumerate(shown):
        shares = torch.stack([(images == grey[name]).float().mean((1, 2, 3)) for name in CLASSES], 1)
        torch.testing.assert_close(found.targets[21 * view : 21 * (view + 1)][order], shares)
        mixed += int((shares.amax(1) < 1).sum())
    assert mixed > 5 and torch.allclose(found.targets.sum(1), torch.ones(84))


def test_masks_are_true_ones_estimated_ones_or_an_error(pictures, source):
    classifier = make()
    found = mix_views(classifier, *arguments(classifier, source), "swap", {"foreground": "saliency"}, views=1)
    assert found.backmix.foreground == "masks" and found.features.isfinite().all()
    with pytest.raises(ImageError, match="has no mask, though true masks were asked for"):
        mix_views(classifier, *arguments(classifier, source), "swap", {"foreground": "masks"}, views=1)


def test_true_masks_keep_the_object_and_other_masks_are_other_views(source, tmp_path, monkeypatch):
    class Masked:
        """Masks of the upper half of each picture, or of the lower."""

        classes, labels = source.classes, source.labels
        read, name, content_key = source.read, source.name, source.content_key

        def __init__(self, upper):
            self.upper = upper

        def __len__(self):
            return len(source)

        def read_mask(self, i):
            pixels = np.zeros((40, 40), np.uint8)
            pixels[:20] = 255
            return Image.fromarray(pixels if self.upper else pixels[::-1].copy())

    options = {"foreground": "masks", "probability": 1.0, "fill": "grey"}
    seen = []
    for upper, computed in ((True, 20), (True, 0), (False, 20)):
        classifier = make(tmp_path)
        masked, labels, positions = arguments(classifier, Masked(upper))
        of = classifier.frozen_features.of_images
        monkeypatch.setattr(
            classifier.frozen_features, "of_images", lambda images, of=of: seen.append(images) or of(images)
        )
        assert mix_views(classifier, masked, labels, positions, "swap", options, views=1).computed == computed
    order = torch.randperm(20, generator=torch.Generator().manual_seed(seed_of(0, "order of mixed views")))
    images = torch.stack([classifier.preprocess.decode(source.read(int(p))) for p in positions[order]])
    upper, lower = (each == images for each in seen)
    assert upper[:, :, :16].all() and lower[:, :, 16:].all(), "the object is as it was"
    assert not upper[:, :, 16:].all() and not lower[:, :, :16].all(), "the background is another"


@pytest.mark.parametrize(
    ("name", "options", "views", "message"),
    [
        ("mixstyle", {}, 3, "mixstyle changes feature maps inside the network.*--train all"),
        ("backmix+mixstyle", {}, 3, "mixstyle changes feature maps"),
        ("cutmix", {}, 0, "views is the number of mixed views of each image, at least 1; got 0"),
        ("cutmixed", {}, 3, "no augmentation 'cutmixed'"),
        ("cutmix", {"patch_side": 1}, 3, "has no option patch_side"),
        ("none", {}, 3, "augmentation none mixes nothing"),
    ],
)
def test_what_cannot_be_mixed(source, name, options, views, message):
    classifier = make()
    with pytest.raises(ValueError, match=message):
        mix_views(classifier, *arguments(classifier, source), name, options, views=views)


@pytest.mark.parametrize("method", ["softmax", "gcpl", "arpl", "nearest-mean", "mahalanobis"])
@pytest.mark.parametrize("augmentation", ["backmix", "cutmix"])
def test_a_fit_learns_from_the_views(source, method, augmentation, monkeypatch):
    monkeypatch.setattr("backmix.fit.head.train_on_features", partial(train_on_features, steps=30))
    source = Subset(source, [i for i in range(len(source)) if source.classes[source.labels[i]] != "red" or i % 3 == 0])
    plain, mixed = make(method=method), make(method=method)
    options = {"balance": True, "seed": 1}
    fit_frozen(plain, source, **options)
    report = fit_frozen(mixed, source, augmentation=augmentation, views=2, **options)
    head = report.head
    assert (head.views, head.views_computed) == (2, 2 * head.images) and head.images == len(report.split.train)
    assert report.head.to_dict()["mixed_views"] == {
        "of_each_image": 2,
        "computed": 2 * head.images,
        "mixed": head.mixed,
    }
    before, after = (each.network.head.state_dict() for each in (plain, mixed))
    assert any(not torch.equal(before[name], after[name]) for name in before)
    assert all(value.isfinite().all() for value in after.values())
    if method == "softmax":
        assert report.held_out_accuracy > 0.7
    if augmentation == "backmix":
        assert len(report.augmentation.bank) == head.images and report.augmentation.bank.seen.any()
    else:
        assert report.augmentation is None


def test_shares_are_the_probabilities_that_gradient_steps_end_at():
    # Two kinds of images without noise: the best answer is the share of each class, whatever the method of descent.
    features = torch.eye(2).repeat(40, 1)
    targets = torch.tensor([[0.8, 0.2, 0.0], [0.0, 0.5, 0.5]]).repeat(40, 1)
    torch.manual_seed(0)
    head = METHODS["softmax"](2, 3)
    train_on_features(head, features, targets, seed=4)
    found = head.logits(features[:2, :, None, None]).softmax(1)
    torch.testing.assert_close(found, targets[:2], atol=0.06, rtol=0)


def test_the_command_says_so_and_the_report_shows_it(pictures, tmp_path, monkeypatch, capsys):
    from backmix.classifier import OpenSetClassifier
    from backmix.cli.fit_command import fit_command
    from backmix.fit.arguments import FitArguments
    from backmix.report.mixed_samples import mixed_samples
    from backmix.report.run_facts import read_facts

    put_weights(monkeypatch, tmp_path / "hub")
    shared = {"known_classes": "red,green,blue", "model": MODEL, "image_size": 64, "cache": str(tmp_path / "cache")}
    arguments = FitArguments(str(pictures), augmentation="backmix", patch_side=0.5, views=2, **shared)
    fit_command(arguments, tmp_path / "run")
    said = " ".join(capsys.readouterr().out.split())
    metrics = json.loads((tmp_path / "run" / "metrics.json").read_text())
    count = metrics["images"]["train"]
    assert f"augmentation backmix: the head also learns from 2 mixed views of each of {count} images" in said
    assert f"and {2 * count} of {2 * count} mixed views" in said
    mixed = metrics["head"]["mixed_views"]
    assert (mixed["of_each_image"], mixed["computed"]) == (2, 2 * count) and 0.5 < mixed["mixed"] <= 1
    assert metrics["test"]["accuracy"] > 0.9
    fit_command(arguments, tmp_path / "again")
    assert f"the network ran on 0 images and 0 of {2 * count} mixed views" in " ".join(capsys.readouterr().out.split())
    assert (tmp_path / "run" / "fit.yaml").read_text() == (tmp_path / "again" / "fit.yaml").read_text()
    one, other = (OpenSetClassifier.load(tmp_path / name) for name in ("run", "again"))
    assert torch.equal(one.network.head.head.weight, other.network.head.head.weight)
    found = mixed_samples(read_facts(tmp_path / "run"), one)
    assert found.missing is None and found.samples and "computed anew" in found.maps
    with pytest.raises(ValueError, match="mixstyle changes feature maps inside the network"):
        fit_command(FitArguments(str(pictures), augmentation="mixstyle", train="head", **shared), tmp_path / "no")
